//! Hot keys that have to stay in order, as gateways report them and as they add up: such a key is
//! never split, so the partition that it lies in sets what balance can reach. In: reports. Out:
//! keys with what they cost, the heaviest first; which partitions they fill. Pure: the operator
//! judges by it from round to round, and `hunt status` by what is reported now.
//!
//! Keys are people's names. Only a hash leaves the node: enough to see that two gateways mean the
//! same key, and for somebody who has a name to see whether it is that one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::load::{Load, rounded};
use crate::names::PartitionId;

/// Keys in one report: only a handful can each take a tenth of a node at one gateway, and the
/// heaviest are those that matter.
pub const HOT_REPORTED_MAX: usize = 8;

/// A key is hot from this share of what a mean node carries.
pub const HOT_SHARE: f64 = 0.1;

/// A key fills a partition from this part of its cost.
const DOMINATES: f64 = 0.5;

/// What has come to fill a partition counts on down to this part of what it takes to begin.
const HOLDS: f64 = 0.5;

/// Mean utilisation of nodes from which load matters, and so what one key takes of it.
pub const LOADED_FROM: f64 = 0.25;

/// Bytes of SHA-256 that are told of a key, in hexadecimal.
const HASH_BYTES: usize = 8;

/// A hot key at one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HotReport {
    /// [`hash`] of the key.
    pub key: String,
    /// Where all of it goes.
    pub partition: PartitionId,
    /// Events per second of it, tries of producers that were told to come back included.
    pub rate: f64,
}

/// A hot key over all gateways.
#[derive(Debug, Clone, PartialEq)]
pub struct HotSum {
    /// See [`HotReport::key`].
    pub key: String,
    /// See [`HotReport::partition`].
    pub partition: PartitionId,
    /// Events per second, over all gateways.
    pub rate: f64,
    /// Busy seconds per second that it takes, as far as can be told: its share of all events is
    /// its share of all cost, and never more than its partition costs.
    pub cost: f64,
}

/// What is told of a key: as `printf KEY | sha256sum | cut -c1-16` says it.
pub fn hash(key: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(key).iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// What a mean node of a hunt carries, and how much it can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanNode {
    /// Busy seconds per second.
    pub cost: f64,
    /// The same that it could be.
    pub weight: f64,
}

impl MeanNode {
    /// Of so many nodes that carry and can take so much together.
    pub fn of(nodes: usize, cost: f64, weight: f64) -> MeanNode {
        let nodes = nodes.max(1) as f64;
        MeanNode { cost: cost / nodes, weight: weight / nodes }
    }

    /// Whether nodes carry so much that one key can matter.
    pub fn is_loaded(&self) -> bool {
        self.cost > 0.0 && self.cost >= LOADED_FROM * self.weight
    }
}

/// A partition in which a hot key lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot {
    /// What the partition costs.
    pub cost: f64,
    /// How much its node can take, if that lives and is ready.
    pub weight: Option<f64>,
    /// A key was found to fill it before.
    pub known: bool,
}

/// A partition that one ordered key fills, and what that is measured by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filled<'a> {
    /// The key.
    pub sum: &'a HotSum,
    mean: MeanNode,
    weight: f64,
}

impl Filled<'_> {
    /// The share of its node, or of a mean one, that such a cost takes: 1 is all of it.
    pub fn of_node(&self, cost: f64) -> f64 {
        cost / self.weight.max(f64::MIN_POSITIVE)
    }

    /// Times what a mean node carries.
    pub fn of_mean(&self, cost: f64) -> f64 {
        cost / self.mean.cost.max(f64::MIN_POSITIVE)
    }
}

/// The partitions that a key fills so that it counts: it takes a tenth of what a mean node carries,
/// and most of its partition. `sums` come heaviest first, and a partition is known by its heaviest
/// key; `spot` says what is known of a partition of the hunt, `None` of one that there is not.
pub fn filled<'a>(
    sums: &'a [HotSum],
    mean: MeanNode,
    spot: impl Fn(PartitionId) -> Option<Spot>,
) -> Vec<Filled<'a>> {
    let mut seen = BTreeSet::new();
    let of = |sum: &'a HotSum| {
        let spot = spot(sum.partition)?;
        let cost = sum.cost / if spot.known { HOLDS } else { 1.0 };
        let fills = mean.cost > 0.0
            && cost >= HOT_SHARE * mean.cost
            && cost >= DOMINATES * spot.cost
            && seen.insert(sum.partition);
        fills.then(|| Filled { sum, mean, weight: spot.weight.unwrap_or(mean.weight) })
    };
    sums.iter().filter_map(of).collect()
}

/// For people: what such a key means for its partition; `of_node` is its share of a node.
pub fn sentence(partition: PartitionId, of_node: f64) -> String {
    let percent = of_node * 1e2;
    format!(
        "partition {partition}: one ordered key takes {percent:.0} % of a node; no placement can \
         lower this"
    )
}

