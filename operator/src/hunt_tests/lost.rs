//! What becomes of a hunt whose store is wiped, restored or silent, or whose records cannot be read.

use std::collections::BTreeSet;

use super::*;
use crate::state::Slot;

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
    let held = wait_out(&mut world);
    assert!(!held || !world.look().txns.is_empty());
    world.set_on_lease("node/b", record);
    assert_eq!(world.look().txns, []);
    assert_eq!(world.hunt.unreadable_since, BTreeMap::new());
}

/// As if the time for putting records back were over; false on a machine that runs for less.
fn wait_out(world: &mut World) -> bool {
    let Some(long_ago) = Instant::now().checked_sub(UNREADABLE_HOLD) else { return false };
    world.hunt.unreadable_since.values_mut().for_each(|since| *since = long_ago);
    true
}

#[test]
fn a_node_without_a_lease_is_none_but_its_agent_has_the_time_to_put_it_back() {
    let mut world = running();
    let record = world.entries[&world.key("node/b")].value.clone();
    world.set("node/ghost", record.clone());
    world.set("node/b", record.clone());
    assert_eq!(world.look().txns, [], "nothing is taken from b, or given to anybody");
    world.set_on_lease("node/b", record);
    world.settle();
    assert_eq!(world.status().nodes.map(|nodes| nodes.desired), Some(3), "the ghost is no node");
    let waited = wait_out(&mut world);
    world.set("node/b", "zzz");
    assert_eq!(world.look().txns, [], "b has its time, however long the ghost is there");
    assert!(!wait_out(&mut world) || !waited || !world.look().txns.is_empty());
}

/// An operator that starts when most nodes are gone has not seen them go.
#[test]
fn the_brake_holds_for_an_operator_that_starts_on_a_hunt_without_its_nodes() {
    let mut world = World::new();
    world.resource(1, spec("500ms"));
    for node in ["a", "b", "c", "d", "e", "f"] {
        world.node(node, "1");
    }
    world.settle();
    let owners = |world: &World| {
        let view = HuntView::of(&name(), &world.entries);
        let owner = |slot: &Slot<'_, PartitionRecord>| Some(slot.value()?.owner()?.node.clone());
        view.partitions.values().filter_map(owner).collect::<BTreeSet<_>>()
    };
    assert_eq!(owners(&world).len(), 6);
    for node in ["a", "b", "c"] {
        world.entries.remove(&world.key(&format!("node/{node}"))).unwrap();
    }
    world.hunt.memory = Memory::default();
    for key in world.entries.keys().cloned().collect::<Vec<_>>() {
        world.fold(&key);
    }
    let before = owners(&world);
    let look = world.look();
    assert_eq!(look.txns, [], "forced at once");
    let held = look.wake_at.unwrap();
    world.now = held;
    world.settle();
    assert_ne!(owners(&world), before, "and never after");
}
