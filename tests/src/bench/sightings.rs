//! When each of many observers first saw a value. Observers only touch atomics, so that watching
//! the watchers costs them next to nothing. No I/O.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The observers of one kind.
#[derive(Debug)]
pub(super) struct Sightings {
    since: Instant,
    wanted: AtomicU64,
    /// Nanoseconds after `since`; 0 for "not yet".
    at: Box<[AtomicU64]>,
    missing: AtomicUsize,
    all: Notify,
}

impl Sightings {
    pub(super) fn new(observers: usize) -> Sightings {
        Sightings {
            since: Instant::now(),
            wanted: AtomicU64::new(0),
            at: (0..observers).map(|_| AtomicU64::new(0)).collect(),
            missing: AtomicUsize::new(0),
            all: Notify::new(),
        }
    }

    /// From now on `value` is looked for; it must not have been there before.
    pub(super) fn expect(&self, value: u64) {
        for at in &self.at {
            at.store(0, Ordering::SeqCst);
        }
        self.missing.store(self.at.len(), Ordering::SeqCst);
        self.wanted.store(value, Ordering::SeqCst);
    }

    /// An observer sees `value`, now.
    pub(super) fn saw(&self, observer: usize, value: u64) {
        let now = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if self.wanted.load(Ordering::SeqCst) != value {
            return;
        }
        let first = self.at[observer].compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() && self.missing.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.all.notify_one();
        }
    }

    /// Waits until every observer has seen it; the times in the order of observers.
    pub(super) async fn all(&self) -> Vec<Instant> {
        while self.missing.load(Ordering::SeqCst) > 0 {
            self.all.notified().await;
        }
        let instant = |at: &AtomicU64| self.since + Duration::from_nanos(at.load(Ordering::SeqCst));
        self.at.iter().map(instant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn all_is_when_the_last_has_seen_it() {
        let sightings = Sightings::new(2);
        sightings.expect(7);
        sightings.saw(0, 7);
        sightings.saw(0, 7);
        sightings.saw(1, 6);
        assert!(sightings.all().now_or_never().is_none());
        sightings.saw(1, 7);
        assert_eq!(sightings.all().now_or_never().map(|all| all.len()), Some(2));
    }
}
