//! A partition at work: the machine's state and the ledger together. In: events at their offsets.
//! Out: one outcome record per event, to be folded at once and answered when durable. Pure.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use config_schemas::{Epoch, Offset, PartitionId};

use crate::event::{Event, EventId};
use crate::ledger::Ledger;
use crate::machine::{Decision, Input, Machine};
use crate::outcome::{Outcome, OutcomeRecord, Refusal};

/// Largest outcome of an event, forwarded events included, in bytes: half of what any log takes as
/// one record.
pub const OUTCOME_BYTES_MAX: usize = 512 << 10;

/// The machine panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machine panicked: {said}")]
pub struct Panicked {
    said: String,
}

impl Panicked {
    fn of(panic: &(dyn Any + Send)) -> Panicked {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        Panicked { said: said.unwrap_or_else(|| "with no message".to_owned()) }
    }
}

/// What is stamped on every record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whose log.
    pub partition: PartitionId,
    /// The ownership.
    pub epoch: Epoch,
    /// The configuration that the batch runs under.
    pub config_revision: u64,
}

impl Stamp {
    /// A record that no event caused.
    fn record(self, outcome: Outcome, at_millis: u64) -> OutcomeRecord {
        OutcomeRecord {
            partition: self.partition,
            epoch: self.epoch,
            source_offset: None,
            event_id: None,
            at_millis,
            config_revision: self.config_revision,
            outcome,
            forwards: Vec::new(),
        }
    }
}

/// What a forwarded event takes beside its payload, at most: id, kind, keys and numbers.
const FORWARD_BYTES: usize = 1 << 10;

/// What folding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// The record is part of the state.
    Taken,
    /// The record is from a replaced owner and was left out.
    Stale,
}

/// The whole state of a partition: the fold of its outcomes.
///
/// A worker reads on at [`Ledger::next_offset`], calls [`decide`](Self::decide), folds the record
/// at once so that the next event sees it, and answers only when the record is durable. If the
/// append fails, it throws this value away and folds the log anew.
pub struct PartitionState<M: Machine> {
    pub(crate) ledger: Ledger,
    pub(crate) game: M::State,
}

impl<M: Machine> Default for PartitionState<M> {
    fn default() -> Self {
        Self { ledger: Ledger::default(), game: M::State::default() }
    }
}

impl<M: Machine> Clone for PartitionState<M> {
    fn clone(&self) -> Self {
        Self { ledger: self.ledger.clone(), game: self.game.clone() }
    }
}

impl<M: Machine> PartitionState<M> {
    /// Offsets, recent ids and outbox.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The machine's part.
    pub fn game(&self) -> &M::State {
        &self.game
    }

    /// Breaks it on purpose: as if a partition's offset were not kept with its effects but by
    /// itself, once in `every` events, and ids not at all.
    #[cfg(feature = "sim")]
    pub fn part_offset(&mut self, every: u64) {
        self.ledger.part_offset(every);
    }

    /// Decides on the event at `offset`. `None` if that offset was handled before: nothing to do.
    pub fn decide(
        &self,
        offset: Offset,
        event: &Event,
        rules: &M::Rules,
        stamp: Stamp,
    ) -> Option<OutcomeRecord> {
        if offset < self.ledger.next_offset() {
            return None;
        }
        let decision = match self.ledger.seen(&event.id) {
            Some(of_source_offset) => Decision::only(Outcome::Duplicate { of_source_offset }),
            None => self.ask(&Input { offset, event }, rules),
        };
        Some(OutcomeRecord {
            partition: stamp.partition,
            epoch: stamp.epoch,
            source_offset: Some(offset),
            event_id: Some(event.id.clone()),
            at_millis: event.received_millis,
            config_revision: stamp.config_revision,
            outcome: decision.outcome,
            forwards: decision.forwards,
        })
    }

    /// The machine's decision, or a dead letter if it fails.
    fn ask(&self, input: &Input<'_>, rules: &M::Rules) -> Decision {
        // a decision takes nothing but shared references, so that nothing is left half done
        let decide = AssertUnwindSafe(|| M::decide(&self.game, input, rules));
        match catch_unwind(decide) {
            Ok(decision) => check::<M>(name_forwards(decision, input.event)),
            Err(panic) => Decision::dead_letter(&Panicked::of(panic.as_ref()).to_string()),
        }
    }

    /// The outcome of a record in the event log that cannot be played. `None` as in `decide`.
    pub fn dead_letter(
        &self,
        offset: Offset,
        event_id: Option<EventId>,
        why: &str,
        at_millis: u64,
        stamp: Stamp,
    ) -> Option<OutcomeRecord> {
        (offset >= self.ledger.next_offset()).then(|| OutcomeRecord {
            partition: stamp.partition,
            epoch: stamp.epoch,
            source_offset: Some(offset),
            event_id,
            at_millis,
            config_revision: stamp.config_revision,
            outcome: Outcome::dead_letter(why),
            forwards: Vec::new(),
        })
    }

