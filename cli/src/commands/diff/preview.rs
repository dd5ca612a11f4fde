//! What an apply of a TreasureHunt would change: the resource is laid below the live edits by the
//! function that agents run, before and after, and compared by the function from which agents know
//! what to take over. In: the hunt, and a spec. Out: changes by node, what is shadowed, what would be
//! refused. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::diff::{FieldChange, Plan, diff};
use config_schemas::documents::{Desired, FORMAT, Rollout};
use config_schemas::layers::{Claim, Edits, Effective, Held, Layer, resolve};
use config_schemas::{
    BrokerKind, Component, Cost, Generation, HuntName, NodeName, PartitionId, Problem, Resource,
    Revision, Values,
};
use crds::changed_fixed;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::fleet::Fleet;

/// What would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Of which hunt.
    pub hunt: HuntName,
    /// Whether there is no such hunt yet.
    pub is_new: bool,
    /// The newest generation that is kept.
    pub newest: Option<Generation>,
    /// What the resource asks for otherwise than the newest generation.
    pub asks: Vec<FieldChange>,
    /// What changes where.
    pub changes: Vec<Change>,
    /// What the resource asks for and does not get.
    pub shadowed: Vec<Shadowed>,
    /// Live edits that no longer go together with it.
    pub refused: Vec<Refused>,
    /// Partitions that move because they are pinned.
    pub moves: Vec<Move>,
    /// Settings that cannot change: the operator will refuse the resource whole.
    pub fixed: Vec<Problem>,
    /// A rollback by hand that it ends, to this generation.
    pub lifts: Option<Generation>,
    /// How many nodes live.
    pub nodes: usize,
    /// Whether events are kept in Kafka: else there are no clients to swap.
    pub kafka: bool,
}

/// A setting that changes on nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Which, from what, to what.
    #[serde(flatten)]
    pub change: FieldChange,
    /// Which running part takes it over.
    pub component: Component,
    /// What the change costs.
    pub cost: Cost,
    /// Where; empty while no node lives.
    pub nodes: Vec<NodeName>,
}

/// A value of the resource that a live edit covers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shadowed {
    /// Which setting.
    pub field: String,
    /// What the resource asks for.
    pub asks: Json,
    /// What stays in effect.
    pub runs: Json,
    /// By which layer.
    pub layer: Layer,
    /// On which node, or on all.
    pub node: Option<NodeName>,
    /// Who set it.
    pub owner: Option<String>,
    /// Since when.
    pub revision: Option<Revision>,
}

/// A live edit that holds now and would not any more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// A partition that moves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Move {
    /// Which.
    pub partition: PartitionId,
    /// Who has it.
    pub from: NodeName,
    /// Who is to have it.
    pub to: NodeName,
}

/// What an apply would change.
pub fn preview(fleet: &Fleet, config: &Map<String, Json>, now: Timestamp) -> Preview {
    let newest = fleet.kept.keys().next_back().copied();
    let after = applied(fleet, newest, config, now);
    let generation = after.kept.keys().next_back().copied();
    let asked = |fleet: &Fleet, generation: Option<Generation>| {
        generation.and_then(|generation| fleet.resource(generation))
    };
    let (old, new) = (asked(fleet, newest), asked(&after, generation));
    let asks = flat(&diff(&alone(old.as_ref(), now), &alone(new.as_ref(), now)));
    let named = |resource: Option<Resource>| resource.map(|it| it.values).unwrap_or_default();
    let fixed = match &old {
        Some(old) => changed_fixed(&old.values, &named(new)),
        None => Vec::new(),
    };
    let lifted = fleet.choice(None, now).rollback.map(|edit| edit.value);
    let (is, will) = (fleet.effects(now), after.effects(now));
    let before = |node| is.at(node);
    let mut refused = BTreeMap::new();
    for (node, effective) in will.each() {
        for refusal in &effective.refused {
            let held = refusal
                .key
                .strip_prefix("override/")
                .map(|rest| before(node).held.contains_key(rest));
            if held == Some(true) {
                let (key, reason) = (refusal.key.clone(), refusal.reason.clone());
                refused.entry(key.clone()).or_insert(Refused { key, reason });
            }
        }
    }
    let nodes: Vec<Option<&NodeName>> = match fleet.nodes.is_empty() {
        true => vec![None],
        false => fleet.nodes.keys().map(Some).collect(),
    };
    let mut changes = Vec::new();
    for node in nodes {
        add(&mut changes, &diff(&before(node).values, &will.at(node).values), node);
    }
    Preview {
        hunt: fleet.hunt.clone(),
        is_new: fleet.is_empty(),
        newest,
        shadowed: will.each().flat_map(|(node, it)| shadowed(&asks, it, node)).collect(),
        moves: moves(fleet, before(None), will.at(None)),
        asks,
        changes,
        refused: refused.into_values().collect(),
        fixed,
        lifts: lifted,
        nodes: fleet.nodes.len(),
        kafka: will.at(None).config.broker.kind == BrokerKind::Kafka,
    }
}

