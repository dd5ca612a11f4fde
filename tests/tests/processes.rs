//! What becomes of a running hunt when agents, operators or the API server are killed, frozen or
//! started twice: the next start finishes the work, and nobody writes who no longer may.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::{self, NodeRecord, Rollout};
use config_schemas::keys::Key;
use config_schemas::{Generation, NodeName};
use serde_json::json;
use store::Write;
use tests::http::metric;
use tests::recorder::Recorder;
use tests::wait::{timed, until};
use tests::world::{Node, Setup, World};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(20);

async fn incarnation(world: &World, node: &str) -> anyhow::Result<String> {
    let entry = world.entry(&Key::Node(NodeName::new(node)?)).await?.context("no record")?;
    let record: NodeRecord = documents::read(&entry.value).map_err(anyhow::Error::msg)?;
    Ok(record.incarnation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_takes_its_name_back_before_its_lease_has_lapsed() {
    let setup =
        Setup::agents(2).with("heartbeat", "interval", "6s").with("heartbeat", "misses", 10);
    let mut world = World::start(setup).await.unwrap();
    let lease_and_more = Duration::from_secs(60);
    let before = incarnation(&world, "agent-1").await.unwrap();
    let began = tokio::time::Instant::now();
    world.agents[0].restart().unwrap();
    timed("the name taken back", SOON, async || {
        let now = incarnation(&world, "agent-1").await?;
        ensure!(now != before, "still the earlier life");
        ensure!(world.ack("agent-1").await?.incarnation == now, "the ack is an earlier life's");
        Ok(())
    })
    .await;
    assert!(began.elapsed() < lease_and_more, "it waited for the lease of its earlier life");
    world.converged(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_starts_from_its_snapshot_while_etcd_is_down_and_says_how_old_it_is() {
    let mut world = World::start(Setup::agents(1)).await.unwrap();
    let soon_over = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let passing = json!({"value": 16, "until": soon_over}).to_string();
    world.edit("hunt/workers/concurrency", passing).await.unwrap();
    let revision = world.edit("hunt/workers/batch", "32").await.unwrap();
    until("the edits hold", SOON, async || {
        world.all_run("workers.batch", &json!(32), revision).await?;
        world.all_run("workers.concurrency", &json!(16), revision).await
    })
    .await;
    until("the snapshot is written", SOON, async || {
        let kept = world.path("data/nodes/default.harbour.agent-1/snapshot");
        let text = std::fs::read_to_string(&kept)?;
        let body: serde_json::Value =
            serde_json::from_str(text.split_once('\n').context("no checksum")?.1)?;
        ensure!(body["held"].as_array().is_some_and(|held| held.len() == 2), "{body}");
        Ok(())
    })
    .await;
    world.etcd().kill();
    world.agents[0].kill();
    until("the passing edit is over", SOON, async || {
        ensure!(jiff::Timestamp::now() > soon_over);
        Ok(())
    })
    .await;
    world.agents[0].restart().unwrap();
    until("it runs what it ran", SOON, async || {
        let config = world.config(0).await?;
        ensure!(config["generation"] == 1, "{config}");
        ensure!(config["fields"]["buffers.events"]["value"] == 1000);
        ensure!(config["fields"]["workers.batch"]["value"] == 32);
        ensure!(config["fields"]["workers.concurrency"]["value"] == 4, "an ended edit revived");
        ensure!(config["snapshotAgeSeconds"].as_u64().is_some_and(|age| age >= 1), "{config}");
        Ok(())
    })
    .await;
    assert_ne!(world.http.status(world.agents[0].http, "/readyz").await.unwrap(), 200);
    world.etcd().restart().await.unwrap();
    until("the store is followed again", SOON, async || {
        ensure!(world.config(0).await?["snapshotAgeSeconds"].is_null());
        Ok(())
    })
    .await;
    world.converged(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_killed_at_any_moment_finishes_its_work_when_it_starts_again() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    let recorder = Recorder::start(&world);
    let mut events = 1000;
    for _ in 0..8 {
        events += 1;
        world.change("buffers", "events", events).await.unwrap();
        // Anywhere between "not seen yet" and "all told".
        sleep(Duration::from_millis(rand::random_range(0..350))).await;
        world.operators[0].restart().unwrap();
    }
    let newest = world.status().await.unwrap().generation.max(2);
    timed("the last change in effect after eight kills", SOON, async || {
        world.all_run("buffers.events", &json!(events), 0).await?;
        world.is_converged().await
    })
    .await;
    let status = world.status().await.unwrap();
    assert!(status.generation >= newest);
    let rollout = world.entry(&Key::Rollout).await.unwrap().unwrap();
    let rollout: Rollout = documents::read(&rollout.value).unwrap();
    assert_eq!(rollout.stable, Generation(status.generation));
    for kept in &status.status.history {
        assert!(kept.written_at.is_some(), "generation {} cannot be read", kept.generation);
    }
    let allowed: Vec<_> = (1000..=events).map(|events| json!(events)).collect();
    recorder.finish().await.check("buffers.events", &allowed).unwrap();
}

async fn leads(world: &World, index: usize) -> anyhow::Result<bool> {
    let text = world.metrics(world.operators[index].http).await?;
    Ok(metric(&text, "treasurehunt_operator_leader") == Some(1.0))
}

async fn committed(world: &World, index: usize) -> anyhow::Result<f64> {
    let text = world.metrics(world.operators[index].http).await?;
    let series = "treasurehunt_operator_etcd_txn_total{verdict=\"";
    let lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let verdicts: Vec<(&str, f64)> = lines
        .filter_map(|line| line.split_once("\"} "))
        .filter_map(|(verdict, count)| Some((verdict, count.parse().ok()?)))
        .collect();
    tests::say(&format!("{}: {verdicts:?}", world.operators[index].name));
    let landed = verdicts.iter().filter(|(verdict, _)| verdict.eq_ignore_ascii_case("committed"));
    Ok(landed.map(|(_, count)| count).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_past_its_lease_writes_nothing_when_it_wakes_up() {
    let mut world = World::start(Setup { operators: 2, ..Setup::agents(2) }).await.unwrap();
    let recorder = Recorder::start(&world);
    let first = until("one operator leads", SOON, async || {
        match (leads(&world, 0).await?, leads(&world, 1).await?) {
            (true, false) => Ok(0),
            (false, true) => Ok(1),
            both => anyhow::bail!("{both:?}"),
        }
    })
    .await;
    let second = 1 - first;
    let written = committed(&world, first).await.unwrap();
    assert!(written >= 1.0, "the leader has written nothing yet: {written}");
    world.operators[first].freeze().await.unwrap();
    world.change("buffers", "events", 1200).await.unwrap();
    timed("the other operator leads and wrote the change", SOON, async || {
        ensure!(leads(&world, second).await?, "it does not lead");
        world.all_run("buffers.events", &json!(1200), 0).await
    })
    .await;
    // Work for whoever believes to lead at the moment of waking up.
    let rollout = world.keys.key(&Key::Rollout);
    world.write(Write::put(rollout, r#"{"format":1,"stable":1}"#)).await.unwrap();
    world.operators[first].thaw().await.unwrap();
    until("the rollout is put back", SOON, async || {
        let entry = world.entry(&Key::Rollout).await?.context("no rollout")?;
        let rollout: Rollout = documents::read(&entry.value).map_err(anyhow::Error::msg)?;
        ensure!(rollout.stable == Generation(2), "{rollout:?}");
        ensure!(!leads(&world, first).await?, "it believes to lead");
        Ok(())
    })
    .await;
    world.converged(SOON).await;
    assert_eq!(committed(&world, first).await.unwrap(), written, "the paused leader wrote");
    assert!(leads(&world, second).await.unwrap());
    let record = recorder.finish().await;
    record.check("buffers.events", &[json!(1000), json!(1200)]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_of_the_same_name_is_refused_loudly() {
    let mut world = World::start(Setup::agents(1)).await.unwrap();
    let first = incarnation(&world, "agent-1").await.unwrap();

    let log = world.path("same-data.log");
    let setup = tests::world::AgentSetup { log, ..world.agent_setup("agent-1") };
    let mut same_data = Node::agent(setup).unwrap();
    let status = same_data.ended(SOON).await.unwrap();
    assert!(!status.success(), "{status}");
    assert!(same_data.log().contains("already runs on this machine"), "{}", same_data.log());

    let (log, data_dir) = (world.path("other-data.log"), world.path("other-data"));
    let setup = tests::world::AgentSetup { log, data_dir, ..world.agent_setup("agent-1") };
    let mut other_data = Node::agent(setup).unwrap();
    let status = other_data.ended(Duration::from_secs(60)).await.unwrap();
    assert!(!status.success(), "{status}");
    assert!(other_data.log().contains("the name of this node is taken"), "{}", other_data.log());

    assert!(world.agents[0].is_running());
    assert_eq!(incarnation(&world, "agent-1").await.unwrap(), first);
    world.converged(SOON).await;
}
