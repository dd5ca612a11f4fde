//! How long things took, as counts by size: eight classes per doubling, so that a quantile is
//! right to an eighth. Bounded: 2 kB whatever is counted. In: times. Out: quantiles. No I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Classes per doubling, as a power of two.
const FINENESS: u32 = 3;
/// Times are counted in units of 2^10 ns, about a microsecond; what is shorter counts as one.
const UNIT_BITS: u32 = 10;
/// 28 doublings of the unit: from a microsecond to more than four minutes. What is longer counts
/// as the longest.
const CLASSES: usize = 28 << FINENESS;

/// Counts that many tasks add to at once.
#[derive(Debug)]
pub(crate) struct Counts([AtomicU64; CLASSES]);

/// The same, at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

impl Default for Counts {
    fn default() -> Counts {
        Counts(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(vec![0; CLASSES])
    }
}

impl Counts {
    /// `count` things took `time` each.
    pub(crate) fn add(&self, time: Duration, count: u64) {
        self.0[class(time)].fetch_add(count, Ordering::Relaxed);
    }

    /// What was added since the last call.
    pub(crate) fn take(&self) -> Latencies {
        Latencies(self.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect())
    }
}

impl Latencies {
    /// `count` things took `time` each.
    pub fn add(&mut self, time: Duration, count: u64) {
        self.0[class(time)] += count;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time within which `share` (0 to 1) of all were done, rounded up by at most an eighth;
    /// `None` when there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // Counts stay far below 2^53, where floats are exact.
        let rank = (count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let class = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        class.map(upper)
    }
}

fn class(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let units = (nanos >> UNIT_BITS).saturating_add(1 << FINENESS);
    let doubling = units.ilog2() - FINENESS;
    let step = (units >> doubling) - (1 << FINENESS);
    let class = (u64::from(doubling) << FINENESS) + step;
    usize::try_from(class).unwrap_or(usize::MAX).min(CLASSES - 1)
}

/// The longest time of a class.
fn upper(class: usize) -> Duration {
    let (doubling, step) = (class >> FINENESS, class & ((1 << FINENESS) - 1));
    let above = ((1 << FINENESS) + step as u64 + 1) << doubling;
    Duration::from_nanos((above - (1 << FINENESS)) << UNIT_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), None);
        for millis in 1..=1000 {
            latencies.add(Duration::from_millis(millis), 1);
        }
        for (share, millis) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let found = latencies.quantile(share).unwrap();
            let exact = Duration::from_millis(millis);
            assert!(found >= exact && found <= exact * 9 / 8, "{share}: {found:?}");
        }
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let counts = Counts::default();
        counts.add(Duration::from_millis(3), 7);
        counts.add(Duration::MAX, 1);
        assert_eq!(counts.take().count(), 8);
        assert_eq!(counts.take(), Latencies::default());
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_class_that_holds_it(nanos in 0_u64..200_000_000_000) {
            let time = Duration::from_nanos(nanos);
            let class = class(time);
            prop_assert!(time < upper(class));
            prop_assert!(class == 0 || time >= upper(class - 1));
        }
    }
}
