//! What the nodes' reports tell: what each partition costs, how much each node can take, how well
//! it does. In: reports as they arrive, timed by our own clock. Out: costs for one round. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::documents::Owner;
use config_schemas::{LOAD_WINDOW, Load, NodeName, PartitionId};
use jiff::Timestamp;

use super::Health;

/// A report that is this much later than it was announced counts no more: three windows in all.
const SILENT_AFTER: Duration = LOAD_WINDOW.saturating_mul(2);
/// A new owner's figures count once its moving average has forgotten that it began at nothing.
const SETTLES_IN: Duration = LOAD_WINDOW.saturating_mul(2);
/// The least that a partition counts, of the mean: one at rest costs files and memory too, and
/// those at rest must not all end on one node.
const LEAST_OF_MEAN: f64 = 0.05;
/// What a report may say at most, in cores: more is no measurement, and would drown all others.
const COST_MAX: f64 = 1e4;
const WEIGHT_MIN: f64 = 0.01;

/// What was reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loads {
    reports: BTreeMap<NodeName, Report>,
    /// The last cost of each partition that was worth believing.
    believed: BTreeMap<PartitionId, f64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Report {
    load: Load,
    arrived: Timestamp,
}

impl Report {
    fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.arrived)).unwrap_or_default()
    }

    /// Another report should have come long ago. A node at rest announces none.
    fn is_silent(&self, now: Timestamp) -> bool {
        let announced = self.load.next_ms.map(Duration::from_millis);
        announced.is_some_and(|next| self.age(now) > next.saturating_add(SILENT_AFTER))
    }
}

impl Loads {
    /// Takes a report in, or that it is gone.
    pub fn report(&mut self, node: &NodeName, load: Option<Load>, now: Timestamp) {
        match load {
            Some(load) => {
                self.reports.insert(node.clone(), Report { load, arrived: now });
            }
            None => {
                self.reports.remove(node);
            }
        }
    }

    /// Nothing was ever reported.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.believed.is_empty()
    }

    /// Whether any node announced another report: the hunt is at work.
    pub fn is_active(&self) -> bool {
        self.reports.values().any(|report| report.load.next_ms.is_some())
    }

    /// Whether that life of a node has said something that still counts.
    pub fn is_known(&self, owner: &Owner, now: Timestamp) -> bool {
        self.of(owner).is_some_and(|report| !report.is_silent(now))
    }

    /// How much a node can take, if it said so.
    pub fn weight(&self, owner: &Owner) -> Option<f64> {
        let weight = self.of(owner)?.load.weight;
        Some(weight.clamp(WEIGHT_MIN, COST_MAX)).filter(|weight| weight.is_finite())
    }

    /// How well a node does. One that has not reported yet is well.
    pub fn health(&self, owner: &Owner, now: Timestamp) -> Health {
        match self.of(owner) {
            Some(report) if report.is_silent(now) || report.load.slow.is_some() => Health::Slow,
            Some(report) if report.load.is_stale(report.age(now)) => Health::Doubtful,
            Some(_) | None => Health::Well,
        }
    }

    fn of(&self, owner: &Owner) -> Option<&Report> {
        self.reports.get(&owner.node).filter(|report| report.load.incarnation == owner.incarnation)
    }

    /// Believes what the owners say; `since` is when a partition came to its owner.
    pub fn believe<'a>(
        &mut self,
        owned: impl Iterator<Item = (PartitionId, &'a Owner, Option<Timestamp>)>,
        now: Timestamp,
    ) {
        let mut heard = Vec::new();
        for (id, owner, since) in owned {
            let Some(report) = self.of(owner).filter(|report| !report.is_silent(now)) else {
                continue;
            };
            let served = since.map(|since| report.arrived.duration_since(since));
            let served = served.map(|served| Duration::try_from(served).unwrap_or_default());
            let settled = served.is_none_or(|served| served >= SETTLES_IN);
            if settled || !self.believed.contains_key(&id) {
                heard.push((id, report.load.cost_of(id).clamp(0.0, COST_MAX)));
            }
        }
        self.believed.extend(heard);
    }

    /// The cost of each of so many partitions.
    pub fn costs(&self, partitions: u32) -> Costs {
        Costs::of_known(partitions, |id| self.believed.get(&id).copied())
    }
}

/// What each partition costs, in busy seconds per second; never nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Costs {
    all: Vec<f64>,
    /// Of what is known, without what was added to keep partitions at rest apart.
    total: f64,
}

impl Costs {
    /// Every partition costs the same.
    pub fn equal() -> Costs {
        Costs::default()
    }

    /// Costs as far as known; the others count as the mean.
    pub fn of_known(partitions: u32, known: impl Fn(PartitionId) -> Option<f64>) -> Costs {
        let known: Vec<Option<f64>> = (0..partitions).map(|id| known(PartitionId(id))).collect();
        let (count, total) =
            known.iter().flatten().fold((0_u32, 0.0), |(n, sum), cost| (n + 1, sum + cost));
        if total <= 0.0 {
            return Costs::equal();
        }
        let mean = total / f64::from(count);
        let cost = |cost: &Option<f64>| cost.unwrap_or(mean).max(LEAST_OF_MEAN * mean);
        Costs { all: known.iter().map(cost).collect(), total }
    }

    /// What that partition costs.
    pub fn of(&self, partition: PartitionId) -> f64 {
        self.all.get(partition.0 as usize).copied().unwrap_or(1.0)
    }

    /// What all that is known costs.
    pub fn total(&self) -> f64 {
        self.total
    }
}
