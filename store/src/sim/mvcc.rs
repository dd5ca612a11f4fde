//! A multi-version store with leases, as etcd keeps it. In: operations. Out: their results and
//! the events of each revision. Pure: time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader};
use tokio::time::Instant;

const CLUSTER_ID: u64 = 0x7e57;
const MEMBER_ID: u64 = 1;
/// The raft term of a new cluster: etcd's first election makes it 2.
const FIRST_TERM: u64 = 2;

type Keys = BTreeMap<Vec<u8>, PbKeyValue>;

#[derive(Debug, Clone)]
struct Lease {
    ttl: i64,
    expires: Instant,
    keys: BTreeSet<Vec<u8>>,
}

/// Why an operation is refused; the texts and codes are etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The revision was compacted away.
    Compacted,
    /// The revision is not there yet.
    Future,
    /// There is no such lease.
    NoLease,
}

/// The store.
#[derive(Debug, Clone)]
pub struct Mvcc {
    revision: i64,
    compacted: i64,
    term: u64,
    now: Keys,
    /// The state at `compacted`, on which `history` builds.
    base: Keys,
    history: BTreeMap<i64, Vec<PbEvent>>,
    pending: Vec<PbEvent>,
    leases: BTreeMap<i64, Lease>,
    leases_granted: i64,
}

pub(super) fn inside(key: &[u8], from: &[u8], to: &[u8]) -> bool {
    match to {
        [] => key == from,
        [0] => key >= from,
        to => key >= from && key < to,
    }
}

