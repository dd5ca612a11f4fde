//! A histogram that takes many equal observations at once: what a batch costs is the same however
//! many events it has. In: times and counts. Out: a histogram. No I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto;

use crate::catalogue::Metric;

/// Counts that many tasks add to at once.
#[derive(Debug)]
pub struct Durations {
    classes: &'static [f64],
    /// One more than classes: what is above them all.
    counts: Vec<AtomicU64>,
    /// Nanoseconds: enough for five centuries.
    sum: AtomicU64,
}

impl Durations {
    /// Nothing yet, by the classes of `metric`.
    pub fn new(metric: &Metric) -> Durations {
        let classes = metric.buckets;
        let counts = (0..=classes.len()).map(|_| AtomicU64::new(0)).collect();
        Durations { classes, counts, sum: AtomicU64::new(0) }
    }

    /// `count` things took `time` each.
    pub fn add(&self, time: Duration, count: u64) {
        let seconds = time.as_secs_f64();
        let class = self.classes.partition_point(|bound| *bound < seconds);
        if let Some(counted) = self.counts.get(class) {
            counted.fetch_add(count, Ordering::Relaxed);
        }
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos.saturating_mul(count), Ordering::Relaxed);
    }

    pub(super) fn shown(&self) -> proto::Histogram {
        let mut shown = proto::Histogram::default();
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.classes.len());
        for (bound, count) in self.classes.iter().zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        total += self.counts.last().map_or(0, |above| above.load(Ordering::Relaxed));
        shown.set_bucket(buckets);
        shown.set_sample_count(total);
        shown.set_sample_sum(Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64());
        shown
    }
}
