//! One log as its owner holds it: what waits to be written, and the segment that it is written to.
//! In: framed groups. Out: durable offsets, or an error for the whole group. I/O, blocking; the
//! waiting side is handed over to tokio in `owned`.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config_schemas::{Epoch, Offset};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::embedded::chain::{Segment, SegmentId};
use crate::embedded::claims::Claims;
use crate::embedded::files::Files;
use crate::embedded::format::{HEADER_LEN, Mark};
use crate::embedded::segments::{self, path_of};
use crate::embedded::take::Laid;
use crate::embedded::tuning::LiveTuning;
use crate::error::Error;

/// After a failed write, how long the log answers with the same error before it tries the disk
/// again: a full disk is not hammered, and each try may cost a segment.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What an append waits for.
pub(crate) type Answer = Result<Vec<Offset>, Error>;

/// Appends that are not written yet.
#[derive(Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    /// Whether a commit thread knows about this log.
    scheduled: bool,
    /// Why nothing is taken in any more.
    closed: Option<Error>,
}

struct Waiting {
    count: usize,
    reply: oneshot::Sender<Answer>,
    /// Given back when the append is answered.
    _room: OwnedSemaphorePermit,
}

/// The segment that is written to.
struct Writer {
    segment: Segment,
    file: Option<File>,
    /// What is durable and published.
    mark: Mark,
    /// The segment holds bytes that are not acknowledged: go on in a new one.
    spoiled: Option<Error>,
    retry_at: Option<Instant>,
    abandoned: bool,
}

/// One log of a partition that is held.
pub(crate) struct Log {
    dir: PathBuf,
    epoch: Epoch,
    claims: Claims,
    files: Arc<dyn Files>,
    tuning: Arc<LiveTuning>,
    queue: Mutex<Queue>,
    writer: Mutex<Writer>,
    end: watch::Sender<u64>,
}

