//! A hunt that is cut into more partitions: one step at a time, each only when the one before is there.

use config_schemas::{PartitionId, Problem, Warm};

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

/// Does what is to be done, agents too: who owns a new partition loads what it is cut from.
fn settle(world: &mut World) {
    loop {
        world.settle();
        let view = HuntView::of(&name(), &world.entries);
        let Some(meta) = view.meta.value().filter(|meta| meta.next.is_some()) else { return };
        let told: Vec<_> = (meta.partitions..meta.next.unwrap_or(0))
            .filter_map(|id| Some((id, loads(&view, id)?)))
            .filter(|(id, warm)| view.warm.get(&PartitionId(*id)) != Some(warm))
            .collect();
        if told.is_empty() {
            return;
        }
        for (id, warm) in told {
            world.set_on_lease(&format!("warm/{id}"), documents::write(&warm));
        }
    }
}

/// What the owner of that partition says once it has loaded it.
fn loads(view: &HuntView<'_>, id: u32) -> Option<Warm> {
    let slot = view.partitions.get(&PartitionId(id))?;
    let PartitionRecord::Own { owner, epoch } = slot.value()? else { return None };
    Some(Warm { format: 1, owner: owner.clone(), epoch: *epoch })
}

#[test]
fn keys_stay_where_they_are_until_all_new_partitions_are_loaded() {
    let mut world = running();
    world.resource(2, parts(32));
    world.settle();
    assert_eq!(cutting(&world), (16, vec![], Some(32)), "placed, and nobody has loaded anything");
    let view = HuntView::of(&name(), &world.entries);
    let mut told: Vec<_> = (16..32).map(|id| (id, loads(&view, id).unwrap())).collect();
    let last = told.pop().unwrap();
    for (id, warm) in &told {
        world.set_on_lease(&format!("warm/{id}"), documents::write(warm));
    }
    let older = Warm { epoch: Epoch(last.1.epoch.0 + 1), ..last.1.clone() };
    world.set_on_lease("warm/31", documents::write(&older));
    world.settle();
    let said = world.status().cut.unwrap();
    assert_eq!((said.next, said.loaded, said.before), (Some(32), Some(15), vec![]));
    world.set_on_lease("warm/31", documents::write(&last.1));
    world.settle();
    assert_eq!(cutting(&world), (32, vec![16], None));
    let said = world.status().cut.unwrap();
    assert_eq!((said.next, said.loaded, said.before), (None, None, vec![16]));
}

#[test]
fn a_large_multiple_is_reached_step_by_step() {
    let mut world = running();
    world.resource(2, parts(256));
    settle(&mut world);
    assert_eq!(cutting(&world), (256, vec![16, 64], None));
}

#[test]
fn a_wiped_store_and_a_new_operator_go_by_what_the_status_said() {
    let mut world = running();
    world.resource(2, parts(32));
    settle(&mut world);
    for key in world.entries.keys().cloned().collect::<Vec<_>>() {
        world.revision += 1;
        world.write(&Write::delete(key));
    }
    let resource = world.hunt.resource.take();
    world.hunt = Hunt { resource, ..Hunt::default() };
    world.resource(3, parts(64));
    // it may be refused meanwhile, and told
    let look = world.look();
    if let Some(report) = look.report {
        world.reported(report);
    }
    world.settle();
    assert_eq!(
        cutting(&world),
        (32, vec![16], Some(64)),
        "the next step, and not another beginning"
    );
}

#[test]
fn a_marker_of_a_backup_or_by_hand_is_put_right_by_an_operator_that_knows_only_the_status() {
    for wrong in
        [(16, vec![], None), (64, vec![], None), (64, vec![16], None), (32, vec![16], Some(8))]
    {
        let mut world = running();
        world.resource(2, parts(32));
        settle(&mut world);
        let (partitions, before, next) = wrong;
        let meta: Meta = world.document("meta");
        let resource = world.hunt.resource.take();
        world.hunt = Hunt { resource, ..Hunt::default() };
        // its first list tells it of everything
        let wrong = documents::write(&Meta { partitions, before, next, ..meta.clone() });
        world.set("meta", wrong);
        world.settle();
        assert_eq!(cutting(&world), (32, vec![16], None));
    }
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
    settle(&mut world);
    assert_eq!(cutting(&world), (32, vec![16], None));
    assert_eq!(owned(&world), 32);
    assert_eq!(world.status().partitions.unwrap().count, 32);
    world.resource(3, parts(64));
    settle(&mut world);
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
    settle(&mut world);
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
    settle(&mut world);
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
