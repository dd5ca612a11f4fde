//! The last good values of edits whose newest text is refused: etcd no longer has them, agents do.
//! In: a hunt as etcd shows it, and each agent's `/config`. Out: what every node holds, for
//! `config_schemas::layers::resolve`. Reading an answer is pure, asking is I/O.

use std::collections::BTreeMap;

use config_schemas::edit::{self, Signature, Target};
use config_schemas::layers::{Held, HeldEdit};
use config_schemas::{FieldPath, NodeName, Revision};
use serde::Deserialize as _;
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::fleet::Fleet;
use crate::http::Http;

/// Agents that one command asks, all at the same time: what a hunt-wide edit held is the same on
/// nearly all of them, and a person waits for the slowest.
const ASKED_MAX: usize = 32;

/// What agents hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LastGood {
    answered: BTreeMap<NodeName, Held>,
}

impl LastGood {
    /// What `node` holds, or the hunt as a whole. Of a node that did not answer, and of the hunt,
    /// the first answer about each hunt-wide edit is taken.
    pub fn of(&self, node: Option<&NodeName>) -> Held {
        if let Some(held) = node.and_then(|node| self.answered.get(node)) {
            return held.clone();
        }
        let mut held = Held::new();
        for (rest, edit) in self.answered.values().flatten() {
            if rest.starts_with("hunt/") {
                held.entry(rest.clone()).or_insert_with(|| edit.clone());
            }
        }
        held
    }

    /// Whether that node has said what it holds.
    pub fn has_answered(&self, node: &NodeName) -> bool {
        self.answered.contains_key(node)
    }

    /// Takes over a node's answer.
    pub fn add(&mut self, node: NodeName, held: Held) {
        self.answered.insert(node, held);
    }

    /// What each node that answered holds of that edit.
    pub fn holders(&self, rest: &str) -> impl Iterator<Item = (&NodeName, &HeldEdit)> {
        self.answered.iter().filter_map(move |(node, held)| Some((node, held.get(rest)?)))
    }
}

/// Whose setting an edit is, when its text says nothing that can be used.
pub fn wrong(fleet: &Fleet, rest: &str) -> Option<(Option<NodeName>, FieldPath)> {
    let written = fleet.edits.get(rest)?;
    match edit::target(rest) {
        Ok(Target::Setting { node, path }) => {
            edit::setting(path, &written.bytes).is_err().then_some((node, path))
        }
        Ok(Target::Generation) | Err(_) => None,
    }
}

/// The living nodes that may hold a last good value of that edit.
pub fn concerned<'a>(fleet: &'a Fleet, rest: &str) -> Vec<&'a NodeName> {
    let Some((only, _)) = wrong(fleet, rest) else { return Vec::new() };
    fleet.nodes.keys().filter(|node| only.as_ref().is_none_or(|only| only == *node)).collect()
}

/// What an agent's `/config` says that it holds; `None` when it is no answer of this life of it.
pub fn heard(fleet: &Fleet, node: &NodeName, config: &Json) -> Option<Held> {
    let record = fleet.nodes.get(node)?;
    if config["incarnation"] != record.incarnation.as_str() {
        return None;
    }
    let held = fleet.edits.iter().filter_map(|(rest, written)| {
        let (of, path) =
            wrong(fleet, rest).filter(|(of, _)| of.as_ref().is_none_or(|of| of == node))?;
        let layer = if of.is_some() { "node" } else { "hunt" };
        let winner = &config["fields"][path.to_string()];
        let losers = winner["losers"].as_array().into_iter().flatten();
        let claim = std::iter::once(winner).chain(losers).find(|claim| claim["layer"] == layer)?;
        held(path, claim)
            .filter(|held| held.revision < written.revision)
            .map(|held| (rest.clone(), held))
    });
    Some(held.collect())
}

fn held(path: FieldPath, claim: &Json) -> Option<HeldEdit> {
    let value = path.field().kind.read(&claim["value"]).ok()?;
    let revision = claim["revision"].as_u64().and_then(Revision::new)?;
    let signature = Signature::deserialize(claim).ok()?;
    Some(HeldEdit { edit: edit::Edit { value, signature }, revision })
}

