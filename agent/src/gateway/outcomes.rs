//! Outcomes of every partition of the hunt, whoever serves it, read from the shared log. In: a
//! cursor. Out: pages, or records without end. I/O.

use std::collections::VecDeque;
use std::time::Duration;

use broker::{AnyReader, Reader as _, Record};
use config_schemas::{Offset, PartitionId};
use events::{Cursor, DecodeError, OutcomeRecord};
use futures::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures::{Stream, StreamExt as _};
use tokio::sync::Semaphore;

use crate::partitions::plane::Plane;

/// Most records of a page.
pub(crate) const PAGE_RECORDS_MAX: usize = 10_000;
/// Bytes at which a page ends, as the records stand in the log.
const PAGE_BYTES: usize = 2 << 20;
/// Read from one partition at once.
const READ_BYTES: usize = 64 << 10;
/// Held by one follower over all its partitions, so that a thousand of them hold 256 MiB at most.
const FOLLOWED_BYTES: usize = 256 << 10;

/// Why outcomes cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutcomesError {
    /// The hunt's log is not open here yet.
    #[error("the hunt is not known yet")]
    Unknown,
    /// The log cannot be read.
    #[error("reading outcomes of partition {partition}")]
    Read {
        partition: PartitionId,
        #[source]
        source: broker::Error,
    },
    /// A record of the log is none.
    #[error("outcome {offset} of partition {partition}")]
    Decode {
        partition: PartitionId,
        offset: Offset,
        #[source]
        source: DecodeError,
    },
}

/// An outcome and its place in its partition's log.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) offset: Offset,
    pub(crate) record: OutcomeRecord,
}

/// Some outcomes.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<Placed>,
    /// Where the next page begins.
    pub(crate) next: Cursor,
}

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) partitions: Vec<PartitionId>,
    pub(crate) from: Cursor,
}

/// At most `limit` outcomes that are there now; when there are none, those that come within
/// `wait`. So many pages are read at once as `pages` has room for.
pub(crate) async fn page(
    plane: &Plane,
    pages: &Semaphore,
    wanted: &Wanted,
    (limit, wait): (usize, Duration),
) -> Result<Page, OutcomesError> {
    let read = async || {
        let _turn = pages.acquire().await;
        read_page(plane, wanted, limit).await
    };
    let found = read().await?;
    if !found.records.is_empty() || wait.is_zero() {
        return Ok(found);
    }
    match tokio::time::timeout(wait, any_beyond(plane, wanted)).await {
        Ok(grown) => grown?,
        Err(_) => return Ok(found),
    }
    read().await
}

async fn read_page(plane: &Plane, wanted: &Wanted, limit: usize) -> Result<Page, OutcomesError> {
    let mut page = Page { records: Vec::new(), next: wanted.from.clone() };
    let mut bytes = 0;
    for (partition, share) in shares(wanted, limit) {
        let mut reader = reader(plane, partition)?;
        let room = share.min(limit - page.records.len());
        let mut taken = 0;
        while taken < room && bytes < PAGE_BYTES {
            let from = page.next.next(partition);
            let chunk = reader.read(from, READ_BYTES).await.map_err(failed(partition))?;
            if chunk.records.is_empty() {
                break;
            }
            for record in chunk.records.into_iter().take(room - taken) {
                bytes += record.payload.len();
                taken += 1;
                page.next.advance(partition, record.offset);
                page.records.push(decode(partition, &record)?);
            }
        }
    }
    Ok(page)
}

/// In which order partitions are read, and how much of each at most. Where a page begins depends
/// on how far the reader has come, so that no partition starves behind busy ones.
fn shares(wanted: &Wanted, limit: usize) -> impl Iterator<Item = (PartitionId, usize)> {
    let count = wanted.partitions.len().max(1);
    let read: u64 = wanted.from.0.values().fold(0, |sum, offset| sum.wrapping_add(offset.0));
    let first = usize::try_from(read % count as u64).unwrap_or(0);
    let share = limit.div_ceil(count);
    let order = wanted.partitions.iter().cycle().skip(first).take(wanted.partitions.len());
    order.map(move |partition| (*partition, share))
}

