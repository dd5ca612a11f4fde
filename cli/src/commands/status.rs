//! `hunt status`: what runs where. In: the hunt as etcd shows it, and from agents the last good
//! values that they hold. Out: nodes with what they confirm, partitions, generations, edits in
//! effect, refused and ended. The view is pure.

pub(super) mod edits;
mod text;

use std::collections::BTreeMap;

use config_schemas::convergence::NodeState;
use config_schemas::documents::{Ack, NodeMode, PartitionRecord};
use config_schemas::hot::{fills, hot_keys, sentence};
use config_schemas::{Generation, HuntName, Load, NodeName, PartitionId, Revision, Slow, rounded};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Table, Tone, View};

pub use edits::{EditRow, LastGoodValue, Refused};

/// A hunt at one revision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which.
    pub hunt: HuntName,
    /// The revision of the store that all this shows.
    pub revision: Revision,
    /// Whether every living node confirms what it should run.
    pub converged: bool,
    /// The generation that should run.
    pub generation: Option<Generation>,
    /// The generation on trial, and on how many nodes.
    pub candidate: Option<(Generation, usize)>,
    /// A rollback by hand.
    pub rollback: Option<Rollback>,
    /// The agents that live.
    pub nodes: Vec<NodeRow>,
    /// The partitions.
    pub partitions: Partitions,
    /// Partitions that one ordered key fills, by what is reported now.
    pub hot: Vec<HotPartition>,
    /// Edits in effect, on the hunt or a node.
    pub edits: Vec<EditRow>,
    /// What people wrote and is not in effect.
    pub refused: Vec<Refused>,
    /// Edits that are over, as their authors wanted.
    pub ended: Vec<Refused>,
    /// Keys that machines wrote and that cannot be read.
    pub unreadable: Vec<(String, String)>,
}

