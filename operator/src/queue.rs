//! Which hunt is to be looked at when: each hunt at most once, the earliest time wins. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::HuntName;
use tokio::time::Instant;

/// The queue of hunts to look at.
#[derive(Debug, Default)]
pub struct Queue {
    by_time: BTreeSet<(Instant, HuntName)>,
    by_name: BTreeMap<HuntName, Instant>,
    added: u64,
}

impl Queue {
    /// The hunt is to be looked at by then, or before if it already was to be.
    pub fn mark(&mut self, name: &HuntName, at: Instant) {
        match self.by_name.get(name) {
            Some(known) if *known <= at => return,
            Some(known) => {
                self.by_time.remove(&(*known, name.clone()));
            }
            None => self.added += 1,
        }
        self.by_time.insert((at, name.clone()));
        self.by_name.insert(name.clone(), at);
    }

    /// Takes the first hunt whose time has come, and when that was.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, HuntName)> {
        let first = self.by_time.first().filter(|(at, _)| *at <= now)?.clone();
        self.by_time.remove(&first);
        self.by_name.remove(&first.1);
        Some(first)
    }

    /// The hunt is not to be looked at any more.
    pub fn forget(&mut self, name: &HuntName) {
        if let Some(at) = self.by_name.remove(name) {
            self.by_time.remove(&(at, name.clone()));
        }
    }

    /// When the first one's time comes.
    pub fn next_at(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// How many were put in line since the last call.
    pub fn take_added(&mut self) -> u64 {
        std::mem::take(&mut self.added)
    }

    /// How many wait to be looked at now.
    pub fn due(&self, now: Instant) -> usize {
        self.by_time.iter().take_while(|(at, _)| *at <= now).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_hunt_waits_once_and_the_earliest_time_wins() {
        let now = Instant::now();
        let name = |name: &str| HuntName::new("default", name).unwrap();
        let mut queue = Queue::default();
        queue.mark(&name("a"), now + Duration::from_secs(9));
        queue.mark(&name("b"), now);
        queue.mark(&name("a"), now);
        queue.mark(&name("a"), now + Duration::from_secs(5));
        assert_eq!(queue.due(now), 2);
        assert_eq!(queue.take_added(), 2);
        assert_eq!(queue.pop(now), Some((now, name("a"))));
        assert_eq!(queue.pop(now), Some((now, name("b"))));
        assert_eq!(queue.pop(now + Duration::from_secs(99)), None);
        queue.mark(&name("c"), now);
        queue.forget(&name("c"));
        assert_eq!(queue.next_at(), None);
    }
}
