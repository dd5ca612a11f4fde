//! What becomes of a running hunt when etcd is killed, frozen, compacted, wiped, restored, or loses
//! members: workers go on, nothing is reset, nothing older is applied, and all agents converge.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::RefusalCode;
use config_schemas::keys::Key;
use serde_json::json;
use servers::Restore;
use tests::http::metric;
use tests::recorder::Recorder;
use tests::wait::{promised, timed, until};
use tests::world::{Members, Setup, World};
use tokio::time::sleep;

/// How soon all agents have converged once etcd is back.
const RECOVERY: Duration = Duration::from_secs(5);
/// For what is no part of that promise.
const PATIENCE: Duration = Duration::from_secs(40);

/// Three agents that run generation 2 (1100 events) and a live edit (a batch of 32).
async fn running(setup: Setup) -> World {
    let mut world = World::start(setup).await.unwrap();
    world.change("buffers", "events", 1100).await.unwrap();
    let revision = world.edit("hunt/workers/batch", "32").await.unwrap();
    all_at(&world, 2, 1100, revision).await;
    world
}

/// Waits until every agent runs and has acked that generation with that many events, and the
/// status says so.
async fn all_at(world: &World, generation: u64, events: u64, revision: u64) {
    all_at_within(PATIENCE, world, generation, events, revision).await;
}

/// The same with the agents' part within the promise, from now on: etcd has just come back.
async fn recovered(world: &World, generation: u64, events: u64) {
    all_at_within(promised(RECOVERY), world, generation, events, 0).await;
}

async fn all_at_within(
    limit: Duration,
    world: &World,
    generation: u64,
    events: u64,
    revision: u64,
) {
    let what = format!("all agents run and acked generation {generation} (limit {limit:?})");
    timed(&what, limit, async || {
        world.all_run("buffers.events", &json!(events), revision).await?;
        for agent in &world.agents {
            let runs = world.ack(&agent.name).await?.generation;
            ensure!(runs.is_some_and(|runs| runs.0 == generation), "{} acked {runs:?}", agent.name);
        }
        Ok(())
    })
    .await;
    timed("the status says so", PATIENCE, async || world.is_converged().await).await;
}

/// A live edit made now reaches everybody.
async fn edits_work(world: &World) {
    let revision = until("etcd takes an edit", PATIENCE, async || {
        world.edit("hunt/rules/cluePoints", "77").await
    })
    .await;
    timed("an edit after recovery in effect everywhere", promised(RECOVERY), async || {
        world.all_run("rules.cluePoints", &json!(77), revision).await
    })
    .await;
}