/// What a commit left to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing waits.
    Idle,
    /// More came in meanwhile: commit again.
    More,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a panic elsewhere leaves these values whole: they are changed in single steps
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    pub(crate) fn new(
        dir: PathBuf,
        laid: Laid,
        files: Arc<dyn Files>,
        tuning: Arc<LiveTuning>,
        end: watch::Sender<u64>,
    ) -> Log {
        let mark = Mark { len: HEADER_LEN, next: laid.segment.base };
        end.send_replace(mark.next);
        Log {
            epoch: Epoch(laid.segment.id.epoch),
            claims: Claims::of(&dir),
            dir,
            files,
            tuning,
            queue: Mutex::new(Queue::default()),
            writer: Mutex::new(Writer {
                segment: laid.segment,
                file: Some(laid.file),
                mark,
                spoiled: None,
                retry_at: None,
                abandoned: false,
            }),
            end,
        }
    }

    /// The offset after the last durable record.
    pub(crate) fn end(&self) -> Offset {
        Offset(*self.end.borrow())
    }

    /// Puts a framed group in line. Out: whether a commit thread has to be told.
    pub(crate) fn enqueue(
        &self,
        frame: impl FnOnce(&mut Vec<u8>),
        count: usize,
        room: OwnedSemaphorePermit,
        reply: oneshot::Sender<Answer>,
    ) -> Result<bool, Error> {
        let mut queue = lock(&self.queue);
        if let Some(error) = &queue.closed {
            return Err(error.again());
        }
        frame(&mut queue.bytes);
        queue.waiting.push(Waiting { count, reply, _room: room });
        Ok(!std::mem::replace(&mut queue.scheduled, true))
    }

    /// Takes nothing in any more; what waits is still written.
    pub(crate) fn close(&self, why: Error) {
        lock(&self.queue).closed.get_or_insert(why);
    }

    /// Closes at once: what waits is refused, and when this returns nothing is being written.
    pub(crate) fn abandon(&self) {
        self.close(Error::Closed);
        let mut writer = lock(&self.writer);
        writer.abandoned = true;
        writer.file = None;
    }

    /// Writes all that waits as one group and answers it.
    pub(crate) fn commit(&self) -> After {
        let (bytes, waiting) = {
            let mut queue = lock(&self.queue);
            (std::mem::take(&mut queue.bytes), std::mem::take(&mut queue.waiting))
        };
        if !waiting.is_empty() {
            let count: usize = waiting.iter().map(|waiting| waiting.count).sum();
            match self.write(&bytes, count as u64) {
                Ok(first) => answer(waiting, first),
                Err(error) => self.refuse(waiting, error),
            }
        }
        let mut queue = lock(&self.queue);
        queue.scheduled = !queue.waiting.is_empty();
        if queue.scheduled { After::More } else { After::Idle }
    }

    /// Closes the file until the next write, so that idle partitions cost no descriptor.
    pub(crate) fn rest(&self) {
        lock(&self.writer).file = None;
    }

    fn refuse(&self, waiting: Vec<Waiting>, error: Error) {
        if !error.retryable() {
            self.close(error.again());
        }
        for waiting in waiting {
            // a caller that went away does not want the answer
            let _ = waiting.reply.send(Err(error.again()));
        }
    }

    /// Durable, still ours, published; in this order. Out: the first offset.
    fn write(&self, bytes: &[u8], count: u64) -> Result<u64, Error> {
        let mut writer = lock(&self.writer);
        if writer.abandoned {
            return Err(Error::Closed);
        }
        if let (Some(error), Some(at)) = (&writer.spoiled, writer.retry_at)
            && Instant::now() < at
        {
            return Err(error.again());
        }
        let written = self.write_group(&mut writer, bytes, count);
        if let Err(error) = &written {
            writer.spoiled = Some(error.again());
            writer.retry_at = Some(Instant::now() + RETRY_AFTER);
        }
        written
    }

    fn write_group(&self, writer: &mut Writer, bytes: &[u8], count: u64) -> Result<u64, Error> {
        let full = writer.mark.len > HEADER_LEN
            && writer.mark.len + bytes.len() as u64 > self.tuning.segment_bytes();
        if full || writer.spoiled.is_some() {
            self.claims.still_newest(self.epoch)?;
            self.roll(writer)?;
        }
        let path = path_of(&self.dir, &writer.segment);
        let file = match writer.file.take() {
            Some(file) => file,
            None => segments::open(&self.dir, &writer.segment)?
                .ok_or_else(|| Error::corrupt(&path, 0, "removed while it was written to"))?,
        };
        let file = writer.file.insert(file);
        let at = writer.mark.len;
        self.files.write_at(file, bytes, at).map_err(Error::io("append to", &path))?;
        self.files.sync(file).map_err(Error::io("sync", &path))?;
        self.claims.still_newest(self.epoch)?;
        let mark = Mark { len: at + bytes.len() as u64, next: writer.mark.next + count };
        segments::publish(file, &path, mark)?;
        let first = std::mem::replace(&mut writer.mark, mark).next;
        self.end.send_replace(mark.next);
        Ok(first)
    }

    /// Goes on in a new segment that follows the durable part of this one.
    fn roll(&self, writer: &mut Writer) -> Result<(), Error> {
        let old = writer.segment;
        let follows = if writer.mark.next == old.base { old.follows } else { Some(old.id) };
        let id = SegmentId { seq: old.id.seq + 1, epoch: old.id.epoch };
        let segment = Segment { id, base: writer.mark.next, follows, ..old };
        let file = segments::create(&*self.files, &self.dir, &segment)?;
        let path = path_of(&self.dir, &segment);
        // from here on the old segment must not be written to, whatever fails
        writer.segment = segment;
        writer.mark.len = HEADER_LEN;
        writer.file = None;
        self.claims.still_newest(self.epoch)?;
        segments::publish(&file, &path, writer.mark)?;
        writer.file = Some(file);
        writer.spoiled = None;
        Ok(())
    }
}

fn answer(waiting: Vec<Waiting>, first: u64) {
    let mut next = first;
    for waiting in waiting {
        let end = next + waiting.count as u64;
        // a caller that went away does not want the answer
        let _ = waiting.reply.send(Ok((next..end).map(Offset).collect()));
        next = end;
    }
}