impl Mvcc {
    pub(super) fn new() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            term: FIRST_TERM,
            now: Keys::new(),
            base: Keys::new(),
            history: BTreeMap::new(),
            pending: Vec::new(),
            leases: BTreeMap::new(),
            leases_granted: 0,
        }
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Up to where history is forgotten.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// All keys and values now.
    pub fn entries(&self) -> impl Iterator<Item = &PbKeyValue> {
        self.now.values()
    }

    pub(super) fn header(&self) -> PbResponseHeader {
        PbResponseHeader {
            cluster_id: CLUSTER_ID,
            member_id: MEMBER_ID,
            revision: self.revision,
            raft_term: self.term,
        }
    }

    pub(super) fn wipe(&mut self) {
        let granted = self.leases_granted;
        // Real lease ids are random, so they never repeat.
        *self = Self { leases_granted: granted, ..Self::new() };
    }

    pub(super) fn restore(&mut self, backup: &Mvcc) {
        let granted = self.leases_granted;
        // A restored member starts a cluster of its own, without history or old leases' clocks.
        *self = Self { leases_granted: granted, term: FIRST_TERM, ..backup.clone() };
    }

    /// A new leader: its term is higher, and every lease gets its whole lifetime again.
    pub fn elect(&mut self, now: Instant) {
        self.term += 1;
        for lease in self.leases.values_mut() {
            lease.expires = now + seconds(lease.ttl);
        }
    }

    /// The keys of the range at a revision (0: now), in order.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        revision: i64,
    ) -> Result<Vec<PbKeyValue>, Refusal> {
        if revision > self.revision {
            return Err(Refusal::Future);
        }
        if revision > 0 && revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        let past;
        let keys = if revision <= 0 || revision == self.revision {
            &self.now
        } else {
            past = self.state_at(revision);
            &past
        };
        let found = keys.iter().filter(|(key, _)| inside(key, from, to));
        Ok(found.map(|(_, kv)| kv.clone()).collect())
    }

    fn state_at(&self, revision: i64) -> Keys {
        let mut keys = self.base.clone();
        let later = self.history.range(self.compacted + 1..=revision);
        for event in later.flat_map(|(_, events)| events) {
            let Some(kv) = &event.kv else { continue };
            match event.r#type {
                0 => keys.insert(kv.key.clone(), kv.clone()),
                _ => keys.remove(&kv.key),
            };
        }
        keys
    }

    /// Adds a put to the transaction under way.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8], lease: i64) -> Result<(), Refusal> {
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Err(Refusal::NoLease);
        }
        let revision = self.revision + 1;
        let before = self.now.get(key);
        let kv = PbKeyValue {
            key: key.to_vec(),
            value: value.to_vec(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            lease,
        };
        let old_lease = before.map_or(0, |kv| kv.lease);
        if let Some(old) = self.leases.get_mut(&old_lease) {
            old.keys.remove(key);
        }
        if let Some(new) = self.leases.get_mut(&lease) {
            new.keys.insert(key.to_vec());
        }
        self.now.insert(key.to_vec(), kv.clone());
        self.pending.push(PbEvent { r#type: 0, kv: Some(kv), prev_kv: None });
        Ok(())
    }

    /// Adds deletes to the transaction under way; says how many keys that were.
    pub(super) fn delete(&mut self, from: &[u8], to: &[u8]) -> i64 {
        let inside = |key: &&Vec<u8>| inside(key, from, to);
        let keys: Vec<Vec<u8>> = self.now.keys().filter(inside).cloned().collect();
        for key in &keys {
            let lease = self.now.remove(key).map_or(0, |kv| kv.lease);
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.keys.remove(key);
            }
            let mod_revision = self.revision + 1;
            let kv = PbKeyValue { key: key.clone(), mod_revision, ..PbKeyValue::default() };
            self.pending.push(PbEvent { r#type: 1, kv: Some(kv), prev_kv: None });
        }
        i64::try_from(keys.len()).unwrap_or(i64::MAX)
    }

    /// Ends the transaction under way: one revision, if it wrote anything.
    pub(super) fn seal(&mut self) {
        if !self.pending.is_empty() {
            self.revision += 1;
            self.history.insert(self.revision, std::mem::take(&mut self.pending));
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&PbKeyValue> {
        self.now.get(key)
    }

    pub(super) fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision > self.revision {
            return Err(Refusal::Future);
        }
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        self.base = self.state_at(revision);
        self.compacted = revision;
        self.history = self.history.split_off(&revision);
        Ok(())
    }

    /// The events of the range from a revision on, grouped by revision.
    pub(super) fn events(&self, from: &[u8], to: &[u8], start: i64) -> Vec<Vec<PbEvent>> {
        let of_range = |events: &Vec<PbEvent>| -> Vec<PbEvent> {
            let inside =
                |event: &&PbEvent| event.kv.as_ref().is_some_and(|kv| inside(&kv.key, from, to));
            events.iter().filter(inside).cloned().collect()
        };
        let since = self.history.range(start.max(self.compacted)..);
        since.map(|(_, events)| of_range(events)).filter(|events| !events.is_empty()).collect()
    }

    pub(super) fn grant(&mut self, id: i64, ttl: i64, now: Instant) -> (i64, i64) {
        self.leases_granted += 1;
        let id = if id == 0 { 0x6c65_6173_0000 + self.leases_granted } else { id };
        let ttl = ttl.max(2);
        let lease = Lease { ttl, expires: now + seconds(ttl), keys: BTreeSet::new() };
        self.leases.insert(id, lease);
        (id, ttl)
    }

    /// The lifetime of the renewed lease; 0 if there is none.
    pub(super) fn renew(&mut self, id: i64, now: Instant) -> i64 {
        self.leases.get_mut(&id).map_or(0, |lease| {
            lease.expires = now + seconds(lease.ttl);
            lease.ttl
        })
    }

    /// Granted lifetime, what remains of it, and the keys on it.
    pub(super) fn lease(&self, id: i64, now: Instant) -> Option<(i64, i64, Vec<Vec<u8>>)> {
        let lease = self.leases.get(&id)?;
        let remains = lease.expires.saturating_duration_since(now).as_secs();
        let remains = i64::try_from(remains).unwrap_or(i64::MAX);
        Some((lease.ttl, remains, lease.keys.iter().cloned().collect()))
    }

    /// Ends a lease and deletes its keys, all in one revision.
    pub fn revoke(&mut self, id: i64) -> Result<(), Refusal> {
        let lease = self.leases.remove(&id).ok_or(Refusal::NoLease)?;
        for key in lease.keys {
            self.delete(&key, &[]);
        }
        self.seal();
        Ok(())
    }

    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.leases.values().any(|lease| lease.expires <= now)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let expired = self.leases.iter().filter(|(_, lease)| lease.expires <= now);
        for id in expired.map(|(id, _)| *id).collect::<Vec<_>>() {
            let _ = self.revoke(id);
        }
    }

    /// One put on its own, for tests.
    pub fn write(&mut self, key: &str, value: &str) -> i64 {
        let _ = self.put(key.as_bytes(), value.as_bytes(), 0);
        self.seal();
        self.revision
    }

    /// Several puts and deletes in one revision, for tests.
    pub fn transact(&mut self, writes: &[(&str, Option<&str>)]) -> i64 {
        for (key, value) in writes {
            match value {
                Some(value) => {
                    let _ = self.put(key.as_bytes(), value.as_bytes(), 0);
                }
                None => {
                    self.delete(key.as_bytes(), &[]);
                }
            }
        }
        self.seal();
        self.revision
    }

    /// One delete on its own, for tests.
    pub fn remove(&mut self, key: &str) -> i64 {
        self.delete(key.as_bytes(), &[]);
        self.seal();
        self.revision
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
