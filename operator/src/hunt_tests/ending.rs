//! How a hunt ends, and how it goes on without its resource.

use super::*;

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
