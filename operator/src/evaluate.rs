//! Judges a hunt as it stands in etcd: which values are in effect, which edits are refused and by
//! whom, which nodes run what they should. Needs no resource, so it goes on while the API server
//! is down. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::convergence::{Asked, NodeState, judge};
use config_schemas::documents::{Ack, NodeRecord, Refusal, RefusalCode};
use config_schemas::edit::{self, Target};
use config_schemas::generation::{Choice, choose};
use config_schemas::layers::{Effective, Held, HeldEdit, Layer, resolve};
use config_schemas::{Generation, NodeName, Resource, Value, drained, excerpt};
use crds::{OVERRIDES_MAX, OverrideInEffect};
use jiff::Timestamp;

use crate::state::{HuntView, Memory};

/// The last good form of each edit, for the hunt and for nodes that have edits of their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldEdits {
    hunt: Held,
    nodes: BTreeMap<NodeName, Held>,
}

impl HeldEdits {
    /// Each, by what follows `override/`. Those of the whole hunt come once for every node that has
    /// edits of its own, too.
    pub fn edits(&self) -> impl Iterator<Item = (&String, &HeldEdit)> {
        self.hunt.iter().chain(self.nodes.values().flatten())
    }
}

/// What became of a hunt.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Which generation runs, and the rollback that chose it.
    pub choice: Choice,
    /// The values in effect for the hunt as a whole.
    pub effective: Effective,
    /// Each live node's state.
    pub nodes: BTreeMap<NodeName, NodeState>,
    /// Edits that are not in effect, by key, and who says so.
    pub refused: BTreeMap<String, Refused>,
    /// Live edits in effect, at most [`OVERRIDES_MAX`].
    pub overrides: Vec<OverrideInEffect>,
    /// All of them.
    pub override_count: usize,
    /// Nodes that people want to hand over what they have.
    pub drained: BTreeSet<NodeName>,
    /// When an edit ends by itself.
    pub next_expiry: Option<Timestamp>,
    /// For the next look.
    pub held: HeldEdits,
}

/// An edit that is not in effect, and who says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// What and why.
    pub refusal: Refusal,
    /// `operator`, or nodes by name.
    pub by: BTreeSet<String>,
}

/// Judges the hunt.
pub fn evaluate(
    view: &HuntView<'_>,
    memory: &Memory,
    held: &HeldEdits,
    now: Timestamp,
) -> Evaluation {
    let choice = choose(view.rollout.value(), &view.edits, &view.kept(), None, now);
    let resource = resource(view, choice.generation);
    let effective = resolve(resource.as_ref(), &view.edits, None, &held.hunt, now);
    let per_node = nodes_with_edits(view, resource.as_ref(), held, now);
    let mut judged = Evaluation {
        nodes: BTreeMap::new(),
        refused: BTreeMap::new(),
        overrides: Vec::new(),
        override_count: 0,
        drained: drained_nodes(view, &effective, &per_node),
        next_expiry: next_expiry(&choice, &effective, &per_node),
        held: HeldEdits {
            hunt: effective.held.clone(),
            nodes: per_node.iter().map(|(n, e)| (n.clone(), e.held.clone())).collect(),
        },
        choice,
        effective,
    };
    judged.refusals(view, &per_node);
    judged.overrides(&per_node);
    judged.convergence(view, memory, &per_node);
    judged
}

