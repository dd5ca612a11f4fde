//! A partition at work: the machine's state and the ledger together. In: events at their offsets.
//! Out: one outcome record per event, to be folded at once and answered when durable. Pure.

use config_schemas::{Epoch, Offset, PartitionId};

use crate::event::{Event, EventId};
use crate::ledger::Ledger;
use crate::machine::{Decision, Input, Machine};
use crate::outcome::{Outcome, OutcomeRecord, Refusal};

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
            None => name_forwards(M::decide(&self.game, &Input { offset, event }, rules), event),
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

    /// The outcome of a record in the event log that is no event. `None` as in `decide`.
    pub fn refuse_poison(
        &self,
        offset: Offset,
        why: String,
        at_millis: u64,
        stamp: Stamp,
    ) -> Option<OutcomeRecord> {
        (offset >= self.ledger.next_offset()).then(|| OutcomeRecord {
            partition: stamp.partition,
            epoch: stamp.epoch,
            source_offset: Some(offset),
            event_id: None,
            at_millis,
            config_revision: stamp.config_revision,
            outcome: Outcome::Refused(Refusal::Undecodable { why }),
            forwards: Vec::new(),
        })
    }

    /// The record that takes forwarded events out of the outbox, once they are durable at their
    /// destination.
    pub fn delivered(event_ids: Vec<EventId>, at_millis: u64, stamp: Stamp) -> OutcomeRecord {
        OutcomeRecord {
            partition: stamp.partition,
            epoch: stamp.epoch,
            source_offset: None,
            event_id: None,
            at_millis,
            config_revision: stamp.config_revision,
            outcome: Outcome::Delivered { event_ids },
            forwards: Vec::new(),
        }
    }

    /// Takes a record in, in log order.
    pub fn fold(&mut self, record: &OutcomeRecord) -> Folded {
        if self.ledger.is_stale(record) {
            return Folded::Stale;
        }
        self.ledger.fold(record);
        M::fold(&mut self.game, record);
        Folded::Taken
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
