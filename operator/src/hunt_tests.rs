//! One hunt against a store on paper: the whole of desire, plan, placement and report, looked at
//! again and again until nothing is left to do.

use std::collections::BTreeMap;

use bytes::Bytes;
use config_schemas::Epoch;
use config_schemas::documents::{
    self, Ack, Desired, Meta, NodeMode, NodeRecord, Outcome, PartitionRecord, Rollout,
};
use config_schemas::keys;
use crds::Condition;
use serde_json::{Value as Json, json};
use store::{Entry, Write};

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
        let status = self.hunt.resource.as_ref().map(|known| known.status.clone());
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
        self.set(&format!("node/{node}"), documents::write(&record));
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

#[test]
fn a_new_hunt_is_written_placed_and_converges() {
    let world = running();
    let meta: Meta = world.document("meta");
    assert_eq!((meta.uid.as_str(), meta.partitions, meta.hash.as_str()), ("uid-1", 16, "murmur2"));
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(1));
    let desired: Desired = world.document("desired/1");
    assert_eq!(Json::from(desired.config), json!({ "heartbeat": { "interval": "500ms" } }));
    world.check_condition(ConditionKind::Converged, Truth::True, "AllAcked", "all 3 nodes");
    world.check_condition(ConditionKind::Ready, Truth::True, "Ready", "");
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
    let status = world.status();
    assert_eq!(status.converged.as_deref(), Some("3/3"));
    assert_eq!(status.partitions.unwrap().placed, 16);
    assert_eq!(status.effective.unwrap().heartbeat, "500ms x 5");
}

#[test]
fn looking_again_later_writes_nothing() {
    let mut world = running();
    let writes = world.writes;
    world.now = world.now.checked_add(SignedDuration::from_hours(5)).unwrap();
    world.settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn a_new_operator_on_an_old_state_writes_nothing() {
    let mut world = running();
    let writes = world.writes;
    let resource = world.hunt.resource.take();
    world.hunt = Hunt { resource, ..Hunt::default() };
    for key in world.entries.keys().cloned().collect::<Vec<_>>() {
        world.fold(&key);
    }
    world.settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn a_resource_is_not_written_before_it_would_wait_for_us() {
    let mut world = World::new();
    world.resource(1, spec("1s"));
    world.hunt.resource.as_mut().unwrap().held = false;
    let look = world.look();
    assert_eq!((look.txns.len(), look.report), (0, Some(Report::Hold)));
}

#[test]
fn a_new_generation_replaces_the_pointer_and_keeps_the_history() {
    let mut world = running();
    for generation in 2..=14 {
        world.resource(generation, json!({ "heartbeat": { "misses": generation }, "history": 3 }));
        world.settle();
    }
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(14));
    let kept: Vec<i64> = world.status().history.iter().map(|kept| kept.generation).collect();
    assert_eq!(kept, [12, 13, 14]);
    world.check_condition(ConditionKind::Converged, Truth::False, "NodesBehind", "a runs gen");
    assert_eq!(world.status().converged.as_deref(), Some("0/3"));
    assert_eq!(world.told("PutBack"), Vec::<&Note>::new());
}

#[test]
fn every_write_needs_the_state_that_it_was_planned_on() {
    let mut world = running();
    world.resource(2, spec("2s"));
    let look = world.look();
    let guarded: Vec<&str> = look.txns[0].guards.iter().map(store::Guard::key).collect();
    for rest in ["meta", "rollout", "desired/2"] {
        assert!(guarded.contains(&world.key(rest).as_str()), "{rest}: {guarded:?}");
    }
}

#[test]
fn an_older_generation_is_refused_and_told() {
    let mut world = running();
    world.resource(5, spec("2s"));
    world.settle();
    world.resource(4, spec("1s"));
    world.settle();
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(5));
    world.check_condition(ConditionKind::Accepted, Truth::False, "OlderGeneration", "at least 5");
}

#[test]
fn a_wrong_resource_changes_nothing_and_all_problems_are_named() {
    let mut world = running();
    let wrong = json!({
        "heartbeat": { "interval": "1ms" }, "buffers": { "events": "lots" },
        "partitions": { "count": 32 }, "history": 99, "treasure": {},
    });
    world.resource(2, wrong);
    world.settle();
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(1));
    assert!(!world.has("desired/2"));
    let accepted = world.condition(ConditionKind::Accepted);
    assert_eq!((accepted.status, accepted.reason.as_str()), (Truth::False, "Invalid"));
    for field in ["heartbeat.interval", "buffers.events", "partitions.count", "history", "treasure"]
    {
        assert!(accepted.message.contains(&format!("{field}: ")), "{field}: {}", accepted.message);
    }
    world.check_condition(ConditionKind::Ready, Truth::False, "Invalid", "20ms");
    assert_eq!(world.told("NotAccepted").len(), 1);
    world.resource(3, spec("1s"));
    world.settle();
    world.check_condition(ConditionKind::Accepted, Truth::True, "Written", "generation 3");
}