/// All agents and the status have these live edits and no others.
async fn edits_in_effect(world: &World, batch: u64, held: u64, overridden: &[&str]) {
    timed("agents and status agree on the live edits", PATIENCE, async || {
        world.all_run("workers.batch", &json!(batch), 0).await?;
        world.all_run("routing.held", &json!(held), 0).await?;
        let seen = world.status().await?.status;
        let fields: Vec<&str> = seen.overrides.iter().map(|edit| edit.field.as_str()).collect();
        ensure!(fields == overridden, "{fields:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_killed_and_restarted_resets_nothing_and_what_was_applied_meanwhile_arrives() {
    let mut world = running(Setup::agents(3)).await;
    let recorder = Recorder::start(&world);
    world.etcd().kill();
    world.change("buffers", "events", 1200).await.unwrap();
    // As long as a lease lasts: nobody may take its end for an instruction.
    sleep(Duration::from_secs(3)).await;
    for index in 0..3 {
        let config = world.config(index).await.unwrap();
        assert_eq!(config["generation"], 2);
        assert_eq!(config["fields"]["workers.batch"]["value"], 32);
    }
    world.etcd().restart().await.unwrap();
    recovered(&world, 3, 1200).await;
    edits_work(&world).await;
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1100), json!(1200)]).unwrap();
    record.check("workers.batch", &[json!(32)]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_frozen_for_20_s_stops_no_worker_and_resets_nothing() {
    let mut world = running(Setup::agents(3)).await;
    let recorder = Recorder::start(&world);
    world.etcd().freeze().await.unwrap();
    sleep(Duration::from_secs(20)).await;
    world.etcd().thaw().await.unwrap();
    world.etcd().ready().await.unwrap();
    recovered(&world, 2, 1100).await;
    edits_work(&world).await;
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1100)]).unwrap();
    record.check("workers.batch", &[json!(32)]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_away_while_etcd_was_compacted_learns_all_that_happened() {
    let mut world = running(Setup::agents(2)).await;
    let recorder = Recorder::start(&world);
    world.agents[0].freeze().await.unwrap();
    // Cuts its watch: what is not yet sent has to be asked for, from a revision that is gone.
    world.etcd().restart().await.unwrap();
    until("the edits are written", PATIENCE, async || {
        world.unedit("hunt/workers/batch").await?;
        world.edit("hunt/buffers/event", "4Ki").await
    })
    .await;
    world.change("buffers", "events", 1300).await.unwrap();
    until("the operator wrote generation 3", PATIENCE, async || {
        world.entry(&Key::Desired(config_schemas::Generation(3))).await?.context("not yet")
    })
    .await;
    let revision = world.store.revision().await.unwrap().get();
    world.etcd().compact(revision).await.unwrap();
    world.agents[0].thaw().await.unwrap();
    recovered(&world, 3, 1300).await;
    world.all_run("workers.batch", &json!(64), 0).await.unwrap();
    world.all_run("buffers.event", &json!("4Ki"), 0).await.unwrap();
    let text = world.metrics(world.agents[0].http).await.unwrap();
    let compactions = metric(&text, "treasurehunt_watch_incidents_total{kind=\"compactions\"}");
    assert!(compactions >= Some(1.0), "the fault was not met: {compactions:?} compactions");
    let repairs = metric(&text, "treasurehunt_watch_incidents_total{kind=\"audit_repairs\"}");
    assert_eq!(repairs, Some(0.0));
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1100), json!(1300)]).unwrap();
    record.check("workers.batch", &[json!(32), json!(64)]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_etcd_resets_nothing_and_is_filled_again() {
    let mut world = running(Setup::agents(3)).await;
    let life = world.entry(&Key::Meta).await.unwrap().unwrap().value;
    let recorder = Recorder::start(&world);
    world.operators[0].kill();
    world.etcd().wipe().await.unwrap();
    until("the agents register in the empty store", PATIENCE, async || {
        for agent in &world.agents {
            let ack = world.ack(&agent.name).await?;
            ensure!(ack.generation.is_some_and(|generation| generation.0 == 2), "{ack:?}");
        }
        Ok(())
    })
    .await;
    for index in 0..3 {
        let config = world.config(index).await.unwrap();
        assert_eq!(config["fields"]["buffers.events"]["value"], 1100);
        assert_eq!(config["fields"]["workers.batch"]["value"], 32);
    }
    world.operators[0].restart().unwrap();
    timed("the operator has filled the store again", PATIENCE, async || {
        let meta = world.entry(&Key::Meta).await?.context("no meta")?.value;
        ensure!(meta != life, "a new life of the keys has a new epoch");
        world.entry(&Key::Rollout).await?.context("no rollout")
    })
    .await;
    recovered(&world, 2, 1100).await;
    // With the new life of the keys the store says again which edits there are: none.
    edits_in_effect(&world, 64, 10_000, &[]).await;
    edits_work(&world).await;
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1100)]).unwrap();
    record.check("workers.batch", &[json!(32), json!(64)]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_edits_outlive_a_wiped_etcd_where_the_operator_lives() {
    let mut world = running(Setup::agents(2)).await;
    let life = world.entry(&Key::Meta).await.unwrap().unwrap().value;
    let recorder = Recorder::start(&world);
    world.etcd().wipe().await.unwrap();
    timed("the live edit stands in the new life of the keys", PATIENCE, async || {
        let meta = world.entry(&Key::Meta).await?.context("no meta")?.value;
        ensure!(meta != life, "still the old life");
        let edit = Key::Override("hunt/workers/batch".to_owned());
        let edit = world.entry(&edit).await?.context("no edit")?;
        ensure!(edit.value == "32", "{:?}", edit.value);
        Ok(())
    })
    .await;
    recovered(&world, 2, 1100).await;
    edits_in_effect(&world, 32, 10_000, &["workers.batch"]).await;
    let record = recorder.finish().await;
    record.check("workers.batch", &[json!(32)]).unwrap();
    record.check("buffers.events", &[json!(1100)]).unwrap();
}

async fn restored(how: Restore) {
    let mut world = running(Setup::agents(2)).await;
    let backup = world.path("backup");
    world.etcd().save_backup(&backup).await.unwrap();
    world.change("buffers", "events", 1300).await.unwrap();
    all_at(&world, 3, 1300, 0).await;
    world.edit("hunt/workers/batch", "48").await.unwrap();
    let revision = world.edit("hunt/routing/held", "500").await.unwrap();
    world.change("buffers", "events", 1400).await.unwrap();
    all_at(&world, 4, 1400, revision).await;

    let recorder = Recorder::start(&world);
    world.operators[0].kill();
    world.etcd().restore_backup(&backup, how).await.unwrap();
    timed("every agent refuses the older generation", PATIENCE, async || {
        for agent in &world.agents {
            let ack = world.ack(&agent.name).await?;
            ensure!(ack.generation.is_some_and(|runs| runs.0 == 4), "{ack:?}");
            let refused = ack.refused.iter().any(|refusal| refusal.code == RefusalCode::Older);
            ensure!(refused, "{} does not tell: {:?}", agent.name, ack.refused);
        }
        Ok(())
    })
    .await;
    world.operators[0].restart().unwrap();
    all_at(&world, 4, 1400, 0).await;
    // Edits are what stands in the store: those of the backup, on every agent alike.
    edits_in_effect(&world, 32, 10_000, &["workers.batch"]).await;
    until("nothing is refused any more", PATIENCE, async || {
        let refused = world.status().await?.status.refused;
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    })
    .await;
    edits_work(&world).await;
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1400)]).unwrap();
    record.check("workers.batch", &[json!(48), json!(32)]).unwrap();
    record.check("routing.held", &[json!(500), json!(10_000)]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_backup_restored_as_it_was_brings_no_older_generation_back() {
    restored(Restore::Exact).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_backup_restored_with_higher_revisions_brings_no_older_generation_back() {
    restored(Restore::BumpRevision(1_000_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_without_its_leader_and_waits_without_quorum() {
    let setup = Setup { cluster: true, ..Setup::agents(2) };
    let mut world = running(setup).await;
    let recorder = Recorder::start(&world);
    let Members::Three(cluster) = &mut world.members else { unreachable!() };
    let leader = cluster.leader().await.unwrap();
    cluster.members()[leader].kill();
    world.change("buffers", "events", 1200).await.unwrap();
    all_at(&world, 3, 1200, 0).await;
    edits_work(&world).await;

    let Members::Three(cluster) = &mut world.members else { unreachable!() };
    let second = (leader + 1) % 3;
    cluster.members()[second].kill();
    until("nothing is taken without quorum", PATIENCE, async || {
        ensure!(world.edit("hunt/rules/cluePoints", "78").await.is_err(), "taken");
        Ok(())
    })
    .await;
    for index in 0..2 {
        assert_eq!(world.value(index, "workers.batch").await.unwrap(), 32);
        assert_eq!(world.config(index).await.unwrap()["generation"], 3);
    }
    world.change("buffers", "events", 1300).await.unwrap();
    let Members::Three(cluster) = &mut world.members else { unreachable!() };
    cluster.members()[second].respawn().unwrap();
    cluster.members()[leader].respawn().unwrap();
    cluster.ready().await.unwrap();
    recovered(&world, 4, 1300).await;
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1100), json!(1200), json!(1300)]).unwrap();
    record.check("workers.batch", &[json!(32)]).unwrap();
}
