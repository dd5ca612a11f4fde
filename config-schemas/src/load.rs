//! `load/<node>`: what a node carries and how well it does, as it says itself each
//! [`LOAD_WINDOW`]. In: measured figures. Out: a document of a few hundred bytes, never more than
//! [`LOAD_BYTES_MAX`]: numbers rounded, small partitions summed. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::documents::FORMAT;
use crate::hot::HotReport;
use crate::names::PartitionId;

/// Over this time a node measures, and this often it reports while it works.
pub const LOAD_WINDOW: Duration = Duration::from_secs(5);

/// A partition under this share of its node's cost is not named but summed into [`Load::rest`].
/// So a report names at most 500 partitions, however many there are.
pub const NAMED_SHARE: f64 = 0.002;

/// No report is longer: 500 named partitions at 17 bytes each, and 2.5 KiB for all else. A node
/// with 4,096 partitions of equal cost names none of them and stays under 512 bytes.
pub const LOAD_BYTES_MAX: usize = 11 << 10;

/// Troubles that a report names, and characters of each: one full disk is the trouble of every
/// partition, and the first few say so.
const TROUBLES_MAX: usize = 4;
const TROUBLE_CHARS_MAX: usize = 300;

/// Digits that a figure keeps: measurement is not better than 1 %, and bytes in etcd are not free.
const DIGITS: i32 = 3;

/// What a node carries, on its lease. Costs and the weight are in the same unit, so that the sum
/// of costs over the weight is the share of the node that is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// See [`FORMAT`].
    pub format: u32,
    /// When it was measured, in milliseconds since 1970 by the node's own clock: for people. Judge
    /// the age by when the report arrived.
    pub at_ms: u64,
    /// Which life of the node says so.
    pub incarnation: String,
    /// The next report follows within this time. `None`: the node is at rest and writes again when
    /// that changes; until then its lease alone says that it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// How much the node can take: processor cores that it may use, times how fast they were of
    /// late against what this node is used to (0.5 to 2). Above 0.
    pub weight: f64,
    /// Busy seconds per second of each partition of some cost: moving average with weight 0.5 for
    /// the newest window, with what shed events would have cost. In seconds of a core of this
    /// node's usual speed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cost: BTreeMap<PartitionId, f64>,
    /// The partitions that `cost` does not name, of those that the node serves.
    #[serde(default)]
    pub rest: Rest,
    /// 99 of 100 events had their outcome within this time of their arrival, in the last window.
    /// What still waits counts with its age so far. 0 when nothing happened.
    #[serde(default)]
    pub latency_p99_ms: f64,
    /// Events that wait in all queues.
    #[serde(default)]
    pub queued: u64,
    /// Events per second that got their outcome in the last window.
    #[serde(default)]
    pub rate: f64,
    /// Events of the last window that were refused for want of room, each try counted.
    #[serde(default)]
    pub shed: u64,
    /// Cores that the whole process used in the last window. For people: no partition's cost is
    /// derived from it.
    #[serde(default)]
    pub cpu: f64,
    /// Why the node holds itself to be slow; `None` when it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// What keeps partitions of this node from being served or written to.
    #[serde(default, skip_serializing_if = "Troubles::is_none")]
    pub troubles: Troubles,
    /// Keys that are hot at this node's gateway and have to stay in order, the heaviest first; at
    /// most [`HOT_REPORTED_MAX`](crate::hot::HOT_REPORTED_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot: Vec<HotReport>,
}

/// Partitions whose log cannot be written, or not be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubles {
    /// How many.
    pub count: u32,
    /// The first few, with file and place where it is damage.
    pub first: BTreeMap<PartitionId, String>,
}

impl Troubles {
    /// Whether all is well.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}

/// Partitions too small to be named, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    /// How many.
    pub partitions: u32,
    /// What they cost together, in the unit of [`Load::cost`].
    pub cost: f64,
}