/// The hunt as it would stand once the operator has written the resource.
fn applied(
    fleet: &Fleet,
    newest: Option<Generation>,
    config: &Map<String, Json>,
    now: Timestamp,
) -> Fleet {
    let generation = Generation(newest.map_or(1, |Generation(newest)| newest + 1));
    let document = Desired {
        format: FORMAT,
        generation,
        uid: fleet.meta.as_ref().map(|meta| meta.uid.clone()).unwrap_or_default(),
        written_at: now,
        config: config.clone(),
    };
    let at = Revision::new(u64::MAX).unwrap_or(Revision::FIRST);
    let mut after = fleet.clone();
    after.kept.insert(generation, at);
    after.rollout = Some((Rollout::of(document.clone()), at));
    after.desired.insert(generation, document);
    after
}

/// What a resource alone leads to.
fn alone(resource: Option<&Resource>, now: Timestamp) -> Values {
    resolve(resource, &Edits::new(), None, &Held::new(), now).values
}

fn flat(plan: &Plan) -> Vec<FieldChange> {
    plan.values().flat_map(|change| change.changes.iter().cloned()).collect()
}

fn add(changes: &mut Vec<Change>, plan: &Plan, node: Option<&NodeName>) {
    for (component, planned) in plan {
        for change in &planned.changes {
            let cost = change.path.field().cost;
            match changes.iter_mut().find(|known| known.change == *change) {
                Some(known) => known.nodes.extend(node.cloned()),
                None => changes.push(Change {
                    change: change.clone(),
                    component: *component,
                    cost,
                    nodes: node.into_iter().cloned().collect(),
                }),
            }
        }
    }
}

fn shadowed(asks: &[FieldChange], effective: &Effective, node: Option<&NodeName>) -> Vec<Shadowed> {
    let covered = |change: &&FieldChange| {
        let layer = effective.winner(change.path).layer;
        match node {
            None => layer == Layer::Hunt,
            // What covers it everywhere is told once.
            Some(_) => layer == Layer::Node,
        }
    };
    let told = |change: &FieldChange| {
        let Claim { layer, value, revision, signature, .. } = effective.winner(change.path);
        Shadowed {
            field: change.path.to_string(),
            asks: change.to.to_json(),
            runs: value.to_json(),
            layer: *layer,
            node: node.cloned(),
            owner: signature.owner.clone(),
            revision: *revision,
        }
    };
    asks.iter().filter(covered).map(told).collect()
}

/// Partitions that a new pin takes from where they are.
fn moves(fleet: &Fleet, before: &Effective, after: &Effective) -> Vec<Move> {
    let old: BTreeSet<_> =
        before.config.partitions.pins.iter().map(|pin| (pin.partition, &pin.node)).collect();
    let new = after.config.partitions.pins.iter();
    let moved = new.filter(|pin| !old.contains(&(pin.partition, &pin.node))).filter_map(|pin| {
        let from = fleet.partitions.get(&pin.partition)?.owner()?.node.clone();
        let moves = from != pin.node && fleet.nodes.contains_key(&pin.node);
        moves.then(|| Move { partition: pin.partition, from, to: pin.node.clone() })
    });
    moved.collect()
}

