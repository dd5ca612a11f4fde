//! Players hunt while agents are killed, frozen, retuned and partitions move: what was acknowledged
//! is played once and in order, and a treasure is won once. Judged by `tests::checker`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::PartitionId;
use config_schemas::documents::PartitionRecord;
use serde_json::json;
use servers::FaultProxy;
use tests::checker;
use tests::players::{self, Players, outcomes};
use tests::wait::{recovery, timed, until};
use tests::world::{Setup, World};
use tokio::time::{Instant, sleep, sleep_until};

/// What is not promised within a time; machines that compile beside the tests get more.
const SOON: Duration = Duration::from_secs(40);
/// Players at once: enough that every partition always has something to do.
const PLAYERS: usize = 16;
/// Events that show that the hunt goes on.
const SOME: usize = 150;

async fn served(agents: usize) -> World {
    let world = World::start(Setup::agents(agents)).await.unwrap();
    world.served(SOON).await;
    world
}

/// Ends the game and judges it, by the outcomes that the first agent shows.
async fn judged(world: &World, players: Players) {
    players::judged(world, world.agents[0].http, &players.finish().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_published_on_any_agent_are_played_once_and_every_agent_shows_the_same_outcomes() {
    let world = served(3).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(2 * SOME, SOON).await;
    judged(&world, players).await;
    let first = outcomes(&world.http, world.agents[0].http).await.unwrap();
    let last = outcomes(&world.http, world.agents[2].http).await.unwrap();
    let place = |line: &checker::Line| (line.record.partition, line.offset);
    let (mut first, mut last): (Vec<_>, Vec<_>) =
        (first.iter().map(place).collect(), last.iter().map(place).collect());
    first.sort_unstable();
    last.sort_unstable();
    assert_eq!(first, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_under_load_loses_nothing_that_was_acknowledged() {
    let mut world = served(3).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    let mut killed = world.agents.remove(1);
    killed.kill();
    world.recovers("its partitions taken over").await;
    players.goes_on(SOME, SOON).await;
    killed.restart().unwrap();
    world.agents.insert(1, killed);
    timed("it serves partitions again", SOON, async || {
        world.is_served().await?;
        owns(&world, "agent-2", 4).await
    })
    .await;
    players.goes_on(SOME, SOON).await;
    judged(&world, players).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_sleeps_past_its_lease_is_not_believed_when_it_wakes_up() {
    let mut world = served(3).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    let mut sleeper = world.agents.remove(1);
    sleeper.freeze().await.unwrap();
    let frozen = Instant::now();
    world.recovers("its partitions taken over").await;
    players.goes_on(SOME, SOON).await;
    // Whatever it believes to hold has lapsed twice over.
    sleep_until(frozen + 2 * world.lease()).await;
    sleeper.thaw().await.unwrap();
    players.goes_on(SOME, SOON).await;
    world.agents.insert(1, sleeper);
    timed("it is one of the others again", SOON, async || {
        world.is_served().await?;
        world.is_converged().await
    })
    .await;
    judged(&world, players).await;
}

/// It lives, is asked by producers, and does not hear that its partitions are others' by now: what
/// stops it is the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_cut_off_from_etcd_goes_on_without_being_believed_beside_its_successors() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    let way = FaultProxy::in_front_of(&world.members.endpoints()[0]).await.unwrap();
    world.start_agent_on("agent-3", &way.endpoint()).unwrap();
    timed("the third agent has its share", SOON, async || owns(&world, "agent-3", 4).await).await;
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    way.cut();
    let lapsed = recovery(world.lease());
    timed("its partitions have other owners", lapsed, async || owns(&world, "agent-3", 0).await)
        .await;
    players.goes_on(2 * SOME, SOON).await;
    way.heal();
    timed("it has its share again", SOON, async || {
        owns(&world, "agent-3", 4).await?;
        world.is_served().await?;
        world.is_converged().await
    })
    .await;
    players.goes_on(SOME, SOON).await;
    assert!(world.agents[2].is_running());
    judged(&world, players).await;
}

async fn owns(world: &World, node: &str, wanted: usize) -> anyhow::Result<()> {
    let records = world.partitions().await?;
    let owners = records.values().filter_map(PartitionRecord::owner);
    let count = owners.filter(|owner| owner.node.as_str() == node).count();
    ensure!(count == wanted, "{node} owns {count} of {}", records.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pinned_partitions_move_under_load_and_have_one_owner_at_a_time() {
    let world = served(2).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    for node in ["agent-1", "agent-2", "agent-1"] {
        let before = world.partitions().await.unwrap();
        let pins: Vec<String> = [2, 3, 4, 5].iter().map(|id| format!("{id}={node}")).collect();
        world.edit("hunt/partitions/pins", json!(pins).to_string()).await.unwrap();
        timed(&format!("four partitions on {node}"), SOON, async || {
            let records = world.partitions().await?;
            for id in [2, 3, 4, 5] {
                let record = records.get(&id).context("no record")?;
                let there = matches!(record, PartitionRecord::Own { owner, .. } if owner.node.as_str() == node);
                ensure!(there, "{:?} is {record:?}", PartitionId(id));
                let rose = record.epoch() > before[&id].epoch();
                ensure!(rose || *record == before[&id], "moved without a new epoch");
            }
            world.is_served().await
        })
        .await;
        players.goes_on(SOME, SOON).await;
    }
    judged(&world, players).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_resized_under_load_lose_and_reorder_nothing() {
    let world = served(2).await;
    let players = Players::start(&world, "p", PLAYERS);
    for turn in 0..10 {
        let events = if turn % 2 == 0 { 1 } else { 65_536 };
        // A batch may not be larger than the queue.
        world.edit("hunt/workers/batch", "1").await.unwrap();
        let revision = world.edit("hunt/buffers/events", events.to_string()).await.unwrap();
        until("the size is in effect", SOON, async || {
            world.all_run("buffers.events", &json!(events), revision).await
        })
        .await;
        players.goes_on(SOME / 3, SOON).await;
    }
    judged(&world, players).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hunt_goes_on_while_etcd_is_gone() {
    let mut world = served(2).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    world.etcd().kill();
    // Longer than the lease: its end cannot be heard, and is no order to stop.
    sleep(Duration::from_secs(5)).await;
    players.goes_on(2 * SOME, SOON).await;
    world.etcd().restart().await.unwrap();
    players.goes_on(SOME, SOON).await;
    timed("all is as before", SOON, async || {
        world.is_served().await?;
        world.is_converged().await
    })
    .await;
    players.goes_on(SOME, SOON).await;
    judged(&world, players).await;
}
