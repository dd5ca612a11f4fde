//! Where the load is: nodes, partitions and hot keys, the heaviest first. In: the hunt as it stands,
//! and how many events wait in logs as owners say. Out: rows. Pure.

use std::collections::BTreeMap;

use config_schemas::hot::{HotSum, hot_keys};
use config_schemas::{HuntName, Load, NodeName, PartitionId, rounded};
use serde::Serialize;

use crate::fleet::Fleet;
use crate::shown::{Page, Table, Tone, View, count};

/// Events in the log without an outcome, by partition.
pub type Lags = BTreeMap<PartitionId, u64>;

/// Where the load is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Top {
    /// Of which hunt.
    pub hunt: HuntName,
    /// Nodes, the fullest first.
    pub nodes: Vec<NodeTop>,
    /// Partitions, the dearest first.
    pub partitions: Vec<PartitionTop>,
    /// Ordered keys that are hot, the dearest first.
    pub keys: Vec<KeyTop>,
    /// How many nodes, partitions and keys there are beside those.
    pub more: [usize; 3],
    /// Those of `nodes` that did not say how much waits in their logs.
    pub silent: Vec<NodeName>,
}

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTop {
    /// Which.
    pub node: NodeName,
    /// Cost by weight; above 1 it is asked for more than it can do.
    pub utilisation: f64,
    /// Events per second that had their outcome.
    pub rate: f64,
    /// Events that wait in its queues.
    pub queued: u64,
    /// Events in its logs without an outcome; none when it did not say.
    pub lag: Option<u64>,
    /// Milliseconds within which 99 of 100 events had their outcome.
    pub latency_p99_ms: f64,
    /// Events refused for want of room in the last window.
    pub shed: u64,
    /// Cores that the process used.
    pub cpu: f64,
    /// Partitions that it owns.
    pub partitions: usize,
}

/// A partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionTop {
    /// Which.
    pub partition: PartitionId,
    /// Who has it.
    pub node: NodeName,
    /// Busy seconds per second.
    pub cost: f64,
    /// What that takes of its node: 1 is all of it.
    pub of_node: f64,
    /// Events in its log without an outcome; none when its owner did not say.
    pub lag: Option<u64>,
}

/// A hot key that keeps its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyTop {
    /// The first 16 hexadecimal digits of the key's SHA-256: no name leaves a node.
    pub key: String,
    /// Where it lies.
    pub partition: PartitionId,
    /// Events per second.
    pub rate: f64,
    /// Busy seconds per second.
    pub cost: f64,
}

/// The heaviest `rows` of each.
pub fn top(fleet: &Fleet, lags: &BTreeMap<NodeName, Lags>, rows: usize) -> Top {
    let loads: Vec<(&NodeName, &Load)> =
        fleet.nodes.keys().filter_map(|node| Some((node, fleet.load(node)?))).collect();
    let mut nodes: Vec<_> = loads.iter().map(|(node, load)| row(fleet, node, load, lags)).collect();
    nodes.sort_by(|a, b| {
        b.utilisation
            .total_cmp(&a.utilisation)
            .then(b.lag.cmp(&a.lag))
            .then(b.queued.cmp(&a.queued))
    });
    let mut partitions: Vec<_> = loads
        .iter()
        .flat_map(|(node, load)| {
            let lags = lags.get(*node);
            let named = load.cost.iter().map(|(id, cost)| (*id, *cost));
            // What costs too little to be named may still wait.
            let waiting = lags
                .into_iter()
                .flatten()
                .filter(|(id, lag)| **lag > 0 && !load.cost.contains_key(id));
            let waiting = waiting.map(|(id, _)| (*id, load.cost_of(*id)));
            named.chain(waiting).map(move |(partition, cost)| PartitionTop {
                partition,
                node: (*node).clone(),
                cost: rounded(cost),
                of_node: rounded(cost / load.weight.max(f64::MIN_POSITIVE)),
                lag: lags.map(|lags| lags.get(&partition).copied().unwrap_or(0)),
            })
        })
        .collect();
    partitions.sort_by(|a, b| b.cost.total_cmp(&a.cost).then(b.lag.cmp(&a.lag)));
    let mut keys = keys(fleet, &loads);
    let lengths = [nodes.len(), partitions.len(), keys.len()];
    nodes.truncate(rows);
    partitions.truncate(rows);
    keys.truncate(rows);
    let silent = nodes.iter().filter(|node| node.lag.is_none()).map(|node| node.node.clone());
    Top {
        hunt: fleet.hunt.clone(),
        silent: silent.collect(),
        nodes,
        partitions,
        keys,
        more: lengths.map(|length| length.saturating_sub(rows)),
    }
}

fn row(fleet: &Fleet, node: &NodeName, load: &Load, lags: &BTreeMap<NodeName, Lags>) -> NodeTop {
    NodeTop {
        node: node.clone(),
        utilisation: rounded(load.utilisation()),
        rate: load.rate,
        queued: load.queued,
        lag: lags.get(node).map(|lags| lags.values().sum()),
        latency_p99_ms: load.latency_p99_ms,
        shed: load.shed,
        cpu: load.cpu,
        partitions: fleet.owned(node),
    }
}

