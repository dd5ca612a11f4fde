//! The way into a partition that is served: credits first, then the log. What waits for the
//! worker is what stands in the log behind it; the credits bound that. In: events. Out: their
//! durable places, or why not. I/O.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{AnyOwned, AnySubmitted, LogKind, Owned as _, Records};
use config_schemas::{Cuts, Offset};
use events::{Event, Vocabulary, partition_of};
use telemetry::traces::TraceId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::abandoned::Abandoned;
use super::answer::{Accepted, NotTaken, Source};
use super::backlog::Backlog;
use super::gate::Gate;
use crate::capacity::credits::{Credits, Permit, Size};
use crate::config::live::Live;
use crate::config::road::chain;
use crate::load::meter::Meter;
use crate::metrics::PlaneMetrics;
use crate::traced::Followed;

/// Told to producers when a queue is full and nothing is known of its speed yet, and the least
/// when it is not full but takes too long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_millis(50);
/// How old a partition's lag may be.
const LAG_EVERY: Duration = Duration::from_secs(1);
/// Shortest and longest advice.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(5);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// The way in. Clones are the same way.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Inner>);

struct Inner {
    owned: AnyOwned,
    credits: Credits,
    live: Live,
    metrics: PlaneMetrics,
    /// Says by what key an event is known.
    vocabulary: Vocabulary,
    /// Whose each key is.
    cuts: watch::Receiver<Arc<Cuts>>,
    /// The finest cut that the outcomes here know of; 0 if they know of none. What went by it stays
    /// gone, also when etcd was restored from before it.
    cut: AtomicU32,
    /// Whether new events are taken in, and how many appends are under way.
    gate: Gate,
    queue: Mutex<Queue>,
    /// Appends that nobody waits for any more. Their credits bound them.
    abandoned: Mutex<Abandoned<AnySubmitted, Permit>>,
    meter: Meter,
    /// Everything before this offset of the event log has its outcome.
    played: watch::Sender<Offset>,
    /// Whether the log did not take an append, and nothing has told since that it does.
    troubled: AtomicBool,
    /// Whether the partition is left to the next owner as it is.
    leaves: AtomicBool,
    /// The log says that the partition is not ours, which a worker without work would not hear.
    disowned: Notify,
}

/// What has no outcome yet, and how fast that goes.
#[derive(Default)]
struct Queue {
    appends: VecDeque<Waiting>,
    backlog: Backlog,
}

impl Queue {
    fn oldest(&self) -> Option<Instant> {
        self.appends.front().map(|first| first.arrived)
    }
}

/// Events of one append that have no outcome yet.
struct Waiting {
    last: Offset,
    permit: Permit,
    arrived: Instant,
    /// One of them that is followed, if any is.
    trace: Option<TraceId>,
}

/// Events of one append that are being written.
struct Written {
    answer: AnySubmitted,
    /// None for those that need no credits.
    permit: Option<Permit>,
    arrived: Instant,
}

/// An append whose producer may go away at any time. Its bytes do not, and so neither do its
/// credits: dropped before it is answered, it is left to the intake.
struct Writing<'a> {
    intake: &'a Intake,
    written: Option<Written>,
}

impl Writing<'_> {
    /// What the log says, and what is left of the append.
    async fn answered(mut self) -> (Result<Vec<Offset>, broker::Error>, Option<Written>) {
        let Some(written) = &mut self.written else { return (Err(broker::Error::Closed), None) };
        let answer = (&mut written.answer).await;
        (answer, self.written.take())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(Written { answer, permit: Some(permit), arrived }) = self.written.take() {
            self.intake.abandoned().put(arrived, answer, permit);
            self.intake.settle();
        }
    }
}

impl Intake {
    pub(crate) fn new(
        owned: AnyOwned,
        credits: Credits,
        live: Live,
        metrics: PlaneMetrics,
        vocabulary: Vocabulary,
        cuts: watch::Receiver<Arc<Cuts>>,
    ) -> Intake {
        let meter = metrics.meters.join(owned.partition());
        Intake(Arc::new(Inner {
            owned,
            meter,
            credits,
            live,
            metrics,
            vocabulary,
            cuts,
            cut: AtomicU32::new(0),
            gate: Gate::default(),
            queue: Mutex::default(),
            abandoned: Mutex::default(),
            played: watch::Sender::new(Offset(0)),
            troubled: AtomicBool::new(false),
            leaves: AtomicBool::new(false),
            disowned: Notify::new(),
        }))
    }

    /// Counts what this partition costs.
    pub(crate) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Takes events in again after a move was called off.
    pub(crate) fn open(&self) {
        self.0.leaves.store(false, Ordering::Relaxed);
        self.0.gate.open();
    }

