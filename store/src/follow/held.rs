//! What a follower holds, and the changes that the consumer has not taken yet. In: listings and
//! events. Out: the difference, conflated by key. Pure.

use std::collections::BTreeMap;

use config_schemas::Revision;
use tokio::time::Instant;

use super::{Cause, Update};
use crate::keys::{Change, Entry};

/// The entries held, and the outbox.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: BTreeMap<String, Entry>,
    /// Newest state per key since the last update; bounded by the number of keys ever held.
    outbox: BTreeMap<String, Option<Entry>>,
    cause: Option<Cause>,
    arrived: Option<Instant>,
    /// The least cause of the next update, whatever it will be for.
    marked: Option<Cause>,
}

impl Held {
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Sets one key as it now is.
    pub(crate) fn set(&mut self, key: String, entry: Option<Entry>, cause: Cause, now: Instant) {
        match &entry {
            Some(e) => self.entries.insert(key.clone(), e.clone()),
            None => self.entries.remove(&key),
        };
        self.outbox.insert(key, entry);
        self.tell(cause, now);
    }

    /// Sees to it that an update is emitted, with or without changes.
    pub(crate) fn tell(&mut self, cause: Cause, now: Instant) {
        self.cause = self.cause.max(Some(cause));
        self.arrived = Some(now);
    }

    /// The next update, whenever it comes, has at least this cause.
    pub(crate) fn mark(&mut self, cause: Cause) {
        self.marked = Some(cause);
    }

    /// Takes over what differs in `listed`; says how many keys that were. `skip` are keys that
    /// are known to be newer than the list.
    pub(crate) fn adopt(
        &mut self,
        listed: Vec<Entry>,
        skip: impl Fn(&str) -> bool,
        cause: Cause,
        now: Instant,
    ) -> u64 {
        let mut gone: BTreeMap<String, ()> =
            self.entries.keys().map(|key| (key.clone(), ())).collect();
        let mut differing = 0;
        for entry in listed {
            gone.remove(&entry.key);
            if self.entries.get(&entry.key) != Some(&entry) && !skip(&entry.key) {
                differing += 1;
                self.set(entry.key.clone(), Some(entry), cause, now);
            }
        }
        for key in gone.into_keys().filter(|key| !skip(key)) {
            differing += 1;
            self.set(key, None, cause, now);
        }
        differing
    }

    /// The update that is due, if any.
    pub(crate) fn take(&mut self, revision: Revision) -> Option<Update> {
        let (cause, arrived) = (self.cause.take()?, self.arrived.take()?);
        let cause = cause.max(self.marked.take().unwrap_or(cause));
        let outbox = std::mem::take(&mut self.outbox);
        let changes = outbox.into_iter().map(|(key, entry)| Change { key, entry }).collect();
        Some(Update { revision, changes, cause, arrived })
    }
}
