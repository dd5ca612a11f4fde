//! What `hunt status` says of partitions: who serves which, and which of them one ordered key
//! fills. In: the hunt as etcd shows it. Out: rows. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{NodeMode, PartitionRecord};
use config_schemas::hot::{HotSum, MeanNode, Spot, filled, hot_keys, sentence};
use config_schemas::{Load, NodeName, PartitionId, rounded};
use serde::Serialize;

use crate::fleet::Fleet;

/// The partitions.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partitions {
    /// How many the hunt has.
    pub count: u32,
    /// How many it is about to have, while the new ones are made ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// Of the new ones, how many have loaded what they are cut from: keys go to them once all have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<usize>,
    /// How many a living node serves.
    pub served: usize,
    /// Those on the move.
    pub moving: Vec<PartitionId>,
    /// Those that nobody serves on purpose, and why.
    pub parked: BTreeMap<String, String>,
    /// Those that nobody serves.
    pub ownerless: Vec<PartitionId>,
    /// Which node owns which.
    pub owners: BTreeMap<NodeName, Vec<PartitionId>>,
}

/// A partition that one ordered key fills.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HotPartition {
    /// Which.
    pub partition: PartitionId,
    /// Who has it.
    pub node: Option<NodeName>,
    /// The first 16 hexadecimal digits of the key's SHA-256.
    pub key: String,
    /// Events per second of the key.
    pub rate: f64,
    /// What it takes of that node: 1 is all of it.
    pub of_node: f64,
    /// The same for people.
    pub message: String,
}

/// A log that cannot be written, or not be believed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// Whose log.
    pub partition: PartitionId,
    /// Who says so.
    pub node: NodeName,
    /// What is wrong, with file and place where it is damage.
    pub why: String,
}

/// What keeps nodes from serving partitions, as they report it: of each the first few.
pub(super) fn troubles(fleet: &Fleet) -> Vec<Trouble> {
    let of = |node: &NodeName| {
        let first = fleet.load(node).map(|load| load.troubles.first.clone()).unwrap_or_default();
        let node = node.clone();
        first.into_iter().map(move |(partition, why)| Trouble {
            partition,
            node: node.clone(),
            why,
        })
    };
    fleet.nodes.keys().flat_map(of).collect()
}

/// Who serves what.
pub(super) fn partitions(fleet: &Fleet) -> Partitions {
    let ownerless = fleet.ownerless();
    let mut found = Partitions {
        count: fleet.meta.as_ref().map_or(0, |meta| meta.partitions),
        next: fleet.meta.as_ref().and_then(|meta| meta.next),
        loaded: fleet
            .meta
            .as_ref()
            .and_then(|meta| Some(fleet.loaded(meta.partitions, meta.next?))),
        ..Partitions::default()
    };
    for (id, record) in &fleet.partitions {
        match record {
            PartitionRecord::Mov { .. } => found.moving.push(*id),
            PartitionRecord::Parked { reason, .. } => {
                found.parked.insert(id.to_string(), reason.clone());
            }
            PartitionRecord::Own { .. } => {}
        }
        if let Some(owner) = record.owner() {
            found.owners.entry(owner.node.clone()).or_default().push(*id);
        }
        found.served += usize::from(!ownerless.contains(id));
    }
    let parked = |id: &PartitionId| found.parked.contains_key(&id.to_string());
    found.ownerless = ownerless.into_iter().filter(|id| !parked(id)).collect();
    found
}

