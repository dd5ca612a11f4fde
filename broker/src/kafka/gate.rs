//! The way into one partition of a topic, through whichever producer is the current one. In:
//! records. Out: the same, in order, to one producer; to the next one only when the one before has
//! nothing of this partition on its way, so that they cannot overtake each other. No I/O of its
//! own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config_schemas::PartitionId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::sender::Sender;

/// One partition of one topic, for writing.
pub(crate) struct Gate {
    topic: Arc<str>,
    partition: i32,
    state: Mutex<State>,
    /// Told when the gate opens, and when nothing is on its way.
    moved: Notify,
    /// Whoever sends next; in the order in which they came.
    turn: Semaphore,
}

struct State {
    sender: Arc<Sender>,
    /// The gate is shut, since then, until all that is on its way has arrived; then this one takes
    /// over.
    next: Option<(Arc<Sender>, Instant)>,
    in_flight: usize,
    /// How long it was shut for the last move; `None` if there was nothing to wait for.
    stall: Option<Duration>,
}

impl Gate {
    pub(crate) fn new(topic: Arc<str>, partition: PartitionId, sender: Arc<Sender>) -> Gate {
        // Kafka numbers partitions with 31 bits; the map knows no more than some thousands
        let partition = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let state = Mutex::new(State { sender, next: None, in_flight: 0, stall: None });
        Gate { topic, partition, state, moved: Notify::new(), turn: Semaphore::new(1) }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }

    /// Waits for the gate, and has `send` send; others wait meanwhile, in their order. `send` says
    /// how many records it got rid of; `None` from [`Gate::try_send`] means that the gate is shut.
    pub(crate) async fn send<R>(&self, mut send: impl FnMut(&Self) -> Option<R>) -> R {
        // never closed, so there always is a turn
        let _turn = self.turn.acquire().await;
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if let Some(sent) = send(self) {
                return sent;
            }
            moved.await;
        }
    }

    /// Sends through the current producer unless the gate is shut. `send` returns how many records
    /// are on their way now.
    pub(crate) fn try_send<R>(&self, send: impl FnOnce(&Sender) -> (usize, R)) -> Option<R> {
        let mut state = self.state();
        if state.next.is_some() {
            return None;
        }
        let (count, result) = send(&state.sender);
        state.in_flight += count;
        Some(result)
    }

    /// One record has arrived, or is given up.
    pub(crate) fn landed(&self) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if state.in_flight == 0 {
            state.stall = state.next.as_ref().map(|(_, shut)| shut.elapsed());
            self.pass_on(state);
        }
    }

    /// From here on through `next`, as soon as nothing is on its way through the one before.
    pub(crate) fn move_to(&self, next: &Arc<Sender>) {
        let mut state = self.state();
        state.next = Some((Arc::clone(next), Instant::now()));
        state.stall = None;
        if state.in_flight == 0 {
            self.pass_on(state);
        }
    }

    /// Returns when no move is pending: how long the last one kept the gate shut, if there was
    /// anything to wait for.
    pub(crate) async fn settled(&self) -> Option<Duration> {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            {
                let state = self.state();
                if state.next.is_none() {
                    return state.stall;
                }
            }
            moved.await;
        }
    }

    fn pass_on(&self, mut state: MutexGuard<'_, State>) {
        let Some((next, _)) = state.next.take() else { return };
        let before = std::mem::replace(&mut state.sender, next);
        drop(state);
        drop(before);
        self.moved.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Arc<Sender> {
        Sender::on_trial(vec![("bootstrap.servers", "127.0.0.1:1".to_owned())]).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_is_shut_for_what_is_on_its_own_way_and_tells_for_how_long() {
        let (old, new) = (sender(), sender());
        let gate = |number| Gate::new(Arc::from("o"), PartitionId(number), Arc::clone(&old));
        let (busy, idle) = (gate(0), gate(1));
        assert!(busy.try_send(|_| (2, ())).is_some());
        [&busy, &idle].iter().for_each(|gate| gate.move_to(&new));
        assert_eq!(idle.settled().await, None, "nothing was on its way there");
        assert!(idle.try_send(|used| (0, assert!(std::ptr::eq(used, &*new)))).is_some());

        tokio::time::advance(Duration::from_millis(30)).await;
        busy.landed();
        assert!(busy.try_send(|_| (1, ())).is_none(), "one is still on its way");
        tokio::time::advance(Duration::from_millis(40)).await;
        busy.landed();
        assert_eq!(busy.settled().await, Some(Duration::from_millis(70)));
        assert!(busy.try_send(|used| (0, assert!(std::ptr::eq(used, &*new)))).is_some());
    }
}
