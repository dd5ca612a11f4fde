//! What the nodes' reports tell: what each partition costs, how much each node can take, how well
//! it does. In: reports as they arrive, timed by our own clock. Out: costs for one round. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use config_schemas::documents::Owner;
use config_schemas::hot::{HotSum, hot_keys};
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
/// A cost that changed by more than this part of itself, of the mean, and of what chance does to
/// few events (in standard deviations), since the last round has jumped.
const JUMP_OF_ITSELF: f64 = 0.4;
const JUMP_OF_MEAN: f64 = 0.3;
const JUMP_OF_CHANCE: f64 = 4.0;
/// Of a jump a moving average shows this part after one window, and of what is left each time more.
const SHOWN: f64 = 0.5;
/// What a report may say at most, in cores: more is no measurement, and would drown all others.
const COST_MAX: f64 = 1e4;
const WEIGHT_MIN: f64 = 0.01;

/// What was reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loads {
    reports: BTreeMap<NodeName, Report>,
    /// The last cost of each partition that was worth believing.
    believed: Vec<Option<Belief>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Belief {
    /// As its owner said.
    reported: f64,
    /// What that average is on its way to.
    expected: f64,
    since: Timestamp,
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

    /// The hot keys of all gateways that still report, by what partitions cost.
    pub fn hot(&self, costs: &Costs, now: Timestamp) -> Vec<HotSum> {
        let known = self.reports.values().filter(|report| !report.is_silent(now));
        hot_keys(known.map(|report| &report.load), |id| costs.of(id))
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
        let mean = self.mean();
        let known: HashMap<&NodeName, &Report> =
            self.reports.iter().filter(|(_, report)| !report.is_silent(now)).collect();
        let mut heard = Vec::new();
        for (id, owner, since) in owned {
            let same = |report: &&&Report| report.load.incarnation == owner.incarnation;
            let Some(report) = known.get(&owner.node).filter(same) else { continue };
            let served = since.map(|since| report.arrived.duration_since(since));
            let served = served.map(|served| Duration::try_from(served).unwrap_or_default());
            let settled = served.is_none_or(|served| served >= SETTLES_IN);
            let before = self.believed.get(id.0 as usize).copied().flatten();
            if settled || before.is_none() {
                let reported = report.load.cost_of(id).clamp(0.0, COST_MAX);
                let noise = Noise { mean, scatter: report.load.scatter() };
                let expected =
                    before.map_or(reported, |before| before.now_expects(reported, noise, now));
                heard.push((id, Belief { reported, expected, since: now }));
            }
        }
        drop(known);
        for (id, belief) in heard {
            let place = id.0 as usize;
            if self.believed.len() <= place {
                self.believed.resize(place + 1, None);
            }
            self.believed[place] = Some(belief);
        }
    }

    /// The cost of each of so many partitions.
    pub fn costs(&self, partitions: u32) -> Costs {
        let known =
            |id: PartitionId| self.believed.get(id.0 as usize)?.map(|belief| belief.expected);
        Costs { scatter: self.scatter(), ..Costs::of_known(partitions, known) }
    }

    /// The mean of all nodes' scatter, by what they carry.
    fn scatter(&self) -> f64 {
        let loads = || self.reports.values().map(|report| &report.load);
        let (sum, total) = loads()
            .filter(|load| load.scatter().is_finite())
            .map(|load| (load.scatter() * load.utilisation(), load.utilisation()))
            .fold((0.0, 0.0), |(sum, total), (one, load)| (sum + one, total + load));
        if total > 0.0 { sum / total } else { 0.0 }
    }

    fn mean(&self) -> f64 {
        let known = self.believed.iter().flatten();
        let total: f64 = known.clone().map(|belief| belief.reported).sum();
        total / known.count().max(1) as f64
    }
}

/// What a cost changes by without having jumped.
#[derive(Debug, Clone, Copy)]
struct Noise {
    /// Of all costs.
    mean: f64,
    /// As [`Load::scatter`].
    scatter: f64,
}

impl Belief {
    /// A moving average shows a jump bit by bit; half of a hot spot is no ground to place it by.
    fn now_expects(&self, reported: f64, noise: Noise, now: Timestamp) -> f64 {
        let change = reported - self.reported;
        // From one window to the next an average of weight 0.5 changes by chance as much as it
        // scatters.
        let chance = (noise.scatter * self.reported).sqrt();
        let jumps = change.abs() > JUMP_OF_ITSELF * self.reported
            && change.abs() > JUMP_OF_MEAN * noise.mean
            && change.abs() > JUMP_OF_CHANCE * chance;
        if !jumps {
            return reported;
        }
        let windows = now.duration_since(self.since).as_secs_f64() / LOAD_WINDOW.as_secs_f64();
        let shown = 1.0 - (1.0 - SHOWN).powf(windows.max(1.0));
        (self.reported + change / shown).clamp(0.0, COST_MAX)
    }
}

/// What each partition costs, in busy seconds per second; never nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Costs {
    all: Vec<f64>,
    /// Of what is known, without what was added to keep partitions at rest apart.
    total: f64,
    /// By how much they scatter by chance: see [`Load::scatter`].
    pub(super) scatter: f64,
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
        Costs { all: known.iter().map(cost).collect(), total, scatter: 0.0 }
    }

    /// What that partition costs.
    pub fn of(&self, partition: PartitionId) -> f64 {
        self.all.get(partition.0 as usize).copied().unwrap_or(1.0)
    }

    /// What so many partitions cost together.
    pub fn sum(&self, partitions: u32) -> f64 {
        (0..partitions).map(|id| self.of(PartitionId(id))).sum()
    }

    /// What all that is known costs.
    pub fn total(&self) -> f64 {
        self.total
    }
}
