//! Hot keys that have to stay in order, as gateways report them and as they add up: such a key is
//! never split, so the partition that it lies in sets what balance can reach. In: reports. Out:
//! keys with what they cost, the heaviest first. Pure.
//!
//! Keys are people's names. Only a hash leaves the node: enough to see that two gateways mean the
//! same key, and for somebody who has a name to see whether it is that one.

use std::collections::BTreeMap;

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

/// Whether a key of that cost fills a partition so that it counts: a tenth of what a mean node
/// carries, and most of the partition.
pub fn fills(cost: f64, of_partition: f64, mean_node: f64) -> bool {
    mean_node > 0.0 && cost >= HOT_SHARE * mean_node && cost >= DOMINATES * of_partition
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
}