#[test]
fn an_undecodable_resource_is_told_of() {
    let mut world = running();
    world.resource(2, json!({ "history": "many" }));
    world.settle();
    world.check_condition(ConditionKind::Accepted, Truth::False, "Undecodable", "spec: ");
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(1));
}

#[test]
fn unknown_fields_change_nothing_and_are_told_of() {
    let mut world = running();
    world.resource(2, json!({ "heartbeat": { "speed": 3 } }));
    world.settle();
    world.check_condition(ConditionKind::Accepted, Truth::True, "Written", "");
    world.check_condition(ConditionKind::Degraded, Truth::True, "UnknownFields", "heartbeat.speed");
}

#[test]
fn hand_edits_of_machine_written_keys_are_put_back_with_a_hint() {
    let check = |rest: &str, value: Option<&str>| {
        let mut world = running();
        world.resource(2, spec("2s"));
        world.settle();
        let before = world.entries.clone();
        match value {
            Some(value) => world.set(rest, value.to_owned()),
            None => world.unset(rest),
        }
        world.settle();
        let values = |entries: &BTreeMap<String, Entry>| -> BTreeMap<String, Bytes> {
            entries.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
        };
        assert_eq!(values(&world.entries), values(&before), "{rest} {value:?}");
        let told = world.told("PutBack");
        assert_eq!(told.len(), 1, "{rest} {value:?}: {told:?}");
        assert_eq!(told[0].severity, Severity::Warning);
        assert!(told[0].text.contains(&world.key(rest)) && told[0].text.contains("override/"));
    };
    check("rollout", Some("{"));
    check("rollout", Some(r#"{"format":1,"stable":1}"#));
    check("rollout", Some(r#"{"format":1,"stable":9}"#));
    check("rollout", None);
    check("desired/2", Some("{}"));
    check("desired/2", None);
    check("desired/1", Some(r#"{"heartbeat":{"interval":"9s"}}"#));
    check("desired/1", None);
    check("desired/9", Some("{}"));
    check("meta", Some("{}"));
    check("meta", None);
    let other = r#"{"format":1,"storeEpoch":"x","uid":"uid-1","partitions":4,"hash":"murmur2"}"#;
    check("meta", Some(other));
    check("partition/99", Some("{}"));
}

#[test]
fn a_broken_partition_record_is_written_anew_in_a_higher_epoch() {
    let check = |value: &str| {
        let mut world = running();
        world.set("partition/3", value.to_owned());
        world.settle();
        let record: PartitionRecord = world.document("partition/3");
        assert_eq!(record.epoch(), Epoch(2), "{value}");
        assert_eq!(world.told("PutBack").len(), 1);
    };
    check("mine");
    check(r#"{"state":"OWN","owner":{"node":"a","incarnation":"1"},"epoch":0}"#);
}

#[test]
fn a_stray_key_is_left_alone_and_told_of() {
    let mut world = running();
    world.set("notes/mine", "x");
    world.settle();
    assert!(world.has("notes/mine"));
    world.check_condition(ConditionKind::Degraded, Truth::True, "StrayKeys", "notes/mine");
}

#[test]
fn a_wiped_store_is_written_again_as_a_new_life() {
    let mut world = running();
    let before: Meta = world.document("meta");
    world.entries.clear();
    world.hunt.memory.store_rewound();
    world.revision = 3;
    for node in ["a", "b", "c"] {
        world.node(node, "1");
    }
    world.settle();
    let after: Meta = world.document("meta");
    assert_ne!(after.store_epoch, before.store_epoch);
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(1));
    let record: PartitionRecord = world.document("partition/0");
    assert_eq!(record.epoch(), Epoch(2), "epochs rise even over a wiped store");
}

#[test]
fn live_edits_that_went_with_the_store_come_back_and_deleted_ones_do_not() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "128");
    world.set("override/hunt/workers/batch", "8");
    world.settle();
    world.unset("override/hunt/workers/batch");
    world.settle();
    let lose = |world: &mut World| {
        let keys: Vec<String> = world.entries.keys().cloned().collect();
        world.entries.clear();
        world.hunt.memory.store_rewound();
        keys.iter().for_each(|key| world.fold(key));
    };
    lose(&mut world);
    world.settle();
    assert_eq!(world.entries[&world.key("override/hunt/buffers/events")].value, "128");
    assert!(!world.has("override/hunt/workers/batch"), "somebody deleted it");
    lose(&mut world);
    world.resource_of("uid-2", 1, spec("1s"));
    world.settle();
    assert!(!world.has("override/hunt/buffers/events"), "those were another resource's");
}

#[test]
fn a_store_restored_from_before_gets_the_newer_generation_again() {
    let mut world = running();
    let backup = world.entries.clone();
    world.resource(2, spec("2s"));
    world.settle();
    world.entries = backup;
    world.hunt.memory.store_rewound();
    world.settle();
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(2));
}

#[test]
fn what_another_resource_of_the_name_left_is_replaced() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "128");
    world.settle();
    let before: Meta = world.document("meta");
    world.resource_of("uid-2", 1, json!({ "partitions": { "count": 4 } }));
    world.settle();
    let after: Meta = world.document("meta");
    assert_eq!((after.uid.as_str(), after.partitions), ("uid-2", 4));
    assert_ne!(after.store_epoch, before.store_epoch);
    assert!(!world.has("partition/4") && world.has("partition/3"));
    assert!(world.has("override/hunt/buffers/events"));
}

#[test]
fn a_refused_edit_is_told_and_gone_when_it_is_mended() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "lots");
    world.set("override/node/ghost/workers/batch", "8");
    world.settle();
    let status = world.status();
    let codes: Vec<_> = status.refused.iter().map(|r| (r.key.as_str(), r.code.as_str())).collect();
    assert_eq!(
        codes,
        [
            ("override/hunt/buffers/events", "OutOfBounds"),
            ("override/node/ghost/workers/batch", "UnknownNode"),
        ]
    );
    assert_eq!(status.refused[0].found, "lots");
    assert_eq!(world.told("EditRefused").len(), 2);
    world.check_condition(ConditionKind::Degraded, Truth::True, "EditRefused", "from 1 to");
    world.unset("override/hunt/buffers/events");
    world.unset("override/node/ghost/workers/batch");
    world.settle();
    assert_eq!(world.status().refused, []);
    assert_eq!(world.told("EditMended").len(), 2);
}

