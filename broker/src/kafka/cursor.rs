//! A place in one partition that only moves forward, through whichever consumer is the current one.
//! In: an offset. Out: every record from there on, once and in order, across swaps of the consumer.
//! I/O.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Offset, PartitionId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::buffer::{Buffer, Flow, Raw};
use super::consumer::Whose;
use super::consumers::{Consumers, Fetch};
use super::trouble::KafkaTrouble;
use crate::error::Error;

/// So long the old consumer serves at most: one that cannot keep up is never caught up with, and
/// one whose connection is gone has nothing more.
const SUCCESSION_LIMIT: Duration = Duration::from_secs(2);

/// After a successor could not be made; the old one serves meanwhile.
const OPEN_AGAIN: Duration = Duration::from_millis(500);

/// After a fetch failed, how long until it is looked whether records are missing here, and longest
/// pause between such looks.
const MISSING: Duration = Duration::from_secs(1);
const MISSING_MAX: Duration = Duration::from_secs(8);
/// How often a place is begun again at which nothing can be read.
const RESTARTS_MAX: u32 = 2;

/// A fetch that is being made.
type Opening = Pin<Box<dyn Future<Output = Result<Fetch, Error>> + Send>>;

/// Where records come from.
pub(crate) struct Cursor {
    consumers: Arc<Consumers>,
    partition: PartitionId,
    whose: Whose,
    fetch: Fetch,
    /// Of the next generation, being made, which takes as long as its client likes.
    opening: Option<Opening>,
    /// Not before then, after one could not be made.
    open_again: Instant,
    /// Fetching already since then; used when it has what comes next.
    successor: Option<(Fetch, Instant)>,
    generation: watch::Receiver<u64>,
    /// The next record is at this offset or beyond.
    next: u64,
    /// When the last record was handed out, and whether by the consumer before.
    last: Option<(Instant, bool)>,
    pub(crate) switched: Option<Switched>,
    /// While a fetch has failed that may have been ours.
    doubt: Option<Doubt>,
    /// Since the last record.
    restarts: u32,
}

/// Whether a fetch that failed was ours shows in what does not come.
struct Doubt {
    look_at: Instant,
    pause: Duration,
    /// So far the partition reached at the last look.
    end: Option<u64>,
}

/// A swap of the consumer as its reader saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// The first record of the new one.
    pub at: Offset,
    /// So long after the last record of the old one.
    pub after: Duration,
}

/// What there is.
pub(crate) struct Poured {
    pub(crate) records: Vec<Raw>,
    /// Whether there is nothing behind them, as far as the leader told.
    pub(crate) at_end: bool,
}

impl Cursor {
    /// From `from` on; that offset must be there, or be the next.
    pub(crate) async fn open(
        consumers: &Arc<Consumers>,
        partition: PartitionId,
        from: u64,
        whose: Whose,
    ) -> Result<Cursor, Error> {
        let generation = consumers.generation();
        let fetch = consumers.open(partition, from, whose).await?;
        Ok(Cursor {
            consumers: Arc::clone(consumers),
            partition,
            whose,
            fetch,
            opening: None,
            open_again: Instant::now(),
            successor: None,
            generation,
            next: from,
            last: None,
            switched: None,
            doubt: None,
            restarts: 0,
        })
    }

    /// Where it stands: everything before this was handed out, or is not there.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What is there; nothing only at the end. Cancelling it loses nothing.
    pub(crate) async fn pour(&mut self, bytes_max: usize) -> Result<Poured, Error> {
        loop {
            self.follow_generation();
            let taken = self.fetch.buffer().take(bytes_max);
            let (last, from) = (taken.records.last().map(|raw| raw.offset), self.next);
            let mut records = taken.records;
            // what the consumer before has handed out already
            records.retain(|raw| raw.offset >= from);
            if let (Some(last), Some(first)) = (last.filter(|last| *last >= from), records.first())
            {
                self.note(first.offset);
                self.restarts = 0;
                self.next = taken.counted_end.max(last + 1);
                return Ok(Poured { records, at_end: taken.flow == Flow::AtEnd });
            }
            match taken.flow {
                Flow::AtEnd => {
                    self.next = taken.counted_end.max(self.next);
                    return Ok(Poured { records, at_end: true });
                }
                Flow::Lost => self.begin_again().await?,
                Flow::Running => self.moved(Buffer::is_ready).await?,
            }
        }
    }

    /// Returns when there may be a record, or the end is known better. Cancelling it loses
    /// nothing.
    pub(crate) async fn grown(&mut self) -> Result<(), Error> {
        loop {
            self.follow_generation();
            if self.fetch.buffer().has_news() {
                return Ok(());
            }
            self.moved(Buffer::has_news).await?;
        }
    }

