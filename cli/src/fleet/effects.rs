//! What should run on every node, each outcome of the layers made once: nodes without anything of
//! their own share the hunt's. In: a hunt, and the edits to lay over it. Out: effective values by
//! node. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::convergence::{Asked, NodeState, judge};
use config_schemas::edit::{self, Target};
use config_schemas::layers::{Edits, Effective};
use config_schemas::{NodeName, drained};
use jiff::Timestamp;

use super::Fleet;

/// What should run where. A thousand nodes cost little more than one.
#[derive(Debug, Clone)]
pub struct Effects {
    hunt: Effective,
    own: BTreeMap<NodeName, Effective>,
}

impl Effects {
    /// For the hunt and each node that lives or that an edit names.
    pub fn of(fleet: &Fleet, edits: &Edits, now: Timestamp) -> Effects {
        let choice = |node: Option<&NodeName>| fleet.choice(node, now).generation;
        let (generation, held) = (choice(None), fleet.last_good.of(None));
        let named: BTreeSet<NodeName> = edits.keys().filter_map(|rest| edited(rest)).collect();
        let differs = |node: &&NodeName| {
            named.contains(*node)
                || choice(Some(*node)) != generation
                || (fleet.last_good.has_answered(node) && fleet.last_good.of(Some(*node)) != held)
        };
        let all: BTreeSet<&NodeName> = fleet.nodes.keys().chain(&named).collect();
        let own = all.into_iter().filter(differs);
        let own = own.map(|node| (node.clone(), fleet.effective_with(edits, Some(node), now)));
        Effects { own: own.collect(), hunt: fleet.effective_with(edits, None, now) }
    }

    /// On that node, or for the hunt as a whole.
    pub fn at(&self, node: Option<&NodeName>) -> &Effective {
        node.and_then(|node| self.own.get(node)).unwrap_or(&self.hunt)
    }

    /// Nodes that have outcomes of their own.
    pub fn own(&self) -> impl Iterator<Item = (&NodeName, &Effective)> {
        self.own.iter()
    }

    /// The hunt's outcome and those that differ from it: all that there are.
    pub fn each(&self) -> impl Iterator<Item = (Option<&NodeName>, &Effective)> {
        let own = self.own.iter().map(|(node, effective)| (Some(node), effective));
        std::iter::once((None, &self.hunt)).chain(own)
    }

    /// Whether `node` runs what it should.
    pub fn state(&self, fleet: &Fleet, node: &NodeName, now: Timestamp) -> NodeState {
        let asked = Asked {
            generation: fleet.choice(Some(node), now).generation,
            revision: fleet.asked_of(node).max(),
            hash: &self.at(Some(node)).hash,
        };
        judge(fleet.ack(node), asked)
    }

    /// The living nodes that people have drained.
    pub fn drained(&self, fleet: &Fleet) -> BTreeSet<NodeName> {
        drained(fleet.nodes.iter().map(|(node, record)| {
            (node, record.mode, self.at(Some(node)).config.partitions.drained)
        }))
    }
}

/// The node that a key below `override/` is about.
fn edited(rest: &str) -> Option<NodeName> {
    match edit::target(rest) {
        Ok(Target::Setting { node, .. }) => node,
        Ok(Target::Generation) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{harbour, node, now};
    use super::*;
    use config_schemas::Generation;
    use config_schemas::documents::Candidate;

    /// Every node's outcome is what the layers alone say for it.
    fn check(fleet: &Fleet, own: &[&str]) {
        let effects = Effects::of(fleet, &fleet.edits, now());
        for name in fleet.nodes.keys() {
            assert_eq!(effects.at(Some(name)), &fleet.effective(Some(name), now()), "{name}");
        }
        assert_eq!(effects.at(None), &fleet.effective(None, now()));
        let found: Vec<_> = effects.own().map(|(node, _)| node.as_str()).collect();
        assert_eq!(found, own);
    }

    #[test]
    fn nodes_share_the_hunt_s_outcome_unless_something_is_their_own() {
        check(&harbour(&[("hunt/buffers/events", "128", 15)]), &[]);
        check(&harbour(&[("node/agent-2/buffers/events", "128", 15)]), &["agent-2"]);
        let mut trial = harbour(&[]);
        let candidate = Candidate { generation: Generation(1), nodes: vec![node("agent-1")] };
        trial.rollout.as_mut().unwrap().0.candidate = Some(candidate);
        check(&trial, &["agent-1"]);
        let mut holds = harbour(&[("hunt/buffers/events", "lots", 25)]);
        let config = serde_json::json!({"incarnation": "agent-2-life", "fields":
            {"buffers.events": {"value": 2000, "layer": "hunt", "revision": 20}}});
        let held = crate::last_good::heard(&holds, &node("agent-2"), &config).unwrap();
        holds.last_good.add(node("agent-2"), held);
        holds.last_good.add(node("agent-1"), Default::default());
        check(&holds, &["agent-1"]);
    }

    #[test]
    fn a_drained_node_is_known_as_one() {
        let fleet = harbour(&[("node/agent-2/partitions/drained", "true", 15)]);
        let effects = Effects::of(&fleet, &fleet.edits, now());
        assert_eq!(effects.drained(&fleet), [node("agent-2")].into());
    }
}