#[test]
fn a_refusal_that_only_an_agent_sees_is_told_too() {
    let mut world = running();
    world.ack_with("b", "1", |ack| {
        ack.refused_count = 1;
        ack.refused.push(config_schemas::documents::Refusal {
            key: "override/hunt/buffers/events".to_owned(),
            found: "7".to_owned(),
            reason: "not here".to_owned(),
            code: config_schemas::documents::RefusalCode::Conflict,
            revision: Revision::FIRST,
        });
    });
    world.settle();
    assert_eq!(world.status().refused[0].by, "b");
}

#[test]
fn an_override_is_reported_and_never_fought() {
    let mut world = running();
    let edit =
        r#"{"value": "250ms", "owner": "ana", "reason": "hot", "until": "2026-11-21T12:00:10Z"}"#;
    world.set("override/hunt/heartbeat/interval", edit);
    world.settle();
    world.check_condition(ConditionKind::Overridden, Truth::True, "LiveEdits", "250ms");
    let shown = &world.status().overrides[0];
    assert_eq!(shown.shadows, "500ms (resource)");
    assert_eq!(shown.owner.as_deref(), Some("ana"));
    world.check_condition(ConditionKind::Converged, Truth::False, "NodesBehind", "newest edit");
    assert_eq!(world.look().wake_at, Some("2026-11-21T12:00:10Z".parse().unwrap()));
    world.now = "2026-11-21T12:00:10Z".parse().unwrap();
    world.settle();
    world.check_condition(ConditionKind::Overridden, Truth::False, "NoOverrides", "");
    assert_eq!(world.status().refused[0].code, "Expired");
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
    assert_eq!((world.told("EditRefused").len(), world.told("EditExpired").len()), (0, 1));
    assert!(world.has("override/hunt/heartbeat/interval"));
}

