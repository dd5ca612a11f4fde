//! Reads one of a partition's topics. In: an offset. Out: of events every record, also those of
//! other people's producers; of outcomes those that can be believed. I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Epoch, Offset, PartitionId};

use super::Shared;
use super::believe::{Belief, Verdict};
use super::buffer::Raw;
use super::cursor::{Cursor, Switched, trimmed};
use super::trouble::KafkaTrouble;
use crate::error::Error;
use crate::records::{Chunk, Record};
use crate::traits::{LogKind, Reader};

/// Read at once while only looking for a place.
const SCAN_BYTES: usize = 256 << 10;
/// A read that has to wait longer for the broker fails, and may be tried again.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// So many records apart, what is believed is noted down for readers to come.
const CHECKPOINT_RECORDS: u64 = 8_192;

/// Follows one topic of a partition.
pub struct KafkaReader {
    shared: Arc<Shared>,
    partition: PartitionId,
    log: LogKind,
    cursor: Option<Cursor>,
    /// Of outcomes: what is believed after all that was poured.
    belief: Belief,
    noted: u64,
    /// Judged and not given yet; all of them from `from` on.
    pending: VecDeque<Record>,
    from: u64,
    /// Given last: whoever works in turns asks for the rest of it once more.
    given: Vec<Record>,
}

impl KafkaReader {
    pub(crate) fn new(shared: Arc<Shared>, partition: PartitionId, log: LogKind) -> KafkaReader {
        let (belief, pending, given) = Default::default();
        let cursor = None;
        KafkaReader { shared, partition, log, cursor, belief, noted: 0, pending, from: 0, given }
    }

    /// How the last swap of the consumer went here.
    pub fn last_switch(&self) -> Option<Switched> {
        self.cursor.as_ref().and_then(|cursor| cursor.switched)
    }

    /// What is believed behind all records before `offset`, of which the last must be there.
    pub(crate) async fn belief_before(&mut self, offset: u64) -> Result<Belief, Error> {
        self.begin(offset).await?;
        while self.cursor()?.next() < offset {
            let limited = tokio::time::timeout(READ_LIMIT, self.cursor()?.grown()).await;
            limited.map_err(|_| self.late())??;
            let poured = self.cursor()?.pour(SCAN_BYTES).await?.records;
            poured.iter().filter(|raw| raw.offset < offset).for_each(|raw| _ = self.judge(raw));
        }
        // more may have been poured than was judged: whoever reads on begins anew
        self.cursor = None;
        self.shared.checkpoints.note(self.partition, offset, &self.belief);
        Ok(std::mem::take(&mut self.belief))
    }

