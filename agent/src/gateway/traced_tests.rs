//! What is told of events and edits that are followed, by two whole agents: one tree for each.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::keys::Key;
use telemetry::traces::kept;

use super::server_tests::{PATIENCE, World, accepted, hunts, joins, request};

#[tokio::test]
async fn an_event_is_followed_from_its_gateway_to_its_outcome_on_another_node() {
    let (traces, mut spans) = kept(1.0);
    let world = World::placed_following(&traces).await;
    let response = hunts(&world.a).await.publish(request(joins(40))).await.unwrap().into_inner();
    assert_eq!(accepted(&response).len(), 4, "both nodes have some");
    let mut trees: BTreeMap<Vec<u8>, BTreeMap<String, _>> = BTreeMap::new();
    let reading = async {
        while trees.len() < 40 || trees.values().any(|tree| tree.len() < 3) {
            let span = spans.recv().await.unwrap();
            if span.name == "effect" || span.attributes.iter().any(|about| about.key == "revision")
            {
                continue;
            }
            trees.entry(span.trace_id.clone()).or_default().insert(span.name.clone(), span);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("each event is told of three times");
    for tree in trees.values() {
        let root = &tree["publish"];
        assert!(root.parent_span_id.is_empty());
        for name in ["accept", "outcome"] {
            assert_eq!(tree[name].parent_span_id, root.span_id, "{name}");
            assert!(tree[name].start_time_unix_nano <= tree[name].end_time_unix_nano);
        }
        let said = format!("{:?}", tree["outcome"].attributes);
        assert!(said.contains("joined"), "{said}");
    }
    let exemplars = format!("{:?}", traces.exemplars().unwrap());
    assert!(exemplars.contains("accept") && exemplars.contains("whole"), "{exemplars}");
    world.end().await;
}

#[tokio::test]
async fn an_edit_is_followed_until_each_node_runs_by_it() {
    let (traces, mut spans) = kept(0.0);
    let world = World::placed_following(&traces).await;
    let key = world.keys.key(&Key::Override("hunt/buffers/events".to_owned()));
    let revision = world.etcd.change(|store| store.write(&key, "2048"));
    let mut effects = BTreeMap::new();
    let reading = async {
        while effects.len() < 2 {
            let span = spans.recv().await.unwrap();
            let said = format!("{:?}", span.attributes);
            if span.name == "effect" && said.contains(&format!("\"{revision}\"")) {
                effects.insert(said, span);
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("each node tells");
    let places = effects.values().map(|span| (&span.trace_id, &span.parent_span_id));
    let places: BTreeSet<_> = places.collect();
    assert_eq!(places.len(), 1, "one trace, below what the operator tells: {effects:?}");
    world.end().await;
}
