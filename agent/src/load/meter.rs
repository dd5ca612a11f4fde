//! Counters of what each partition costs, for those who work on it. Cheap: a few additions per
//! batch, none per event. In: what was done and refused. Out: the counts of a window. No I/O.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config_schemas::PartitionId;
use telemetry::catalogue::agent::EVENT_STAGES;
use telemetry::metrics::Durations;
use telemetry::traces::{TraceId, Traces};
use tokio::time::Instant;

use super::latency::{Counts, Latencies};
use super::troubles::Troubles;

/// The counters of every partition that this node serves. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Times are kept as nanoseconds since then.
    start: Instant,
    partitions: Mutex<BTreeMap<PartitionId, Arc<Counters>>>,
    latency: Counts,
    /// For good, unlike those above.
    stages: Stages,
    longest_batch: AtomicU64,
    troubles: Troubles,
    traces: Traces,
}

/// Where the time of events goes.
#[derive(Debug)]
struct Stages {
    accept: Arc<Durations>,
    decide: Arc<Durations>,
    whole: Arc<Durations>,
}

#[derive(Debug)]
struct Counters {
    since: Instant,
    decided: AtomicU64,
    waited: AtomicU64,
    events: AtomicU64,
    shed: AtomicU64,
    /// When the oldest of those that wait arrived; [`NOTHING`] when none waits.
    oldest: AtomicU64,
    /// Events in the log that have no outcome yet, whoever wrote them.
    lag: AtomicU64,
}

const NOTHING: u64 = u64::MAX;

/// One partition's counters, which go when dropped.
#[derive(Debug)]
pub struct Meter {
    meters: Meters,
    partition: PartitionId,
    counters: Arc<Counters>,
}

/// What was counted in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// By partition.
    pub partitions: BTreeMap<PartitionId, Tally>,
    /// From an event's arrival to its outcome.
    pub latency: Latencies,
    /// The longest time that one batch took.
    pub longest_batch: Duration,
    /// What keeps partitions from being served, at the window's end.
    pub troubles: BTreeMap<PartitionId, String>,
}

/// What was counted of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How long the node has served it by now.
    pub served: Duration,
    /// Time spent on deciding: the processor's.
    pub decided: Duration,
    /// Time in which a worker was held up by the log, in its turn.
    pub waited: Duration,
    /// Events that got their outcome.
    pub events: u64,
    /// Events refused for want of room, each try counted.
    pub shed: u64,
    /// How long the oldest event that has no outcome yet has waited.
    pub oldest: Duration,
    /// Events in the log that have no outcome yet, whoever wrote them.
    pub lag: u64,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters::following(Traces::default())
    }
}

impl Meters {
    /// Counters for a node that tells of some events at `traces`.
    pub fn following(traces: Traces) -> Meters {
        let tally = || Arc::new(Durations::new(EVENT_STAGES.metric()));
        Meters(Arc::new(Inner {
            start: Instant::now(),
            partitions: Mutex::default(),
            latency: Counts::default(),
            stages: Stages { accept: tally(), decide: tally(), whole: tally() },
            longest_batch: AtomicU64::new(0),
            troubles: Troubles::default(),
            traces,
        }))
    }

    /// Where events are told of that are followed.
    pub fn traces(&self) -> &Traces {
        &self.0.traces
    }

    /// New counters for `partition`, at 0.
    pub fn join(&self, partition: PartitionId) -> Meter {
        let counters = Arc::new(Counters {
            since: Instant::now(),
            decided: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            events: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            oldest: AtomicU64::new(NOTHING),
            lag: AtomicU64::new(0),
        });
        self.partitions().insert(partition, counters.clone());
        Meter { meters: self.clone(), partition, counters }
    }

    /// What was counted since the last call.
    pub fn take(&self) -> Counted {
        let now = Instant::now();
        let partitions = self.partitions();
        let counts = partitions.iter().map(|(id, counters)| (*id, self.counts(counters, now)));
        let partitions = counts.collect();
        Counted {
            partitions,
            latency: self.0.latency.take(),
            longest_batch: Duration::from_nanos(self.0.longest_batch.swap(0, Ordering::Relaxed)),
            troubles: self.0.troubles.standing(),
        }
    }

    /// Events in each partition's log that have no outcome yet.
    pub fn lags(&self) -> BTreeMap<PartitionId, u64> {
        let lag = |counters: &Counters| counters.lag.load(Ordering::Relaxed);
        self.partitions().iter().map(|(id, counters)| (*id, lag(counters))).collect()
    }

