//! A place in one partition that only moves forward, through whichever consumer is the current one.
//! In: an offset. Out: every record from there on, once and in order, across swaps of the consumer.
//! I/O.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Offset, PartitionId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::buffer::{Buffer, Flow, Raw};
use super::lanes::{Fetch, Lanes};
use super::trouble::KafkaTrouble;
use crate::error::Error;

/// Where records come from.
pub(crate) struct Tap {
    lanes: Arc<Lanes>,
    partition: PartitionId,
    fetch: Fetch,
    /// Of the next generation, fetching already; used when it has something.
    successor: Option<Fetch>,
    generation: watch::Receiver<u64>,
    /// The next record is at this offset or beyond.
    next: u64,
    /// When the last record was handed out, and whether by the consumer before.
    last: Option<(Instant, bool)>,
    pub(crate) switched: Option<Switched>,
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

impl Tap {
    /// From `from` on; that offset must be there, or be the next.
    pub(crate) async fn open(
        lanes: &Arc<Lanes>,
        partition: PartitionId,
        from: u64,
    ) -> Result<Tap, Error> {
        let generation = lanes.generation();
        let fetch = lanes.open(partition, from).await?;
        Ok(Tap {
            lanes: Arc::clone(lanes),
            partition,
            fetch,
            successor: None,
            generation,
            next: from,
            last: None,
            switched: None,
        })
    }

    /// Where it stands: everything before this was handed out, or is not there.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What is there; nothing only at the end. Cancelling it loses nothing.
    pub(crate) async fn pour(&mut self, bytes_max: usize) -> Result<Poured, Error> {
        loop {
            self.follow_generation().await?;
            let taken = self.fetch.buffer.take(bytes_max);
            let (last, from) = (taken.records.last().map(|raw| raw.offset), self.next);
            let mut records = taken.records;
            // what the consumer before has handed out already
            records.retain(|raw| raw.offset >= from);
            if let (Some(last), Some(first)) = (last.filter(|last| *last >= from), records.first())
            {
                self.note(first.offset);
                self.next = last + 1;
                return Ok(Poured { records, at_end: taken.flow == Flow::AtEnd });
            }
            match taken.flow {
                Flow::AtEnd => return Ok(Poured { records, at_end: true }),
                Flow::Lost => self.begin_again().await?,
                Flow::Running => self.moved(Buffer::is_ready).await,
            }
        }
    }

    /// Returns when there may be a record; never because of the end alone. Cancelling it loses
    /// nothing.
    pub(crate) async fn grown(&mut self) -> Result<(), Error> {
        loop {
            self.follow_generation().await?;
            if self.fetch.buffer.has_news() {
                return Ok(());
            }
            self.moved(Buffer::has_news).await;
        }
    }

    /// Returns when the buffer is as `wanted`, the successor has something, or there is a newer
    /// generation.
    async fn moved(&mut self, wanted: fn(&Buffer) -> bool) {
        let successor = self.successor.as_ref().map(|fetch| Arc::clone(&fetch.buffer));
        let waits_for_generation = successor.is_none();
        let told = async {
            match &successor {
                Some(buffer) if !buffer.is_ready() => buffer.moved.notified().await,
                Some(_) => {}
                None => std::future::pending().await,
            }
        };
        let ours = async {
            // what was put before is kept by the notification
            while !wanted(&self.fetch.buffer) {
                self.fetch.buffer.moved.notified().await;
            }
        };
        tokio::select! {
            () = ours => {}
            () = told => {}
            // its sender lives as long as the lanes, which we hold
            _ = self.generation.changed(), if waits_for_generation => {}
        }
    }

    /// Begins to fetch by the newest generation, and goes over to it when it has something: until
    /// then the old one serves.
    async fn follow_generation(&mut self) -> Result<(), Error> {
        let newest = *self.generation.borrow_and_update();
        if self.fetch.generation < newest
            && self.successor.as_ref().is_none_or(|successor| successor.generation < newest)
        {
            self.successor = None;
            self.successor = Some(self.lanes.open(self.partition, self.next).await?);
        }
        if self.successor.as_ref().is_some_and(|successor| successor.buffer.is_ready())
            && let Some(successor) = self.successor.take()
        {
            self.fetch = successor;
            if let Some((_, before)) = &mut self.last {
                *before = true;
            }
        }
        Ok(())
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
        let (low, high) = self.lanes.bounds(self.partition).await?;
        if self.next < low {
            return Err(trimmed(&self.lanes, self.partition, low));
        }
        if self.next > high {
            let why = format!("the partition ends at {high}, and {} was read before", self.next);
            return Err(Error::Kafka(KafkaTrouble::Refused { why }));
        }
        self.fetch = self.lanes.open(self.partition, self.next).await?;
        Ok(())
    }
}

pub(crate) fn trimmed(lanes: &Lanes, partition: PartitionId, first: u64) -> Error {
    let (topic, partition) = (lanes.topic().to_owned(), partition.0);
    Error::Kafka(KafkaTrouble::Trimmed { topic, partition, first })
}