    /// Takes nothing new in, and returns when everything that was taken in has its outcome, or
    /// `soft` is over: then nothing further is to be decided here. What is left stands in the log,
    /// in its order, and is the next owner's. A partition that is moved because it has too much to
    /// do would otherwise be out for as long as that takes.
    pub(crate) async fn drain(&self, soft: Duration) {
        self.0.gate.shut().await;
        let end = self.0.owned.end(LogKind::Events);
        let mut played = self.0.played.subscribe();
        let empty = played.wait_for(|played| *played >= end);
        if tokio::time::timeout(soft, empty).await.is_err() {
            self.0.leaves.store(true, Ordering::Relaxed);
        }
    }

    /// The end of the events that were taken in while an earlier cut was in force, once none of them is
    /// under way any more. What is taken in after the call is of the cut in force.
    pub(crate) async fn end_before_cut(&self) -> Offset {
        self.0.gate.turn().await;
        self.0.owned.end(LogKind::Events)
    }

    /// The outcomes know of that cut.
    pub(crate) fn is_cut(&self, partitions: Option<u32>) {
        self.0.cut.fetch_max(partitions.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether all keep their order here. Asked after the passage is counted: whoever cuts the hunt finer
    /// waits for those that may have seen the cut before.
    fn are_mine(&self, events: &[Event]) -> bool {
        let (known, partition) = (self.0.cuts.borrow().partitions(), self.0.owned.partition());
        let partitions = known.max(self.0.cut.load(Ordering::Relaxed));
        let mine = |event: &Event| {
            let key = self.0.vocabulary.key(event).unwrap_or_default();
            !self.0.vocabulary.is_ordered(event) || partition_of(key, partitions) == partition
        };
        partitions == 0 || events.iter().all(mine)
    }

    /// Whether what is left is the next owner's.
    pub(crate) fn leaves(&self) -> bool {
        self.0.leaves.load(Ordering::Relaxed)
    }

    /// Returns when the log has refused an append because the partition is not ours.
    pub(crate) async fn disowned(&self) {
        self.0.disowned.notified().await;
    }

    pub(crate) async fn append(
        &self,
        events: Vec<Event>,
        source: Source,
    ) -> Result<Vec<Accepted>, NotTaken> {
        let arrived = Instant::now();
        let epoch = self.0.owned.epoch();
        let not_mine = NotTaken::NotMine { epoch: Some(epoch) };
        let _passage = self.0.gate.pass().ok_or(not_mine.clone())?;
        if !self.are_mine(&events) {
            return Err(not_mine);
        }
        let mut records = Records::new();
        let followed = Followed::of(self.0.metrics.meters.traces(), &events);
        let count = events.len();
        for event in events {
            let key = self.0.vocabulary.key(&event).unwrap_or_default().to_owned();
            records.push_keyed(key.as_bytes(), |into| event.encode(into));
        }
        let size = Size { events: count as u64, bytes: records.bytes() as u64 };
        let running = self.0.live.snapshot();
        let permit = match source {
            Source::Producer => {
                self.settle();
                self.not_overdue(size, running.config.buffers.wait)?;
                Some(self.0.credits.take(size).ok_or_else(|| self.full(size))?)
            }
            Source::Outbox => None,
        };
        let limit = running.config.workers.timeout;
        let (offsets, permit) = match tokio::time::timeout(limit, self.write(records, permit)).await
        {
            Ok(Ok(written)) => written,
            Ok(Err(broker::Error::Fenced { by })) => {
                self.0.disowned.notify_one();
                return Err(NotTaken::Fenced { by });
            }
            Ok(Err(broker::Error::Closed)) => {
                self.0.disowned.notify_one();
                return Err(NotTaken::NotMine { epoch: Some(epoch) });
            }
            Ok(Err(broker::Error::TooLarge { bytes })) => return Err(NotTaken::TooLarge { bytes }),
            Ok(Err(error)) => return Err(self.in_trouble(chain(&error))),
            Err(_) => return Err(self.in_trouble(format!("not durable within {limit:?}"))),
        };
        self.out_of_trouble();
        let (partition, trace) = (self.0.owned.partition(), followed.first());
        followed.accepted(arrived, (partition, epoch), &offsets);
        if let (Some(last), Some(permit)) = (offsets.last(), permit) {
            self.wait_for_worker(Waiting { last: *last, permit, arrived, trace });
        }
        self.0.metrics.accepted.inc_by(count as u64);
        self.0.meter.accepted(count as u64, arrived.elapsed(), trace);
        let accepted = |offset| Accepted { partition, offset, epoch };
        Ok(offsets.into_iter().map(accepted).collect())
    }

    /// Returns when the records are durable, with what is left of their credits. Cancelled while
    /// they wait for the disk, the credits stay with them.
    async fn write(
        &self,
        records: Records,
        permit: Option<Permit>,
    ) -> Result<(Vec<Offset>, Option<Permit>), broker::Error> {
        let arrived = Instant::now();
        let answer = self.0.owned.submit(LogKind::Events, records).await?;
        let written = Some(Written { answer, permit, arrived });
        let (answer, written) = Writing { intake: self, written }.answered().await;
        Ok((answer?, written.and_then(|written| written.permit)))
    }

    /// Sees what became of appends whose producers went away: events that are durable wait for the
    /// worker as all do.
    fn settle(&self) {
        let answered = self.abandoned().answered();
        if answered.iter().any(|(_, answer, _)| answer.is_ok()) {
            self.out_of_trouble();
        }
        for (arrived, answer, permit) in answered {
            if let Some(last) = answer.ok().and_then(|offsets| offsets.last().copied()) {
                self.wait_for_worker(Waiting { last, permit, arrived, trace: None });
            }
        }
    }

    /// Counts, again and again, how much of the log has no outcome yet: also what no gateway took in,
    /// and when the worker is held up.
    pub(crate) async fn count_lag(&self) {
        loop {
            // the worker has said by then where it begins
            tokio::time::sleep(LAG_EVERY).await;
            let next = *self.0.played.borrow();
            self.0.meter.behind(self.0.owned.events_behind(next));
        }
    }

    /// Everything before `next` has its outcome: its credits return.
    pub(crate) fn played(&self, next: Offset) {
        self.settle();
        let mut queue = self.queue();
        let (now, mut events) = (Instant::now(), 0);
        while let Some(first) = queue.appends.front().filter(|first| first.last < next) {
            let (count, waited) = (first.permit.size().events, now - first.arrived);
            self.0.meter.answered(count, waited, first.trace);
            events += count;
            queue.appends.pop_front();
        }
        let oldest = queue.oldest();
        queue.backlog.played(now, events, oldest.map(|oldest| now - oldest));
        self.0.meter.waiting_since(oldest);
        // Under the list's lock: whoever comes late to the list must see what is played by then.
        let before = self.0.played.send_replace(next);
        drop(queue);
        if before < next {
            self.out_of_trouble();
        }
    }

    fn wait_for_worker(&self, new: Waiting) {
        let mut queue = self.queue();
        if *self.0.played.borrow() > new.last {
            self.0.meter.answered(new.permit.size().events, new.arrived.elapsed(), new.trace);
            return;
        }
        // Appends end nearly in the order of their places; the list is kept in that order.
        let before = |before: &Waiting| before.last < new.last;
        let at = queue.appends.iter().rposition(before).map_or(0, |at| at + 1);
        queue.appends.insert(at, new);
        self.0.meter.waiting_since(queue.oldest());
    }

    fn in_trouble(&self, why: String) -> NotTaken {
        self.0.troubled.store(true, Ordering::Relaxed);
        self.0.metrics.meters.troubles().run_into(self.0.owned.partition(), why.clone());
        NotTaken::Log { why }
    }

    /// The log takes what it is given.
    fn out_of_trouble(&self) {
        if self.0.troubled.swap(false, Ordering::Relaxed) {
            self.0.metrics.meters.troubles().end(self.0.owned.partition());
        }
    }

    /// Refuses what would wait for too long.
    fn not_overdue(&self, size: Size, wait: Duration) -> Result<(), NotTaken> {
        let queued = self.0.credits.used().events + size.events;
        let queue = self.queue();
        let oldest = queue.oldest().map(|arrived| arrived.elapsed());
        let waits = queue.backlog.wait(queued, oldest.unwrap_or_default());
        drop(queue);
        match waits.checked_sub(wait).filter(|over| !over.is_zero()) {
            None => Ok(()),
            Some(over) => Err(self.refuse(size, over.max(RETRY_AFTER_DEFAULT))),
        }
    }

    /// Refuses what there are no credits for.
    fn full(&self, size: Size) -> NotTaken {
        let used = self.0.credits.used().events + size.events;
        let over = used.saturating_sub(self.0.credits.capacity().events).max(size.events);
        self.refuse(size, self.queue().backlog.takes(over).unwrap_or(RETRY_AFTER_DEFAULT))
    }

    fn refuse(&self, size: Size, over: Duration) -> NotTaken {
        self.0.meter.shed(size.events);
        NotTaken::Full { retry_after: over.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX) }
    }

    fn abandoned(&self) -> std::sync::MutexGuard<'_, Abandoned<AnySubmitted, Permit>> {
        self.0.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