/// Adds up what all nodes report; `cost_of` says what a partition costs.
pub fn hot_keys<'a>(
    reports: impl Iterator<Item = &'a Load> + Clone,
    cost_of: impl Fn(PartitionId) -> f64,
) -> Vec<HotSum> {
    let mut rates: BTreeMap<(PartitionId, &str), f64> = BTreeMap::new();
    for hot in reports.clone().flat_map(|load| load.hot.iter().take(HOT_REPORTED_MAX)) {
        *rates.entry((hot.partition, &hot.key)).or_default() += hot.rate.clamp(0.0, f64::MAX);
    }
    let cost: f64 = reports.clone().map(Load::total).sum();
    // At overload more is asked for than is played.
    let played: f64 = reports.map(|load| load.rate).sum();
    let all = played.max(rates.values().sum()).max(f64::MIN_POSITIVE);
    let mut sums: Vec<HotSum> = rates
        .into_iter()
        .map(|((partition, key), rate)| HotSum {
            key: key.chars().take(2 * HASH_BYTES).collect(),
            partition,
            rate: rounded(rate),
            cost: (cost * rate / all).min(cost_of(partition)),
        })
        .collect();
    sums.sort_by(|one, other| other.cost.total_cmp(&one.cost));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(partition: u32, cost: f64, rate: f64, hot: &[(&str, u32, f64)]) -> Load {
        let costs = BTreeMap::from([(PartitionId(partition), cost)]);
        let mut load = Load::at_rest("1", 0, 1.0).with_costs(&costs);
        load.rate = rate;
        let hot = hot.iter().map(|(key, partition, rate)| HotReport {
            key: (*key).to_owned(),
            partition: PartitionId(*partition),
            rate: *rate,
        });
        load.hot = hot.collect();
        load
    }

    fn check(loads: &[Load], expected: &[(&str, u32, f64, f64)]) {
        let cost_of = |id| loads.iter().find_map(|load| load.cost.get(&id).copied()).unwrap_or(0.0);
        let found = hot_keys(loads.iter(), cost_of);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (sum, (key, partition, rate, cost)) in found.iter().zip(expected) {
            assert_eq!((sum.key.as_str(), sum.partition.0), (*key, *partition));
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(near(sum.rate, *rate) && near(sum.cost, *cost), "{sum:?}");
        }
    }

    #[test]
    fn what_gateways_see_of_a_key_adds_up_to_its_share_of_the_cost() {
        let one = load(0, 0.8, 600.0, &[("a", 0, 300.0)]);
        let other = load(1, 0.2, 400.0, &[("a", 0, 200.0), ("b", 1, 100.0)]);
        check(&[one, other], &[("a", 0, 500.0, 0.5), ("b", 1, 100.0, 0.1)]);
        check(&[load(0, 0.8, 600.0, &[])], &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_key_costs_no_more_than_its_partition_however_often_producers_try() {
        check(&[load(0, 0.8, 10.0, &[("a", 0, 5000.0)])], &[("a", 0, 5000.0, 0.8)]);
        check(&[load(0, 0.8, 10.0, &[("a", 1, 5.0)])], &[("a", 1, 5.0, 0.0)]);
    }

    #[test]
    fn a_hash_is_what_a_person_can_compute_and_not_the_name() {
        assert_eq!(hash("ana"), "24d4b96f58da6d4a");
    }

    /// One node of weight 2 that carries 1, for each partition of these costs.
    fn check_filled(sums: &[(u32, f64)], costs: &[f64], known: Option<u32>, expected: &[u32]) {
        let sums: Vec<_> = sums
            .iter()
            .enumerate()
            .map(|(at, (partition, cost))| HotSum {
                key: at.to_string(),
                partition: PartitionId(*partition),
                rate: 1.0,
                cost: *cost,
            })
            .collect();
        let spot = |id: PartitionId| {
            let cost = *costs.get(id.0 as usize)?;
            Some(Spot { cost, weight: (id.0 > 0).then_some(4.0), known: known == Some(id.0) })
        };
        let mean = MeanNode::of(2, 2.0, 4.0);
        let found = filled(&sums, mean, spot);
        let at: Vec<_> = found.iter().map(|filled| filled.sum.partition.0).collect();
        assert_eq!(at, expected, "{sums:?}");
        for filled in found {
            let weight = if filled.sum.partition.0 == 0 { 2.0 } else { 4.0 };
            assert_eq!((filled.of_node(1.0), filled.of_mean(0.5)), (1.0 / weight, 0.5));
        }
    }

    #[test]
    fn a_key_fills_a_partition_that_is_mostly_its_own_and_matters_to_a_node() {
        check_filled(&[(0, 0.5), (1, 0.1)], &[0.9, 0.2], None, &[0, 1]);
        check_filled(&[(0, 0.5), (1, 0.09)], &[1.1, 0.1], None, &[]);
        check_filled(&[(0, 0.5), (0, 0.45)], &[0.95], None, &[0]);
        check_filled(&[(7, 0.5)], &[0.5], None, &[]);
        // What is known counts on until it is half of that.
        check_filled(&[(0, 0.3), (1, 0.06)], &[1.1, 0.1], Some(0), &[0]);
        check_filled(&[(0, 0.26), (1, 0.06)], &[1.1, 0.1], Some(1), &[1]);
    }

    #[test]
    fn where_there_is_little_load_no_key_matters() {
        assert!(MeanNode::of(2, 1.0, 4.0).is_loaded() && !MeanNode::of(2, 0.9, 4.0).is_loaded());
        assert!(!MeanNode::of(0, 0.0, 0.0).is_loaded());
    }
}
