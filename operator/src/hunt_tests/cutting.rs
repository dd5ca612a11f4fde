//! A hunt that is cut into more partitions: one step at a time, each only when the one before is there.

use config_schemas::Problem;

use super::*;

fn parts(count: u32) -> Json {
    json!({ "heartbeat": { "interval": "500ms" }, "partitions": { "count": count } })
}

fn cutting(world: &World) -> (u32, Vec<u32>, Option<u32>) {
    let meta: Meta = world.document("meta");
    (meta.partitions, meta.before, meta.next)
}

fn owned(world: &World) -> usize {
    let view = HuntView::of(&name(), &world.entries);
    view.partitions.values().filter(|slot| slot.value().is_some()).count()
}

#[test]
fn new_partitions_are_placed_before_keys_go_to_them() {
    let mut world = running();
    world.resource(2, parts(32));
    let first = world.look();
    assert_eq!(first.txns.len(), 1);
    for write in &first.txns[0].writes {
        world.revision += 1;
        world.write(write);
    }
    assert_eq!(cutting(&world), (16, vec![], Some(32)), "no key goes anywhere yet");
    world.settle();
    assert_eq!(cutting(&world), (32, vec![16], None));
    assert_eq!(owned(&world), 32);
    assert_eq!(world.status().partitions.unwrap().count, 32);
    world.resource(3, parts(64));
    world.settle();
    assert_eq!(cutting(&world), (64, vec![16, 32], None), "and what it was is kept");
    assert!(world.told("PutBack").is_empty(), "{:?}", world.told("PutBack"));
    assert_eq!((world.told("PartitionsPrepared").len(), world.told("PartitionsCut").len()), (1, 2));
}

#[test]
fn while_nobody_takes_the_new_partitions_keys_stay_where_they_are() {
    let mut world = running();
    for node in ["a", "b", "c"] {
        world.unset(&format!("node/{node}"));
    }
    world.settle();
    world.resource(2, parts(32));
    world.settle();
    assert_eq!(cutting(&world), (16, vec![], Some(32)));
    world.node("d", "1");
    world.settle();
    assert_eq!(cutting(&world).1, [16], "now somebody does");
}

#[test]
fn a_marker_that_was_cut_by_hand_is_put_back() {
    let mut world = running();
    let meta: Meta = world.document("meta");
    for wrong in [
        Meta { partitions: 32, ..meta.clone() },
        Meta { partitions: 8, ..meta.clone() },
        Meta { before: vec![4], ..meta.clone() },
        Meta { next: Some(24), ..meta.clone() },
    ] {
        world.set("meta", documents::write(&wrong));
        world.settle();
        assert_eq!(world.document::<Meta>("meta"), meta, "{wrong:?}");
    }
    assert!(!world.told("PutBack").is_empty());
}

#[test]
fn a_wiped_store_is_cut_as_it_was() {
    let mut world = running();
    world.resource(2, parts(32));
    world.settle();
    for key in world.entries.keys().cloned().collect::<Vec<_>>() {
        world.revision += 1;
        world.write(&Write::delete(key));
    }
    world.hunt.memory.store_rewound();
    world.settle();
    assert_eq!(cutting(&world), (32, vec![16], None));
}

#[test]
fn fewer_or_uneven_partitions_are_refused_and_nothing_changes() {
    for count in [8, 24] {
        let mut world = running();
        world.resource(2, parts(count));
        world.settle();
        assert_eq!(cutting(&world), (16, vec![], None));
        let allowed = Problem {
            field: "partitions.count".to_owned(),
            value: count.to_string(),
            allowed: config_schemas::cuts::allowed(16),
        };
        world.check_condition(
            ConditionKind::Accepted,
            Truth::False,
            "Invalid",
            &allowed.to_string(),
        );
    }
}

#[test]
fn in_kafka_new_partitions_wait_for_their_topics() {
    let meta = Meta {
        format: 1,
        store_epoch: String::new(),
        uid: String::new(),
        partitions: 16,
        before: vec![],
        next: Some(32),
        hash: String::new(),
        cluster: None,
        broker: config_schemas::BrokerKind::Kafka,
    };
    for (have, placed) in
        [(None, 16), (Some(16), 16), (Some(20), 20), (Some(32), 32), (Some(64), 32)]
    {
        assert_eq!(placeable(&meta, have), placed, "{have:?}");
    }
    let cut = Meta { partitions: 32, next: None, ..meta.clone() };
    assert_eq!(placeable(&cut, None), 32, "what keys go to is placed whatever is known");
    let embedded = Meta { broker: config_schemas::BrokerKind::Embedded, ..meta };
    assert_eq!(placeable(&embedded, None), 32);
}
