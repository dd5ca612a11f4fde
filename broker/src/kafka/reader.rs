//! Reads one of a partition's topics. In: an offset. Out: of events every record, also those of
//! other people's producers; of outcomes those that can be believed. I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Epoch, Offset, PartitionId};
use tokio::time::Instant;

use super::Shared;
use super::believe::{Belief, Mark, Verdict};
use super::buffer::Raw;
use super::checkpoints::{Checkpoint, Witness};
use super::consumer::Whose;
use super::cursor::{Cursor, Switched, shrunk, trimmed};
use super::snapshots;
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
/// Where records are missing that were acknowledged, the cluster is asked again after this: its
/// leader may not know them yet, or they are gone.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// So long a leader may take to know what its predecessor acknowledged; then it is not there.
const SHRUNK_GRACE: Duration = Duration::from_secs(2);

/// Follows one topic of a partition.
pub struct KafkaReader {
    shared: Arc<Shared>,
    partition: PartitionId,
    log: LogKind,
    whose: Whose,
    cursor: Option<Box<Cursor>>,
    /// Of outcomes: what is believed after all that was poured.
    belief: Belief,
    /// The last of an owner's records among them.
    last: Option<(u64, Mark)>,
    /// The record that must come first.
    expected: Option<Witness>,
    noted: u64,
    /// The last end that was noted too.
    ended: u64,
    /// Judged and not given yet; all of them from `from` on.
    pending: VecDeque<Record>,
    from: u64,
    /// Given last: whoever works in turns asks for the rest of it once more.
    given: Vec<Record>,
}