    /// Where the time of events has gone since the start, by stage.
    pub(crate) fn stages(&self) -> Vec<([&'static str; 1], Arc<Durations>)> {
        let Stages { accept, decide, whole } = &self.0.stages;
        let stages = [("accept", accept), ("decide", decide), ("whole", whole)];
        stages.map(|(stage, tally)| ([stage], tally.clone())).to_vec()
    }

    /// Where it is said what keeps a partition from being served.
    pub fn troubles(&self) -> &Troubles {
        &self.0.troubles
    }

    fn counts(&self, counters: &Counters, now: Instant) -> Tally {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let oldest = match counters.oldest.load(Ordering::Relaxed) {
            NOTHING => Duration::ZERO,
            at => now.duration_since(self.0.start).saturating_sub(Duration::from_nanos(at)),
        };
        Tally {
            served: now.duration_since(counters.since),
            decided: Duration::from_nanos(take(&counters.decided)),
            waited: Duration::from_nanos(take(&counters.waited)),
            events: take(&counters.events),
            shed: take(&counters.shed),
            oldest,
            lag: counters.lag.load(Ordering::Relaxed),
        }
    }

    fn partitions(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartitionId, Arc<Counters>>> {
        self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    /// A batch of `events` got its outcomes: `busy` in all, `decided` of it spent on deciding.
    pub fn played(&self, events: usize, decided: Duration, busy: Duration) {
        let add = |counter: &AtomicU64, time| counter.fetch_add(nanos(time), Ordering::Relaxed);
        add(&self.counters.decided, decided);
        add(&self.counters.waited, busy.saturating_sub(decided));
        self.counters.events.fetch_add(events as u64, Ordering::Relaxed);
        self.meters.0.stages.decide.add(decided, events as u64);
        self.meters.0.longest_batch.fetch_max(nanos(busy), Ordering::Relaxed);
    }

    /// `events` were refused for want of room.
    pub fn shed(&self, events: u64) {
        self.counters.shed.fetch_add(events, Ordering::Relaxed);
    }

    /// `events` are durable in the log, so long after they arrived; `trace` is of one of them.
    pub fn accepted(&self, events: u64, took: Duration, trace: Option<TraceId>) {
        self.followed("accept", took, trace);
        self.meters.0.stages.accept.add(took, events);
    }

    /// `events` have their outcome, so long after they arrived; `trace` is of one of them.
    pub fn answered(&self, events: u64, took: Duration, trace: Option<TraceId>) {
        self.followed("whole", took, trace);
        self.meters.0.stages.whole.add(took, events);
        self.meters.0.latency.add(took, events);
    }

    fn followed(&self, stage: &str, took: Duration, trace: Option<TraceId>) {
        if let (Some(trace), Some(exemplars)) = (trace, self.meters.traces().exemplars()) {
            exemplars.keep(EVENT_STAGES.metric(), &[stage], took.as_secs_f64(), trace);
        }
    }

    /// So many events of the log have no outcome yet.
    pub fn behind(&self, events: u64) {
        self.counters.lag.store(events, Ordering::Relaxed);
    }

    /// The oldest event without an outcome arrived then; `None` when nothing waits.
    pub fn waiting_since(&self, arrived: Option<Instant>) {
        let start = self.meters.0.start;
        let at = arrived.map_or(NOTHING, |at| nanos(at.duration_since(start)));
        self.counters.oldest.store(at, Ordering::Relaxed);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let mut partitions = self.meters.partitions();
        // A new holder of the partition may have joined before this one went.
        if partitions.get(&self.partition).is_some_and(|held| Arc::ptr_eq(held, &self.counters)) {
            partitions.remove(&self.partition);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NOTHING - 1).min(NOTHING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_window_has_what_was_counted_in_it_and_the_next_one_does_not() {
        let meters = Meters::default();
        let meter = meters.join(PartitionId(3));
        tokio::time::advance(10 * MS).await;
        let arrived = Instant::now();
        meter.waiting_since(Some(arrived));
        tokio::time::advance(40 * MS).await;
        meter.played(64, 3 * MS, 5 * MS);
        meter.played(1, MS, 9 * MS);
        meter.answered(65, 2 * MS, None);
        meter.shed(7);
        meter.behind(9);
        let counted = meters.take();
        let expected = Tally {
            served: 50 * MS,
            decided: 4 * MS,
            waited: 10 * MS,
            events: 65,
            shed: 7,
            oldest: 40 * MS,
            lag: 9,
        };
        assert_eq!(counted.partitions, BTreeMap::from([(PartitionId(3), expected)]));
        assert_eq!((counted.latency.count(), counted.longest_batch), (65, 9 * MS));
        meter.waiting_since(None);
        meter.behind(0);
        let nothing = Tally { served: 50 * MS, ..Tally::default() };
        assert_eq!(meters.take().partitions[&PartitionId(3)], nothing);
    }

    #[tokio::test]
    async fn a_partition_that_was_taken_anew_outlives_the_old_holder() {
        let meters = Meters::default();
        let old = meters.join(PartitionId(1));
        let new = meters.join(PartitionId(1));
        drop(old);
        new.shed(1);
        assert_eq!(meters.take().partitions[&PartitionId(1)].shed, 1);
        drop(new);
        assert!(meters.take().partitions.is_empty());
    }
}
