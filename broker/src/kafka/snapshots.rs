//! Snapshots of what was made of a partition's outcomes, in a compacted topic beside them. In: bytes
//! and the place that they stand for. Out: the newest that is whole and about this log. I/O.
//!
//! How they lie there is told in `slots`. A snapshot states a fact about a prefix of the outcomes, so
//! anybody may write one, also an owner that was replaced; and it says whom to believe behind that
//! prefix, which may then be deleted. It is a convenience: as long as the outcomes reach back far
//! enough, nobody waits for a snapshots topic that does not answer.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Offset, PartitionId, TopicRole};

use super::Shared;
use super::believe::Belief;
use super::buffer::Raw;
use super::checkpoints::{Checkpoint, Witness};
use super::consumer::Whose;
use super::cursor::Cursor;
use super::sender::{Outgoing, RECORD_OVERHEAD};
use super::slots::{CHUNK_HEAD, Manifest, Row, Seen};
use super::trouble::KafkaTrouble;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::traits::LogKind;

/// Bytes of a chunk at most: well below what topics take by default, 1 MiB.
const CHUNK_BYTES: usize = 512 << 10;
/// And at least, where a topic takes less than its clients would send: less is no row, but a flood.
const CHUNK_BYTES_MIN: usize = 256;
/// What a chunk takes besides its bytes.
const CHUNK_OVERHEAD: usize = RECORD_OVERHEAD + CHUNK_HEAD + "a/16383".len();
/// Chunks of a snapshot: 8 GiB, more than any state that fits into memory beside others; 12 MiB
/// where messages are of the least size that may be set.
const CHUNKS_MAX: usize = 16_384;
/// How far behind the end a manifest is looked for: it is the last record unless a writer was ended
/// in the middle of the next snapshot.
const LOOKS: [u64; 3] = [4, 256, u64::MAX];
/// Read at once.
const READ_BYTES: usize = 1 << 20;
/// How long each answer of the topic is waited for, of which a partition that is taken over may need
/// some: without, it reads its outcomes from the beginning.
const STEP_LIMIT: Duration = Duration::from_secs(3);
/// So many outcomes are rather read than a snapshot looked for.
const FEW_OUTCOMES: u64 = 8_192;

/// Keeps a snapshot. Refused if it is about outcomes that are not there, or while somebody else
/// writes one.
pub(super) async fn keep(
    shared: &Arc<Shared>,
    partition: PartitionId,
    snapshot: &Snapshot,
) -> Result<(), Error> {
    let known = known_behind(shared, partition, snapshot.outcomes).await?;
    let largest = shared.message_bytes().saturating_sub(CHUNK_OVERHEAD);
    let mut bytes = largest.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES);
    loop {
        // the topic may take less than we would send
        match keep_in_chunks(shared, partition, (snapshot, &known), bytes).await {
            Err(Error::TooLarge { .. }) if bytes / 2 >= CHUNK_BYTES_MIN => bytes /= 2,
            kept => return kept,
        }
    }
}

async fn keep_in_chunks(
    shared: &Arc<Shared>,
    partition: PartitionId,
    (snapshot, known): (&Snapshot, &Checkpoint),
    bytes: usize,
) -> Result<(), Error> {
    let body = &snapshot.body;
    let count = body.len().div_ceil(bytes);
    let chunks = u32::try_from(count).ok().filter(|_| count <= CHUNKS_MAX);
    let chunks = chunks.ok_or(Error::TooLarge { bytes: body.len() })?;
    let (seen, end) = Looks::new(shared, partition).until_found().await?;
    let (slot, lying, others) = seen.next();
    let mut topic = Writer { shared, partition, next: end };
    for index in chunks..lying {
        topic.append(&slot.chunk_key(index), None).await?;
    }
    let (row, first) = (Row { slot, id: rand::random(), chunks }, topic.next);
    for (index, bytes) in (0..).zip(body.chunks(bytes)) {
        topic.append(&slot.chunk_key(index), Some(&row.chunk(index, bytes))).await?;
    }
    let manifest = Manifest::of(snapshot, known, (row, first), others);
    topic.append(&slot.key(), Some(&manifest.encode())).await
}