/// Why a node holds itself to be slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// A word for metrics and filters.
    pub code: SlowCode,
    /// The same for people, with the figures.
    pub reason: String,
}

/// Which measure says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SlowCode {
    /// The process does not run when it should: paused, throttled, or a busy machine.
    Late,
    /// Events take much longer to work on than this node is used to.
    Work,
    /// Events wait too long for their outcome.
    Latency,
    /// A reason of a newer build.
    #[serde(other)]
    Other,
}

impl SlowCode {
    /// Every reason of this build.
    pub const ALL: [SlowCode; 3] = [SlowCode::Late, SlowCode::Work, SlowCode::Latency];

    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SlowCode::Late => "Late",
            SlowCode::Work => "Work",
            SlowCode::Latency => "Latency",
            SlowCode::Other => "Other",
        }
    }
}

impl Load {
    /// A node that has just started: its weight is known, and nothing else happened.
    pub fn at_rest(incarnation: &str, at_ms: u64, weight: f64) -> Load {
        Load {
            format: FORMAT,
            at_ms,
            incarnation: incarnation.to_owned(),
            next_ms: None,
            weight: rounded(weight),
            cost: BTreeMap::new(),
            rest: Rest::default(),
            latency_p99_ms: 0.0,
            queued: 0,
            rate: 0.0,
            shed: 0,
            cpu: 0.0,
            slow: None,
            troubles: Troubles::default(),
            hot: Vec::new(),
        }
    }

    /// The same with these troubles, the first few named.
    #[must_use]
    pub fn with_troubles(mut self, troubles: &BTreeMap<PartitionId, String>) -> Load {
        let short = |why: &String| why.chars().take(TROUBLE_CHARS_MAX).collect();
        let first = troubles.iter().take(TROUBLES_MAX).map(|(id, why)| (*id, short(why)));
        self.troubles = Troubles {
            count: u32::try_from(troubles.len()).unwrap_or(u32::MAX),
            first: first.collect(),
        };
        self
    }

    /// The same with these costs, the small ones summed.
    #[must_use]
    pub fn with_costs(mut self, costs: &BTreeMap<PartitionId, f64>) -> Load {
        let least = costs.values().sum::<f64>() * NAMED_SHARE;
        let (named, small): (Vec<_>, Vec<_>) =
            costs.iter().partition(|(_, cost)| **cost > 0.0 && **cost >= least);
        self.cost = named.into_iter().map(|(id, cost)| (*id, rounded(*cost))).collect();
        self.rest = Rest {
            partitions: u32::try_from(small.len()).unwrap_or(u32::MAX),
            cost: rounded(small.into_iter().map(|(_, cost)| cost).sum()),
        };
        self
    }

    /// The cost of everything that the node serves, named or not.
    pub fn total(&self) -> f64 {
        self.cost.values().sum::<f64>() + self.rest.cost
    }

    /// Share of the node in use; above 1 it is asked for more than it can do.
    pub fn utilisation(&self) -> f64 {
        if self.weight > 0.0 { self.total() / self.weight } else { 0.0 }
    }

    /// A partition's cost. One that is not named has its share of the rest; the caller knows that
    /// the node serves it.
    pub fn cost_of(&self, partition: PartitionId) -> f64 {
        let share = || self.rest.cost / f64::from(self.rest.partitions.max(1));
        self.cost.get(&partition).copied().unwrap_or_else(share)
    }

    /// By how much chance alone makes a reported cost scatter: the variance of each unit of it.
    /// Events come one by one, so that their number in a window scatters by its root (Poisson), and
    /// a moving average with weight 0.5 keeps a third of that variance. 0 when no event is known.
    pub fn scatter(&self) -> f64 {
        let window = LOAD_WINDOW.as_secs_f64();
        let events = self.rate + self.shed as f64 / window;
        if events > 0.0 { self.total() / events / (3.0 * window) } else { 0.0 }
    }

