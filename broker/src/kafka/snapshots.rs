//! Snapshots of what was made of a partition's outcomes, in a compacted topic beside them. In: bytes
//! and the place that they stand for. Out: the newest that is whole and about this log. I/O.
//!
//! A snapshot is a row of chunks, each under a key of its own, and then one record under the key
//! `manifest` that names them, so that what is there half is not there at all. The chunks of the
//! snapshot before the last are taken back when the next one is written: until then whoever has
//! read the manifest before finds its chunks. It states a fact about a prefix of the outcomes, so
//! anybody may write one, also an owner that was replaced; and it says whom to believe behind that
//! prefix, which may then be deleted.

use std::sync::Arc;

use config_schemas::{Epoch, Offset, PartitionId, TopicRole};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::believe::Belief;
use super::buffer::Whose;
use super::checkpoints::Checkpoint;
use super::cursor::Cursor;
use super::sender::Outgoing;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::traits::LogKind;

/// The key of manifests.
const MANIFEST_KEY: &[u8] = b"manifest";
/// Bytes of a chunk: well below what topics take at least, 1 MiB.
const CHUNK_BYTES: usize = 512 << 10;
/// Chunks of a snapshot: 8 GiB, more than any state that fits into memory beside others.
const CHUNKS_MAX: usize = 16_384;
/// How far behind the end a manifest is looked for: it is the last record unless a writer was ended
/// in the middle of the next snapshot.
const LOOKS: [u64; 3] = [4, 256, u64::MAX];
/// Read at once.
const READ_BYTES: usize = 1 << 20;

/// First byte of a record.
const MANIFEST: u8 = b'M';
const CHUNK: u8 = b'C';
/// Of a chunk, before its bytes: what it is, id, number.
const CHUNK_HEAD: usize = 1 + 8 + 4;

/// A row of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    id: u64,
    chunks: u32,
}

/// What makes chunks a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    row: Row,
    /// Offset of the first chunk; the others are behind it.
    first: u64,
    bytes: u64,
    crc: u32,
    epoch: u64,
    outcomes: u64,
    events: u64,
    /// What is believed right before `outcomes`.
    belief: String,
    /// The chunks of the snapshot before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Row>,
}

/// Keeps a snapshot. Refused if it is about outcomes that are not there.
pub(super) async fn keep(
    shared: &Arc<Shared>,
    partition: PartitionId,
    snapshot: &Snapshot,
) -> Result<(), Error> {
    let Snapshot { epoch, outcomes, events, body } = snapshot;
    let belief = belief_before(shared, partition, *outcomes).await?;
    let last = newest(shared, partition).await?;
    for row in last.iter().filter_map(|last| last.before) {
        take_back(shared, partition, row).await?;
    }
    let chunks: Vec<&[u8]> = body.chunks(CHUNK_BYTES).collect();
    let too_large = || Error::TooLarge { bytes: body.len() };
    let count = u32::try_from(chunks.len()).ok().filter(|_| chunks.len() <= CHUNKS_MAX);
    let row = Row { id: rand::random(), chunks: count.ok_or_else(too_large)? };
    let mut first = None;
    for (index, bytes) in (0..).zip(chunks) {
        let key = row.key(index);
        let mut payload = Vec::with_capacity(CHUNK_HEAD + bytes.len());
        payload.push(CHUNK);
        payload.extend_from_slice(&row.id.to_be_bytes());
        payload.extend_from_slice(&u32::to_be_bytes(index));
        payload.extend_from_slice(bytes);
        let record = Outgoing { key: Some(key.as_bytes()), payload: Some(&payload), headers: &[] };
        let offset =
            shared.append(TopicRole::Snapshots, partition, record, "keep a snapshot").await?;
        first.get_or_insert(offset);
    }
    let manifest = Manifest {
        row,
        first: first.unwrap_or(0),
        bytes: body.len() as u64,
        crc: crc32c::crc32c(body),
        epoch: epoch.0,
        outcomes: outcomes.0,
        events: events.0,
        belief: belief.to_string(),
        before: last.map(|last| last.row),
    };
    let payload = manifest.encode();
    let record = Outgoing { key: Some(MANIFEST_KEY), payload: Some(&payload), headers: &[] };
    shared.append(TopicRole::Snapshots, partition, record, "keep a snapshot").await?;
    Ok(())
}

/// The newest snapshot, if it is whole and about the outcomes that are there. Readers of them need
/// not begin before it from here on. What is wrong with it is only said in the log of the process:
/// the outcomes themselves say the same, as long as they are there.
pub(super) async fn kept(
    shared: &Arc<Shared>,
    partition: PartitionId,
) -> Result<Option<Snapshot>, Error> {
    let Some(manifest) = newest_grounded(shared, partition).await? else { return Ok(None) };
    let body = chunks(shared, partition, &manifest).await?;
    let whole = body.len() as u64 == manifest.bytes && crc32c::crc32c(&body) == manifest.crc;
    if !whole {
        tracing::warn!(%partition, outcomes = manifest.outcomes, "a snapshot is not whole");
        return Ok(None);
    }
    Ok(Some(Snapshot {
        epoch: Epoch(manifest.epoch),
        outcomes: Offset(manifest.outcomes),
        events: Offset(manifest.events),
        body,
    }))
}

/// So many outcomes are rather read than a snapshot looked for.
const FEW_OUTCOMES: u64 = 8_192;