/// Asks the agents of hunts in which an edit's text is wrong; of others nothing is to be learnt.
/// Who does not answer in time stays out.
pub async fn ask(fleets: &mut [Fleet]) {
    let http = Http::new();
    let mut asked = JoinSet::new();
    let to_ask = fleets.iter().enumerate().flat_map(|(index, fleet)| {
        let wrong: Vec<_> = fleet.edits.keys().filter_map(|rest| wrong(fleet, rest)).collect();
        let may_hold = move |node: &NodeName| {
            wrong.iter().any(|(only, _)| only.as_ref().is_none_or(|only| only == node))
        };
        let nodes = fleet.nodes.iter().filter(move |(node, _)| may_hold(node));
        nodes.map(move |(node, record)| (index, node.clone(), record.http.clone()))
    });
    for (index, node, address) in to_ask.take(ASKED_MAX) {
        let http = http.clone();
        asked.spawn(async move {
            let config = http.get(&address, "/config").await.and_then(|answer| answer.json());
            (index, node, config)
        });
    }
    while let Some(Ok((index, node, config))) = asked.join_next().await {
        let fleet = &mut fleets[index];
        if let Some(held) = config.ok().and_then(|config| heard(fleet, &node, &config)) {
            fleet.last_good.add(node, held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, node, revision};
    use serde_json::json;

    const LOTS: &[(&str, &str, u64)] = &[("hunt/buffers/events", "lots", 25)];

    fn config(claim: Json) -> Json {
        json!({"incarnation": "agent-1-life", "fields": {"buffers.events": claim}})
    }

    fn check(edits: &[(&str, &str, u64)], config: &Json, expected: &[(&str, &str, u64)]) {
        let held = heard(&harbour(edits), &node("agent-1"), config).unwrap();
        let found: Vec<_> = held
            .iter()
            .map(|(rest, held)| (rest.as_str(), held.edit.value.to_string(), held.revision))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(rest, text, at)| (*rest, (*text).to_owned(), revision(*at)))
            .collect();
        assert_eq!(found, expected, "{config}");
    }

    #[test]
    fn a_value_of_an_earlier_revision_is_held() {
        let claim = json!({"value": 2000, "layer": "hunt", "revision": 20, "owner": "ana"});
        let held = [("hunt/buffers/events", "2000", 20)];
        check(LOTS, &config(claim.clone()), &held);
        let losing = json!({"value": 7, "layer": "node", "revision": 22, "losers": [claim]});
        check(LOTS, &config(losing), &held);
        let signed = heard(
            &harbour(LOTS),
            &node("agent-1"),
            &config(json!(
            {"value": 2000, "layer": "hunt", "revision": 20, "owner": "ana"})),
        );
        let signature = &signed.unwrap()["hunt/buffers/events"].edit.signature;
        assert_eq!(signature.owner.as_deref(), Some("ana"));
    }

    #[test]
    fn nothing_is_held_of_an_edit_that_is_well_or_was_never_good() {
        let claim = config(json!({"value": 2000, "layer": "hunt", "revision": 20}));
        check(&[("hunt/buffers/events", "2000", 20)], &claim, &[]);
        check(LOTS, &config(json!({"value": 4096, "layer": "default"})), &[]);
        // Mended since etcd was read.
        check(LOTS, &config(json!({"value": 9, "layer": "hunt", "revision": 26})), &[]);
        check(LOTS, &json!({"incarnation": "agent-1-life"}), &[]);
        check(&[("node/agent-2/buffers/events", "lots", 25)], &claim, &[]);
    }

    #[test]
    fn another_life_is_not_believed() {
        let other = json!({"incarnation": "next", "fields": {}});
        assert_eq!(heard(&harbour(LOTS), &node("agent-1"), &other), None);
    }

    #[test]
    fn the_hunt_and_silent_nodes_go_by_the_first_answer() {
        let fleet = harbour(LOTS);
        let claim = config(json!({"value": 2000, "layer": "hunt", "revision": 20}));
        let mut last_good = LastGood::default();
        last_good.add(node("agent-0"), Held::new());
        last_good.add(node("agent-1"), heard(&fleet, &node("agent-1"), &claim).unwrap());
        assert_eq!(last_good.of(None).len(), 1);
        assert_eq!(last_good.of(Some(&node("agent-2"))).len(), 1);
        assert_eq!(last_good.of(Some(&node("agent-0"))).len(), 0);
        assert!(
            last_good.has_answered(&node("agent-0")) && !last_good.has_answered(&node("agent-2"))
        );
    }
}
