//! Hot keys and retries, through two whole agents: what needs no order is spread and counted once,
//! what needs it stays where it is, and an id that comes again is seen as such.

use std::collections::BTreeMap;

use config_schemas::PartitionId;
use events::v1::outcome_record::Outcome;
use events::{partition_of, v1};
use futures::StreamExt as _;

use super::server_tests::{Agent, PATIENCE, World, accepted, hunts, joins, request};

const TREASURE: &str = "gold";

fn sightings(from: usize, count: usize) -> Vec<v1::Event> {
    let sighting = |number: usize| v1::Event {
        id: format!("s{number}"),
        kind: "sight".to_owned(),
        player: format!("player-{}", number % 50),
        treasure: TREASURE.to_owned(),
        ..v1::Event::default()
    };
    (from..from + count).map(sighting).collect()
}

async fn publish(agent: &Agent, events: Vec<v1::Event>) -> BTreeMap<u32, usize> {
    let response = hunts(agent).await.publish(request(events)).await.unwrap().into_inner();
    accepted(&response)
}

/// The first `count` outcomes of all partitions: how many were duplicates, and of how many.
async fn outcomes(agent: &Agent, count: usize) -> (usize, BTreeMap<String, usize>) {
    let mut watch = hunts(agent).await.watch(v1::WatchRequest::default()).await.unwrap();
    let (mut duplicates, mut ids) = (0, BTreeMap::new());
    let reading = async {
        for _ in 0..count {
            let record = watch.get_mut().next().await.unwrap().unwrap().record.unwrap();
            duplicates += usize::from(matches!(record.outcome, Some(Outcome::Duplicate(_))));
            *ids.entry(record.event_id).or_default() += 1;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    (duplicates, ids)
}

#[tokio::test]
async fn a_hot_key_without_order_is_spread_and_each_of_its_events_is_played_once() {
    let world = World::placed().await;
    let home = partition_of(TREASURE, 4).0;
    let mut sent = 0;
    let spread = async {
        loop {
            let places = publish(&world.a, sightings(sent, 200)).await;
            sent += 200;
            if places.len() == 4 {
                return;
            }
            assert_eq!(places.keys().copied().collect::<Vec<_>>(), [home], "all or nothing");
        }
    };
    tokio::time::timeout(PATIENCE, spread).await.unwrap();
    assert!(world.a.gateway.metrics().spread.get() > 0);
    // From now on the fan-out is as large as it can be: a retry goes where the first try went.
    let first = publish(&world.a, sightings(sent, 100)).await;
    let again = publish(&world.a, sightings(sent, 100)).await;
    assert_eq!(first, again);
    let (duplicates, ids) = outcomes(&world.b, sent + 200).await;
    assert_eq!(duplicates, 100);
    assert_eq!(ids.len(), sent + 100, "nothing is lost");
    world.end().await;
}

#[tokio::test]
async fn a_hot_key_with_order_stays_whole_and_is_reported() {
    let world = World::placed().await;
    let moves = |from: usize| {
        let step = |number: usize| v1::Event {
            id: format!("m{number}"),
            kind: "move".to_owned(),
            player: "ana".to_owned(),
            ..v1::Event::default()
        };
        (from..from + 200).map(step).collect::<Vec<_>>()
    };
    let mut sent = 0;
    let reported = async {
        loop {
            let places = publish(&world.a, moves(sent)).await;
            sent += 200;
            assert_eq!(places.keys().copied().collect::<Vec<_>>(), [partition_of("ana", 4).0]);
            let hot = world.a.gateway.hot().hot(tokio::time::Instant::now());
            if let [hot, ..] = hot.as_slice() {
                return hot.clone();
            }
        }
    };
    let hot = tokio::time::timeout(PATIENCE, reported).await.unwrap();
    assert_eq!((hot.key.as_str(), hot.ordered, hot.fan), ("ana", true, 1));
    assert!(hot.load.of_mean_node > 1.0, "{hot:?}");
    assert_eq!(world.a.gateway.metrics().spread.get(), 0);
    world.end().await;
}

#[tokio::test]
async fn an_id_that_comes_again_through_any_agent_is_answered_and_not_played() {
    let world = World::placed().await;
    let first = publish(&world.a, joins(40)).await;
    assert_eq!(first, publish(&world.a, joins(40)).await);
    assert_eq!(first, publish(&world.b, joins(40)).await);
    let (duplicates, ids) = outcomes(&world.b, 120).await;
    assert_eq!(duplicates, 80);
    assert!(ids.len() == 40 && ids.values().all(|count| *count == 3), "{ids:?}");
    // And also when the partition has moved on to another owner in between.
    for number in 0..4 {
        world.place(number, &world.b, 2);
    }
    let mut routes = world.a.plane.routes();
    let moved = routes.wait_for(|routes| {
        (0..4).all(|number| routes.of(PartitionId(number)).is_some_and(|at| at.epoch.0 == 2))
    });
    tokio::time::timeout(PATIENCE, moved).await.unwrap().unwrap();
    assert_eq!(first, publish(&world.a, joins(40)).await);
    let (duplicates, ids) = outcomes(&world.b, 160).await;
    assert_eq!((duplicates, ids.len()), (120, 40));
    world.end().await;
}