/// Writes as long as nobody else does.
struct Writer<'a> {
    shared: &'a Shared,
    partition: PartitionId,
    next: u64,
}

impl Writer<'_> {
    async fn append(&mut self, key: &str, payload: Option<&[u8]>) -> Result<(), Error> {
        let record = Outgoing { key: Some(key.as_bytes()), payload, headers: &[] };
        let (topic, act) = (TopicRole::Snapshots, "keep a snapshot");
        let offset = self.shared.append(topic, self.partition, record, act).await?;
        if offset != self.next {
            let why = "somebody else writes a snapshot there".to_owned();
            return Err(Error::Kafka(KafkaTrouble::Refused { why }));
        }
        self.next += 1;
        Ok(())
    }
}

/// The newest snapshot, if it is whole and about the outcomes that are there. Readers of them need
/// not begin before it from here on. What is wrong with it is only said in the log of the process:
/// the outcomes themselves say the same, as long as they are there.
pub(super) async fn kept(
    shared: &Arc<Shared>,
    partition: PartitionId,
) -> Result<Option<Snapshot>, Error> {
    let found = async {
        let mut looks = Looks::new(shared, partition);
        while let Some(manifest) = looks.next_grounded().await? {
            let body = chunks(shared, partition, &manifest).await?;
            let outcomes = manifest.outcomes;
            match manifest.snapshot(body) {
                Some(snapshot) => return Ok(Some(snapshot)),
                None => tracing::warn!(%partition, outcomes, "a snapshot is not whole"),
            }
        }
        Ok(None)
    };
    match found.await {
        Err(error) if shared.bounds(partition, TopicRole::Outcomes).await?.0 == 0 => {
            tracing::warn!(%partition, %error, "all outcomes are read, without a snapshot");
            Ok(None)
        }
        found => found,
    }
}

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
    match Looks::new(shared, partition).next_grounded().await {
        Ok(_) => Ok(shared.checkpoints.before(partition, from)),
        Err(error) if reaches_back => {
            tracing::warn!(%partition, %error, "outcomes are read without a snapshot");
            Ok((place, known))
        }
        Err(error) => Err(error),
    }
}

/// What is known right before `outcomes`.
async fn known_behind(
    shared: &Arc<Shared>,
    partition: PartitionId,
    outcomes: Offset,
) -> Result<Checkpoint, Error> {
    let (_, end) = shared.bounds(partition, TopicRole::Outcomes).await?;
    if outcomes.0 == 0 || outcomes.0 > end.max(shared.known_end(partition, TopicRole::Outcomes)) {
        return Err(Error::NotInLog { offset: outcomes });
    }
    let mut reader = shared.reader(partition, LogKind::Outcomes, Whose::Owner);
    reader.known_before(outcomes.0).await
}

/// Looks at the topic's end, then further back.
struct Looks<'a> {
    shared: &'a Arc<Shared>,
    partition: PartitionId,
    looks: std::slice::Iter<'static, u64>,
    found: Vec<Manifest>,
    tried: Vec<u64>,
}