impl KafkaReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: PartitionId,
        log: LogKind,
        whose: Whose,
    ) -> KafkaReader {
        KafkaReader {
            shared,
            partition,
            log,
            whose,
            cursor: None,
            belief: Belief::default(),
            last: None,
            expected: None,
            noted: 0,
            ended: 0,
            pending: VecDeque::new(),
            from: 0,
            given: Vec::new(),
        }
    }

    /// How the last swap of the consumer went here.
    pub fn last_switch(&self) -> Option<Switched> {
        self.cursor.as_ref().and_then(|cursor| cursor.switched)
    }

    /// What is believed behind all records that are there now.
    pub(crate) async fn belief_at_end(&mut self) -> Result<Belief, Error> {
        let (low, high) = self.shared.bounds(self.partition, self.log.into()).await?;
        self.begin_within(high, (low, high)).await?;
        self.judge_up_to(high, u64::MAX).await?;
        Ok(self.belief.clone())
    }

    /// What is believed behind all records before `offset`, of which the last must be there. Goes on
    /// from where it is, if that is not behind `offset`.
    pub(crate) async fn belief_before(&mut self, offset: u64) -> Result<Belief, Error> {
        self.known_before(offset).await.map(|known| known.belief)
    }

    /// The same, with what shows that it is about this topic.
    pub(crate) async fn known_before(&mut self, offset: u64) -> Result<Checkpoint, Error> {
        if self.cursor.as_ref().is_none_or(|cursor| cursor.next() > offset) {
            self.begin(offset).await?;
        }
        self.judge_up_to(offset, offset).await?;
        // more may have been poured than was judged: whoever reads on begins anew
        self.cursor = None;
        let known = self.checkpoint();
        self.shared.checkpoints.note(self.partition, offset, known.clone());
        Ok(known)
    }

    /// What is known at this place, for those who begin there.
    fn checkpoint(&self) -> Checkpoint {
        let witness = self.last.as_ref().map(|(offset, mark)| {
            let (offset, mark) = (*offset, mark.to_string());
            Witness { offset, mark }
        });
        Checkpoint { belief: self.belief.clone(), witness }
    }

    /// Until `offset`, and nothing from `end` on.
    async fn judge_up_to(&mut self, offset: u64, end: u64) -> Result<(), Error> {
        while self.cursor()?.next() < offset {
            let cursor = self.cursor()?;
            let poured = async {
                cursor.grown().await?;
                cursor.pour(SCAN_BYTES).await
            };
            let poured = tokio::time::timeout(READ_LIMIT, poured).await;
            for raw in poured.map_err(|_| self.late())??.records {
                if raw.offset < end {
                    self.judge(&raw)?;
                }
            }
        }
        match self.expected.take() {
            Some(expected) => Err(self.another(expected.offset)),
            None => Ok(()),
        }
    }

    /// Has the cursor stand where everything from `from` on is pending or still to come.
    async fn seek(&mut self, from: u64) -> Result<(), Error> {
        self.take_back(from);
        let judged = self.cursor.as_deref().map(Cursor::next);
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
        let asked = Instant::now();
        let bounds = loop {
            let (low, high) = self.shared.bounds(self.partition, self.log.into()).await?;
            if from <= high || self.whose == Whose::Follower {
                break (low, high);
            }
            if asked.elapsed() >= SHRUNK_GRACE {
                let consumers = self.shared.consumers(self.log.into());
                return Err(shrunk(consumers, self.partition, high, from));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        };
        self.begin_within(from, bounds).await
    }

    async fn begin_within(&mut self, from: u64, (low, high): (u64, u64)) -> Result<(), Error> {
        self.cursor = None;
        self.pending.clear();
        self.given.clear();
        let consumers = self.shared.consumers(self.log.into());
        let (place, known) = match self.log {
            LogKind::Events => (from.min(high), Checkpoint::default()),
            LogKind::Outcomes => {
                snapshots::known_before(&self.shared, self.partition, (low, from.min(high))).await?
            }
        };
        if place < low {
            return Err(trimmed(consumers, self.partition, low));
        }
        let Checkpoint { belief, witness } = known;
        self.expected = witness.filter(|witness| witness.offset >= low);
        let start = self.expected.as_ref().map_or(place, |witness| witness.offset);
        let cursor = Cursor::open(consumers, self.partition, start, self.whose).await?;
        (self.cursor, self.belief, self.last) = (Some(Box::new(cursor)), belief, None);
        (self.from, self.noted) = (from, place);
        Ok(())
    }

    /// Takes what the cursor has. Whether that was all there is.
    async fn pour(&mut self, bytes_max: usize) -> Result<bool, Error> {
        let poured = self.cursor()?.pour(bytes_max).await?;
        for raw in poured.records {
            let believed = self.judge(&raw)?;
            if believed && raw.offset >= self.from {
                self.pending.push_back(self.record(raw));
            }
        }
        let next = self.cursor()?.next();
        if self.log == LogKind::Outcomes && next >= self.noted + CHECKPOINT_RECORDS {
            self.shared.checkpoints.note(self.partition, next, self.checkpoint());
            self.noted = next;
        } else if poured.at_end && next > self.ended && self.last.is_some() {
            self.shared.checkpoints.note_end(self.partition, next, self.checkpoint());
            self.ended = next;
        }
        self.shared.note_end(self.partition, self.log.into(), next);
        Ok(poured.at_end)
    }

    fn judge(&mut self, raw: &Raw) -> Result<bool, Error> {
        if self.log == LogKind::Events {
            return Ok(true);
        }
        let mark = raw.mark.clone().filter(|mark| *mark != Mark::Event);
        let expected = self.expected.take();
        if let Some(expected) = &expected
            && !expected.is(raw)
        {
            return Err(self.another(expected.offset));
        }
        if let Some(mark) = mark {
            self.last = Some((raw.offset, mark));
        }
        if expected.is_some() {
            // what is known takes it in
            return Ok(false);
        }
        match self.belief.judge(raw.mark.as_ref()) {
            Verdict::Believed => Ok(true),
            Verdict::Barrier => Ok(false),
            Verdict::Ignored(doubt) => {
                tracing::debug!(partition = %self.partition, offset = raw.offset, ?doubt,
                    "an outcome does not count");
                Ok(false)
            }
        }
    }

    /// All that was known of the topic is forgotten with it.
    fn another(&mut self, at: u64) -> Error {
        self.cursor = None;
        self.shared.checkpoints.forget(self.partition);
        let topic = self.shared.consumers(self.log.into()).topic().to_string();
        Error::Kafka(KafkaTrouble::Another { topic, partition: self.partition.0, at })
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
        let judged = self.cursor.as_deref().map_or(self.from, Cursor::next).max(self.from);
        let next = self.pending.front().map_or(judged, |record| record.offset.0);
        self.from = next;
        self.given.clone_from(&records);
        Chunk { records, next: Offset(next) }
    }

    fn cursor(&mut self) -> Result<&mut Cursor, Error> {
        self.cursor.as_deref_mut().ok_or(Error::Closed)
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
                // Unless it is gone: then the cluster's word counts.
                match tokio::time::timeout(ASK_AGAIN, self.cursor()?.grown()).await {
                    Ok(grown) => grown?,
                    Err(_) => drop(self.shared.bounds(self.partition, self.log.into()).await?),
                }
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
        let (_, high) = self.shared.bounds(self.partition, self.log.into()).await?;
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
