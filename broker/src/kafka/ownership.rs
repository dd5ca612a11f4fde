//! What one take-over has sent to its outcomes and what it may promise of it. In: numbers that are
//! given out, acknowledged offsets in their order. Out: which of them every reader believes. No
//! I/O.
//!
//! Nobody but the owner writes outcomes, so what it gets acknowledged lies at consecutive offsets.
//! Where it does not, somebody else wrote: perhaps a new owner its barrier. What comes after such a
//! place is promised only when somebody has looked there. Without one no barrier can lie before the
//! record, so its owner still was the owner when it was written, whatever the clocks say.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use config_schemas::{Epoch, Offset};
use tokio::sync::Semaphore;

use super::believe::{Belief, Mark, Take};
use super::trouble::KafkaTrouble;
use crate::error::Error;

/// A partition held by this process.
pub(crate) struct Ownership {
    epoch: Epoch,
    take: Take,
    /// As it was right behind the barrier.
    belief: Belief,
    /// Who looks what lies in a place that is not ours.
    pub(crate) looking: Semaphore,
    state: Mutex<State>,
}

struct State {
    /// Of the next record that is sent.
    next: u64,
    /// Of the next one that is acknowledged, and where.
    acked: u64,
    offset: u64,
    /// Not looked at yet.
    doubt: Option<Range<u64>>,
    /// A new owner's barrier.
    fenced: Option<(u64, Epoch)>,
    /// Nothing more is sent, and nothing after this was is promised.
    ended: Option<Error>,
    /// A record was lost: what was sent after it is not believed.
    broken: Option<Error>,
}

/// What can be said of acknowledged records.
#[derive(Debug)]
pub(crate) enum Standing {
    Believed,
    /// Somebody has to look there first.
    Doubtful(Range<u64>),
    Not(Error),
}

impl Ownership {
    /// Right after its barrier at `barrier`.
    pub(crate) fn new(epoch: Epoch, take: Take, belief: Belief, barrier: u64) -> Ownership {
        let state = State {
            next: 0,
            acked: 0,
            offset: barrier + 1,
            doubt: None,
            fenced: None,
            ended: None,
            broken: None,
        };
        Ownership { epoch, take, belief, looking: Semaphore::new(1), state: Mutex::new(state) }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What a reader believes right behind the barrier.
    pub(crate) fn belief(&self) -> Belief {
        self.belief.clone()
    }

    /// Where the next record will be, as far as known.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.state().offset)
    }

    /// Gives numbers to `count` records and has them sent, in order and by nobody else meanwhile.
    /// `send` may refuse all of them; then they were never numbered.
    pub(crate) fn number<R>(
        &self,
        count: u64,
        send: impl FnOnce(u64) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        let mut state = self.state();
        if let Some(refusal) = state.refusal() {
            return Err(refusal);
        }
        let sent = send(state.next);
        if sent.is_some() {
            state.next += count;
        }
        Ok(sent)
    }

    pub(crate) fn mark(&self, number: u64) -> Mark {
        Mark::Outcome { epoch: self.epoch, take: self.take, number }
    }

    /// A record was acknowledged. The error is what became of one before it.
    pub(crate) fn acked(&self, number: u64, offset: u64) -> Result<(), Error> {
        let mut state = self.state();
        if let Some(broken) = &state.broken {
            return Err(broken.again());
        }
        if number != state.acked || offset < state.offset {
            let why = "acknowledged out of order".to_owned();
            let broken = Error::Kafka(KafkaTrouble::Refused { why });
            state.broken = Some(broken.again());
            return Err(broken);
        }
        if offset > state.offset {
            let start = state.doubt.as_ref().map_or(state.offset, |doubt| doubt.start);
            state.doubt = Some(start..offset);
        }
        (state.acked, state.offset) = (number + 1, offset + 1);
        Ok(())
    }

    /// A record was not acknowledged, so nothing after it counts.
    pub(crate) fn lost(&self, error: &Error) {
        self.state().broken.get_or_insert_with(|| error.again());
    }

    /// Nothing more is sent.
    pub(crate) fn end_with(&self, error: Error) {
        self.state().ended.get_or_insert(error);
    }

