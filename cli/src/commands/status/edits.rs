//! The live edits of a hunt, as people see them. In: the hunt as etcd shows it, and what its
//! agents refuse. Out: rows in effect and rows refused, each key once. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{Refusal, RefusalCode};
use config_schemas::edit::{self, Target};
use config_schemas::layers::HeldEdit;
use config_schemas::{NodeName, Revision, excerpt};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;

use crate::fleet::Fleet;

/// An edit that is in effect.
#[derive(Debug, Clone, Serialize)]
pub struct EditRow {
    /// What follows `override/`.
    pub key: String,
    /// What it says.
    pub value: Json,
    /// Since which revision.
    pub revision: Revision,
    /// Who.
    pub owner: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// Something that a person wrote and that is not in effect.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// What, why, since when.
    #[serde(flatten)]
    pub refusal: Refusal,
    /// The nodes that say so; none when only this program has found it yet.
    pub nodes: Vec<NodeName>,
}

/// The edits in effect: the hunt's, and those of living nodes.
pub(super) fn in_effect(fleet: &Fleet, now: Timestamp) -> Vec<EditRow> {
    let mut held = fleet.effective(None, now).held;
    for node in fleet.nodes.keys() {
        let own = format!("node/{node}/");
        let theirs = fleet.effective(Some(node), now).held;
        held.extend(theirs.into_iter().filter(|(rest, _)| rest.starts_with(&own)));
    }
    held.into_iter().map(|(rest, held)| row(rest, held)).collect()
}

fn row(rest: String, held: HeldEdit) -> EditRow {
    let HeldEdit { edit, revision } = held;
    EditRow {
        key: rest,
        value: edit.value.to_json(),
        revision,
        owner: edit.signature.owner,
        reason: edit.signature.reason,
        until: edit.signature.until,
    }
}

/// What is refused: by agents, by the common rules, or because nobody of that name lives.
pub(super) fn refused(fleet: &Fleet, now: Timestamp) -> Vec<Refused> {
    let mut found: BTreeMap<String, Refused> = BTreeMap::new();
    let mut add = |refusal: Refusal, node: Option<&NodeName>| {
        let new = || Refused { refusal: refusal.clone(), nodes: Vec::new() };
        let entry = found.entry(refusal.key.clone()).or_insert_with(new);
        entry.nodes.extend(node.filter(|node| !entry.nodes.contains(node)).cloned());
    };
    for node in fleet.nodes.keys() {
        for refusal in fleet.ack(node).map(|ack| ack.refused.as_slice()).unwrap_or_default() {
            // An ack may be older than the edit's end.
            let rest = refusal.key.strip_prefix("override/");
            if rest.is_none_or(|rest| fleet.edits.contains_key(rest)) {
                add(refusal.clone(), Some(node));
            }
        }
    }
    let computed = std::iter::once(None).chain(fleet.nodes.keys().map(Some));
    for refusal in computed.flat_map(|node| fleet.effective(node, now).refused) {
        add(refusal, None);
    }
    for refusal in fleet.choice(None, now).refused.into_iter().chain(strangers(fleet)) {
        add(refusal, None);
    }
    found.into_values().collect()
}

/// Edits that are well formed, of nodes that do not live.
fn strangers(fleet: &Fleet) -> Vec<Refusal> {
    let absent = fleet.absent_nodes();
    let of_absent = |rest: &String| match edit::target(rest) {
        Ok(Target::Setting { node: Some(node), .. }) => Some(node).filter(|n| absent.contains(n)),
        _ => None,
    };
    fleet
        .edits
        .iter()
        .filter_map(|(rest, written)| {
            let node = of_absent(rest)?;
            let head = &written.bytes[..written.bytes.len().min(512)];
            Some(Refusal {
                key: format!("override/{rest}"),
                found: excerpt(&String::from_utf8_lossy(head)),
                reason: format!("no node {node} lives; it waits for one"),
                code: RefusalCode::UnknownNode,
                revision: written.revision,
            })
        })
        .collect()
}