    /// Returns when the buffer is as `wanted`, the successor has something, or there is a newer
    /// generation; fails when a fetch has failed and records do not come.
    async fn moved(&mut self, wanted: fn(&Buffer) -> bool) -> Result<(), Error> {
        let failing = self.fetch.buffer().failure().is_some();
        if failing {
            let first = || Doubt { look_at: Instant::now() + MISSING, pause: MISSING, end: None };
            self.doubt.get_or_insert_with(first);
        } else {
            self.doubt = None;
        }
        let look_at = self.doubt.as_ref().map(|doubt| doubt.look_at);
        let look = async {
            match look_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let waits_for_generation = self.successor.is_none() && self.opening.is_none();
        let told = async {
            match (&mut self.opening, &self.successor) {
                (Some(opening), _) => {
                    let opened = (&mut *opening).await;
                    *opening = Box::pin(std::future::ready(opened));
                }
                (None, Some((fetch, _))) => fetch.buffer().moved.notified().await,
                (None, None) => std::future::pending().await,
            }
        };
        let ours = async {
            // what was put before is kept by the notification
            let buffer = self.fetch.buffer();
            while !wanted(buffer) && buffer.failure().is_some() == failing {
                buffer.moved.notified().await;
            }
        };
        tokio::select! {
            () = ours => {}
            () = told => {}
            // its sender lives as long as the consumers, which we hold
            _ = self.generation.changed(), if waits_for_generation => {}
            () = look => return self.look_for_missing().await,
        }
        Ok(())
    }

    /// What was there at the look before has to have come by now.
    async fn look_for_missing(&mut self) -> Result<(), Error> {
        let Some(trouble) = self.fetch.buffer().failure() else { return Ok(()) };
        let told = self.consumers.bounds(self.partition).await;
        let Some(doubt) = &mut self.doubt else { return Ok(()) };
        let Ok((_, end)) = told else { return Err(Error::Kafka(trouble)) };
        if doubt.end.is_some_and(|end| end > self.next) {
            return Err(Error::Kafka(trouble));
        }
        doubt.pause = if end > self.next { MISSING } else { MISSING_MAX.min(doubt.pause * 2) };
        (doubt.look_at, doubt.end) = (Instant::now() + doubt.pause, Some(end));
        Ok(())
    }

    /// Begins to fetch by the newest generation, and goes over to it at the moment at which it has
    /// what comes next: until then the old one serves, so that nobody waits for the new one.
    fn follow_generation(&mut self) {
        let newest = *self.generation.borrow_and_update();
        let reached = self.successor.as_ref().map_or(self.fetch.generation, |it| it.0.generation);
        if reached < newest && self.opening.is_none() && Instant::now() >= self.open_again {
            self.successor = None;
            let consumers = Arc::clone(&self.consumers);
            let (partition, next, whose) = (self.partition, self.next, self.whose);
            let open = async move { consumers.open(partition, next, whose).await };
            self.opening = Some(Box::pin(open));
        }
        self.look_at_opening();
        let Some((successor, since)) = &self.successor else { return };
        let idle = successor.buffer().is_at_end() && !self.fetch.buffer().has_news();
        let goes = successor.buffer().reaches(self.next) || idle;
        if !goes && since.elapsed() <= SUCCESSION_LIMIT {
            return;
        }
        if let Some((successor, _)) = self.successor.take() {
            self.fetch = successor;
            if let Some((_, before)) = &mut self.last {
                *before = true;
            }
        }
    }

    fn look_at_opening(&mut self) {
        let Some(opening) = &mut self.opening else { return };
        // whoever waits polls it with a waker of its own
        let mut unheard = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(opened) = opening.as_mut().poll(&mut unheard) else { return };
        self.opening = None;
        match opened {
            Ok(fetch) => self.successor = Some((fetch, Instant::now())),
            Err(error) => {
                tracing::warn!(partition = %self.partition, %error, "still with the old consumer");
                self.open_again = Instant::now() + OPEN_AGAIN;
            }
        }
    }

    fn note(&mut self, first: u64) {
        let now = Instant::now();
        if let Some((last, true)) = self.last {
            self.switched = Some(Switched { at: Offset(first), after: now - last });
        }
        self.last = Some((now, false));
    }

    /// The place was not there, or the partition has lost its end: looks which.
    async fn begin_again(&mut self) -> Result<(), Error> {
        if let Some(trouble) = self.fetch.buffer().failure() {
            if self.restarts >= RESTARTS_MAX {
                return Err(Error::Kafka(trouble));
            }
            self.restarts += 1;
        }
        let (low, high) = self.consumers.bounds(self.partition).await?;
        if self.next < low {
            return Err(trimmed(&self.consumers, self.partition, low));
        }
        if self.next > high {
            return Err(shrunk(&self.consumers, self.partition, high, self.next));
        }
        self.fetch = self.consumers.open(self.partition, self.next, self.whose).await?;
        Ok(())
    }
}

pub(crate) fn trimmed(consumers: &Consumers, partition: PartitionId, first: u64) -> Error {
    let (topic, partition) = (consumers.topic().to_string(), partition.0);
    Error::Kafka(KafkaTrouble::Trimmed { topic, partition, first })
}

pub(crate) fn shrunk(
    consumers: &Consumers,
    partition: PartitionId,
    end: u64,
    wanted: u64,
) -> Error {
    let (topic, partition) = (consumers.topic().to_string(), partition.0);
    Error::Kafka(KafkaTrouble::Shrunk { topic, partition, end, wanted })
}