    /// What becomes of an event whose key is another partition's since the hunt was cut finer. `None` as
    /// in `decide`.
    pub fn relay(
        &self,
        offset: Offset,
        event: Event,
        to: PartitionId,
        stamp: Stamp,
    ) -> Option<OutcomeRecord> {
        if offset < self.ledger.next_offset() {
            return None;
        }
        let (id, at_millis) = (event.id.clone(), event.received_millis);
        let (outcome, forwards) = match self.ledger.seen(&id) {
            Some(of_source_offset) => (Outcome::Duplicate { of_source_offset }, Vec::new()),
            None => (Outcome::Relayed { to }, vec![event]),
        };
        let forwarded = OutcomeRecord { forwards, ..stamp.record(outcome, at_millis) };
        Some(OutcomeRecord { source_offset: Some(offset), event_id: Some(id), ..forwarded })
    }

    /// The record from which on keys of partitions beyond these are no longer this one's.
    pub fn split(partitions: u32, at_millis: u64, stamp: Stamp) -> OutcomeRecord {
        stamp.record(Outcome::Split { partitions }, at_millis)
    }

    /// The records of what this partition takes over from the one that it was cut from, by its
    /// [`parts`](Self::parts).
    pub fn inherited(
        from: PartitionId,
        partitions: u32,
        parts: Vec<Vec<u8>>,
        at_millis: u64,
        stamp: Stamp,
    ) -> Vec<OutcomeRecord> {
        let count = parts.len();
        let numbered = parts.into_iter().enumerate();
        let inherited = |(number, part)| {
            let last = number + 1 == count;
            stamp.record(Outcome::Inherited { from, partitions, part, last }, at_millis)
        };
        numbered.map(inherited).collect()
    }

    /// The record that takes forwarded events out of the outbox, once they are durable at their
    /// destination.
    pub fn delivered(event_ids: Vec<EventId>, at_millis: u64, stamp: Stamp) -> OutcomeRecord {
        stamp.record(Outcome::Delivered { event_ids }, at_millis)
    }

    /// Takes a record in, in log order.
    ///
    /// # Panics
    /// Where the machine does, and over a part of a state that it cannot read.
    pub fn fold(&mut self, record: &OutcomeRecord) -> Folded {
        if self.ledger.is_stale(record) {
            return Folded::Stale;
        }
        self.ledger.fold(record);
        if let Outcome::Inherited { from, part, .. } = &record.outcome
            && let Err(error) = self.absorb(part)
        {
            panic!("the part that partition {from} handed on cannot be read: {error}");
        }
        if !record.outcome.is_of_the_partition() {
            M::fold(&mut self.game, record);
        }
        Folded::Taken
    }

    /// The same for a machine that may fail. After an error the state is half of something: throw
    /// it away and fold the log anew.
    pub fn try_fold(&mut self, record: &OutcomeRecord) -> Result<Folded, Panicked> {
        catch_unwind(AssertUnwindSafe(|| self.fold(record)))
            .map_err(|panic| Panicked::of(panic.as_ref()))
    }
}

/// A decision that no log takes, or whose forwarded events would never arrive, is none.
fn check<M: Machine>(decision: Decision) -> Decision {
    let said = match &decision.outcome {
        Outcome::Custom { name, data_json } => name.len() + data_json.len(),
        Outcome::Refused(Refusal::Custom { why }) => why.len(),
        _ => 0,
    };
    let payload =
        |event: &Event| event.payload_json.as_ref().map_or(0, String::len) + FORWARD_BYTES;
    let bytes = said + decision.forwards.iter().map(payload).sum::<usize>();
    if bytes > OUTCOME_BYTES_MAX {
        let why = format!("an outcome of {bytes} bytes, and at most {OUTCOME_BYTES_MAX} are kept");
        return Decision::dead_letter(&why);
    }
    let vocabulary = M::vocabulary();
    match decision.forwards.iter().find(|event| vocabulary.key(event).is_none()) {
        Some(event) => {
            let why = format!("forwards a {} event that is unknown or has no key", event.kind);
            Decision::dead_letter(&why)
        }
        None => decision,
    }
}

/// Gives each forwarded event the id that follows from its cause, so that sending it twice is
/// seen as such by the receiver.
fn name_forwards(mut decision: Decision, cause: &Event) -> Decision {
    for (index, forward) in decision.forwards.iter_mut().enumerate() {
        let Some(id) = cause.id.caused(index) else {
            return Decision::refuse(Refusal::ChainTooLong);
        };
        forward.id = id;
    }
    decision
}