impl Preview {
    /// Whether an apply changes nothing that runs or is asked for.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty() && self.changes.is_empty() && !self.is_new && self.lifts.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, node, now};
    use crate::shown::{Page, View as _};

    fn check(edits: &[(&str, &str, u64)], config: &str) -> Preview {
        let config: Json = serde_json::from_str(config).unwrap();
        preview(&harbour(edits), config.as_object().unwrap(), now())
    }

    fn told(preview: &Preview) -> Vec<(String, String, usize)> {
        let of =
            |it: &Change| (it.change.path.to_string(), it.change.to.to_string(), it.nodes.len());
        preview.changes.iter().map(of).collect()
    }

    #[test]
    fn a_change_is_told_with_its_cost_and_its_nodes() {
        let found = check(
            &[("node/agent-2/buffers/events", "128", 15)],
            r#"{"heartbeat": {"interval": "2s"}, "buffers": {"events": 256}, "producer": {"linger": "5ms"}}"#,
        );
        let expected = [
            ("buffers.events".to_owned(), "256".to_owned(), 1),
            ("producer.linger".to_owned(), "5ms".to_owned(), 2),
        ];
        assert_eq!(told(&found), expected);
        assert_eq!((found.changes[0].cost, found.changes[1].cost), (Cost::Live, Cost::Swap));
        assert_eq!(found.shadowed.len(), 1);
        assert_eq!(found.shadowed[0].node, Some(node("agent-2")));
        let text = found.text(Page::default());
        for said in [
            "buffers.events   4096  256  live    agent-1\n",
            "producer.linger  2ms   5ms  swap    2 nodes\n",
            "shadowed: buffers.events asks for 256; agent-2 keeps 128 (override/node, revision 15)",
            "swap: no node has clients of Kafka, so nothing is replaced\n",
        ] {
            assert!(text.contains(said), "{said} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_the_same_changes_nothing() {
        let found = check(&[], r#"{"heartbeat": {"interval": "2000ms"}}"#);
        assert!(found.is_empty(), "{found:?}");
        let back = check(&[], "{}");
        assert_eq!(told(&back), [("heartbeat.interval".to_owned(), "1s".to_owned(), 2)]);
    }

    #[test]
    fn what_the_operator_or_agents_would_refuse_is_told() {
        let found = check(&[], r#"{"broker": {"kind": "kafka"}, "kafka": {"bootstrap": ["a:1"]}}"#);
        assert_eq!(found.fixed[0].field, "broker.kind");
        let found = check(&[], r#"{"partitions": {"count": 20}}"#);
        assert_eq!(found.fixed[0].field, "partitions.count");
        assert!(check(&[], r#"{"partitions": {"count": 32}}"#).fixed.is_empty());
        let found = check(&[("hunt/workers/batch", "4096", 15)], r#"{"buffers": {"events": 64}}"#);
        assert_eq!(found.refused[0].key, "override/hunt/workers/batch");
        assert_eq!(told(&found).len(), 3, "the batch falls back with its edit: {found:?}");
    }

    #[test]
    fn a_pin_moves_its_partition_and_a_rollback_is_lifted() {
        let found = check(
            &[("hunt/generation", "1", 25)],
            r#"{"heartbeat": {"interval": "2s"}, "partitions": {"pins": ["0=agent-2", "1=agent-2", "2=ghost"]}}"#,
        );
        let (from, to) = (node("agent-1"), node("agent-2"));
        assert_eq!(found.moves, [Move { partition: PartitionId(0), from, to }]);
        assert_eq!(found.lifts, Some(Generation(1)));
        let intervals = told(&found);
        assert!(
            intervals.contains(&("heartbeat.interval".into(), "2s".into(), 2)),
            "{intervals:?}"
        );
    }
}
