//! A whole hunt on a real Kafka of three brokers: what is declared, what other clients write, what
//! is left of it when agents and brokers die, and clients retuned under load.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::ensure;
use config_schemas::documents::PartitionRecord;
use hunt::load::report::Report;
use serde_json::json;
use servers::{KafkaCluster, KafkaNode, KafkaPrograms};
use tests::load::{loaded, nothing_wrong};
use tests::players::{self, Players};
use tests::wait::{timed, until};
use tests::world::{Setup, World};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, sleep_until};

/// A machine that compiles beside the test gets more than any of it takes.
const SOON: Duration = Duration::from_secs(90);
/// For how long all brokers are gone: longer than whatever else may be waited for, such as a
/// request, a socket or a read.
const BROKERS_GONE: Duration = Duration::from_secs(15);
/// Players at once: enough that every partition always has something to do.
const PLAYERS: usize = 16;
/// Events that show that the hunt goes on.
const SOME: usize = 150;
/// Partitions that are moved by pins: half of them.
const PINNED: [u32; 4] = [1, 2, 5, 6];

fn played_well(report: &Report) {
    assert!(nothing_wrong(report).acknowledged > 100, "{report:?}");
}

/// Two clusters of three brokers at once starve each other on two cores.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Cluster and hunt, with no others beside them.
async fn world(agents: usize) -> Option<(MutexGuard<'static, ()>, World, KafkaCluster)> {
    let alone = ALONE.lock().await;
    let programs = KafkaPrograms::shared_or_left_out().await?;
    let cluster = KafkaCluster::temporary(programs).await.unwrap();
    let setup = Setup::agents(agents).on_kafka(&cluster.bootstrap()).with("partitions", "count", 8);
    let world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    Some((alone, world, cluster))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_is_played_on_kafka_and_an_agent_that_dies_loses_nothing() {
    let Some((_alone, mut world, _cluster)) = world(3).await else { return };
    let report = loaded(&world, "--rate 100 --for 4s --players 60 --check").await;
    played_well(&report.unwrap());
    let mut victim = world.agents.pop().unwrap();
    let load = loaded(&world, "--rate 100 --for 8s --players 100 --check");
    let kill = async {
        sleep(Duration::from_secs(2)).await;
        victim.kill();
    };
    let (report, ()) = tokio::join!(load, kill);
    played_well(&report.unwrap());
    world.served(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_loses_nothing_and_every_partition_serves_again() {
    let Some((_alone, world, mut cluster)) = world(2).await else { return };
    let load = loaded(&world, "--rate 100 --for 15s --players 100 --check");
    let kill = async {
        sleep(Duration::from_secs(3)).await;
        cluster.nodes()[1].kill();
        sleep(Duration::from_secs(6)).await;
        cluster.nodes()[1].restart().await.unwrap();
    };
    let (report, ()) = tokio::join!(load, kill);
    played_well(&report.unwrap());
    until("the hunt is well again", SOON, async || {
        let report = loaded(&world, "--rate 100 --for 2s --players 100").await.unwrap();
        let total = &report.total;
        anyhow::ensure!(total.accepted == total.due, "{report:?}");
        Ok(())
    })
    .await;
}

/// Players send each event until it is taken; the checker judges all of them at the end.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_agents_frozen_killed_and_moved_nor_with_all_brokers_gone() {
    let Some((_alone, mut world, mut cluster)) = world(3).await else { return };
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    an_agent_sleeps_past_its_lease(&mut world, &players).await;
    an_agent_dies_as_partitions_move(&mut world, &players).await;
    all_brokers_die_and_come_back(&mut cluster, &players).await;
    players::judged(&world, world.agents[0].http, &players.finish().await.unwrap()).await;
}

/// Its partitions are others' when it wakes up, and move again just then.
async fn an_agent_sleeps_past_its_lease(world: &mut World, players: &Players) {
    let mut sleeper = world.agents.remove(1);
    sleeper.freeze().await.unwrap();
    let frozen = Instant::now();
    pinned(world, "agent-1").await;
    world.served(SOON).await;
    players.goes_on(SOME, SOON).await;
    sleep_until(frozen + 2 * world.lease()).await;
    pin(world, "agent-3").await;
    sleeper.thaw().await.unwrap();
    world.agents.insert(1, sleeper);
    pinned(world, "agent-2").await;
    players.goes_on(SOME, SOON).await;
}

async fn an_agent_dies_as_partitions_move(world: &mut World, players: &Players) {
    let mut killed = world.agents.remove(1);
    pin(world, "agent-3").await;
    killed.kill();
    pinned(world, "agent-3").await;
    world.served(SOON).await;
    players.goes_on(SOME, SOON).await;
    killed.restart().unwrap();
    world.agents.insert(1, killed);
    pinned(world, "agent-2").await;
    players.goes_on(SOME, SOON).await;
}

async fn all_brokers_die_and_come_back(cluster: &mut KafkaCluster, players: &Players) {
    let told_before = players.told_to_wait();
    cluster.nodes().iter_mut().for_each(KafkaNode::kill);
    sleep(BROKERS_GONE).await;
    let told = players.told_to_wait() - told_before;
    assert!(told >= PLAYERS, "{told} answers of {PLAYERS} players say that they should wait");
    cluster.nodes().iter_mut().for_each(|node| node.respawn().unwrap());
    cluster.ready().await.unwrap();
    players.goes_on(2 * SOME, SOON).await;
}

async fn pin(world: &World, node: &str) {
    let pins = PINNED.map(|id| format!("{id}={node}"));
    world.edit("hunt/partitions/pins", json!(pins).to_string()).await.unwrap();
}

/// Moves them there, and waits until each partition is served again.
async fn pinned(world: &World, node: &str) {
    pin(world, node).await;
    timed(&format!("{} partitions on {node}", PINNED.len()), SOON, async || {
        let records = world.partitions().await?;
        for id in PINNED {
            let owner = records.get(&id).and_then(PartitionRecord::owner);
            let there = owner.is_some_and(|owner| owner.node.as_str() == node);
            ensure!(there, "partition {id}: {:?}", records.get(&id));
        }
        world.is_served().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_ordinary_clients_are_played_and_what_cannot_be_is_a_dead_letter() {
    let Some((_alone, world, cluster)) = world(1).await else { return };
    let lines = [
        r#"ana|{"id":"c-1","kind":"join","player":"ana"}"#,
        r#"bob|{"kind":"join","player":"bob"}"#,
        r#"ana|{"kind":"dance","player":"ana"}"#,
        r#"ana|{"id":"c-2","kind":"move","player":"ana"}"#,
    ];
    let args = [
        ["--topic", "default.harbour.events"],
        ["--property", "parse.key=true"],
        ["--property", "key.separator=|"],
    ];
    let input = lines.join("\n") + "\n";
    cluster.tool_with_input("kafka-console-producer", &args.concat(), Some(&input)).await.unwrap();
    let port = world.agents[0].http;
    until("all four are judged", SOON, async || {
        let page = world.http.text(port, "/v1/outcomes?limit=100").await?;
        for part in ["c-1", "c-2", "kafka:", "dead_letter"] {
            anyhow::ensure!(page.contains(part), "{part} is not in {page}");
        }
        Ok(())
    })
    .await;
    let args = [
        ["--topic", "default.harbour.dead"],
        ["--from-beginning", "--max-messages=1"],
        ["--timeout-ms", "60000"],
        ["--property", "print.headers=true"],
    ];
    let letter = cluster.tool("kafka-console-consumer", &args.concat()).await.unwrap();
    assert!(letter.contains("dance") && letter.contains("treasurehunt-cause"), "{letter}");
}
