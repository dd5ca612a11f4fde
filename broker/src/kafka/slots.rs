//! How snapshots lie in their topic: two slots, written in turn, each a row of chunks under keys of
//! its own and then a manifest that names them. In: records as they stand in the topic. Out: which
//! snapshots there are, and what lies around besides. Pure.
//!
//! The slots' keys are always the same, so that compaction takes whatever a writer leaves that was
//! ended in the middle as soon as its slot is written again. The slot of the snapshot before is not
//! touched by then, and neither is whoever reads it. Two who write at once would mix their rows; so
//! a row counts only if nothing lies between its records.

use config_schemas::{Epoch, Offset};
use serde::{Deserialize, Serialize};

use super::checkpoints::{Checkpoint, Witness};
use crate::snapshot::Snapshot;

/// First byte of a record.
const MANIFEST: u8 = b'M';
const CHUNK: u8 = b'C';
/// Of a chunk, before its bytes: what it is, slot, id of the row, number, how many there will be.
pub(super) const CHUNK_HEAD: usize = 1 + 1 + 8 + 4 + 4;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slot {
    A,
    B,
}

/// A row of chunks, as a writer begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) slot: Slot,
    pub(super) id: u64,
    pub(super) chunks: u32,
}

/// What makes chunks a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) row: Row,
    /// Offset of the first chunk; the others follow it one by one, and then this.
    pub(super) first: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
    epoch: u64,
    pub(super) outcomes: u64,
    events: u64,
    /// What is believed right before `outcomes`.
    pub(super) belief: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) witness: Option<Witness>,
    /// Chunks that may lie in the other slot.
    pub(super) others: u32,
}

/// What was seen of the topic.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of each slot, the last that counts.
    manifests: [Option<Manifest>; 2],
    /// Of each slot, how many chunks may lie there.
    chunks: [u32; 2],
}

impl Slot {
    pub(super) fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    fn letter(self) -> char {
        match self {
            Slot::A => 'a',
            Slot::B => 'b',
        }
    }

    /// Under which its manifest lies.
    pub(super) fn key(self) -> String {
        format!("manifest/{}", self.letter())
    }

    /// Under which a chunk lies.
    pub(super) fn chunk_key(self, index: u32) -> String {
        format!("{}/{index}", self.letter())
    }
}

impl Row {
    fn head(&self, index: u32) -> Vec<u8> {
        let mut head = vec![CHUNK, self.slot.letter() as u8];
        head.extend_from_slice(&self.id.to_be_bytes());
        head.extend_from_slice(&index.to_be_bytes());
        head.extend_from_slice(&self.chunks.to_be_bytes());
        head
    }

    /// A chunk as it goes into the topic.
    pub(super) fn chunk(&self, index: u32, bytes: &[u8]) -> Vec<u8> {
        let mut payload = self.head(index);
        payload.extend_from_slice(bytes);
        payload
    }

    /// The bytes of that chunk, if it is that one.
    pub(super) fn bytes_of<'a>(&self, index: u32, payload: &'a [u8]) -> Option<&'a [u8]> {
        payload.strip_prefix(&*self.head(index))
    }
}

impl Manifest {
    /// Of a row that was written, beside so many chunks in the other slot.
    pub(super) fn of(
        snapshot: &Snapshot,
        known: &Checkpoint,
        (row, first): (Row, u64),
        others: u32,
    ) -> Manifest {
        let Snapshot { epoch, outcomes, events, body } = snapshot;
        Manifest {
            row,
            first,
            bytes: body.len() as u64,
            crc: crc32c::crc32c(body),
            epoch: epoch.0,
            outcomes: outcomes.0,
            events: events.0,
            belief: known.belief.to_string(),
            witness: known.witness.clone(),
            others,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut into = vec![MANIFEST];
        // numbers and text only: nothing that JSON cannot say
        into.extend(serde_json::to_vec(self).unwrap_or_default());
        into
    }

    /// The snapshot, if that is its body.
    pub(super) fn snapshot(&self, body: Vec<u8>) -> Option<Snapshot> {
        let is_whole = body.len() as u64 == self.bytes && crc32c::crc32c(&body) == self.crc;
        let (epoch, outcomes) = (Epoch(self.epoch), Offset(self.outcomes));
        let events = Offset(self.events);
        is_whole.then_some(Snapshot { epoch, outcomes, events, body })
    }

    /// `None` where another writer was at it too.
    fn decode(offset: u64, payload: &[u8]) -> Option<Manifest> {
        let json = payload.strip_prefix(&[MANIFEST])?;
        let manifest: Manifest = serde_json::from_slice(json).ok()?;
        let follows = manifest.first.checked_add(manifest.row.chunks.into());
        (follows == Some(offset)).then_some(manifest)
    }
}

impl Seen {
    /// The next record.
    pub(super) fn look(&mut self, offset: u64, payload: &[u8]) {
        if let Some(manifest) = Manifest::decode(offset, payload) {
            let row = manifest.row;
            self.chunks[row.slot as usize] = row.chunks;
            let others = &mut self.chunks[row.slot.other() as usize];
            *others = (*others).max(manifest.others);
            self.manifests[row.slot as usize] = Some(manifest);
        } else if let Some((head, _)) = payload.split_first_chunk::<CHUNK_HEAD>()
            && let [CHUNK, slot @ (b'a' | b'b'), .., c0, c1, c2, c3] = *head
        {
            let chunks = &mut self.chunks[usize::from(slot - b'a')];
            *chunks = (*chunks).max(u32::from_be_bytes([c0, c1, c2, c3]));
        }
    }