#[test]
fn a_node_counts_as_converged_only_when_everything_fits() {
    let check = |change: fn(&mut Ack), word: &str| {
        let mut world = running();
        world.set("override/hunt/buffers/events", "128");
        world.ack("a", "1");
        world.ack("b", "1");
        world.ack_with("c", "1", change);
        world.settle();
        if word.is_empty() {
            return world.check_condition(ConditionKind::Converged, Truth::True, "AllAcked", "");
        }
        world.check_condition(ConditionKind::Converged, Truth::False, "NodesBehind", word);
        assert_eq!(world.status().converged.as_deref(), Some("2/3"));
    };
    check(|_| {}, "");
    check(|ack| ack.incarnation = "0".to_owned(), "has not acknowledged");
    check(|ack| ack.generation = None, "generation none");
    check(|ack| ack.revision = Some(Revision::FIRST), "newest edit");
    check(|ack| ack.hash = "0".to_owned(), "other values");
    let rejects = |ack: &mut Ack| {
        let reason = "the disk is full".to_owned();
        ack.sections.insert("broker".to_owned(), Outcome::Rejected { reason });
    };
    check(rejects, "disk is full");
}

#[test]
fn a_node_with_edits_of_its_own_is_judged_by_them() {
    let mut world = running();
    world.set("override/node/b/buffers/events", "128");
    world.ack("a", "1");
    world.ack("b", "1");
    world.ack("c", "1");
    world.settle();
    world.check_condition(ConditionKind::Converged, Truth::False, "NodesBehind", "b runs other");
    assert_eq!(world.status().overrides[0].node.as_deref(), Some("b"));
}

#[test]
fn after_an_edit_is_deleted_acks_of_before_do_not_count() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "128");
    ["a", "b", "c"].iter().for_each(|node| world.ack(node, "1"));
    world.settle();
    world.check_condition(ConditionKind::Converged, Truth::True, "AllAcked", "");
    world.unset("override/hunt/buffers/events");
    world.settle();
    world.check_condition(ConditionKind::Converged, Truth::False, "NodesBehind", "newest edit");
}

#[test]
fn a_rollback_is_reported_kept_in_history_and_lifted_by_a_newer_resource() {
    let mut world = running();
    world.resource(2, json!({ "history": 2 }));
    world.settle();
    world.set("override/hunt/generation", "{value: 1, owner: ana, reason: worse}");
    world.settle();
    let back = world.status().rollback.unwrap();
    assert_eq!((back.generation, back.owner.as_deref()), (1, Some("ana")));
    assert_eq!(world.status().generation, Some(1));
    world.resource(3, json!({ "history": 2, "heartbeat": {} }));
    world.settle();
    assert!(world.has("desired/1") && world.has("desired/3"), "what a rollback names is kept");
    assert_eq!(world.status().generation, Some(3));
    assert_eq!(world.status().refused[0].code, "Lifted");
    world.unset("override/hunt/generation");
    world.settle();
    assert!(!world.has("desired/1"));
}

#[test]
fn a_deleted_hunt_s_keys_go_and_only_then_the_resource() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "128");
    world.settle();
    world.hunt.resource.as_mut().unwrap().deleting = true;
    let look = world.look();
    assert_eq!((look.txns.len(), look.report), (1, None));
    world.settle();
    assert!(world.hunt.resource.is_none());
    let left: Vec<_> = world.entries.keys().filter(|key| !key.contains("/node/")).collect();
    assert!(left.iter().all(|key| key.contains("/ack/")), "{left:?}");
}

#[test]
fn live_edits_stay_when_the_resource_says_so() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "128");
    world.resource(2, json!({ "deletionPolicy": "Retain" }));
    world.settle();
    world.hunt.resource.as_mut().unwrap().deleting = true;
    world.settle();
    assert!(world.has("override/hunt/buffers/events") && !world.has("meta"));
}

#[test]
fn absence_of_the_resource_deletes_nothing_and_knowledge_of_its_deletion_does() {
    let mut world = running();
    world.hunt.resource = None;
    world.settle();
    assert!(world.has("meta") && world.has("desired/1"));
    world.hunt.deleted = Some(Deleted { uid: "another".to_owned(), retain: false });
    world.settle();
    assert!(world.has("meta"));
    world.hunt.deleted = Some(Deleted { uid: "uid-1".to_owned(), retain: false });
    world.settle();
    assert!(!world.has("meta") && !world.has("partition/0"));
}

#[test]
fn without_a_resource_placement_and_judgement_go_on() {
    let mut world = running();
    world.hunt.resource = None;
    world.unset("node/c");
    world.set("override/hunt/buffers/events", "lots");
    world.settle();
    for id in 0..16 {
        let record: PartitionRecord = world.document(&format!("partition/{id}"));
        assert_ne!(record.owner().unwrap().node.as_str(), "c");
    }
    assert_eq!(world.hunt.refused.len(), 1);
}

