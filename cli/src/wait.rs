//! Is it live everywhere? In: what every living node says that it runs, as it changes. Out: done,
//! refused by whom, or still waiting for whom. The judgement is pure; following is I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::documents::{self, Ack, NodeRecord, Outcome};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Generation, HuntName, NodeName, Revision};
use serde::Serialize;
use store::{Change, Entry, FollowOptions, Follower, KeyRange, follow};
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, unreachable};
use crate::reach::Etcd;

/// Longest wait for the first picture of nodes and acks.
const PICTURE_WITHIN: Duration = Duration::from_millis(2_000);

/// What has to be in effect.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// On this node alone, or on every one that lives.
    pub node: Option<NodeName>,
    /// Everything up to this revision.
    pub revision: Revision,
    /// The edit, as refusals name it, such as `override/hunt/buffers/events`.
    pub key: String,
    /// The section that takes it over.
    pub section: Option<&'static str>,
    /// The generation that it leads to.
    pub generation: Option<Generation>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// No node lives that it concerns.
    Nobody,
    /// These have not said so yet.
    Waiting(Vec<NodeName>),
    /// All run it.
    Done(Vec<NodeName>),
    /// All have answered, and these refuse it.
    Refused(Vec<Objection>),
}

/// A node that refuses, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Objection {
    /// Who.
    pub node: NodeName,
    /// Why.
    pub reason: String,
}

/// Nodes and acks, as they change.
pub struct Acks {
    keys: HuntKeys,
    nodes: Follower,
    acks: Follower,
    seen: Seen,
}

/// What nodes say of themselves.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The nodes that live.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// What they run.
    pub acks: BTreeMap<NodeName, Ack>,
}

/// How far `awaited` is.
pub fn judge(seen: &Seen, awaited: &Awaited) -> Progress {
    let concerned: Vec<_> = seen
        .nodes
        .iter()
        .filter(|(node, _)| awaited.node.as_ref().is_none_or(|only| only == *node))
        .collect();
    if concerned.is_empty() {
        return Progress::Nobody;
    }
    let (mut missing, mut objections) = (Vec::new(), Vec::new());
    for (node, record) in &concerned {
        let ack = seen.acks.get(*node).filter(|ack| ack.incarnation == record.incarnation);
        match ack.filter(|ack| ack.revision >= Some(awaited.revision)) {
            None => missing.push((*node).clone()),
            Some(ack) => match objection(ack, awaited) {
                Some(reason) => objections.push(Objection { node: (*node).clone(), reason }),
                None if awaited.generation.is_some_and(|g| ack.generation != Some(g)) => {
                    missing.push((*node).clone());
                }
                None => {}
            },
        }
    }
    match (missing.is_empty(), objections.is_empty()) {
        (false, _) => Progress::Waiting(missing),
        (true, false) => Progress::Refused(objections),
        (true, true) => Progress::Done(concerned.iter().map(|(node, _)| (*node).clone()).collect()),
    }
}

fn objection(ack: &Ack, awaited: &Awaited) -> Option<String> {
    let refused = ack.refused.iter().find(|refusal| refusal.key == awaited.key);
    let rejected = awaited.section.and_then(|section| match ack.sections.get(section) {
        Some(Outcome::Rejected { reason }) => Some(reason.clone()),
        _ => None,
    });
    refused.map(|refusal| refusal.reason.clone()).or(rejected)
}

impl Seen {
    fn apply(&mut self, keys: &HuntKeys, change: &Change) {
        let entry = change.entry.as_ref();
        match keys.parse(&change.key) {
            Some(Key::Node(node)) => {
                let read =
                    |entry: &Entry| NodeRecord::read(&entry.value, entry.lease.is_some()).ok();
                put(&mut self.nodes, node, entry.and_then(read));
            }
            Some(Key::Ack(node)) => {
                let ack = entry.and_then(|entry| documents::read(&entry.value).ok());
                put(&mut self.acks, node, ack);
            }
            _ => {}
        }
    }
}

fn put<T>(map: &mut BTreeMap<NodeName, T>, node: NodeName, document: Option<T>) {
    match document {
        Some(document) => map.insert(node, document),
        None => map.remove(&node),
    };
}

impl Acks {
    /// Follows nodes and acks of the hunt; returns with the first whole picture.
    pub async fn follow(etcd: &Etcd, hunt: &HuntName) -> Result<Acks, Failure> {
        let keys = HuntKeys::new(hunt);
        let below = |what: &str| {
            let range = KeyRange::prefix(&format!("{}{what}/", keys.prefix()));
            follow(&etcd.store, FollowOptions::new(what, range))
        };
        let (nodes, acks) = (below("node"), below("ack"));
        let mut this = Acks { keys, nodes, acks, seen: Seen::default() };
        let first = async {
            for change in this.nodes.next().await.changes {
                this.seen.apply(&this.keys, &change);
            }
            for change in this.acks.next().await.changes {
                this.seen.apply(&this.keys, &change);
            }
        };
        if tokio::time::timeout(PICTURE_WITHIN, first).await.is_err() {
            let at = etcd.endpoints().join(", ");
            return Err(unreachable("following the agents' acks: no answer in time", &at));
        }
        Ok(this)
    }