/// Partitions that one ordered key fills, by the rule that placement goes by, and as reported now.
pub(super) fn hot(fleet: &Fleet) -> Vec<HotPartition> {
    let loads = || fleet.nodes.keys().filter_map(|node| fleet.load(node));
    let owner = |id: PartitionId| fleet.partitions.get(&id)?.owner().map(|owner| &owner.node);
    let load_of = |id| owner(id).and_then(|node| fleet.load(node));
    let cost_of = |id| load_of(id).map_or(0.0, |load| load.cost_of(id));
    let cost = loads().map(Load::total).sum();
    let room = ready(fleet).filter_map(|node| fleet.load(node)).map(|load| load.weight).sum();
    let mean = MeanNode::of(ready(fleet).count(), cost, room);
    if !mean.is_loaded() {
        return Vec::new();
    }
    let spot = |id| {
        let weight = load_of(id).map(|load| load.weight);
        fleet.partitions.get(&id).map(|_| Spot { cost: cost_of(id), weight, known: false })
    };
    let sums = hot_keys(loads(), cost_of);
    let found = filled(&sums, mean, spot).into_iter().map(|filled| {
        let HotSum { key, partition, rate, cost } = filled.sum;
        let of_node = filled.of_node(*cost);
        HotPartition {
            partition: *partition,
            node: owner(*partition).cloned(),
            key: key.clone(),
            rate: *rate,
            of_node: rounded(of_node),
            message: sentence(*partition, of_node),
        }
    });
    found.collect()
}

/// Nodes that take partitions: balance is about them.
fn ready(fleet: &Fleet) -> impl Iterator<Item = &NodeName> {
    let ready = fleet.nodes.iter().filter(|(_, record)| record.mode == NodeMode::Ready);
    ready.map(|(node, _)| node)
}

#[cfg(test)]
mod tests {
    use config_schemas::Warm;

    use super::super::status;
    use super::*;
    use crate::fleet::sample::{harbour, hot, now};
    use crate::shown::{Page, View as _};

    #[test]
    fn an_ordered_key_that_fills_a_partition_is_told_as_what_no_placement_can_lower() {
        let mut fleet = harbour(&[]);
        let owner = fleet.partitions[&PartitionId(0)].owner().unwrap().node.clone();
        let load = fleet.loads.get_mut(&owner).unwrap();
        *load = load.clone().with_costs(&[(PartitionId(0), 1.0), (PartitionId(1), 0.2)].into());
        load.rate = 1200.0;
        load.hot = vec![hot(0, 960.0)];
        let view = status(&fleet, now());
        let text = view.text(Page { wide: false, colour: false });
        let said = "partition 0: one ordered key takes 48 % of a node; no placement can lower this";
        assert!(text.contains(said), "{text}");
        assert_eq!((view.hot[0].of_node, &view.hot[0].node), (0.48, &Some(owner.clone())));
        fleet.loads.get_mut(&owner).unwrap().hot = vec![hot(0, 50.0)];
        assert!(status(&fleet, now()).hot.is_empty(), "most of it is not that key");
    }

    #[test]
    fn a_hunt_that_is_to_be_cut_says_what_it_waits_for() {
        let mut fleet = harbour(&[]);
        fleet.meta.as_mut().unwrap().next = Some(8);
        let PartitionRecord::Own { owner, epoch } = fleet.partitions[&PartitionId(0)].clone()
        else {
            panic!("nobody owns it");
        };
        for (id, epoch) in [(4, epoch), (5, epoch.next())] {
            let warm = Warm { format: 1, owner: owner.clone(), epoch };
            fleet.warm.insert(PartitionId(id), warm);
            let record = fleet.partitions[&PartitionId(0)].clone();
            fleet.partitions.insert(PartitionId(id), record);
        }
        let text = status(&fleet, now()).text(Page::default());
        let said = "to be cut into 8: 1 of 4 new ones are loaded";
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn parked_partitions_are_told_apart_from_lost_ones() {
        let mut fleet = harbour(&[]);
        let parked = PartitionRecord::Parked {
            epoch: config_schemas::Epoch(2),
            reason: "it crashed its owners".into(),
        };
        fleet.partitions.insert(PartitionId(0), parked);
        fleet.partitions.remove(&PartitionId(1));
        let found = status(&fleet, now()).partitions;
        assert_eq!((found.parked.len(), found.ownerless), (1, vec![PartitionId(1)]));
        assert_eq!(found.served, 2);
    }
}
