//! Live edits on the real etcd: they reach every worker and the status, hold where they should,
//! and are refused alone when they are wrong.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::RefusalCode;
use crds::ConditionKind;
use serde_json::{Value as Json, json};
use tests::checker;
use tests::http::metric;
use tests::players::{Players, judged, outcomes};
use tests::wait::{timed, until};
use tests::world::{Setup, World};
use tests::wrong;

/// A machine that compiles beside the tests is slow.
const SOON: Duration = Duration::from_secs(10);
/// The least time between two changes of what an agent runs.
const CHANGE_GAP: Duration = Duration::from_millis(3);
/// A burst: faster than agents may change.
const WRITERS: u32 = 16;
const EDITS_EACH: u32 = 40;
/// Tries at making three edits arrive within a few milliseconds.
const FLIP_ROUNDS: u32 = 8;
/// How soon a refusal is told in all places, and forgotten once it is mended.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_edit_reaches_every_agent_s_ack_and_the_status_and_its_end_returns_the_layer_below()
{
    let world = World::start(Setup::agents(3)).await.unwrap();
    let signed = json!({"value": 128, "owner": "ana", "reason": "hot hunt"}).to_string();
    let revision = world.edit("hunt/buffers/events", signed).await.unwrap();
    timed("edit in effect and acked by 3 agents", SOON, async || {
        world.all_run("buffers.events", &json!(128), revision).await
    })
    .await;
    timed("edit in the status", SOON, async || {
        let seen = world.status().await?;
        ensure!(seen.holds(ConditionKind::Overridden) && seen.holds(ConditionKind::Converged));
        let edit = &seen.status.overrides[0];
        ensure!((edit.field.as_str(), edit.value.as_str()) == ("buffers.events", "128"));
        ensure!(
            edit.shadows.starts_with("1000") && edit.owner.as_deref() == Some("ana"),
            "{edit:?}"
        );
        Ok(())
    })
    .await;
    let field = &world.config(0).await.unwrap()["fields"]["buffers.events"];
    assert_eq!(field["owner"], "ana");
    let losers: Vec<&Json> = field["losers"].as_array().unwrap().iter().collect();
    assert_eq!(losers.iter().map(|loser| &loser["value"]).collect::<Vec<_>>(), [1000, 4096]);

    let revision = world.unedit("hunt/buffers/events").await.unwrap();
    timed("edit taken back", SOON, async || {
        world.all_run("buffers.events", &json!(1000), revision).await?;
        let seen = world.status().await?;
        ensure!(!seen.holds(ConditionKind::Overridden) && seen.status.overrides.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_s_override_holds_there_alone_over_the_hunt_s_and_ends_by_itself_at_its_time() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    world.edit("hunt/buffers/events", "200").await.unwrap();
    let until_then = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let signed = json!({"value": 64, "until": until_then}).to_string();
    let revision = world.edit("node/agent-1/buffers/events", signed).await.unwrap();
    until("each node runs its own value", SOON, async || {
        let both =
            (world.value(0, "buffers.events").await?, world.value(1, "buffers.events").await?);
        ensure!(both == (json!(64), json!(200)), "{both:?}");
        for node in ["agent-1", "agent-2"] {
            let acked = world.ack(node).await?.revision.map_or(0, |revision| revision.get());
            ensure!(acked >= revision, "{node} acked {acked} of {revision}");
        }
        let converged = world.status().await?.status.converged;
        ensure!(converged.as_deref() == Some("2/2"), "{converged:?}");
        Ok(())
    })
    .await;
    timed("the node's value ended by itself", SOON, async || {
        world.all_run("buffers.events", &json!(200), revision).await?;
        ensure!(jiff::Timestamp::now() >= until_then, "it ended too early");
        let refused = world.refusal_in_ack("agent-1", "node/agent-1/buffers/events").await?;
        let code = refused.context("the ended edit is not told of")?.code;
        ensure!(code == RefusalCode::Expired, "{code:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_edits_are_refused_alone_told_everywhere_and_forgotten_when_mended() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    wrong::refuse_and_mend(&world, &wrong::edits(), TOLD_WITHIN).await;
}

/// What became of the edits that an agent has seen, by the agent's own count.
async fn accounted(world: &World, index: usize) -> BTreeMap<&'static str, f64> {
    let text = world.metrics(world.agents[index].http).await.unwrap();
    let count = |result| {
        let series = format!("treasurehunt_agent_edits_total{{result=\"{result}\"}}");
        (result, metric(&text, &series).unwrap_or_default())
    };
    let edits = ["applied", "refused", "none_here", "superseded"].map(count);
    let changes = metric(&text, "treasurehunt_agent_config_changes_total").unwrap();
    edits.into_iter().chain([("changes", changes)]).collect()
}

/// By how much each count rose.
async fn since(world: &World, before: &[BTreeMap<&'static str, f64>]) -> Vec<[f64; 3]> {
    let mut rises = Vec::new();
    for (index, before) in before.iter().enumerate() {
        let now = accounted(world, index).await;
        let rise = |what: &str| now[what] - before[what];
        let all = ["applied", "refused", "none_here", "superseded"].map(rise).iter().sum();
        rises.push([all, rise("superseded"), rise("changes")]);
    }
    rises
}

async fn accounts(world: &World) -> Vec<BTreeMap<&'static str, f64>> {
    vec![accounted(world, 0).await, accounted(world, 1).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_20_edits_in_a_second_is_accounted_for_and_a_flip_back_costs_nothing() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    let before = accounts(&world).await;
    let began = tokio::time::Instant::now();
    let mut revision = 0;
    for number in 1..=20_u32 {
        revision = world.edit("hunt/buffers/events", (100 + number).to_string()).await.unwrap();
        tokio::time::sleep_until(began + Duration::from_millis(50) * number).await;
    }
    timed("the newest of 20 edits in effect everywhere", SOON, async || {
        world.all_run("buffers.events", &json!(120), revision).await
    })
    .await;
    for [all, superseded, changes] in since(&world, &before).await {
        assert_eq!(all, 20.0, "edits accounted for of 20");
        assert_eq!(changes, 20.0 - superseded, "each edit is applied or superseded");
    }
    let before = accounts(&world).await;
    let began = tokio::time::Instant::now();
    let writers = (1..=WRITERS).map(|writer| {
        let world = &world;
        async move {
            for turn in 0..EDITS_EACH {
                world.edit("hunt/buffers/events", (writer * 1000 + turn).to_string()).await?;
            }
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(writers).await.unwrap();
    let revision = world.edit("hunt/buffers/events", "120").await.unwrap();
    until("the burst is over", SOON, async || {
        world.all_run("buffers.events", &json!(120), revision).await
    })
    .await;
    let most = began.elapsed().as_secs_f64() / CHANGE_GAP.as_secs_f64() + 2.0;
    for [all, _, changes] in since(&world, &before).await {
        tests::say(&format!("{all} edits in a burst, {changes} changes, at most {most:.0}"));
        assert_eq!(all, f64::from(WRITERS * EDITS_EACH + 1), "edits accounted for");
        assert!(changes <= most, "{changes} changes, more than one every few milliseconds");
    }
    flip_back(&mut world).await;
}

/// One agent sleeps while a setting changes and another flips there and back, so that all of it
/// arrives at once: the flip is never carried out. Where the machine is too busy to read all three
/// together, it is seen and costs two changes.
async fn flip_back(world: &mut World) {
    let mut seen = Vec::new();
    for round in 0..FLIP_ROUNDS {
        let before = accounts(world).await;
        world.agents[0].freeze().await.unwrap();
        world.edit("hunt/workers/batch", (10 + round).to_string()).await.unwrap();
        world.edit("hunt/buffers/events", "500").await.unwrap();
        let revision = world.edit("hunt/buffers/events", "120").await.unwrap();
        world.agents[0].thaw().await.unwrap();
        until("the flip is over", SOON, async || {
            world.all_run("buffers.events", &json!(120), revision).await
        })
        .await;
        let [all, _, changes] = since(world, &before).await[0];
        assert_eq!(all, 3.0, "edits accounted for of 3");
        seen.push(changes);
        if changes == 1.0 {
            return;
        }
    }
    panic!("a flip back within the gap never was free: {seen:?} changes");
}

/// Each batch of a worker takes this long: its outcomes wait for the log's linger.
const SLOW_BATCH: &str = "100ms";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_played_under_the_settings_of_before_once_an_agent_has_acked() {
    let setup = Setup::agents(1).with("partitions", "count", 4);
    let world = World::start(setup.with("broker", "linger", SLOW_BATCH)).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", 32);
    players.goes_on(64, SOON).await;
    let port = world.agents[0].http;
    let mut acks: Vec<(u64, BTreeMap<u32, u64>)> = Vec::new();
    for points in 20..32 {
        let revision = world.edit("hunt/rules/cluePoints", points.to_string()).await.unwrap();
        until("the edit is acked", SOON, async || {
            let acked = world.ack("agent-1").await?.revision.map_or(0, |acked| acked.get());
            ensure!(acked >= revision, "acked {acked} of {revision}");
            Ok(())
        })
        .await;
        // All that is there by now was there when the ack was, or came after it.
        acks.push((revision, ends(&outcomes(&world.http, port).await.unwrap())));
        players.goes_on(8, SOON).await;
    }
    judged(&world, port, &players.finish().await.unwrap()).await;
    let lines = outcomes(&world.http, port).await.unwrap();
    let mut later = 0;
    for (revision, ends) in &acks {
        for line in &lines {
            let end = ends.get(&line.record.partition.0);
            if end.is_none_or(|end| line.offset > *end) {
                later += 1;
                assert!(
                    line.record.config_revision >= *revision,
                    "partition {} at {} was played under revision {}, after {revision} was acked",
                    line.record.partition,
                    line.offset,
                    line.record.config_revision
                );
            }
        }
    }
    assert!(later > 100, "only {later} outcomes behind an ack");
}

/// The last outcome of each partition.
fn ends(lines: &[checker::Line]) -> BTreeMap<u32, u64> {
    lines.iter().map(|line| (line.record.partition.0, line.offset)).collect()
}
