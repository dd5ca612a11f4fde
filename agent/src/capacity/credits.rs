//! How much may wait in front of a worker: credits in events and in bytes, whose number changes
//! while they are in use. Growing adds credits; shrinking takes free ones, and what is missing is
//! a debt that returning credits pay first. So a change neither drops nor reorders. No I/O.

use std::sync::{Arc, Mutex, PoisonError};

/// A size in both measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The credits of one queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credits(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy)]
struct State {
    capacity: Size,
    used: Size,
}

/// Credits that are in use, and return when dropped.
#[derive(Debug)]
pub struct Permit {
    credits: Credits,
    size: Size,
}

impl Credits {
    /// All free.
    pub fn new(capacity: Size) -> Credits {
        Credits(Arc::new(Mutex::new(State { capacity, used: Size::default() })))
    }

    /// Takes credits for `size`, or none at all. A single piece that is larger than the whole
    /// capacity is let in when nothing else is in use, else it could never pass.
    pub fn take(&self, size: Size) -> Option<Permit> {
        let mut state = self.state();
        let events = state.used.events + size.events;
        let bytes = state.used.bytes + size.bytes;
        let fits = events <= state.capacity.events && bytes <= state.capacity.bytes;
        let alone = state.used == Size::default();
        if !fits && !alone {
            return None;
        }
        state.used = Size { events, bytes };
        Some(Permit { credits: self.clone(), size })
    }

    /// Changes the capacity, live. Below what is in use, nothing new is let in until enough has
    /// returned.
    pub fn resize(&self, capacity: Size) {
        self.state().capacity = capacity;
    }

    /// What is in use.
    pub fn used(&self) -> Size {
        self.state().used
    }

    /// What may be in use.
    pub fn capacity(&self) -> Size {
        self.state().capacity
    }

    /// Whether both are the credits of the same queue.
    pub fn is(&self, other: &Credits) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// What the permit is for.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Gives back a part: what has been worked on.
    pub fn give_back(&mut self, size: Size) {
        let part = Size {
            events: size.events.min(self.size.events),
            bytes: size.bytes.min(self.size.bytes),
        };
        let mut state = self.credits.state();
        state.used.events -= part.events;
        state.used.bytes -= part.bytes;
        drop(state);
        self.size.events -= part.events;
        self.size.bytes -= part.bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(events: u64, bytes: u64) -> Size {
        Size { events, bytes }
    }

    #[test]
    fn both_measures_bound() {
        let credits = Credits::new(size(10, 100));
        let first = credits.take(size(6, 10)).unwrap();
        assert!(credits.take(size(5, 10)).is_none());
        assert!(credits.take(size(1, 91)).is_none());
        let second = credits.take(size(4, 90)).unwrap();
        drop(first);
        assert_eq!(credits.used(), size(4, 90));
        drop(second);
        assert_eq!(credits.used(), Size::default());
    }

    #[test]
    fn shrinking_below_what_is_in_use_is_a_debt() {
        let credits = Credits::new(size(10, 100));
        let mut held = credits.take(size(10, 50)).unwrap();
        credits.resize(size(4, 100));
        held.give_back(size(6, 30));
        assert!(credits.take(size(1, 1)).is_none());
        held.give_back(size(1, 1));
        assert!(credits.take(size(1, 1)).is_some());
    }

    #[test]
    fn a_piece_larger_than_everything_passes_alone() {
        let credits = Credits::new(size(1, 1));
        let large = credits.take(size(5, 500)).unwrap();
        assert!(credits.take(size(1, 1)).is_none());
        drop(large);
        assert!(credits.take(size(1, 1)).is_some());
    }

    proptest! {
        #[test]
        fn credits_are_neither_lost_nor_made(
            steps in prop::collection::vec((0_u8..3, 0_u64..20, 0_u64..200), 1..200)
        ) {
            let credits = Credits::new(size(16, 160));
            let mut held: Vec<Permit> = Vec::new();
            for (step, events, bytes) in steps {
                match step {
                    0 => {
                        let before = credits.used();
                        let capacity = credits.capacity();
                        if let Some(permit) = credits.take(size(events, bytes)) {
                            let used = credits.used();
                            prop_assert!(
                                before == Size::default()
                                    || (used.events <= capacity.events
                                        && used.bytes <= capacity.bytes)
                            );
                            held.push(permit);
                        }
                    }
                    1 => { held.pop(); }
                    _ => credits.resize(size(events, bytes)),
                }
                let sum = held.iter().fold(Size::default(), |sum, permit| {
                    size(sum.events + permit.size().events, sum.bytes + permit.size().bytes)
                });
                prop_assert_eq!(credits.used(), sum);
            }
        }
    }
}
