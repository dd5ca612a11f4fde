//! The queues of this node's partitions, by their credits: one place to resize them all. No I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use config_schemas::{Buffers, PartitionId};

use super::credits::{Credits, Size};

/// The credits of every partition that this node serves. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queues(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    capacity: Size,
    queues: BTreeMap<PartitionId, Credits>,
}

/// How full all queues are together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fill {
    /// Events that wait.
    pub used: u64,
    /// Further events that there is room for.
    pub free: u64,
    /// The share in use of the fullest one, of events or of bytes.
    pub fullest: f64,
}

/// A partition's queue, which goes when dropped.
#[derive(Debug)]
pub struct Queue {
    queues: Queues,
    partition: PartitionId,
    /// The partition's credits.
    pub credits: Credits,
}

impl Queues {
    /// No queue yet.
    pub fn new(buffers: &Buffers) -> Queues {
        let state = State { capacity: capacity(buffers), queues: BTreeMap::new() };
        Queues(Arc::new(Mutex::new(state)))
    }

    /// A new queue for `partition`, with the capacity that holds now.
    pub fn join(&self, partition: PartitionId) -> Queue {
        let mut state = self.state();
        let credits = Credits::new(state.capacity);
        state.queues.insert(partition, credits.clone());
        Queue { queues: self.clone(), partition, credits }
    }

    /// Resizes every queue, live, and those to come.
    pub fn resize(&self, buffers: &Buffers) {
        let mut state = self.state();
        state.capacity = capacity(buffers);
        for credits in state.queues.values() {
            credits.resize(state.capacity);
        }
    }

    /// What waits in each queue.
    pub fn used(&self) -> BTreeMap<PartitionId, Size> {
        self.state().queues.iter().map(|(id, credits)| (*id, credits.used())).collect()
    }

    /// How full the queues are.
    pub fn fill(&self) -> Fill {
        let state = self.state();
        state.queues.values().fold(Fill::default(), |fill, credits| {
            let (used, capacity) = (credits.used(), credits.capacity());
            let share = |used: u64, of: u64| used as f64 / of.max(1) as f64;
            let full = share(used.events, capacity.events).max(share(used.bytes, capacity.bytes));
            Fill {
                used: fill.used + used.events,
                free: fill.free + capacity.events.saturating_sub(used.events),
                fullest: fill.fullest.max(full),
            }
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn capacity(buffers: &Buffers) -> Size {
    Size { events: buffers.events, bytes: buffers.bytes }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.queues.state();
        // A new holder of the partition may have joined before this one went.
        if state.queues.get(&self.partition).is_some_and(|held| held.is(&self.credits)) {
            state.queues.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::Config;

    #[test]
    fn a_resize_reaches_queues_that_are_there_and_those_to_come() {
        let mut buffers = Config::default().buffers;
        let queues = Queues::new(&buffers);
        let before = queues.join(PartitionId(1));
        buffers.events = 64;
        queues.resize(&buffers);
        let after = queues.join(PartitionId(2));
        assert_eq!(before.credits.capacity().events, 64);
        assert_eq!(after.credits.capacity().events, 64);
    }

    #[test]
    fn the_fullest_queue_counts_by_whichever_of_its_measures_is_scarcer() {
        let mut buffers = Config::default().buffers;
        (buffers.events, buffers.bytes) = (10, 1000);
        let queues = Queues::new(&buffers);
        assert_eq!(queues.fill(), Fill::default());
        let (one, two) = (queues.join(PartitionId(1)), queues.join(PartitionId(2)));
        let _first = one.credits.take(Size { events: 2, bytes: 700 });
        let _second = two.credits.take(Size { events: 5, bytes: 50 });
        assert_eq!(queues.fill(), Fill { used: 7, free: 13, fullest: 0.7 });
    }

    #[test]
    fn a_queue_that_was_joined_anew_outlives_the_old_one() {
        let queues = Queues::new(&Config::default().buffers);
        let old = queues.join(PartitionId(1));
        let _new = queues.join(PartitionId(1));
        drop(old);
        assert_eq!(queues.used().len(), 1);
    }
}
