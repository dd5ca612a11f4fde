//! Keys, entries and ranges as the rest of the workspace sees them: typed, without etcd-client.
//! In: etcd's raw key-values. Out: `Entry`, or nothing for a key that is not text. Pure.

use std::fmt;
use std::num::NonZeroI64;

use bytes::Bytes;
use config_schemas::Revision;

/// The id of an etcd lease. Never 0, which means "no lease" to etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroI64);

impl LeaseId {
    /// `None` for 0.
    pub fn from_etcd(id: i64) -> Option<Self> {
        NonZeroI64::new(id).map(Self)
    }

    /// In etcd's form.
    pub fn to_etcd(self) -> i64 {
        self.0.get()
    }
}

impl fmt::Display for LeaseId {
    /// Hexadecimal, as etcdctl prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0.get())
    }
}

/// One key with its value, as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value; shared, so that a clone costs nothing.
    pub value: Bytes,
    /// The revision that created the key.
    pub create_revision: Revision,
    /// The revision that last changed the key.
    pub mod_revision: Revision,
    /// How often the key was written since it was created: tells writes apart that came as one.
    pub version: u64,
    /// The lease that the key hangs on.
    pub lease: Option<LeaseId>,
}

/// What became of a key: its newest entry, or its absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// `None`: the key is gone.
    pub entry: Option<Entry>,
}

/// A range of keys, `from` included, `to` excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl KeyRange {
    /// All keys that begin with `prefix`. An empty prefix is every key.
    pub fn prefix(prefix: &str) -> Self {
        if prefix.is_empty() {
            return Self { from: vec![0], to: vec![0] };
        }
        Self { from: prefix.as_bytes().to_vec(), to: after_prefix(prefix.as_bytes()) }
    }

    /// The keys from `from` (included) to `to` (excluded), in the order of bytes.
    pub fn span(from: &str, to: &str) -> Self {
        Self { from: from.as_bytes().to_vec(), to: to.as_bytes().to_vec() }
    }

    /// One key.
    pub fn one(key: &str) -> Self {
        let from = key.as_bytes().to_vec();
        let mut to = from.clone();
        to.push(0);
        Self { from, to }
    }

    /// Whether the key is in the range.
    pub fn contains(&self, key: &str) -> bool {
        let key = key.as_bytes();
        key >= self.from.as_slice() && (self.to == [0] || key < self.to.as_slice())
    }

    pub(crate) fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        (self.from.clone(), self.to.clone())
    }
}

/// The first key after all keys with the prefix; `\0` (etcd's "to the end") if there is none.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Reads etcd's raw key-value. `None` for a key that is not UTF-8 or has no revision: such a
/// key is not ours, and is left alone.
pub(crate) fn entry(raw: etcd_client::proto::PbKeyValue) -> Option<Entry> {
    Some(Entry {
        key: String::from_utf8(raw.key).ok()?,
        value: Bytes::from(raw.value),
        create_revision: Revision::from_etcd(raw.create_revision)?,
        mod_revision: Revision::from_etcd(raw.mod_revision)?,
        version: u64::try_from(raw.version).unwrap_or(0),
        lease: LeaseId::from_etcd(raw.lease),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_its_own_keys_and_no_neighbours() {
        let range = KeyRange::prefix("/a/");
        for (key, inside) in [("/a/", true), ("/a/b", true), ("/a", false), ("/a0", false)] {
            assert_eq!(range.contains(key), inside, "{key}");
        }
        assert!(KeyRange::prefix("").contains("anything"));
    }

    #[test]
    fn one_key_is_not_its_longer_neighbour() {
        let range = KeyRange::one("a");
        assert!(range.contains("a"));
        assert!(!range.contains("ab") && !range.contains("a\0"));
    }

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(after_prefix(b"a"), b"b");
        assert_eq!(after_prefix(b"a\xff"), b"b");
        assert_eq!(after_prefix(b"\xff\xff"), b"\0");
    }
}