    /// Whether a report that arrived `age` ago should have been followed by another: the node is
    /// late by more than half a window, though its lease may still run.
    pub fn is_stale(&self, age: Duration) -> bool {
        self.next_ms.is_some_and(|next| age > Duration::from_millis(next) + LOAD_WINDOW / 2)
    }
}

/// To the digits that a report keeps; what is no number is 0.
pub fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    // Through text, so that the value is the nearest to its short decimal form and prints as it.
    let digits = usize::try_from(DIGITS - 1).unwrap_or(0);
    format!("{number:.digits$e}").parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{read, write};
    use crate::hot::{HOT_REPORTED_MAX, hash};

    fn load(costs: impl IntoIterator<Item = (u32, f64)>) -> Load {
        let costs = costs.into_iter().map(|(id, cost)| (PartitionId(id), cost)).collect();
        Load::at_rest("5d7b", 1_795_262_400_000, 2.0).with_costs(&costs)
    }

    #[test]
    fn a_figure_keeps_three_digits() {
        let check = |number: f64, expected: f64| assert!((rounded(number) - expected).abs() == 0.0);
        check(0.0, 0.0);
        check(0.123_456, 0.123);
        check(1234.5, 1230.0);
        check(0.000_012_345, 0.000_012_3);
        check(f64::NAN, 0.0);
        check(f64::INFINITY, 0.0);
        assert_eq!(serde_json::to_string(&rounded(0.1 + 0.2)).unwrap(), "0.3");
    }

    #[test]
    fn small_partitions_are_summed_and_nothing_is_lost() {
        let load = load([(0, 1.0), (1, 0.5), (2, 0.001), (3, 0.001), (4, 0.0)]);
        assert_eq!(load.cost.keys().map(|id| id.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(load.rest, Rest { partitions: 3, cost: 0.002 });
        assert!((load.total() - 1.502).abs() < 1e-9 && (load.utilisation() - 0.751).abs() < 1e-9);
        assert!((load.cost_of(PartitionId(1)) - 0.5).abs() < 1e-9);
        assert!((load.cost_of(PartitionId(3)) - 0.002 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_report_is_small_whatever_the_node_serves() {
        let check = |name: &str, mut load: Load, limit: usize| {
            load.next_ms = Some(5000);
            load.slow = Some(Slow { code: SlowCode::Late, reason: "x".repeat(200) });
            let bytes = write(&load);
            assert!(bytes.len() <= limit, "{name}: {} bytes", bytes.len());
            assert_eq!(read::<Load>(&bytes), Ok(load), "{name}");
        };
        check("4,096 equal", load((0..4096).map(|id| (id, 0.000_123))), 512);
        let zipf = (0..4096).map(|id| (id, 1.234_56 / f64::from(id + 1)));
        check("4,096 by Zipf", load(zipf), 2 << 10);
        // As many as can be named: each just over the share.
        let most = (3500..3999).map(|id| (id, 0.000_012_345)).chain((0..3500).map(|id| (id, 0.0)));
        let most = load(most);
        assert_eq!((most.cost.len(), most.rest.partitions), (499, 3500));
        let damaged = (0..4096).map(|id| (PartitionId(id), "y".repeat(900))).collect();
        let mut most = most.with_troubles(&damaged);
        let hot = HotReport { key: hash("ana"), partition: PartitionId(4095), rate: 123_456.0 };
        most.hot = vec![hot; HOT_REPORTED_MAX];
        check("499 named, all in trouble, hot keys", most, LOAD_BYTES_MAX);
    }

    #[test]
    fn a_report_is_stale_when_it_said_that_another_would_follow() {
        let mut load = load([(0, 1.0)]);
        assert!(!load.is_stale(Duration::from_secs(3600)), "at rest the lease speaks");
        load.next_ms = Some(5000);
        assert!(!load.is_stale(Duration::from_millis(7400)));
        assert!(load.is_stale(Duration::from_millis(7600)));
    }
}