/// The nearest place not behind `from` where it is known whom to believe; also by the newest
/// snapshot, where this process knows none, or outcomes before `low` are gone.
pub(super) async fn known_before(
    shared: &Arc<Shared>,
    partition: PartitionId,
    (low, from): (u64, u64),
) -> Result<(u64, Checkpoint), Error> {
    let (place, known) = shared.checkpoints.before(partition, from);
    let reaches_back = place >= low;
    let is_far = place == 0 && from >= FEW_OUTCOMES;
    if from < low || (reaches_back && !is_far) {
        return Ok((place, known));
    }
    match newest_grounded(shared, partition).await {
        Ok(_) => Ok(shared.checkpoints.before(partition, from)),
        Err(error) if reaches_back => {
            tracing::warn!(%partition, %error, "outcomes are read without a snapshot");
            Ok((place, known))
        }
        Err(error) => Err(error),
    }
}

/// The newest manifest that is about the outcomes that are there; what it says of whom to believe is
/// taken over.
pub(super) async fn newest_grounded(
    shared: &Arc<Shared>,
    partition: PartitionId,
) -> Result<Option<Manifest>, Error> {
    let Some(manifest) = newest(shared, partition).await? else { return Ok(None) };
    let (_, end) = shared.bounds(partition, TopicRole::Outcomes).await?;
    match Belief::parse(&manifest.belief).filter(|_| manifest.outcomes <= end) {
        Some(belief) => {
            let known = Checkpoint { belief, witness: None };
            shared.checkpoints.note(partition, manifest.outcomes, known);
            Ok(Some(manifest))
        }
        None => {
            let outcomes = manifest.outcomes;
            tracing::warn!(%partition, outcomes, end, "a snapshot is not about these outcomes");
            Ok(None)
        }
    }
}

impl Row {
    fn key(&self, index: u32) -> String {
        format!("{:016x}/{index}", self.id)
    }
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut into = vec![MANIFEST];
        // numbers and text only: nothing that JSON cannot say
        into.extend(serde_json::to_vec(self).unwrap_or_default());
        into
    }

    fn decode(payload: &[u8]) -> Option<Manifest> {
        match payload.split_first() {
            Some((&MANIFEST, json)) => serde_json::from_slice(json).ok(),
            _ => None,
        }
    }
}

async fn belief_before(
    shared: &Arc<Shared>,
    partition: PartitionId,
    outcomes: Offset,
) -> Result<Belief, Error> {
    let (_, end) = shared.bounds(partition, TopicRole::Outcomes).await?;
    if outcomes.0 == 0 || outcomes.0 > end.max(shared.known_end(partition, TopicRole::Outcomes)) {
        return Err(Error::NotInLog { offset: outcomes });
    }
    let mut reader = shared.reader(partition, LogKind::Outcomes, Whose::Owner);
    reader.belief_before(outcomes.0).await
}

/// The last manifest before the end.
async fn newest(shared: &Arc<Shared>, partition: PartitionId) -> Result<Option<Manifest>, Error> {
    let (low, high) = shared.consumers(TopicRole::Snapshots).bounds(partition).await?;
    for back in LOOKS {
        let from = high.saturating_sub(back).max(low);
        let mut found = None;
        read(shared, partition, from, high, |payload| {
            found = Manifest::decode(payload).or(found.take());
            true
        })
        .await?;
        if found.is_some() || from == low {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The bytes of a snapshot, or fewer where chunks are gone.
async fn chunks(
    shared: &Arc<Shared>,
    partition: PartitionId,
    manifest: &Manifest,
) -> Result<Vec<u8>, Error> {
    let (_, high) = shared.consumers(TopicRole::Snapshots).bounds(partition).await?;
    let (mut body, mut next) = (Vec::new(), 0);
    if manifest.row.chunks == 0 {
        return Ok(body);
    }
    read(shared, partition, manifest.first, high, |payload| {
        if let Some((head, bytes)) = payload.split_at_checked(CHUNK_HEAD)
            && head[0] == CHUNK
            && head[1..9] == manifest.row.id.to_be_bytes()
            && head[9..] == u32::to_be_bytes(next)
        {
            body.extend_from_slice(bytes);
            next += 1;
        }
        next < manifest.row.chunks
    })
    .await?;
    Ok(body)
}

/// Gives `each` every payload from `from` to `end`, while it wants more.
async fn read(
    shared: &Arc<Shared>,
    partition: PartitionId,
    from: u64,
    end: u64,
    mut each: impl FnMut(&[u8]) -> bool,
) -> Result<(), Error> {
    if from >= end {
        return Ok(());
    }
    let mut cursor =
        Cursor::open(shared.consumers(TopicRole::Snapshots), partition, from, Whose::Owner).await?;
    while cursor.next() < end {
        let poured = cursor.pour(READ_BYTES).await?;
        for raw in poured.records.iter().filter(|raw| raw.offset < end) {
            if !each(&raw.payload) {
                return Ok(());
            }
        }
        // the last ones before the end may have been compacted away, or be marks of transactions
        if poured.at_end {
            return Ok(());
        }
    }
    Ok(())
}

async fn take_back(shared: &Shared, partition: PartitionId, row: Row) -> Result<(), Error> {
    for index in 0..row.chunks {
        let key = row.key(index);
        let gone = Outgoing { key: Some(key.as_bytes()), ..Outgoing::default() };
        shared.append(TopicRole::Snapshots, partition, gone, "take a snapshot back").await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_nothing_else_is_one() {
        let row = Row { id: u64::MAX, chunks: 3 };
        let manifest = Manifest {
            row,
            first: 7,
            bytes: 1 << 40,
            crc: 5,
            epoch: 2,
            outcomes: 9,
            events: 8,
            belief: "nobody".to_owned(),
            before: Some(Row { id: 1, chunks: 1 }),
        };
        assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
        for payload in [&b""[..], b"M", b"M{}", b"C{}", b"{}"] {
            assert_eq!(Manifest::decode(payload), None);
        }
        assert_eq!(row.key(2), "ffffffffffffffff/2");
    }
}
