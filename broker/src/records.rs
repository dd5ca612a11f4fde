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
}

/// What one read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Records in order; empty when there is nothing yet.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: Offset,
}
