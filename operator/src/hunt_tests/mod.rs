//! One hunt against a store on paper: the whole of desire, plan, placement and report, looked at
//! again and again until nothing is left to do.

mod cutting;
mod drained;
mod edits;
mod ending;
mod lost;
mod told;
mod topics;
mod writing;

use std::collections::BTreeMap;

use bytes::Bytes;
use config_schemas::Epoch;
use config_schemas::documents::{
    self, Ack, Desired, Meta, NodeMode, NodeRecord, Outcome, PartitionRecord, Rollout,
};
use config_schemas::keys;
use crds::Condition;
use serde_json::{Value as Json, json};
use store::{Entry, LeaseId, Write};

use super::*;
use crate::plan::Severity;

/// A store on paper and one hunt over it.
struct World {
    entries: BTreeMap<String, Entry>,
    revision: u64,
    hunt: Hunt,
    now: Timestamp,
    /// It answers.
    answers: bool,
    /// Notes told so far.
    notes: Vec<Note>,
    /// Transactions and reports carried out.
    writes: usize,
}

const HUNT: &str = "default/harbour";

fn name() -> HuntName {
    HUNT.parse().unwrap()
}

impl World {
    fn new() -> World {
        World {
            entries: BTreeMap::new(),
            revision: 1,
            hunt: Hunt::default(),
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
            answers: true,
            notes: Vec::new(),
            writes: 0,
        }
    }

    fn key(&self, rest: &str) -> String {
        format!("/treasurehunt/{HUNT}/{rest}")
    }

    fn set(&mut self, rest: &str, value: impl Into<Bytes>) {
        self.revision += 1;
        self.write(&Write::put(self.key(rest), value));
    }

    /// As an agent does.
    fn set_on_lease(&mut self, rest: &str, value: impl Into<Bytes>) {
        self.revision += 1;
        let (key, value) = (self.key(rest), value.into());
        self.write(&Write::Put { key, value, lease: LeaseId::from_etcd(7) });
    }

    fn unset(&mut self, rest: &str) {
        self.revision += 1;
        self.write(&Write::delete(self.key(rest)));
    }

    fn write(&mut self, write: &Write) {
        let revision = Revision::new(self.revision).unwrap();
        let gone: Vec<String> = match write {
            Write::Put { key, value, lease } => {
                let created = self.entries.get(key).map_or(revision, |e| e.create_revision);
                let entry = Entry {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: created,
                    mod_revision: revision,
                    version: 1,
                    lease: *lease,
                };
                self.entries.insert(key.clone(), entry);
                self.fold(key);
                return;
            }
            Write::Delete { key } => vec![key.clone()],
            Write::DeleteRange(range) => {
                self.entries.keys().filter(|key| range.contains(key)).cloned().collect()
            }
        };
        for key in gone {
            if self.entries.remove(&key).is_some() {
                self.fold(&key);
            }
        }
    }

    fn fold(&mut self, key: &str) {
        let (_, what) = keys::parse(key).unwrap();
        let after = Revision::new(self.revision - 1);
        self.hunt.memory.fold(&what, self.entries.get(key), after, self.now);
    }

    fn resource(&mut self, generation: u64, spec: Json) {
        self.resource_of("uid-1", generation, spec);
    }

    fn resource_of(&mut self, uid: &str, generation: u64, spec: Json) {
        // a resource that is new has none yet
        let known = self.hunt.resource.as_ref().filter(|known| known.uid == uid);
        let status = known.map(|known| known.status.clone());
        self.hunt.resource = Some(Observed {
            name: name(),
            uid: uid.to_owned(),
            generation: Generation(generation),
            deleting: false,
            held: true,
            version: String::new(),
            spec: spec.to_string().into(),
            status: status.unwrap_or_default(),
        });
    }

