//! Batches on their way into a log and out of it. Pure.

use bytes::Bytes;
use config_schemas::{Epoch, Offset};

/// Largest record, in bytes: Kafka's default bound, so that a log can move there.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Records to append, back to back in one buffer.
#[derive(Debug, Clone, Default)]
pub struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Back to back; as many ends as records, if any of them has a key.
    keys: Vec<u8>,
    key_ends: Vec<usize>,
}

impl Records {
    /// An empty batch.
    pub fn new() -> Records {
        Records::default()
    }

    /// Adds a record.
    pub fn push(&mut self, payload: &[u8]) {
        self.push_with(|into| into.extend_from_slice(payload));
    }

    /// Adds a record that `encode` appends to the buffer.
    pub fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The same with the key by which ordinary clients of a broker choose the partition; brokers
    /// that keep no keys leave it out.
    pub fn push_keyed(&mut self, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) {
        // those before it that have none have an empty one
        self.key_ends.resize(self.ends.len(), self.keys.len());
        self.push_with(encode);
        self.keys.extend_from_slice(key);
        self.key_ends.push(self.keys.len());
    }

    /// The key of the record at `index`, if it has one.
    pub(crate) fn key(&self, index: usize) -> Option<&[u8]> {
        let start =
            index.checked_sub(1).map_or(Some(0), |before| self.key_ends.get(before).copied());
        let key = self.keys.get(start?..*self.key_ends.get(index)?)?;
        (!key.is_empty()).then_some(key)
    }

    /// The same in order, in as few parts as can be of at most `bytes_max` bytes each, of which each
    /// record takes `overhead` besides its payload. A record that takes more is a part of its own.
    pub(crate) fn split(self, bytes_max: usize, overhead: usize) -> Vec<Records> {
        if self.bytes() + self.len() * overhead <= bytes_max {
            return vec![self];
        }
        let (mut parts, mut part) = (Vec::new(), Records::new());
        for (index, payload) in self.iter().enumerate() {
            let bytes = part.bytes() + payload.len() + (part.len() + 1) * overhead;
            if bytes > bytes_max && !part.is_empty() {
                parts.push(std::mem::take(&mut part));
            }
            match self.key(index) {
                Some(key) => part.push_keyed(key, |into| into.extend_from_slice(payload)),
                None => part.push(payload),
            }
        }
        parts.push(part);
        parts
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes of payload.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The payloads in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        // a closure that truncated the buffer would make an end lie before its start
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }
}

/// A record that was read and can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// The ownership under which it was written.
    pub epoch: Epoch,
    /// Its bytes.
    pub payload: Bytes,
    /// An owner appended it, after its gateway's checks. Events of anybody else may be anything.
    pub ours: bool,
}

/// What one read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Records in order; empty when there is nothing yet.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_key_that_it_was_given() {
        let mut records = Records::new();
        records.push(b"a");
        records.push_keyed(b"ana", |into| into.push(b'b'));
        records.push_keyed(b"bob", |into| into.push(b'c'));
        records.push(b"d");
        let keys: Vec<Option<&[u8]>> = (0..5).map(|index| records.key(index)).collect();
        assert_eq!(keys, [None, Some(&b"ana"[..]), Some(&b"bob"[..]), None, None]);
        assert_eq!(records.iter().collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn a_large_batch_is_split_in_order_with_its_keys() {
        let check = |lengths: &[usize], bytes_max: usize, expected: &[&[usize]]| {
            let mut records = Records::new();
            for (index, length) in lengths.iter().enumerate() {
                let key = index.to_string();
                records.push_keyed(key.as_bytes(), |into| into.resize(into.len() + length, b'x'));
            }
            let parts = records.split(bytes_max, 10);
            let found: Vec<Vec<usize>> =
                parts.iter().map(|part| part.iter().map(<[u8]>::len).collect()).collect();
            assert_eq!(found, expected, "{lengths:?} by {bytes_max}");
            let keys = parts.iter().flat_map(|part| (0..part.len()).map(|index| part.key(index)));
            let keys: Vec<Vec<u8>> = keys.map(|key| key.unwrap().to_vec()).collect();
            let as_given: Vec<Vec<u8>> =
                (0..lengths.len()).map(|index| index.to_string().into_bytes()).collect();
            assert_eq!(keys, as_given);
        };
        check(&[1, 2, 3], 36, &[&[1, 2, 3]]);
        check(&[1, 2, 3], 35, &[&[1, 2], &[3]]);
        check(&[1, 50, 3], 30, &[&[1], &[50], &[3]]);
        check(&[50], 30, &[&[50]]);
    }
}
