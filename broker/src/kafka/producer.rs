//! The producer of a hunt: one client at a time for all partitions, replaced while it is used. In:
//! batches, new settings. Out: batches sent in order, exactly once; a swap that happened, or why it
//! did not. I/O.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config_schemas::{PartitionId, TopicRole};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::gate::Gate;
use super::options::Topics;
use super::sender::Sender;
use super::trouble::KafkaTrouble;

/// What is taken at once from those who append, while less is to wait: less than the smallest queue,
/// so that it comes free, and enough to be done in some hundred steps.
const SHRINK_STEP: u32 = 64 << 10;

/// All ways into the hunt's topics.
pub(crate) struct Producer {
    topics: Topics,
    state: Mutex<State>,
    /// One swap at a time.
    swapping: Semaphore,
    /// Bytes that wait for acknowledgement, of all partitions.
    pub(crate) room: Arc<Semaphore>,
}

struct State {
    sender: Arc<Sender>,
    gates: HashMap<(TopicRole, PartitionId), Arc<Gate>>,
    room_bytes: u32,
}

/// What a swap took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// From the first gate that shut to the last that opened again.
    pub gate: Duration,
    /// How long each partition of a topic was shut that had something on its way; the others were
    /// not.
    pub stalls: Vec<Duration>,
    /// Whether the old client had to be given up, and with it what it had not got acknowledged.
    pub given_up: bool,
}

impl Producer {
    pub(crate) fn new(topics: Topics, sender: Arc<Sender>, room_bytes: u32) -> Producer {
        let room = Arc::new(Semaphore::new(room_bytes as usize));
        let state = Mutex::new(State { sender, gates: HashMap::new(), room_bytes });
        Producer { topics, state, swapping: Semaphore::new(1), room }
    }

    /// The way into one partition of one topic; always the same.
    pub(crate) fn gate(&self, topic: TopicRole, partition: PartitionId) -> Arc<Gate> {
        let mut state = self.state();
        let sender = Arc::clone(&state.sender);
        let name = self.topics.name(topic);
        let gate = state.gates.entry((topic, partition));
        let new = || Arc::new(Gate::new(Arc::clone(name), partition, sender));
        Arc::clone(gate.or_insert_with(new))
    }

    /// Has the current client look at the topics anew: of a partition that was added it hears after
    /// minutes by itself. What cannot be seen now shows when it is used.
    pub(crate) async fn look_anew(&self) {
        let sender = Arc::clone(&self.state().sender);
        let names = TopicRole::ALL.map(|topic| Arc::clone(self.topics.name(topic)));
        let looked =
            tokio::task::spawn_blocking(move || names.iter().for_each(|it| sender.look(it)));
        drop(looked.await);
    }

    /// What ails the current client.
    pub(crate) fn trouble(&self) -> Option<KafkaTrouble> {
        self.state().sender.trouble()
    }

    /// Whether the current client has to be replaced.
    pub(crate) fn is_finished(&self) -> bool {
        let sender = Arc::clone(&self.state().sender);
        sender.is_finished()
    }

    /// Bytes that may wait at all.
    pub(crate) fn room_bytes(&self) -> u32 {
        self.state().room_bytes
    }

    /// Lets less wait, before a client takes over that holds less: in small steps, between which
    /// appends go on. If that does not happen in time, all stays as it was.
    pub(crate) async fn shrink(&self, bytes: u32, within: Duration) -> Result<(), KafkaTrouble> {
        let _one = self.swapping.acquire().await;
        let before = self.room_bytes();
        let mut taken = 0;
        let given_back = async {
            while taken < before.saturating_sub(bytes) {
                let step = (before - bytes - taken).min(SHRINK_STEP);
                let Ok(step_taken) = self.room.acquire_many(step).await else { break };
                step_taken.forget();
                taken += step;
            }
        };
        if tokio::time::timeout(within, given_back).await.is_err() {
            self.room.add_permits(taken as usize);
            return Err(KafkaTrouble::Late { act: "let less wait for acknowledgement" });
        }
        self.state().room_bytes = before.min(bytes);
        Ok(())
    }

    /// Lets more wait.
    pub(crate) fn grow(&self, bytes: u32) {
        let mut state = self.state();
        self.room.add_permits(bytes.saturating_sub(state.room_bytes) as usize);
        state.room_bytes = state.room_bytes.max(bytes);
    }

    /// Replaces the client by one that has proven itself. A partition waits for its own last
    /// acknowledgement by the old client, and for nothing else.
    pub(crate) async fn swap(&self, next: Arc<Sender>, drain: Duration) -> Swapped {
        let _one = self.swapping.acquire().await;
        let gate = Instant::now();
        // A gate that is made meanwhile begins with the new client: nothing of it is on its way.
        let (old, gates) = {
            let mut state = self.state();
            let old = std::mem::replace(&mut state.sender, Arc::clone(&next));
            (old, state.gates.values().cloned().collect::<Vec<_>>())
        };
        for gate in &gates {
            gate.move_to(&next);
        }
        // It goes on for those who still hold it, and ends on its own thread after the last.
        old.retire();
        let mut stalls = Vec::new();
        let settled = async {
            for gate in &gates {
                stalls.extend(gate.settled().await);
            }
        };
        let given_up = tokio::time::timeout(drain, settled).await.is_err();
        if given_up {
            old.give_up();
        }
        Swapped { gate: gate.elapsed(), stalls, given_up }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Producer {
    /// Nobody waits for an answer any more, or it could not be dropped.
    fn drop(&mut self) {
        let state = self.state();
        state.sender.retire();
        state.sender.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn less_may_wait_only_once_less_waits() {
        let properties = vec![("bootstrap.servers", "127.0.0.1:1".to_owned())];
        let sender = Sender::on_trial(properties).unwrap();
        let producer = Producer::new(Topics::new(["e", "o", "s", "d"]), sender, 64 * MIB);
        let waiting = producer.room.acquire_many(60 * MIB).await.unwrap();
        let within = Duration::from_secs(5);
        let late = producer.shrink(16 * MIB, within).await;
        assert!(matches!(late, Err(KafkaTrouble::Late { .. })), "{late:?}");
        assert_eq!(producer.room_bytes(), 64 * MIB);
        assert_eq!(producer.room.available_permits() as u32, 4 * MIB, "all is as it was");

        let (shrunk, ()) = tokio::join!(producer.shrink(16 * MIB, within), async {
            tokio::task::yield_now().await;
            drop(waiting);
        });
        assert_eq!(shrunk, Ok(()));
        assert_eq!(producer.room.available_permits() as u32, 16 * MIB);
        producer.grow(24 * MIB);
        producer.grow(8 * MIB);
        assert_eq!(producer.room.available_permits() as u32, 24 * MIB);
        assert_eq!(producer.room_bytes(), 24 * MIB);
    }
}
