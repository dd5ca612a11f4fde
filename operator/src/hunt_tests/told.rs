//! What people are told: refusals, live edits, convergence, rollbacks.

use super::*;
use config_schemas::hot::{HotReport, hash};
use config_schemas::{Load, PartitionId};

#[test]
fn a_wrong_resource_changes_nothing_and_all_problems_are_named() {
    let mut world = running();
    let wrong = json!({
        "heartbeat": { "interval": "1ms" }, "buffers": { "events": "lots" },
        "partitions": { "count": 24 }, "history": 99, "treasure": {},
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

#[test]
fn a_parked_partition_is_told_with_its_remedy() {
    let mut world = running();
    let reason = "its owners died; to have it served again, put [\"3=agent-1\"]".to_owned();
    let record: PartitionRecord = world.document("partition/3");
    let parked = PartitionRecord::Parked { epoch: record.epoch(), reason: reason.clone() };
    world.set("partition/3", documents::write(&parked));
    world.settle();
    let told = format!("partition 3 is parked: {reason}");
    world.check_condition(ConditionKind::Degraded, Truth::True, "PartitionsParked", &told);
    world.set("override/hunt/partitions/pins", r#"["3=a"]"#);
    world.settle();
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
}

/// Who owns each partition.
fn owned(world: &World) -> Vec<(u32, String)> {
    let owner = |id| {
        let record: PartitionRecord = world.document(&format!("partition/{id}"));
        (id, record.owner().unwrap().node.to_string())
    };
    (0..16).map(owner).collect()
}

/// Every node says what its partitions cost; partition 3 holds a key that takes `key` cores.
fn report_hot(world: &mut World, key: f64) {
    let owned = owned(world);
    for node in ["a", "b", "c"] {
        let own = owned.iter().filter(|(_, owner)| owner == node);
        let cost = |id: u32| 0.1 + if id == 3 { key } else { 0.0 };
        let costs = own.map(|(id, _)| (PartitionId(*id), cost(*id))).collect();
        let mut load = Load::at_rest("1", 0, 1.0).with_costs(&costs);
        (load.next_ms, load.rate) = (Some(5000), 1000.0 * load.total());
        if key > 0.0 && node == "a" {
            let (key, rate) = (hash("ana"), 1000.0 * key);
            load.hot = vec![HotReport { key, partition: PartitionId(3), rate }];
        }
        world.set_on_lease(&format!("load/{node}"), documents::write(&load));
    }
}

#[test]
fn an_ordered_key_that_fills_a_node_is_told_as_the_bound_until_it_cools() {
    let mut world = running();
    report_hot(&mut world, 1.2);
    world.settle();
    let hot = world.status().hot;
    let [told] = hot.as_slice() else { panic!("{hot:?}") };
    assert_eq!((told.partition, told.percent_of_node, told.apart), (3, 120, true), "{told:?}");
    assert_eq!(told.key, hash("ana"));
    let said = "partition 3: one ordered key takes 120 % of a node; no placement can lower this";
    assert_eq!(told.message, said);
    world.check_condition(ConditionKind::Degraded, Truth::True, "HotKey", said);
    assert_eq!(world.told("HotKey").len(), 1);
    let names = serde_json::to_string(&world.status()).unwrap();
    assert!(!names.contains("ana"), "a key is somebody's name: {names}");
    let writes = world.writes;
    for _ in 0..20 {
        world.now += SignedDuration::from_secs(5);
        report_hot(&mut world, 1.25);
        world.settle();
    }
    assert_eq!(world.told("HotKey").len(), 1);
    assert!(world.writes < writes + 30, "a breath of it is no news: {}", world.writes - writes);
    for _ in 0..20 {
        world.now += SignedDuration::from_secs(10);
        report_hot(&mut world, 0.0);
        world.settle();
    }
    assert_eq!(world.status().hot, []);
    assert_eq!(world.told("HotKeyCooled").len(), 1);
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
}

#[test]
fn how_far_over_the_mean_a_node_may_be_is_edited_live() {
    let mut world = running();
    world.set("override/hunt/partitions/tolerance", "40");
    let owned = owned(&world);
    for (node, all) in [("a", 0.52), ("b", 0.4), ("c", 0.4)] {
        let own: Vec<u32> =
            owned.iter().filter(|(_, owner)| owner == node).map(|(id, _)| *id).collect();
        let each = all / own.len() as f64;
        let costs = own.into_iter().map(|id| (PartitionId(id), each)).collect();
        let mut load = Load::at_rest("1", 0, 1.0).with_costs(&costs);
        load.next_ms = Some(5000);
        world.set_on_lease(&format!("load/{node}"), documents::write(&load));
    }
    world.settle();
    let moving = |world: &World| {
        (0..16).any(|id| {
            let record = world.document(&format!("partition/{id}"));
            matches!(record, PartitionRecord::Mov { .. })
        })
    };
    assert!(!moving(&world), "18 % over the mean, and 40 % are allowed");
    world.unset("override/hunt/partitions/tolerance");
    world.settle();
    assert!(moving(&world), "15 % are allowed again, and at once");
}