impl<'a> Looks<'a> {
    fn new(shared: &'a Arc<Shared>, partition: PartitionId) -> Looks<'a> {
        let (found, tried) = Default::default();
        Looks { shared, partition, looks: LOOKS.iter(), found, tried }
    }

    /// One look. Out: what it saw, up to where, and whether that was all there is.
    async fn look(&self, back: u64) -> Result<(Seen, u64, bool), Error> {
        let consumers = self.shared.consumers(TopicRole::Snapshots);
        let (low, high) = within_step(consumers.bounds(self.partition)).await?;
        let from = high.saturating_sub(back).max(low);
        let mut seen = Seen::default();
        let span = (TopicRole::Snapshots, from, high);
        read(self.shared, self.partition, span, |raw| {
            seen.look(raw.offset, &raw.payload);
            true
        })
        .await?;
        Ok((seen, high, from == low))
    }

    /// As far back as the newest manifest, or the beginning.
    async fn until_found(mut self) -> Result<(Seen, u64), Error> {
        loop {
            let back = self.looks.next().copied().unwrap_or(u64::MAX);
            let (seen, end, all) = self.look(back).await?;
            if all || !seen.newest_first().is_empty() {
                return Ok((seen, end));
            }
        }
    }

    /// The next older manifest that is about the outcomes that are there; what it says of whom to
    /// believe is taken over.
    async fn next_grounded(&mut self) -> Result<Option<Manifest>, Error> {
        loop {
            while let Some(manifest) = self.found.pop() {
                if !self.tried.contains(&manifest.row.id) {
                    self.tried.push(manifest.row.id);
                    if ground(self.shared, self.partition, &manifest).await? {
                        return Ok(Some(manifest));
                    }
                }
            }
            let Some(back) = self.looks.next() else { return Ok(None) };
            let (seen, _, all) = self.look(*back).await?;
            self.found = seen.newest_first().into_iter().rev().cloned().collect();
            if all {
                self.looks = [].iter();
            }
        }
    }
}

/// Whether it is about the outcomes that are there. Then whom to believe behind them is known.
async fn ground(
    shared: &Arc<Shared>,
    partition: PartitionId,
    manifest: &Manifest,
) -> Result<bool, Error> {
    let (low, end) = shared.bounds(partition, TopicRole::Outcomes).await?;
    let outcomes = manifest.outcomes;
    let belief = Belief::parse(&manifest.belief).filter(|_| outcomes <= end);
    let witness = manifest.witness.clone().filter(|witness| witness.offset >= low);
    let stands = match &witness {
        Some(witness) if belief.is_some() => stands(shared, partition, witness).await?,
        _ => true,
    };
    let Some(belief) = belief.filter(|_| stands) else {
        tracing::warn!(%partition, outcomes, end, "a snapshot is not about these outcomes");
        return Ok(false);
    };
    shared.checkpoints.note(partition, outcomes, Checkpoint { belief, witness });
    Ok(true)
}

/// Whether that record is there.
async fn stands(
    shared: &Arc<Shared>,
    partition: PartitionId,
    witness: &Witness,
) -> Result<bool, Error> {
    let mut stands = false;
    let span = (TopicRole::Outcomes, witness.offset, witness.offset + 1);
    read(shared, partition, span, |raw| {
        stands = witness.is(raw);
        false
    })
    .await?;
    Ok(stands)
}

/// The bytes of a snapshot, or fewer where chunks are gone.
async fn chunks(
    shared: &Arc<Shared>,
    partition: PartitionId,
    manifest: &Manifest,
) -> Result<Vec<u8>, Error> {
    let Manifest { row, first, .. } = manifest;
    let (mut body, mut next) = (Vec::new(), 0);
    let span = (TopicRole::Snapshots, *first, first + u64::from(row.chunks));
    read(shared, partition, span, |raw| {
        if let Some(bytes) = row.bytes_of(next, &raw.payload) {
            body.extend_from_slice(bytes);
            next += 1;
        }
        next < row.chunks
    })
    .await?;
    Ok(body)
}

/// Gives `each` every record from `from` to `end`, while it wants more.
async fn read(
    shared: &Arc<Shared>,
    partition: PartitionId,
    (topic, from, end): (TopicRole, u64, u64),
    mut each: impl FnMut(&Raw) -> bool,
) -> Result<(), Error> {
    if from >= end {
        return Ok(());
    }
    let opened = Cursor::open(shared.consumers(topic), partition, from, Whose::Owner);
    let mut cursor = within_step(opened).await?;
    while cursor.next() < end {
        let poured = within_step(cursor.pour(READ_BYTES)).await?;
        for raw in poured.records.iter().filter(|raw| raw.offset < end) {
            if !each(raw) {
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

async fn within_step<T>(step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Kafka(KafkaTrouble::Late { act: "read snapshots" });
    tokio::time::timeout(STEP_LIMIT, step).await.map_err(|_| late())?
}
