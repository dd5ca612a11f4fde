//! What `hunt status` says of each agent. In: the hunt as etcd shows it. Out: a row: whether it
//! confirms what it should run, what it carries, why it is slow. Pure.

use std::collections::BTreeSet;

use config_schemas::convergence::NodeState;
use config_schemas::documents::{Ack, NodeMode};
use config_schemas::{Generation, Load, NodeName, Revision, Slow, rounded};
use jiff::Timestamp;
use serde::Serialize;

use super::edits;
use crate::fleet::{Effects, Fleet};

/// One agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its name.
    pub node: NodeName,
    /// Which life of it.
    pub incarnation: String,
    /// Whether it takes partitions, as it says itself.
    pub mode: NodeMode,
    /// Whether people have drained it: it takes none while that holds.
    pub drained: bool,
    /// Where HTTP is.
    pub http: String,
    /// Where gRPC is.
    pub grpc: String,
    /// The generation that its workers run.
    pub generation: Option<Generation>,
    /// The revision up to which its workers run every edit.
    pub revision: Option<Revision>,
    /// Edits and rollouts that it has not confirmed yet.
    pub behind: usize,
    /// Hash of what it runs.
    pub hash: Option<String>,
    /// Hash of what it should run.
    pub expected: String,
    /// Whether it runs what it should, by the rule of the hunt's condition `Converged`.
    pub confirmed: bool,
    /// Why not.
    pub why: Option<String>,
    /// Edits that it refuses; those that are over do not count.
    pub refused: u32,
    /// Partitions that it owns.
    pub partitions: usize,
    /// What it carries, as it says itself; `None` before its first report.
    pub load: Option<NodeLoad>,
}

/// What a node carries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLoad {
    /// When it measured, by its own clock.
    pub at: Option<Timestamp>,
    /// Cost by weight: above 1, it is asked for more than it can do.
    pub utilisation: f64,
    /// Cores that it may use, times its speed of late.
    pub weight: f64,
    /// Busy seconds per second of all its partitions.
    pub cost: f64,
    /// Milliseconds within which 99 of 100 events had their outcome.
    pub latency_p99_ms: f64,
    /// Events that wait.
    pub queued: u64,
    /// Events per second that had their outcome.
    pub rate: f64,
    /// Events refused for want of room in the last window.
    pub shed: u64,
    /// Cores that the process used.
    pub cpu: f64,
    /// Why it holds itself to be slow.
    pub slow: Option<Slow>,
}

/// What is to be said of a node, if it lives.
pub(super) fn row(
    fleet: &Fleet,
    effects: &Effects,
    drained: &BTreeSet<NodeName>,
    node: &NodeName,
    now: Timestamp,
) -> Option<NodeRow> {
    let record = fleet.nodes.get(node)?;
    let ack = fleet.ack(node);
    let acked = ack.and_then(|ack| ack.revision);
    let behind = fleet.asked_of(node).filter(|revision| Some(*revision) > acked).count();
    let state = effects.state(fleet, node, now);
    Some(NodeRow {
        node: node.clone(),
        incarnation: record.incarnation.clone(),
        mode: record.mode,
        drained: drained.contains(node),
        http: record.http.clone(),
        grpc: record.grpc.clone(),
        generation: ack.and_then(|ack| ack.generation),
        revision: acked,
        behind,
        confirmed: state == NodeState::Converged,
        why: state.why().map(str::to_owned),
        hash: ack.map(|ack| ack.hash.clone()),
        expected: effects.at(Some(node)).hash.clone(),
        refused: ack.map_or(0, refused_by),
        partitions: fleet.owned(node),
        load: fleet.load(node).map(carried),
    })
}

fn carried(load: &Load) -> NodeLoad {
    let millis = i64::try_from(load.at_ms).ok();
    NodeLoad {
        at: millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        utilisation: rounded(load.utilisation()),
        weight: load.weight,
        cost: rounded(load.total()),
        latency_p99_ms: load.latency_p99_ms,
        queued: load.queued,
        rate: load.rate,
        shed: load.shed,
        cpu: load.cpu,
        slow: load.slow.clone(),
    }
}

/// How many edits a node refuses that are not over.
fn refused_by(ack: &Ack) -> u32 {
    let ended = ack.refused.iter().filter(|refusal| edits::is_end(refusal.code)).count();
    ack.refused_count.saturating_sub(u32::try_from(ended).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use config_schemas::PartitionId;

    use super::super::status;
    use super::*;
    use crate::fleet::sample::{harbour, node, now};
    use crate::shown::{Page, View as _};

    #[test]
    fn a_node_tells_what_it_carries_and_why_it_is_slow() {
        let mut fleet = harbour(&[]);
        let load = fleet.loads.get_mut(&node("agent-1")).unwrap();
        *load = load.clone().with_costs(&[(PartitionId(0), 0.5)].into());
        load.queued = 37;
        load.latency_p99_ms = 612.0;
        let reason = "1 of 100 events waits 612 ms or more for its outcome";
        load.slow =
            Some(Slow { code: config_schemas::SlowCode::Latency, reason: reason.to_owned() });
        fleet.loads.remove(&node("agent-2"));
        let view = status(&fleet, now());
        let json = serde_json::to_value(&view.nodes[0].load).unwrap();
        assert_eq!((&json["utilisation"], &json["weight"]), (&0.25.into(), &2.0.into()));
        assert_eq!((&json["queued"], &json["latencyP99Ms"]), (&37.into(), &612.0.into()));
        assert_eq!(json["slow"]["code"], "Latency");
        assert!(view.nodes[1].load.is_none() && view.hot.is_empty());
        let text = view.text(Page { wide: false, colour: false });
        for said in ["25 % of 2", "37", "612 ms", "agent-1 is slow", reason] {
            assert!(text.contains(said), "{said} is missing in\n{text}");
        }
    }
}
