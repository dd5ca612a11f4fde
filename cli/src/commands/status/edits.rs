//! The live edits of a hunt, as people see them. In: the hunt as etcd shows it, what its agents
//! refuse, and what they hold. Out: rows in effect, and rows that are not, each key once. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{Refusal, RefusalCode};
use config_schemas::edit::{self, Target};
use config_schemas::layers::HeldEdit;
use config_schemas::{NodeName, Revision, excerpt};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;

use crate::fleet::{Effects, Fleet};
use crate::last_good::{concerned, wrong};

/// An edit that is in effect.
#[derive(Debug, Clone, Serialize)]
pub struct EditRow {
    /// What follows `override/`.
    pub key: String,
    /// What it says.
    pub value: Json,
    /// Since which revision.
    pub revision: Revision,
    /// Whether it is the last good value of a key whose newest text is refused.
    pub held: bool,
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
    /// What agents run instead of a text that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<LastGoodValue>,
    /// Nodes that may hold a last good value and have not said which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<NodeName>,
}

/// A last good value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastGoodValue {
    /// What it says.
    pub value: Json,
    /// Since which revision.
    pub revision: Revision,
    /// The agents that run it.
    pub nodes: Vec<NodeName>,
}

/// The edits in effect: the hunt's, and those of living nodes.
pub(super) fn in_effect(fleet: &Fleet, effects: &Effects) -> Vec<EditRow> {
    let mut held = effects.at(None).held.clone();
    for (node, theirs) in effects.own().filter(|(node, _)| fleet.nodes.contains_key(*node)) {
        let own = format!("node/{node}/");
        let theirs = theirs.held.iter().filter(|(rest, _)| rest.starts_with(&own));
        held.extend(theirs.map(|(rest, edit)| (rest.clone(), edit.clone())));
    }
    held.into_iter().map(|(rest, held)| row(fleet, rest, held)).collect()
}

fn row(fleet: &Fleet, rest: String, held: HeldEdit) -> EditRow {
    let HeldEdit { edit, revision } = held;
    EditRow {
        held: fleet.is_held(&rest, Some(revision)),
        key: rest,
        value: edit.value.to_json(),
        revision,
        owner: edit.signature.owner,
        reason: edit.signature.reason,
        until: edit.signature.until,
    }
}

/// What is refused or has ended, on one node or anywhere: by what agents say, by the common rules,
/// or because nobody of that name lives.
pub(in crate::commands) fn refused(
    fleet: &Fleet,
    effects: &Effects,
    only: Option<&NodeName>,
    now: Timestamp,
) -> Vec<Refused> {
    let mut found: BTreeMap<String, Refused> = BTreeMap::new();
    let mut add = |refusal: Refusal, node: Option<&NodeName>| {
        let new = || Refused::new(fleet, refusal.clone());
        let entry = found.entry(refusal.key.clone()).or_insert_with(new);
        entry.nodes.extend(node.filter(|node| !entry.nodes.contains(node)).cloned());
    };
    let nodes = || fleet.nodes.keys().filter(|node| only.is_none_or(|only| only == *node));
    for node in nodes() {
        for refusal in fleet.ack(node).map(|ack| ack.refused.as_slice()).unwrap_or_default() {
            // An ack may be older than the edit's end.
            let rest = refusal.key.strip_prefix("override/");
            if rest.is_none_or(|rest| fleet.edits.contains_key(rest)) {
                add(refusal.clone(), Some(node));
            }
        }
    }
    let concerns = |node: Option<&NodeName>| match (only, node) {
        (Some(_), _) | (_, None) => node == only,
        (None, Some(node)) => fleet.nodes.contains_key(node),
    };
    let computed = effects.own().filter(|(node, _)| concerns(Some(*node)));
    let computed = std::iter::once(effects.at(only)).chain(computed.map(|(_, theirs)| theirs));
    for refusal in computed.flat_map(|effective| &effective.refused) {
        add(refusal.clone(), None);
    }
    if only.is_none() {
        for refusal in fleet.choice(None, now).refused.into_iter().chain(strangers(fleet, now)) {
            add(refusal, None);
        }
    }
    found.into_values().collect()
}

impl Refused {
    fn new(fleet: &Fleet, refusal: Refusal) -> Refused {
        let rest = refusal.key.strip_prefix("override/").unwrap_or_default();
        let mut held: Vec<LastGoodValue> = Vec::new();
        if wrong(fleet, rest).is_some() {
            for (node, last) in fleet.last_good.holders(rest) {
                let value = last.edit.value.to_json();
                let same =
                    held.iter_mut().find(|h| h.value == value && h.revision == last.revision);
                match same {
                    Some(same) => same.nodes.push(node.clone()),
                    None => {
                        let (revision, nodes) = (last.revision, vec![node.clone()]);
                        held.push(LastGoodValue { value, revision, nodes });
                    }
                }
            }
        }
        let silent = |node: &&NodeName| !fleet.last_good.has_answered(node);
        let silent = concerned(fleet, rest).into_iter().filter(silent).cloned().collect();
        Refused { refusal, nodes: Vec::new(), held, silent }
    }

    /// Whether it is not wrong but over: nothing has to be mended.
    pub fn has_ended(&self) -> bool {
        is_end(self.refusal.code)
    }
}

/// Whether what is refused was in effect and is over, as its author wanted.
pub(super) fn is_end(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::Expired | RefusalCode::Lifted)
}

/// Edits that are well formed, of nodes that do not live.
fn strangers(fleet: &Fleet, now: Timestamp) -> Vec<Refusal> {
    let absent = fleet.absent_nodes();
    let of_absent = |rest: &String| match edit::target(rest) {
        Ok(Target::Setting { node: Some(node), path }) if absent.contains(&node) => {
            Some((node, path))
        }
        _ => None,
    };
    fleet
        .edits
        .iter()
        .filter_map(|(rest, written)| {
            let (node, path) = of_absent(rest)?;
            let edit = edit::setting(path, &written.bytes).ok();
            let until = edit.and_then(|edit| edit.signature.until).filter(|until| *until <= now);
            let (code, reason) = match until {
                Some(until) => {
                    (RefusalCode::Expired, format!("ended at {until}; no node {node} lives"))
                }
                None => {
                    (RefusalCode::UnknownNode, format!("no node {node} lives; it waits for one"))
                }
            };
            let head = &written.bytes[..written.bytes.len().min(512)];
            Some(Refusal {
                key: format!("override/{rest}"),
                found: excerpt(&String::from_utf8_lossy(head)),
                reason,
                code,
                revision: written.revision,
            })
        })
        .collect()
}
