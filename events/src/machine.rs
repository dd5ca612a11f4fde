//! The trait that a game implements: a deterministic decision per event, and a state that is
//! nothing but the fold of its outcomes. No clock, no randomness, no I/O. Pure.

use config_schemas::Offset;
use serde::{Serialize, de::DeserializeOwned};

use crate::event::{Event, Kind};
use crate::outcome::{Outcome, OutcomeRecord, Refusal};
use crate::vocabulary::Vocabulary;

/// An event at its place in the partition's event log.
#[derive(Debug, Clone, Copy)]
pub struct Input<'e> {
    /// The place.
    pub offset: Offset,
    /// The event; its `received_millis` is the only clock.
    pub event: &'e Event,
}

/// What a machine makes of an event: exactly one outcome, and events for other partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What became of the event.
    pub outcome: Outcome,
    /// What goes on to other partitions. Ids and times are set by the partition.
    pub forwards: Vec<Event>,
}

impl Decision {
    /// An outcome that concerns this partition only.
    pub fn only(outcome: Outcome) -> Decision {
        Decision { outcome, forwards: Vec::new() }
    }

    /// A refusal.
    pub fn refuse(reason: Refusal) -> Decision {
        Decision::only(Outcome::Refused(reason))
    }

    /// The event can never be played, such as for a payload that no build of this machine reads.
    pub fn dead_letter(why: &str) -> Decision {
        Decision::only(Outcome::dead_letter(why))
    }

    /// The same with one more event for another partition.
    pub fn forwarding(mut self, event: Event) -> Decision {
        self.forwards.push(event);
        self
    }
}

impl Input<'_> {
    /// A blank event that this one causes: the machine fills in what it is about.
    pub fn caused(&self, kind: Kind) -> Event {
        Event::new(self.event.id.clone(), kind, self.event.received_millis)
    }
}

/// A game: what each partition runs.
///
/// Duplicates, offsets, epochs and the outbox are the partition's business
/// ([`PartitionState`](crate::PartitionState)); a machine sees each event id once within the
/// recent window.
pub trait Machine: Send + Sync + 'static {
    /// Version of [`State`](Self::State) and [`fold`](Self::fold): raise it when either changes.
    /// Snapshots of another version are left alone, and the outcomes are folded anew.
    const STATE_VERSION: u32 = 1;

    /// What is remembered per partition: the fold of the outcomes and nothing else.
    type State: Default + Clone + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What can be retuned while it runs.
    type Rules: Clone + Send + Sync + 'static;

    /// The kinds of events it understands.
    fn vocabulary() -> Vocabulary;

    /// What it takes of the hunt's section `rules`, which people edit while it runs.
    fn rules(settings: &config_schemas::Rules) -> Self::Rules;

    /// Decides. Must depend on nothing but its arguments. If it panics, the event becomes a dead
    /// letter, and so it does if the outcome is larger than
    /// [`OUTCOME_BYTES_MAX`](crate::OUTCOME_BYTES_MAX) or a forwarded event has no key.
    fn decide(state: &Self::State, input: &Input<'_>, rules: &Self::Rules) -> Decision;

    /// Takes one record in, in log order. Must depend on nothing but its arguments. If it panics,
    /// the event becomes a dead letter instead.
    fn fold(state: &mut Self::State, record: &OutcomeRecord);

    /// What `state` knows under the keys that `goes` names, as a state of its own: when a hunt gets
    /// more partitions, the new one begins with that. What belongs to no single key, or to events that
    /// need no order, stays where it is. Such parts stand in outcome logs for good, so later versions
    /// of [`State`](Self::State) still have to read them: only add fields, with defaults.
    fn part(state: &Self::State, goes: &dyn Fn(&str) -> bool) -> Self::State;

    /// Takes in what [`part`](Self::part) gave. Twice is the same as once.
    fn absorb(state: &mut Self::State, part: Self::State);
}