/// A rollback by hand.
#[derive(Debug, Serialize)]
pub struct Rollback {
    /// To which generation.
    pub generation: Generation,
    /// Who.
    pub owner: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// One agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its name.
    pub node: NodeName,
    /// Which life of it.
    pub incarnation: String,
    /// Whether it takes partitions.
    pub mode: NodeMode,
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

/// The partitions.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partitions {
    /// How many the hunt has.
    pub count: u32,
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

/// `hunt status NAME`.
pub async fn one(etcd: &Etcd, out: Out, hunt: &HuntName) -> Result<(), Failure> {
    let mut fleet = etcd.fleet(hunt).await?;
    last_good::ask(std::slice::from_mut(&mut fleet)).await;
    out.show(&status(&fleet, telemetry::clock::now()))
}

/// `hunt status`.
pub async fn all(etcd: &Etcd, out: Out) -> Result<(), Failure> {
    let mut fleets = etcd.fleets().await?;
    last_good::ask(&mut fleets).await;
    let now = telemetry::clock::now();
    let hunts: Vec<_> = fleets.iter().map(|fleet| status(fleet, now)).collect();
    out.show(&Hunts(hunts))
}

/// The view.
pub fn status(fleet: &Fleet, now: Timestamp) -> Status {
    let choice = fleet.choice(None, now);
    let nodes: Vec<_> = fleet.nodes.keys().filter_map(|node| row(fleet, node, now)).collect();
    let candidate = fleet.rollout.as_ref().and_then(|(rollout, _)| {
        let trial = rollout.candidate.as_ref()?;
        Some((trial.generation, trial.nodes.len()))
    });
    let refused = edits::refused(fleet, None, now);
    let (ended, refused) = refused.into_iter().partition(Refused::has_ended);
    Status {
        hunt: fleet.hunt.clone(),
        revision: fleet.revision,
        converged: nodes.iter().all(|node| node.confirmed),
        generation: choice.generation,
        candidate,
        rollback: choice.rollback.map(|edit| Rollback {
            generation: edit.value,
            owner: edit.signature.owner,
            reason: edit.signature.reason,
            until: edit.signature.until,
        }),
        nodes,
        partitions: partitions(fleet),
        hot: hot(fleet),
        edits: edits::in_effect(fleet, now),
        refused,
        ended,
        unreadable: fleet.unreadable.clone(),
    }
}

fn row(fleet: &Fleet, node: &NodeName, now: Timestamp) -> Option<NodeRow> {
    let record = fleet.nodes.get(node)?;
    let ack = fleet.ack(node);
    let acked = ack.and_then(|ack| ack.revision);
    let behind = fleet.asked_of(node).filter(|revision| Some(*revision) > acked).count();
    let state = fleet.state(node, now);
    Some(NodeRow {
        node: node.clone(),
        incarnation: record.incarnation.clone(),
        mode: record.mode,
        http: record.http.clone(),
        grpc: record.grpc.clone(),
        generation: ack.and_then(|ack| ack.generation),
        revision: acked,
        behind,
        confirmed: state == NodeState::Converged,
        why: state.why().map(str::to_owned),
        hash: ack.map(|ack| ack.hash.clone()),
        expected: fleet.effective(Some(node), now).hash,
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

/// A key that takes less than this part of a node is no bound that anybody needs to know of.
const HOT_OF_NODE_MIN: f64 = 0.025;

fn hot(fleet: &Fleet) -> Vec<HotPartition> {
    let loads = || fleet.nodes.keys().filter_map(|node| fleet.load(node));
    let owner = |id: PartitionId| fleet.partitions.get(&id)?.owner().map(|owner| &owner.node);
    let cost_of = |id| owner(id).and_then(|node| fleet.load(node)).map_or(0.0, |l| l.cost_of(id));
    let nodes = fleet.nodes.len().max(1) as f64;
    let mean = loads().map(Load::total).sum::<f64>() / nodes;
    let room = loads().map(|load| load.weight).sum::<f64>() / nodes;
    let sums = hot_keys(loads(), cost_of).into_iter();
    let found = sums.filter(|sum| fills(sum.cost, cost_of(sum.partition), mean)).map(|sum| {
        let load = owner(sum.partition).and_then(|node| fleet.load(node));
        let of_node = sum.cost / load.map_or(room, |load| load.weight).max(f64::MIN_POSITIVE);
        HotPartition {
            partition: sum.partition,
            node: owner(sum.partition).cloned(),
            key: sum.key,
            rate: sum.rate,
            of_node: rounded(of_node),
            message: sentence(sum.partition, of_node),
        }
    });
    found.filter(|hot| hot.of_node >= HOT_OF_NODE_MIN).collect()
}

/// How many edits a node refuses that are not over.
fn refused_by(ack: &Ack) -> u32 {
    let ended = ack.refused.iter().filter(|refusal| edits::is_end(refusal.code)).count();
    ack.refused_count.saturating_sub(u32::try_from(ended).unwrap_or(u32::MAX))
}

fn partitions(fleet: &Fleet) -> Partitions {
    let ownerless = fleet.ownerless();
    let mut found = Partitions {
        count: fleet.meta.as_ref().map_or(0, |meta| meta.partitions),
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

/// All hunts.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Hunts(Vec<Status>);

impl View for Hunts {
    fn text(&self, page: Page) -> String {
        if self.0.is_empty() {
            return "no hunts; `kubectl apply -f examples/harbour.yaml` makes one\n".to_owned();
        }
        let heading =
            ["HUNT", "CONVERGED", "GENERATION", "NODES", "PARTITIONS", "EDITS", "REFUSED"];
        let mut table = Table::new(heading);
        for hunt in &self.0 {
            let confirmed = hunt.nodes.iter().filter(|node| node.confirmed).count();
            let tone = if hunt.converged { Tone::Good } else { Tone::Odd };
            let refused = (!hunt.refused.is_empty()).then_some(Tone::Bad);
            table.toned([
                (hunt.hunt.to_string(), None),
                (format!("{confirmed}/{}", hunt.nodes.len()), Some(tone)),
                (hunt.generation.map_or("-".into(), |at| at.to_string()), None),
                (hunt.nodes.len().to_string(), None),
                (format!("{}/{}", hunt.partitions.served, hunt.partitions.count), None),
                (hunt.edits.len().to_string(), None),
                (hunt.refused.len().to_string(), refused),
            ]);
        }
        table.text(page, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, node, now, revision};

    #[test]
    fn a_node_that_confirms_what_it_should_run_is_converged() {
        let view = status(&harbour(&[("hunt/buffers/events", "128", 15)]), now());
        assert!(view.converged);
        assert_eq!((view.edits.len(), view.refused.len()), (1, 0));
        assert_eq!((view.partitions.served, view.nodes[0].partitions), (4, 2));
    }

    #[test]
    fn a_node_that_is_behind_or_runs_something_else_is_not() {
        let behind = harbour(&[("hunt/buffers/events", "128", 25)]);
        let view = status(&behind, now());
        assert!(!view.converged);
        assert_eq!(view.nodes[0].behind, 1);
        let mut other = harbour(&[]);
        other.acks.get_mut(&node("agent-1")).unwrap().hash = "other".into();
        let view = status(&other, now());
        assert!(!view.converged && !view.nodes[0].confirmed && view.nodes[1].confirmed);
    }

    #[test]
    fn another_node_s_edit_does_not_make_this_one_late() {
        let view = status(&harbour(&[("node/agent-2/buffers/events", "128", 25)]), now());
        assert_eq!((view.nodes[0].behind, view.nodes[1].behind), (0, 1));
    }

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

    #[test]
    fn an_ordered_key_that_fills_a_partition_is_told_as_what_no_placement_can_lower() {
        let mut fleet = harbour(&[]);
        let owner = fleet.partitions[&PartitionId(0)].owner().unwrap().node.clone();
        let load = fleet.loads.get_mut(&owner).unwrap();
        *load = load.clone().with_costs(&[(PartitionId(0), 1.0), (PartitionId(1), 0.2)].into());
        load.rate = 1200.0;
        let report = |rate| config_schemas::hot::HotReport {
            key: config_schemas::hot::hash("ana"),
            partition: PartitionId(0),
            rate,
        };
        load.hot = vec![report(960.0)];
        let view = status(&fleet, now());
        let text = view.text(Page { wide: false, colour: false });
        let said = "partition 0: one ordered key takes 48 % of a node; no placement can lower this";
        assert!(text.contains(said), "{text}");
        assert_eq!((view.hot[0].of_node, &view.hot[0].node), (0.48, &Some(owner.clone())));
        fleet.loads.get_mut(&owner).unwrap().hot = vec![report(50.0)];
        assert!(status(&fleet, now()).hot.is_empty(), "most of it is not that key");
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

    #[test]
    fn the_text_tells_all_that_a_person_asks() {
        let mut fleet = harbour(&[
            ("hunt/heartbeat/interval", "{value: 500ms, owner: ana, reason: calm}", 15),
            ("hunt/buffers/events", "lots", 16),
            ("node/ghost/buffers/events", "9", 17),
            ("hunt/generation", "1", 18),
        ]);
        fleet.acks.get_mut(&node("agent-1")).unwrap().revision = Some(revision(17));
        let text = status(&fleet, now()).text(Page { wide: true, colour: false });
        for said in [
            "default/harbour",
            "generation 1",
            "rolled back",
            "agent-1",
            "500ms",
            "ana",
            "calm",
            "from 1 to 1048576",
            "no node ghost lives",
            "4 of 4 served",
        ] {
            assert!(text.contains(said), "{said} is missing in\n{text}");
        }
    }
}