    /// What there is, the last first.
    pub(super) fn newest_first(&self) -> Vec<&Manifest> {
        let mut all: Vec<&Manifest> = self.manifests.iter().flatten().collect();
        all.sort_by_key(|manifest| std::cmp::Reverse(manifest.first));
        all
    }

    /// Where the next snapshot goes, and how many chunks lie in that slot and in the other one.
    pub(super) fn next(&self) -> (Slot, u32, u32) {
        let last = self.newest_first().first().map(|manifest| manifest.row.slot);
        let slot = last.map_or(Slot::A, Slot::other);
        (slot, self.chunks[slot as usize], self.chunks[slot.other() as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(slot: Slot, first: u64, chunks: u32, others: u32) -> Manifest {
        let (epoch, outcomes, events) = (Epoch(2), Offset(9), Offset(8));
        let snapshot = Snapshot { epoch, outcomes, events, body: vec![7; 3] };
        let witness = Some(Witness { offset: 8, mark: "outcome 2 3 4".to_owned() });
        let known = Checkpoint { witness, ..Checkpoint::default() };
        Manifest::of(&snapshot, &known, (Row { slot, id: u64::MAX, chunks }, first), others)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_nothing_else_is_one() {
        let manifest = manifest(Slot::A, 7, 3, 1);
        let payload = manifest.encode();
        assert_eq!(Manifest::decode(10, &payload).as_ref(), Some(&manifest));
        assert_eq!(Manifest::decode(11, &payload), None, "somebody else wrote in between");
        for payload in [&b""[..], b"M", b"M{}", b"C{}", b"{}"] {
            assert_eq!(Manifest::decode(0, payload), None);
        }
        assert_eq!(manifest.snapshot(vec![7; 3]).unwrap().outcomes, Offset(9));
        assert!(manifest.snapshot(vec![7; 2]).is_none() && manifest.snapshot(vec![8; 3]).is_none());
    }

    #[test]
    fn a_chunk_is_one_of_its_own_row_only() {
        let row = Row { slot: Slot::B, id: 5, chunks: 3 };
        let chunk = row.chunk(2, b"xy");
        assert_eq!(chunk.len(), CHUNK_HEAD + 2);
        assert_eq!(row.bytes_of(2, &chunk), Some(&b"xy"[..]));
        assert_eq!(row.bytes_of(1, &chunk), None);
        assert_eq!(Row { id: 6, ..row }.bytes_of(2, &chunk), None);
        assert_eq!((row.slot.key(), row.slot.chunk_key(2)), ("manifest/b".into(), "b/2".into()));
    }

    #[test]
    fn slots_are_written_in_turn_and_what_lies_around_in_them_is_known() {
        let mut seen = Seen::default();
        let mut look = |offset: u64, payload: Vec<u8>, next| {
            seen.look(offset, &payload);
            assert_eq!(seen.next(), next, "{offset}");
        };
        let begun = |slot, chunks| Row { slot, id: 1, chunks }.chunk(0, b"");
        // a writer that was ended in the middle
        look(0, begun(Slot::A, 9), (Slot::A, 9, 0));
        // what remains of it was taken back by now
        look(3, manifest(Slot::A, 1, 2, 0).encode(), (Slot::B, 0, 2));
        look(4, begun(Slot::B, 5), (Slot::B, 5, 2));
        look(6, begun(Slot::B, 4), (Slot::B, 5, 2));
        look(8, manifest(Slot::B, 5, 2, 2).encode(), (Slot::B, 5, 2));
        look(12, manifest(Slot::B, 9, 3, 2).encode(), (Slot::A, 2, 3));
        let newest: Vec<u64> = seen.newest_first().iter().map(|manifest| manifest.first).collect();
        assert_eq!(newest, [9, 1]);
        // whoever begins to look at the last one
        let mut late = Seen::default();
        late.look(12, &manifest(Slot::B, 9, 3, 2).encode());
        assert_eq!(late.next(), (Slot::A, 2, 3));
    }
}