impl Evaluation {
    fn refusals(&mut self, view: &HuntView<'_>, per_node: &BTreeMap<NodeName, Effective>) {
        let own: Vec<Refusal> = self
            .choice
            .refused
            .iter()
            .chain(&self.effective.refused)
            .chain(per_node.values().flat_map(|effective| &effective.refused))
            .cloned()
            .chain(unknown_nodes(view))
            .collect();
        own.into_iter().for_each(|refusal| self.refuse(refusal, "operator"));
        for (node, record) in live(view) {
            let Some(ack) = ack_of(view, &node, record) else { continue };
            for refusal in &ack.refused {
                self.refuse(bounded(refusal), node.as_str());
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, by: &str) {
        let key = refusal.key.clone();
        let entry = self.refused.entry(key).or_insert(Refused { refusal, by: BTreeSet::new() });
        entry.by.insert(by.to_owned());
    }

    fn overrides(&mut self, per_node: &BTreeMap<NodeName, Effective>) {
        let hunt = in_effect(&self.effective, Layer::Hunt, None);
        let nodes = per_node.iter().flat_map(|(n, e)| in_effect(e, Layer::Node, Some(n)));
        let all: Vec<OverrideInEffect> = hunt.into_iter().chain(nodes).collect();
        self.override_count = all.len();
        self.overrides = all.into_iter().take(OVERRIDES_MAX).collect();
    }

    fn convergence(
        &mut self,
        view: &HuntView<'_>,
        memory: &Memory,
        per_node: &BTreeMap<NodeName, Effective>,
    ) {
        let edited_at = view.edited_at().max(memory.deleted_at);
        for (node, record) in live(view) {
            let effective = per_node.get(&node).unwrap_or(&self.effective);
            let ack = ack_of(view, &node, record);
            let asked = Asked {
                generation: self.choice.generation,
                revision: edited_at,
                hash: &effective.hash,
            };
            let state = judge(ack, asked);
            self.nodes.insert(node, state);
        }
    }
}

/// The kept document of that generation, as the layers want it.
fn resource(view: &HuntView<'_>, generation: Option<Generation>) -> Option<Resource> {
    let document = view.desired.get(&generation?)?.value()?;
    Some(Resource { generation: document.generation, values: document.values().0 })
}

fn nodes_with_edits(
    view: &HuntView<'_>,
    resource: Option<&Resource>,
    held: &HeldEdits,
    now: Timestamp,
) -> BTreeMap<NodeName, Effective> {
    let named: BTreeSet<NodeName> =
        view.edits.keys().filter_map(|rest| edited_node(rest)).collect();
    let none = Held::new();
    let of = |node: NodeName| {
        let before = held.nodes.get(&node).unwrap_or(&none);
        let effective = resolve(resource, &view.edits, Some(&node), before, now);
        (node, effective)
    };
    named.into_iter().filter(|node| view.nodes.contains_key(node)).map(of).collect()
}

/// The node that a well-formed key of an edit names.
fn edited_node(rest: &str) -> Option<NodeName> {
    match edit::target(rest) {
        Ok(Target::Setting { node, .. }) => node,
        Ok(Target::Generation) | Err(_) => None,
    }
}

/// Edits for nodes that are not there.
fn unknown_nodes<'a>(view: &'a HuntView<'_>) -> impl Iterator<Item = Refusal> + 'a {
    view.edits.iter().filter_map(|(rest, written)| {
        let node = edited_node(rest).filter(|node| !view.nodes.contains_key(node))?;
        let names: Vec<&str> = view.nodes.keys().map(NodeName::as_str).collect();
        let head = &written.bytes[..written.bytes.len().min(256)];
        Some(Refusal {
            key: format!("override/{rest}"),
            found: excerpt(&String::from_utf8_lossy(head)),
            reason: format!(
                "no node {node} is there; there are {}",
                if names.is_empty() { "none".to_owned() } else { list(&names) }
            ),
            code: RefusalCode::UnknownNode,
            revision: written.revision,
        })
    })
}

fn drained_nodes(
    view: &HuntView<'_>,
    hunt: &Effective,
    per_node: &BTreeMap<NodeName, Effective>,
) -> BTreeSet<NodeName> {
    let nodes: Vec<_> = live(view).map(|(node, record)| (node, record.mode)).collect();
    drained(nodes.iter().map(|(node, mode)| {
        let config = &per_node.get(node).unwrap_or(hunt).config;
        (node, *mode, config.partitions.drained)
    }))
}

fn next_expiry(
    choice: &Choice,
    effective: &Effective,
    per_node: &BTreeMap<NodeName, Effective>,
) -> Option<Timestamp> {
    let rollback = choice.rollback.as_ref().and_then(|edit| edit.signature.until);
    let nodes = per_node.values().filter_map(|effective| effective.next_expiry);
    effective.next_expiry.into_iter().chain(rollback).chain(nodes).min()
}

fn in_effect(
    effective: &Effective,
    layer: Layer,
    node: Option<&NodeName>,
) -> Vec<OverrideInEffect> {
    let of = |(path, claims): (&config_schemas::FieldPath, &Vec<config_schemas::layers::Claim>)| {
        let winner = claims.last().filter(|claim| claim.layer == layer)?;
        let below = claims.len().checked_sub(2).and_then(|index| claims.get(index))?;
        Some(OverrideInEffect {
            field: path.to_string(),
            node: node.map(ToString::to_string),
            value: shown(&winner.value),
            shadows: format!("{} ({})", shown(&below.value), layer_name(below.layer)),
            owner: winner.signature.owner.as_deref().map(excerpt),
            reason: winner.signature.reason.as_deref().map(excerpt),
            until: winner.signature.until,
        })
    };
    effective.claims.iter().filter_map(of).collect()
}

/// The name of a layer, for people.
pub fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Default => "default",
        Layer::Resource => "resource",
        Layer::Hunt => "override/hunt",
        Layer::Node => "override/node",
    }
}

/// The live nodes whose record can be read.
pub(crate) fn live<'a>(view: &'a HuntView<'_>) -> impl Iterator<Item = (NodeName, &'a NodeRecord)> {
    view.nodes.iter().filter_map(|(node, slot)| Some((node.clone(), slot.value()?)))
}

/// The node's ack, unless it is of an earlier life of it.
fn ack_of<'a>(view: &'a HuntView<'_>, node: &NodeName, record: &NodeRecord) -> Option<&'a Ack> {
    view.acks.get(node).filter(|ack| ack.incarnation == record.incarnation)
}

/// An agent's words, cut to what a status holds whatever the agent wrote.
fn bounded(refusal: &Refusal) -> Refusal {
    let cut = |text: &str, max: usize| text.chars().take(max).collect::<String>();
    Refusal {
        key: cut(&refusal.key, 200),
        found: cut(&refusal.found, 200),
        reason: cut(&refusal.reason, 1000),
        ..refusal.clone()
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(256).collect()
}

/// Names for people: the first few, and how many more there are.
pub(crate) fn list(names: &[&str]) -> String {
    const NAMES_MAX: usize = 5;
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