    fn node(&mut self, node: &str, incarnation: &str) {
        let record = NodeRecord {
            format: 1,
            incarnation: incarnation.to_owned(),
            instance: node.to_owned(),
            http: "127.0.0.1:1".to_owned(),
            grpc: "127.0.0.1:2".to_owned(),
            mode: NodeMode::Ready,
        };
        self.set_on_lease(&format!("node/{node}"), documents::write(&record));
    }

    /// The node says that it runs what it should, as of now.
    fn ack(&mut self, node: &str, incarnation: &str) {
        self.ack_with(node, incarnation, |_| {});
    }

    fn ack_with(&mut self, node: &str, incarnation: &str, change: impl FnOnce(&mut Ack)) {
        let view = HuntView::of(&name(), &self.entries);
        let judged = evaluate(&view, &Memory::default(), &HeldEdits::default(), self.now);
        let mut ack = Ack {
            format: 1,
            incarnation: incarnation.to_owned(),
            generation: judged.choice.generation,
            revision: Revision::new(self.revision),
            hash: judged.effective.hash.clone(),
            sections: BTreeMap::new(),
            refused: Vec::new(),
            refused_count: 0,
        };
        change(&mut ack);
        self.set(&format!("ack/{node}"), documents::write(&ack));
    }

    fn look(&mut self) -> Look {
        let around = Surroundings {
            now: self.now,
            instant: Instant::now(),
            store_epoch: format!("epoch-{}", self.revision),
            revision: Revision::new(self.revision),
            store_answers: self.answers,
            clean_up_within: CLEAN_UP_WITHIN,
        };
        let view = HuntView::of(&name(), &self.entries);
        self.hunt.look(&view, &around)
    }

    /// Does what is to be done until nothing is.
    fn settle(&mut self) {
        for _ in 0..50 {
            let look = self.look();
            if look.txns.is_empty() && look.report.is_none() {
                return;
            }
            for txn in look.txns {
                txn.check().unwrap();
                let held = |guard: &store::Guard| guard.holds(self.entries.get(guard.key()));
                assert!(txn.guards.iter().all(held), "planned on what stands there");
                self.revision += 1;
                self.writes += 1;
                txn.writes.iter().for_each(|write| self.write(write));
            }
            self.notes.extend(look.notes);
            if let Some(report) = look.report {
                self.writes += 1;
                self.notes.extend(look.report_notes);
                self.reported(report);
            }
        }
        panic!("never settles");
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Status(status) => {
                self.hunt.resource.as_mut().unwrap().status = status;
            }
            Report::Hold => self.hunt.resource.as_mut().unwrap().held = true,
            Report::Release => self.hunt.resource = None,
        }
    }

    fn document<T: serde::de::DeserializeOwned>(&self, rest: &str) -> T {
        documents::read(&self.entries[&self.key(rest)].value).unwrap()
    }

    fn has(&self, rest: &str) -> bool {
        self.entries.contains_key(&self.key(rest))
    }

    fn status(&self) -> TreasureHuntStatus {
        serde_json::from_str(&self.hunt.resource.as_ref().unwrap().status).unwrap()
    }

    fn condition(&self, kind: ConditionKind) -> Condition {
        self.status().condition(kind).unwrap().clone()
    }

    fn check_condition(&self, kind: ConditionKind, truth: Truth, reason: &str, word: &str) {
        let found = self.condition(kind);
        assert_eq!((found.status, found.reason.as_str()), (truth, reason), "{}", found.message);
        assert!(found.message.contains(word), "{}", found.message);
    }

    fn told(&self, reason: &str) -> Vec<&Note> {
        self.notes.iter().filter(|note| note.reason == reason).collect()
    }
}

fn spec(interval: &str) -> Json {
    json!({ "heartbeat": { "interval": interval } })
}

/// A hunt with three converged nodes.
fn running() -> World {
    let mut world = World::new();
    world.resource(1, spec("500ms"));
    for node in ["a", "b", "c"] {
        world.node(node, "1");
    }
    world.settle();
    for node in ["a", "b", "c"] {
        world.ack(node, "1");
    }
    world.settle();
    world
}