    /// What can be said of acknowledged records up to `last`.
    pub(crate) fn standing(&self, last: u64) -> Standing {
        let state = self.state();
        match (&state.fenced, &state.doubt) {
            (Some((at, by)), _) if *at < last => Standing::Not(Error::Fenced { by: *by }),
            (Some(_), _) => Standing::Believed,
            (None, Some(doubt)) if doubt.start < last => Standing::Doubtful(doubt.clone()),
            (None, _) => Standing::Believed,
        }
    }

    /// Somebody has looked at `looked`, and found that barrier, or none.
    pub(crate) fn looked(&self, looked: &Range<u64>, barrier: Option<(u64, Epoch)>) {
        let mut state = self.state();
        if state.fenced.is_none() {
            state.fenced = barrier;
        }
        state.doubt = match state.doubt.take() {
            Some(doubt) if doubt.end > looked.end => Some(looked.end..doubt.end),
            _ => None,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refusal(&self) -> Option<Error> {
        if let Some((_, by)) = self.fenced {
            return Some(Error::Fenced { by });
        }
        self.broken.as_ref().or(self.ended.as_ref()).map(Error::again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ownership() -> Ownership {
        Ownership::new(Epoch(3), Take(1), Belief::default(), 9)
    }

    fn send(ownership: &Ownership, count: u64) -> u64 {
        ownership.number(count, Some).unwrap().unwrap()
    }

    #[test]
    fn consecutive_records_are_believed_at_once() {
        let ownership = ownership();
        assert_eq!((send(&ownership, 2), send(&ownership, 1)), (0, 2));
        for (number, offset) in [(0, 10), (1, 11), (2, 12)] {
            ownership.acked(number, offset).unwrap();
            assert!(matches!(ownership.standing(offset), Standing::Believed));
        }
        assert_eq!(ownership.end(), Offset(13));
    }

    #[test]
    fn behind_a_hole_nothing_is_promised_until_somebody_has_looked() {
        let ownership = ownership();
        send(&ownership, 3);
        ownership.acked(0, 10).unwrap();
        ownership.acked(1, 12).unwrap();
        ownership.acked(2, 15).unwrap();
        assert!(matches!(ownership.standing(10), Standing::Believed), "it lies before the hole");
        assert!(matches!(ownership.standing(12), Standing::Doubtful(doubt) if doubt == (11..15)));
        ownership.looked(&(11..15), Some((13, Epoch(4))));
        assert!(matches!(ownership.standing(12), Standing::Believed), "it lies before the barrier");
        assert!(matches!(ownership.standing(15), Standing::Not(Error::Fenced { by: Epoch(4) })));
        assert!(matches!(ownership.number(1, Some), Err(Error::Fenced { by: Epoch(4) })));
    }

    #[test]
    fn a_hole_without_a_barrier_is_forgotten_and_a_later_one_stays() {
        let ownership = ownership();
        send(&ownership, 3);
        ownership.acked(0, 11).unwrap();
        ownership.acked(1, 14).unwrap();
        ownership.looked(&(10..11), None);
        assert!(matches!(ownership.standing(14), Standing::Doubtful(doubt) if doubt == (11..14)));
        ownership.looked(&(11..14), None);
        assert!(matches!(ownership.standing(14), Standing::Believed));
        assert_eq!(send(&ownership, 1), 3);
    }

    #[test]
    fn after_a_lost_record_nothing_is_promised_and_nothing_sent() {
        let ownership = ownership();
        send(&ownership, 3);
        ownership.acked(0, 10).unwrap();
        ownership.lost(&Error::TooLarge { bytes: 1 });
        assert!(matches!(ownership.acked(2, 11), Err(Error::TooLarge { bytes: 1 })));
        assert!(matches!(ownership.number(1, Some), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn what_is_acknowledged_out_of_order_ends_it() {
        for (number, offset) in [(1, 10), (0, 9)] {
            let ownership = ownership();
            send(&ownership, 2);
            assert!(ownership.acked(number, offset).is_err());
            assert!(ownership.number(1, Some).is_err());
        }
    }

    #[test]
    fn numbers_of_what_could_not_be_sent_are_given_again() {
        let ownership = ownership();
        assert_eq!(ownership.number(5, |_| None::<u64>).unwrap(), None);
        assert_eq!(send(&ownership, 1), 0);
        ownership.end_with(Error::Closed);
        assert!(matches!(ownership.number(1, Some), Err(Error::Closed)));
    }
}
