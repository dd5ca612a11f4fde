//! The owner's handle: hands batches to the commit threads and waits for their answer. Thin, async.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use config_schemas::{Epoch, Offset, PartitionId};
use tokio::sync::{Semaphore, oneshot};

use crate::embedded::Shared;
use crate::embedded::format::{Frame, frame, frame_at, framed_len};
use crate::embedded::log::{Answer, Log};
use crate::embedded::reader::EmbeddedReader;
use crate::error::Error;
use crate::records::{Chunk, RECORD_BYTES_MAX, Record, Records};
use crate::traits::{LogKind, Owned};

/// Most bytes of one log that wait for the disk; further appends wait for room. Also the largest
/// batch.
const ROOM_BYTES: u32 = 8 << 20;

/// A partition of an [`Embedded`](crate::Embedded) log that this process holds.
#[derive(Clone)]
pub struct EmbeddedOwned {
    shared: Arc<Shared>,
    partition: PartitionId,
    epoch: Epoch,
    logs: [Arc<Log>; 2],
    room: [Arc<Semaphore>; 2],
}

impl EmbeddedOwned {
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: PartitionId,
        epoch: Epoch,
        logs: [Arc<Log>; 2],
    ) -> EmbeddedOwned {
        let room = || Arc::new(Semaphore::new(ROOM_BYTES as usize));
        EmbeddedOwned { shared, partition, epoch, logs, room: [room(), room()] }
    }
}

impl EmbeddedOwned {
    /// How many groups of appends became durable under this handle, each with one sync: with the
    /// number of records the measure of how well appends are merged.
    pub fn groups(&self, log: LogKind) -> u64 {
        self.logs[place(log)].groups()
    }

    /// Returns when the record at `offset` is durable. Nobody else writes while this process owns
    /// the partition, so there is nothing to look at in between; once another owns it, this waits
    /// for ever.
    async fn wait_beyond(&self, log: LogKind, offset: Offset) {
        let mut end = self.logs[place(log)].watch();
        if end.wait_for(|end| *end > offset.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has the log written, at once or when the linger is over.
    fn schedule(&self, log: &Arc<Log>) {
        #[cfg(feature = "sim")]
        if let Some(disk) = self.shared.simulated.clone() {
            let log = Arc::clone(log);
            // as a commit thread does: ends when nothing waits any more
            tokio::spawn(async move { log.commit_in_steps(&disk).await });
            return;
        }
        let linger = self.shared.tuning.linger();
        let (committer, log) = (self.shared.committer.clone(), Arc::clone(log));
        if linger.is_zero() {
            committer.schedule(log);
        } else {
            // ends by itself; whoever appended may have gone away, the group is written all the same
            tokio::spawn(async move {
                tokio::time::sleep(linger).await;
                committer.schedule(log);
            });
        }
    }
}

fn place(log: LogKind) -> usize {
    match log {
        LogKind::Events => 0,
        LogKind::Outcomes => 1,
    }
}

/// The bytes that a batch takes, if the batch and each record are within their bounds.
fn checked_len(records: &Records) -> Result<u32, Error> {
    if let Some(large) = records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
        return Err(Error::TooLarge { bytes: large.len() });
    }
    let bytes = framed_len(records);
    let fits = u32::try_from(bytes).ok().filter(|bytes| *bytes <= ROOM_BYTES);
    fits.ok_or(Error::TooLarge { bytes })
}

/// An append that waits for the disk.
pub struct EmbeddedSubmitted(oneshot::Receiver<Answer>);

impl Future for EmbeddedSubmitted {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl Owned for EmbeddedOwned {
    type Submitted = EmbeddedSubmitted;
    type Reader = EmbeddedReader;

    fn partition(&self) -> PartitionId {
        self.partition
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn append(&self, log: LogKind, records: Records) -> Result<Vec<Offset>, Error> {
        self.submit(log, records).await?.await
    }

    async fn submit(&self, log: LogKind, records: Records) -> Result<EmbeddedSubmitted, Error> {
        let (reply, answer) = oneshot::channel();
        if records.is_empty() {
            // its receiver is here
            let _ = reply.send(Ok(Vec::new()));
            return Ok(EmbeddedSubmitted(answer));
        }
        let bytes = checked_len(&records)?;
        let room = Arc::clone(&self.room[place(log)]);
        let room = room.acquire_many_owned(bytes).await.map_err(|_| Error::Closed)?;
        let log = &self.logs[place(log)];
        if log.enqueue(|into| frame(&records, into), records.len(), room, reply)? {
            self.schedule(log);
        }
        Ok(EmbeddedSubmitted(answer))
    }

    fn end(&self, log: LogKind) -> Offset {
        self.logs[place(log)].end()
    }

    async fn outcomes_beyond(&self, offset: Offset) {
        self.wait_beyond(LogKind::Outcomes, offset).await;
    }

    async fn events_beyond(&self, _: &mut EmbeddedReader, offset: Offset) -> Result<(), Error> {
        self.wait_beyond(LogKind::Events, offset).await;
        Ok(())
    }

    fn fresh(&self, log: LogKind, from: Offset) -> Option<Chunk> {
        let bytes = Bytes::from(self.logs[place(log)].take_fresh(from.0)?);
        let (mut records, mut at) = (Vec::new(), 0);
        while let Frame::Whole(payload) = frame_at(&bytes, at) {
            at = payload.end;
            let offset = Offset(from.0 + records.len() as u64);
            records.push(Record {
                offset,
                epoch: self.epoch,
                payload: bytes.slice(payload),
                ours: true,
            });
        }
        let next = Offset(from.0 + records.len() as u64);
        Some(Chunk { records, next })
    }

    async fn release(&self) {
        for (log, room) in self.logs.iter().zip(&self.room) {
            log.close(Error::Closed);
            // all room is free when every append under way is answered
            let _all = room.acquire_many(ROOM_BYTES).await;
            log.rest();
        }
    }
}