fn keys(fleet: &Fleet, loads: &[(&NodeName, &Load)]) -> Vec<KeyTop> {
    let load_of = |id: PartitionId| fleet.load(&fleet.partitions.get(&id)?.owner()?.node);
    let cost_of = |id| load_of(id).map_or(0.0, |load| load.cost_of(id));
    let sums = hot_keys(loads.iter().map(|(_, load)| *load), cost_of).into_iter();
    let key = |HotSum { key, partition, rate, cost }| KeyTop {
        key,
        partition,
        rate,
        cost: rounded(cost),
    };
    sums.map(key).collect()
}

fn percent(share: f64) -> (String, Option<Tone>) {
    let tone = if share >= 1.0 { Some(Tone::Bad) } else { (share >= 0.8).then_some(Tone::Odd) };
    (format!("{:.0} %", share * 100.0), tone)
}

fn waiting(lag: Option<u64>) -> (String, Option<Tone>) {
    (lag.map_or("-".to_owned(), |lag| lag.to_string()), None)
}

impl View for Top {
    fn text(&self, page: Page) -> String {
        let heading = ["NODE", "LOAD", "RATE", "QUEUED", "LAG", "P99", "SHED", "CPU", "PARTITIONS"];
        let mut nodes = Table::new(heading);
        for node in &self.nodes {
            nodes.toned([
                (node.node.to_string(), None),
                percent(node.utilisation),
                (format!("{:.0}/s", node.rate), None),
                (node.queued.to_string(), None),
                waiting(node.lag),
                (format!("{:.0} ms", node.latency_p99_ms), None),
                (node.shed.to_string(), (node.shed > 0).then_some(Tone::Odd)),
                (format!("{:.2}", node.cpu), None),
                (node.partitions.to_string(), None),
            ]);
        }
        let mut partitions = Table::new(["PARTITION", "NODE", "COST", "OF NODE", "LAG"]);
        for it in &self.partitions {
            partitions.toned([
                (it.partition.to_string(), None),
                (it.node.to_string(), None),
                (format!("{:.3} s/s", it.cost), None),
                percent(it.of_node),
                waiting(it.lag),
            ]);
        }
        let mut keys = Table::new(["HOT KEY", "PARTITION", "RATE", "COST"]);
        for key in &self.keys {
            keys.row([
                key.key.clone(),
                key.partition.to_string(),
                format!("{:.0}/s", key.rate),
                format!("{:.3} s/s", key.cost),
            ]);
        }
        let [more_nodes, more_partitions, more_keys] = self.more;
        let part = |table: Table, none: &str, more: usize, thing: &str| {
            let more =
                if more > 0 { format!("and {}\n", count(more, thing)) } else { String::new() };
            match table.is_empty() {
                true => format!("{none}\n"),
                false => table.text(page, "") + &more,
            }
        };
        let hunt = page.tint(Tone::Strong, &self.hunt.to_string());
        let nodes = part(nodes, "no node has reported its load", more_nodes, "more node");
        let none = "no partition costs enough to be named";
        let partitions = part(partitions, none, more_partitions, "more partition");
        let keys = part(keys, "no hot key", more_keys, "more key");
        let silent = match self.silent.as_slice() {
            [] => String::new(),
            silent => format!("no word on lag from {}\n", crate::shown::names(silent)),
        };
        format!("{hunt}\n{nodes}\n{partitions}\n{keys}{silent}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, hot, node};

    #[test]
    fn the_heaviest_come_first_and_what_waits_is_told() {
        let mut fleet = harbour(&[]);
        let load = fleet.loads.get_mut(&node("agent-2")).unwrap();
        let costs = [(PartitionId(1), 1.5), (PartitionId(3), 0.1)].into();
        *load = load.clone().with_costs(&costs);
        load.rate = 100.0;
        load.hot = vec![hot(1, 80.0)];
        let lags = [(node("agent-1"), [(PartitionId(0), 7)].into())].into();
        let view = top(&fleet, &lags, 2);
        let order: Vec<_> = view.nodes.iter().map(|it| (it.node.as_str(), it.lag)).collect();
        assert_eq!(order, [("agent-2", None), ("agent-1", Some(7))]);
        let order: Vec<_> = view.partitions.iter().map(|it| it.partition.0).collect();
        assert_eq!((order, view.more), (vec![1, 3], [0, 1, 0]));
        assert_eq!((view.keys[0].partition.0, view.silent.len()), (1, 1));
        let text = view.text(Page::default());
        for said in
            ["80 %", "1.500 s/s", "and 1 more partition\n", "24d4b96f58da6d4a", "lag from agent-2"]
        {
            assert!(text.contains(said), "{said} is missing in\n{text}");
        }
    }
}
