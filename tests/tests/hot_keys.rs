//! A hot key whose events need no order is split over partitions within a second of its appearance,
//! and put together again when people say that its kind is to keep its order. On real agents.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use events::partition_of;
use serde_json::json;
use tests::demand::{Demand, Rate};
use tests::players::outcomes;
use tests::wait::{promised, timed, until};
use tests::world::{Setup, World};

const SOON: Duration = Duration::from_secs(40);
const PARTITIONS: u32 = 12;
/// From its first event to the first of its sub-keys elsewhere.
const SPLIT_WITHIN: Duration = Duration::from_secs(1);

fn sights(per_second: f64) -> Vec<Rate> {
    vec![Rate { kind: "sight", key: "gold".to_owned(), per_second }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_unordered_key_is_split_within_a_second_and_put_together_by_a_live_edit() {
    let setup = Setup::agents(2).with("routing", "hot", 100);
    let world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    let home = partition_of("gold", PARTITIONS).0;
    let demand = Demand::start(&world, "s", sights(600.0));
    until("its events come through several partitions", SOON, async || {
        let places = demand.places("gold");
        ensure!(places.len() >= 4, "{places:?}");
        Ok(())
    })
    .await;
    let places = demand.taken().places.remove("gold").unwrap();
    let split = places.iter().filter(|(id, _)| **id != home).map(|(_, after)| *after).min();
    let split = split.unwrap();
    tests::say(&format!("split over {} partitions, the first after {split:?}", places.len()));
    let allowed = promised(SPLIT_WITHIN);
    assert!(split <= allowed, "split after {split:?}; {allowed:?} is allowed");
    until("so do its outcomes", SOON, async || {
        let lines = outcomes(&world.http, world.agents[0].http).await?;
        let ours = lines.iter().map(|line| &line.record).filter(|record| {
            record.event_id.as_ref().is_some_and(|id| id.as_str().starts_with("s-"))
        });
        let places: BTreeSet<u32> = ours.map(|record| record.partition.0).collect();
        ensure!(places.len() >= 4, "{places:?}");
        Ok(())
    })
    .await;
    drop(demand);

    let revision = world.edit("hunt/routing/ordered", "[sight]").await.unwrap();
    timed("its kind keeps its order, everywhere", SOON, async || {
        world.all_run("routing.ordered", &json!(["sight"]), revision).await
    })
    .await;
    let demand = Demand::start(&world, "o", sights(600.0));
    until("events are taken", SOON, async || {
        ensure!(demand.taken().accepted >= 1200);
        Ok(())
    })
    .await;
    assert_eq!(demand.places("gold"), [home].into());
    drop(demand);

    let revision = world.unedit("hunt/routing/ordered").await.unwrap();
    timed("the edit is taken back", SOON, async || {
        world.all_run("routing.ordered", &json!([]), revision).await
    })
    .await;
    let demand = Demand::start(&world, "t", sights(600.0));
    until("it is split again", SOON, async || {
        ensure!(demand.places("gold").len() >= 4);
        Ok(())
    })
    .await;
}
