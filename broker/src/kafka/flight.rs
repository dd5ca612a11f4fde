//! Records on their way to a topic: a batch counts when each of them is acknowledged. In: what
//! became of each, from the producer's thread. Out: one answer. No I/O.

use std::sync::{Arc, Mutex, PoisonError};

use config_schemas::Offset;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::gate::Gate;
use super::ownership::Ownership;
use crate::error::Error;

/// What becomes of a batch.
pub(crate) type Answer = Result<Vec<Offset>, Error>;

/// A batch that was sent.
pub(crate) struct Flight {
    /// Of outcomes: under which ownership, and the first one's number.
    ownership: Option<(Arc<Ownership>, u64)>,
    /// How far the partition reaches, as this process knows.
    end: watch::Sender<u64>,
    state: Mutex<State>,
}

struct State {
    offsets: Vec<Offset>,
    waiting: usize,
    failed: Option<Error>,
    reply: Option<oneshot::Sender<Answer>>,
    /// Given back with the answer.
    room: Vec<OwnedSemaphorePermit>,
}

/// Goes with one record to the broker and back.
pub(crate) struct Ticket {
    pub(crate) gate: Arc<Gate>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) index: usize,
}

impl Ticket {
    /// What became of the record: its offset, or why not.
    pub(crate) fn landed(self, result: Result<i64, Error>) {
        self.flight.landed(self.index, result);
        self.gate.landed();
    }
}

impl Flight {
    /// Of `count` records.
    pub(crate) fn new(
        count: usize,
        ownership: Option<(Arc<Ownership>, u64)>,
        end: watch::Sender<u64>,
        room: Vec<OwnedSemaphorePermit>,
        reply: oneshot::Sender<Answer>,
    ) -> Flight {
        let offsets = vec![Offset(0); count];
        let reply = Some(reply);
        let state = State { offsets, waiting: count, failed: None, reply, room };
        Flight { ownership, end, state: Mutex::new(state) }
    }

    /// Acknowledgements come in order for each partition, from one thread.
    pub(crate) fn landed(&self, index: usize, result: Result<i64, Error>) {
        let result = result.and_then(|offset| {
            let untold = |_| {
                Error::Kafka(super::trouble::KafkaTrouble::Refused {
                    why: "acknowledged without an offset".to_owned(),
                })
            };
            u64::try_from(offset).map_err(untold)
        });
        let result = match (&self.ownership, result) {
            (Some((ownership, first)), Ok(offset)) => {
                ownership.acked(first + index as u64, offset).map(|()| offset)
            }
            (Some((ownership, _)), Err(error)) => {
                ownership.lost(&error);
                Err(error)
            }
            (None, result) => result,
        };
        if let Ok(offset) = result {
            self.end.send_if_modified(|end| {
                let grows = *end <= offset;
                *end = (*end).max(offset + 1);
                grows
            });
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (result, state.offsets.get_mut(index)) {
            (Ok(offset), Some(place)) => *place = Offset(offset),
            (Err(error), _) => _ = state.failed.get_or_insert(error),
            (Ok(_), None) => {}
        }
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting > 0 {
            return;
        }
        state.room.clear();
        let answer = match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.offsets)),
        };
        if let Some(reply) = state.reply.take() {
            // whoever asked may have gone
            let _ = reply.send(answer);
        }
    }
}