    /// Has the cursor stand where everything from `from` on is pending or still to come.
    async fn seek(&mut self, from: u64) -> Result<(), Error> {
        self.take_back(from);
        let judged = self.cursor.as_ref().map(Cursor::next);
        if from < self.from || judged.is_none_or(|judged| from > judged) {
            self.begin(from).await?;
        }
        self.from = from;
        while self.pending.front().is_some_and(|record| record.offset.0 < from) {
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Has what was given last be pending again from `from` on, if it begins there or before.
    fn take_back(&mut self, from: u64) {
        let begins = self.given.first().map(|record| record.offset.0);
        if self.cursor.is_some() && from < self.from && begins.is_some_and(|begins| begins <= from)
        {
            let again = self.given.drain(..).filter(|record| record.offset.0 >= from);
            again.rev().for_each(|record| self.pending.push_front(record));
            self.from = from;
        }
    }

    /// Begins at `from`, or before it where what is believed is known.
    async fn begin(&mut self, from: u64) -> Result<(), Error> {
        self.cursor = None;
        self.pending.clear();
        self.given.clear();
        let (low, high) = self.shared.consumers(self.log.into()).bounds(self.partition).await?;
        let (start, belief) = match self.log {
            LogKind::Events => (from, Belief::default()),
            LogKind::Outcomes => self.shared.checkpoints.before(self.partition, from),
        };
        if start < low {
            return Err(trimmed(self.shared.consumers(self.log.into()), self.partition, low));
        }
        self.belief = belief;
        let consumers = self.shared.consumers(self.log.into());
        self.cursor = Some(Cursor::open(consumers, self.partition, start.min(high)).await?);
        (self.from, self.noted) = (from, start);
        Ok(())
    }

    /// Takes what the cursor has. Whether that was all there is.
    async fn pour(&mut self, bytes_max: usize) -> Result<bool, Error> {
        let poured = self.cursor()?.pour(bytes_max).await?;
        for raw in poured.records {
            let believed = self.judge(&raw);
            if believed && raw.offset >= self.from {
                self.pending.push_back(self.record(raw));
            }
        }
        let next = self.cursor()?.next();
        if self.log == LogKind::Outcomes && next >= self.noted + CHECKPOINT_RECORDS {
            self.shared.checkpoints.note(self.partition, next, &self.belief);
            self.noted = next;
        }
        self.shared.note_end(self.partition, self.log.into(), next);
        Ok(poured.at_end)
    }

    fn judge(&mut self, raw: &Raw) -> bool {
        match self.log {
            LogKind::Events => true,
            LogKind::Outcomes => match self.belief.judge(raw.mark.as_ref()) {
                Verdict::Believed => true,
                Verdict::Barrier => false,
                Verdict::Ignored(doubt) => {
                    tracing::debug!(partition = %self.partition, offset = raw.offset, ?doubt,
                        "an outcome does not count");
                    false
                }
            },
        }
    }

    fn record(&self, raw: Raw) -> Record {
        let epoch = self.belief.holder().map_or(Epoch(0), |holder| holder.epoch);
        let ours = raw.mark.is_some();
        Record { offset: Offset(raw.offset), epoch, payload: raw.payload, ours }
    }

    /// About so many bytes of what is pending.
    fn chunk(&mut self, bytes_max: usize) -> Chunk {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max.max(1) {
            let Some(record) = self.pending.pop_front() else { break };
            bytes += record.payload.len().max(1);
            records.push(record);
        }
        let judged = self.cursor.as_ref().map_or(self.from, Cursor::next).max(self.from);
        let next = self.pending.front().map_or(judged, |record| record.offset.0);
        self.from = next;
        self.given.clone_from(&records);
        Chunk { records, next: Offset(next) }
    }

    fn cursor(&mut self) -> Result<&mut Cursor, Error> {
        self.cursor.as_mut().ok_or(Error::Closed)
    }

    fn late(&self) -> Error {
        let late = KafkaTrouble::Late { act: "read on" };
        Error::Kafka(self.shared.consumers(self.log.into()).trouble().unwrap_or(late))
    }

    async fn read_on(&mut self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        self.seek(from.0).await?;
        loop {
            if !self.pending.is_empty() {
                return Ok(self.chunk(bytes_max));
            }
            let at_end = self.pour(bytes_max).await?;
            if self.pending.is_empty() && at_end {
                // What this process got acknowledged is there, also where a new leader does not
                // know it yet.
                if self.cursor()?.next() >= self.shared.known_end(self.partition, self.log.into()) {
                    return Ok(self.chunk(bytes_max));
                }
                self.cursor()?.grown().await?;
            }
        }
    }
}

impl Reader for KafkaReader {
    async fn read(&mut self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        match tokio::time::timeout(READ_LIMIT, self.read_on(from, bytes_max)).await {
            Ok(read) => read,
            Err(_) => Err(self.late()),
        }
    }

    async fn end(&mut self) -> Result<Offset, Error> {
        let (_, high) = self.shared.consumers(self.log.into()).bounds(self.partition).await?;
        self.shared.note_end(self.partition, self.log.into(), high);
        Ok(Offset(high))
    }

    async fn wait_beyond(&mut self, offset: Offset) -> Result<(), Error> {
        self.seek(offset.0).await?;
        while self.pending.is_empty() {
            self.cursor()?.grown().await?;
            self.pour(SCAN_BYTES).await?;
        }
        Ok(())
    }

    fn is_replicated(&self) -> bool {
        true
    }
}