    /// What is known now.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Until something changes.
    pub async fn changed(&mut self) {
        let update = tokio::select! {
            update = self.nodes.next() => update,
            update = self.acks.next() => update,
        };
        for change in &update.changes {
            self.seen.apply(&self.keys, change);
        }
    }

    /// Until `settled` says so of what is known, at most until `deadline`; the last word of it.
    pub async fn until<T>(
        &mut self,
        deadline: Instant,
        mut settled: impl FnMut(&Seen) -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some(settled) = settled(&self.seen) {
                return Some(settled);
            }
            if timeout_at(deadline, self.changed()).await.is_err() {
                return settled(&self.seen);
            }
        }
    }

    /// Until all have answered, at most until `deadline`.
    pub async fn answered(&mut self, awaited: &Awaited, deadline: Instant) -> Progress {
        let settled = |seen: &Seen| {
            Some(judge(seen, awaited)).filter(|found| !matches!(found, Progress::Waiting(_)))
        };
        match self.until(deadline, settled).await {
            Some(progress) => progress,
            None => judge(&self.seen, awaited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{ack, node, record, revision};
    use config_schemas::documents::{Refusal, RefusalCode};

    fn seen() -> Seen {
        let names = ["agent-1", "agent-2"];
        Seen {
            nodes: names.map(|name| (node(name), record(name))).into(),
            acks: names.map(|name| (node(name), ack(name, 2, 20, "h"))).into(),
        }
    }

    fn awaited(at: u64) -> Awaited {
        Awaited {
            node: None,
            revision: revision(at),
            key: "override/hunt/buffers/events".into(),
            section: Some("buffers"),
            generation: None,
        }
    }

    fn both() -> Vec<NodeName> {
        vec![node("agent-1"), node("agent-2")]
    }

    #[test]
    fn it_is_live_when_every_living_node_has_acked_the_revision() {
        assert_eq!(judge(&seen(), &awaited(20)), Progress::Done(both()));
        assert_eq!(judge(&seen(), &awaited(21)), Progress::Waiting(both()));
        let mut one = seen();
        one.acks.get_mut(&node("agent-1")).unwrap().revision = Some(revision(21));
        assert_eq!(judge(&one, &awaited(21)), Progress::Waiting(vec![node("agent-2")]));
        one.nodes.remove(&node("agent-2"));
        assert_eq!(judge(&one, &awaited(21)), Progress::Done(vec![node("agent-1")]));
        one.nodes.clear();
        assert_eq!(judge(&one, &awaited(21)), Progress::Nobody);
    }

    #[test]
    fn an_earlier_life_or_an_ack_without_revision_does_not_count() {
        let mut seen = seen();
        seen.acks.get_mut(&node("agent-1")).unwrap().incarnation = "earlier".into();
        seen.acks.get_mut(&node("agent-2")).unwrap().revision = None;
        assert_eq!(judge(&seen, &awaited(20)), Progress::Waiting(both()));
    }

    #[test]
    fn an_edit_of_one_node_waits_for_that_node_alone() {
        let mut seen = seen();
        seen.acks.remove(&node("agent-2"));
        let only = |name| Awaited { node: Some(node(name)), ..awaited(20) };
        assert_eq!(judge(&seen, &only("agent-1")), Progress::Done(vec![node("agent-1")]));
        assert_eq!(judge(&seen, &only("agent-2")), Progress::Waiting(vec![node("agent-2")]));
        assert_eq!(judge(&seen, &only("agent-3")), Progress::Nobody);
    }

    #[test]
    fn refusals_are_told_with_node_and_reason_once_all_have_answered() {
        let mut seen = seen();
        let refusing = seen.acks.get_mut(&node("agent-2")).unwrap();
        refusing.refused.push(Refusal {
            key: "override/hunt/buffers/events".into(),
            found: "lots".into(),
            reason: "not a number".into(),
            code: RefusalCode::OutOfBounds,
            revision: revision(20),
        });
        let objection = Objection { node: node("agent-2"), reason: "not a number".into() };
        assert_eq!(judge(&seen, &awaited(20)), Progress::Refused(vec![objection]));
        let other = Awaited { key: "override/hunt/buffers/bytes".into(), ..awaited(20) };
        assert_eq!(judge(&seen, &other), Progress::Done(both()));
        let rejected = Outcome::Rejected { reason: "disk full".into() };
        seen.acks.get_mut(&node("agent-1")).unwrap().sections.insert("buffers".into(), rejected);
        let Progress::Refused(found) = judge(&seen, &awaited(20)) else { panic!("refused") };
        assert_eq!(found[0].reason, "disk full");
    }

    #[test]
    fn a_rollback_is_live_when_the_generation_runs() {
        let to = |generation| Awaited { generation: Some(Generation(generation)), ..awaited(20) };
        assert_eq!(judge(&seen(), &to(2)), Progress::Done(both()));
        assert_eq!(judge(&seen(), &to(1)), Progress::Waiting(both()));
    }
}
