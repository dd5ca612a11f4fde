//! A hunt that gets more partitions while it is played, with everything that can go wrong in between:
//! nothing is lost, doubled, reordered or forgotten on the way of a key to its new partition.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::ensure;
use config_schemas::documents::Meta;
use config_schemas::keys::Key;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use servers::{KafkaCluster, KafkaPrograms};
use tests::players::{self, Players};
use tests::wait::timed;
use tests::world::{Setup, World};

/// A machine that compiles beside the test gets more than any of it takes.
const SOON: Duration = Duration::from_secs(90);
/// Players at once: enough that every partition always has something to do.
const PLAYERS: usize = 16;
/// Events that show that the hunt goes on.
const SOME: usize = 150;
/// Partitions at first.
const FEW: u32 = 4;

/// Asks for so many partitions and waits until keys go to them.
async fn cut(world: &mut World, count: u32) {
    world.change("partitions", "count", json!(count)).await.unwrap();
    timed(&format!("keys go to {count} partitions"), SOON, async || {
        let entry = world.entry(&Key::Meta).await?;
        let meta: Meta = serde_json::from_slice(&entry.unwrap().value)?;
        ensure!(meta.partitions == count, "{meta:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_is_cut_finer_again_and_again_while_it_is_played_and_agents_die() {
    let setup = Setup::agents(3).with("partitions", "count", FEW);
    let mut world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    cut(&mut world, 2 * FEW).await;
    world.served(SOON).await;
    players.goes_on(SOME, SOON).await;
    // now with an owner that dies just then, of old partitions and of new ones
    world.change("partitions", "count", json!(6 * FEW)).await.unwrap();
    let mut victim = world.agents.pop().unwrap();
    victim.kill();
    cut(&mut world, 6 * FEW).await;
    world.served(SOON).await;
    players.goes_on(SOME, SOON).await;
    victim.restart().unwrap();
    world.agents.push(victim);
    cut(&mut world, 12 * FEW).await;
    let mut sleeper = world.agents.remove(0);
    sleeper.freeze().await.unwrap();
    world.served(SOON).await;
    sleeper.thaw().await.unwrap();
    world.agents.insert(0, sleeper);
    players.goes_on(SOME, SOON).await;
    players::judged(&world, world.agents[0].http, &players.finish().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_topics_grow_first_and_other_clients_that_hear_late_are_played_all_the_same() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let cluster = KafkaCluster::temporary(programs).await.unwrap();
    let setup = Setup::agents(2).on_kafka(&cluster.bootstrap()).with("partitions", "count", FEW);
    let mut world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    cut(&mut world, 3 * FEW).await;
    world.served(SOON).await;
    players.goes_on(SOME, SOON).await;
    players::judged(&world, world.agents[0].http, &players.finish().await.unwrap()).await;
    late(&world, &cluster).await;
}

/// A client that goes by the number of partitions of before.
async fn late(world: &World, cluster: &KafkaCluster) {
    let mut names = (0..).map(|number| format!("late-{number}"));
    let moved =
        |name: &String| events::partition_of(name, FEW) != events::partition_of(name, 3 * FEW);
    let name = names.find(moved).unwrap();
    let home = events::partition_of(&name, FEW);
    let client: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create().unwrap();
    for (id, kind) in [("late.1", "join"), ("late.2", "move")] {
        let event = json!({"id": id, "kind": kind, "player": name}).to_string();
        let record = FutureRecord::to("default.harbour.events").key(&name).payload(&event);
        let record = record.partition(i32::try_from(home.0).unwrap());
        client.send(record, SOON).await.unwrap();
    }
    timed("what came late is played", SOON, async || {
        let all = players::outcomes(&world.http, world.agents[0].http).await?;
        let of = |id: &str| -> Vec<String> {
            let about = all.iter().filter(|line| {
                line.record.event_id.as_ref().is_some_and(|found| found.as_str() == id)
            });
            about
                .map(|line| format!("{:?} in {}", line.record.outcome, line.record.partition))
                .collect()
        };
        let (join, moved) = (of("late.1"), of("late.2"));
        ensure!(join.len() == 2 && moved.len() == 2, "{join:?} {moved:?}");
        ensure!(moved.iter().any(|it| it.contains("Moved")), "{moved:?}");
        Ok(())
    })
    .await;
}