/// Returns when any of the partitions has something at its place in the cursor.
async fn any_beyond(plane: &Plane, wanted: &Wanted) -> Result<(), OutcomesError> {
    let mut waits = FuturesUnordered::new();
    for partition in wanted.partitions.iter().copied() {
        let mut reader = reader(plane, partition)?;
        let from = wanted.from.next(partition);
        waits.push(async move { reader.wait_beyond(from).await.map_err(failed(partition)) });
    }
    match waits.next().await {
        Some(grown) => grown,
        None => std::future::pending().await,
    }
}

/// Records of all wanted partitions, each partition's in its order, without end. It reads on when
/// it is asked for more, so a slow reader holds little.
pub(crate) fn follow(
    plane: &Plane,
    wanted: &Wanted,
) -> Result<SelectAll<BoxStream<'static, Result<Placed, OutcomesError>>>, OutcomesError> {
    let bytes = READ_BYTES.min(FOLLOWED_BYTES / wanted.partitions.len().max(1));
    let follow = |partition: &PartitionId| {
        let (reader, next) = (reader(plane, *partition)?, wanted.from.next(*partition));
        let chunk = VecDeque::new();
        let follower = Follower { reader, partition: *partition, next, bytes, chunk };
        Ok(follower.records().boxed())
    };
    let streams = wanted.partitions.iter().map(follow).collect::<Result<Vec<_>, _>>()?;
    Ok(futures::stream::select_all(streams))
}

struct Follower {
    reader: AnyReader,
    partition: PartitionId,
    next: Offset,
    /// Read at once, or one record if that is more.
    bytes: usize,
    chunk: VecDeque<Record>,
}

impl Follower {
    fn records(self) -> impl Stream<Item = Result<Placed, OutcomesError>> + Send {
        futures::stream::try_unfold(self, |mut follower| async move {
            let record = follower.record().await?;
            Ok(Some((decode(follower.partition, &record)?, follower)))
        })
    }

    async fn record(&mut self) -> Result<Record, OutcomesError> {
        loop {
            if let Some(record) = self.chunk.pop_front() {
                return Ok(record);
            }
            let failed = failed(self.partition);
            let chunk = self.reader.read(self.next, self.bytes).await.map_err(&failed)?;
            if chunk.records.is_empty() {
                self.reader.wait_beyond(self.next).await.map_err(&failed)?;
            }
            self.next = chunk.next;
            self.chunk = chunk.records.into();
        }
    }
}

fn reader(plane: &Plane, partition: PartitionId) -> Result<AnyReader, OutcomesError> {
    plane.outcomes(partition).ok_or(OutcomesError::Unknown)
}

fn failed(partition: PartitionId) -> impl Fn(broker::Error) -> OutcomesError {
    move |source| OutcomesError::Read { partition, source }
}

fn decode(partition: PartitionId, record: &Record) -> Result<Placed, OutcomesError> {
    let offset = record.offset;
    match OutcomeRecord::decode(&record.payload) {
        Ok(record) => Ok(Placed { offset, record }),
        Err(source) => Err(OutcomesError::Decode { partition, offset, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_share_and_its_turn_to_be_first() {
        let check = |partitions: &[u32], from: &str, limit, expected: &[(u32, usize)]| {
            let wanted = Wanted {
                partitions: partitions.iter().copied().map(PartitionId).collect(),
                from: from.parse().unwrap(),
            };
            let shares: Vec<_> =
                shares(&wanted, limit).map(|(partition, share)| (partition.0, share)).collect();
            assert_eq!(shares, expected, "{from}");
        };
        check(&[0, 1, 2], "", 10, &[(0, 4), (1, 4), (2, 4)]);
        check(&[0, 1, 2], "0:4", 1, &[(1, 1), (2, 1), (0, 1)]);
        check(&[0, 1, 2], "0:4,1:1", 1, &[(2, 1), (0, 1), (1, 1)]);
        check(&[5], "5:9", 100, &[(5, 100)]);
        check(&[], "", 100, &[]);
    }
}
