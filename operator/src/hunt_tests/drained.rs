//! Nodes that people drain, by a setting of the node's own.

use super::*;

const DRAINED: &str = "partitions/drained";

/// Of whom each partition is, or on its way to.
fn homes(world: &World, count: u32) -> BTreeMap<String, usize> {
    let mut homes = BTreeMap::new();
    for id in 0..count {
        let home = match world.document(&format!("partition/{id}")) {
            PartitionRecord::Own { owner, .. } => owner.node,
            PartitionRecord::Mov { to, .. } => to.node,
            PartitionRecord::Parked { .. } => continue,
        };
        *homes.entry(home.to_string()).or_default() += 1;
    }
    homes
}

fn world(drained: &[&str]) -> World {
    let mut world = World::new();
    world.resource(1, json!({"partitions": {"count": 4}}));
    for node in ["a", "b"] {
        world.node(node, &format!("{node}-life"));
    }
    for node in drained {
        world.set(&format!("override/node/{node}/{DRAINED}"), "true");
    }
    world.settle();
    world
}

#[test]
fn a_drained_node_hands_over_all_it_has_until_that_is_undone() {
    let mut world = world(&[]);
    assert_eq!(homes(&world, 4), [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
    world.set(&format!("override/node/b/{DRAINED}"), "{value: true, owner: ana}");
    world.settle();
    assert_eq!(homes(&world, 4), [("a".to_owned(), 4)].into());
    // Another life of it is drained as well: it is the node that is, not the process.
    world.node("b", "b-again");
    world.settle();
    assert_eq!(homes(&world, 4), [("a".to_owned(), 4)].into());
}

#[test]
fn where_all_nodes_are_drained_none_is() {
    let both = world(&["a", "b"]);
    assert_eq!(homes(&both, 4), [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
    let one = world(&["b"]);
    assert_eq!(homes(&one, 4), [("a".to_owned(), 4)].into());
}
