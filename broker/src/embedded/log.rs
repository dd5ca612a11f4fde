//! One log as its owner holds it: a queue of appends in front of the writer. In: framed groups.
//! Out: an answer per append; those that wait together are one group with one sync. I/O on the
//! commit threads; the waiting side is handed over to tokio in `owned`.

#[cfg(feature = "sim")]
mod steps;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config_schemas::Offset;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::embedded::writer::Writer;
use crate::error::Error;
use crate::traits::LogKind;

/// Largest group that stays in memory for its reader. A group of single events is far smaller, and
/// larger ones are worth a read; with 4,096 partitions at most 64 MiB. Of outcomes none stays: their
/// readers are many, or none.
const FRESH_BYTES_MAX: usize = 16 << 10;

/// What an append gets.
pub(crate) type Answer = Result<Vec<Offset>, Error>;

/// One log of a partition that is held.
pub(crate) struct Log {
    /// After a failed write, how long the same error is answered before the disk is tried again.
    retry_after: Duration,
    queue: Mutex<Queue>,
    output: Mutex<Output>,
    /// The group that became durable last, until its reader has taken it.
    fresh: Mutex<Option<Fresh>>,
    /// How many groups were written, each with one sync.
    groups: AtomicU64,
    end: watch::Sender<u64>,
}

/// A durable group that is still in memory.
struct Fresh {
    first: u64,
    bytes: Vec<u8>,
}

/// Appends that are not written yet.
#[derive(Default)]
struct Queue {
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

/// The writer, and why it is not used at the moment.
struct Output {
    writer: Writer,
    failed: Option<(Instant, Error)>,
    abandoned: bool,
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
    pub(crate) fn new(writer: Writer, retry_after: Duration, end: watch::Sender<u64>) -> Log {
        end.send_replace(writer.next());
        let output = Output { writer, failed: None, abandoned: false };
        let (queue, fresh, groups) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Log { retry_after, queue, output: Mutex::new(output), fresh, groups, end }
    }

    /// The offset after the last durable record.
    pub(crate) fn end(&self) -> Offset {
        Offset(*self.end.borrow())
    }

    /// The same, for waiting.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// How many groups became durable so far.
    pub(crate) fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    /// Puts `count` records that `frame` appends to the buffer in line. Out: whether a commit
    /// thread has to be told.
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
        let mut output = lock(&self.output);
        output.abandoned = true;
        output.writer.rest();
    }

    /// Closes the file until the next write, so that idle partitions cost no descriptor.
    pub(crate) fn rest(&self) {
        lock(&self.output).writer.rest();
    }

    /// Writes all that waits as one group and answers it.
    pub(crate) fn commit(&self) -> After {
        let (group, waiting) = {
            let mut queue = lock(&self.queue);
            (std::mem::take(&mut queue.bytes), std::mem::take(&mut queue.waiting))
        };
        if !waiting.is_empty() {
            let count: usize = waiting.iter().map(|waiting| waiting.count).sum();
            match self.write(group, count as u64) {
                Ok(first) => answer(waiting, first),
                Err(error) => self.refuse(waiting, &error),
            }
        }
        let mut queue = lock(&self.queue);
        queue.scheduled = !queue.waiting.is_empty();
        if queue.scheduled { After::More } else { After::Idle }
    }

    fn write(&self, group: Vec<u8>, count: u64) -> Result<u64, Error> {
        let mut output = lock(&self.output);
        if output.abandoned {
            return Err(Error::Closed);
        }
        if let Some((at, error)) = &output.failed
            && at.elapsed() < self.retry_after
        {
            return Err(error.again());
        }
        let written = output.writer.append(&group, count);
        output.failed = written.as_ref().err().map(|error| (Instant::now(), error.again()));
        if let Ok(first) = written {
            self.groups.fetch_add(1, Ordering::Relaxed);
            let fits = group.len() <= FRESH_BYTES_MAX && output.writer.kind() == LogKind::Events;
            *lock(&self.fresh) = fits.then_some(Fresh { first, bytes: group });
            self.end.send_replace(output.writer.next());
        }
        written
    }

    /// The group that became durable last, if it begins at `from`: then it need not be read from
    /// the disk. Given once.
    pub(crate) fn take_fresh(&self, from: u64) -> Option<Vec<u8>> {
        let fresh = lock(&self.fresh).take_if(|fresh| fresh.first == from)?;
        Some(fresh.bytes)
    }

    fn refuse(&self, waiting: Vec<Waiting>, error: &Error) {
        if !error.retryable() {
            self.close(error.again());
        }
        for waiting in waiting {
            // a caller that went away does not want the answer
            let _ = waiting.reply.send(Err(error.again()));
        }
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