#[test]
fn whatever_way_it_came_to_it_the_same_spec_gives_the_same_documents() {
    let through = |specs: &[Json]| {
        let mut world = World::new();
        let last = specs.len() as u64;
        for (index, spec) in specs.iter().enumerate() {
            world.resource(index as u64 + 10 - last, spec.clone());
            world.settle();
        }
        let mut desired: Desired = world.document("desired/9");
        desired.written_at = Timestamp::UNIX_EPOCH;
        (documents::write(&desired), world.entries[&world.key("rollout")].value.clone())
    };
    let c = json!({ "workers": { "batch": 8 }, "heartbeat": { "interval": "1000ms" } });
    let again =
        json!({ "heartbeat": { "interval": "1s", "misses": null }, "workers": { "batch": 8 } });
    let direct = through(std::slice::from_ref(&c));
    assert_eq!(through(&[spec("2s"), json!({}), c]), direct);
    assert_eq!(through(&[spec("3s"), again]), direct);
}

#[test]
fn our_own_write_is_waited_for_but_not_for_ever() {
    let mut world = running();
    world.resource(2, spec("2s"));
    let ahead = Revision::new(world.revision + 1).unwrap();
    world.hunt.settled = Some((ahead, Instant::now() + Duration::from_secs(60)));
    assert_eq!(world.look().txns, []);
    world.hunt.settled = Some((ahead, Instant::now()));
    assert_eq!(world.look().txns.len(), 1);
}

#[test]
fn a_silent_store_is_told_once_and_not_against_an_operator_that_hears_it() {
    let mut world = running();
    let (well, writes) = (world.hunt.resource.as_ref().unwrap().status.clone(), world.writes);
    world.answers = false;
    world.settle();
    world.check_condition(ConditionKind::Degraded, Truth::True, "StoreSilent", "does not answer");
    world.check_condition(ConditionKind::Converged, Truth::Unknown, "StoreSilent", "");
    world.check_condition(ConditionKind::Ready, Truth::Unknown, "StoreSilent", "");
    assert_eq!(world.status().converged.as_deref(), Some("3/3"), "what was last known");
    assert_eq!(world.writes, writes + 1);
    world.now = world.now.checked_add(SignedDuration::from_secs(60)).unwrap();
    world.settle();
    assert_eq!(world.writes, writes + 1, "however long it lasts");

    // The leader of today hears the store, and says so.
    world.hunt.resource.as_mut().unwrap().status = well.clone();
    world.settle();
    assert_eq!(world.writes, writes + 1, "they must not contradict each other for ever");
    world.answers = true;
    world.settle();
    assert_eq!(world.writes, writes + 1);
    world.answers = false;
    world.settle();
    assert_eq!(world.writes, writes + 2, "the next silence is told again");
    world.answers = true;
    world.settle();
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
    world.check_condition(ConditionKind::Ready, Truth::True, "Ready", "");
}

#[test]
fn nothing_is_placed_at_first_while_a_node_s_record_cannot_be_read() {
    let mut world = running();
    let record = world.entries[&world.key("node/b")].value.clone();
    world.set("node/b", "zzz");
    let look = world.look();
    assert_eq!(look.txns, []);
    assert!(look.wake_at.is_some(), "whatever stands there for longer is no agent's");
    let long_ago = Instant::now().checked_sub(UNREADABLE_HOLD);
    world.hunt.unreadable_since = long_ago.or(world.hunt.unreadable_since);
    assert!(long_ago.is_none() || !world.look().txns.is_empty());
    world.set("node/b", record);
    assert_eq!(world.look().txns, []);
    assert_eq!(world.hunt.unreadable_since, None);
}

#[test]
fn fewer_agents_than_planned_are_told_and_those_that_live_are_ready() {
    let mut world = running();
    world.resource(2, json!({ "agents": { "replicas": 4 }, "heartbeat": { "interval": "500ms" } }));
    world.settle();
    for node in ["a", "b", "c"] {
        world.ack(node, "1");
    }
    world.settle();
    world.check_condition(ConditionKind::Degraded, Truth::True, "NodesMissing", "3 of 4 agents");
    world.check_condition(ConditionKind::Ready, Truth::True, "Ready", "all 3 nodes");
    world.node("d", "1");
    world.settle();
    world.ack("d", "1");
    world.settle();
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
}
