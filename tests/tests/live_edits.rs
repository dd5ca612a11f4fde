//! Live edits on the real etcd: they reach every worker and the status, hold where they should,
//! and are refused alone when they are wrong.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::RefusalCode;
use crds::ConditionKind;
use serde_json::{Value as Json, json};
use tests::http::metric;
use tests::wait::{timed, until};
use tests::world::{Setup, World};

/// The promise is a second; a machine that compiles beside the tests gets more.
const SOON: Duration = Duration::from_secs(10);

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

/// One wrong edit: what is written where, and what people are told.
struct Wrong {
    rest: &'static str,
    value: Vec<u8>,
    code: RefusalCode,
    word: &'static str,
}

fn wrong_edits() -> Vec<Wrong> {
    let wrong = |rest, value: &str, code, word| Wrong { rest, value: value.into(), code, word };
    let expired = r#"{"value": 9, "until": "2020-01-01T00:00:00Z"}"#;
    vec![
        wrong("hunt/buffers/events", "{a: [", RefusalCode::Malformed, "not YAML"),
        wrong("hunt/bufers/events", "5", RefusalCode::UnknownField, "heartbeat"),
        wrong("hunt/buffers/evnts", "5", RefusalCode::UnknownField, "events, bytes"),
        wrong("hunt/workers/turn", "[1]", RefusalCode::OutOfBounds, "1ms to 10s"),
        wrong("hunt/workers/batch", "lots", RefusalCode::OutOfBounds, "1 to 4096"),
        wrong("hunt/heartbeat/interval", "5m", RefusalCode::OutOfBounds, "20ms to 1m"),
        wrong("hunt/routing/held", expired, RefusalCode::Expired, "2020"),
        wrong("node/nobody/buffers/events", "5", RefusalCode::UnknownNode, "nobody"),
        Wrong {
            rest: "hunt/buffers/bytes",
            value: vec![b'1'; 1 << 20],
            code: RefusalCode::TooLarge,
            word: "1048576 bytes",
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_edits_are_refused_alone_told_everywhere_and_forgotten_when_mended() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    refuse_and_mend(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_edits_are_told_in_kubernetes_too() {
    let Some(world) = World::kubernetes(Setup::agents(2)).await.unwrap() else { return };
    refuse_and_mend(&world).await;
}

async fn refuse_and_mend(world: &World) {
    let revision = world.edit("hunt/rules/cluePoints", "7").await.unwrap();
    until("the good edit holds", SOON, async || {
        world.all_run("rules.cluePoints", &json!(7), revision).await
    })
    .await;
    let before = world.config(0).await.unwrap()["fields"].clone();
    for wrong in wrong_edits() {
        let revision = world.edit(wrong.rest, wrong.value.clone()).await.unwrap();
        let what = format!("{} = {:?} told", wrong.rest, wrong.code);
        timed(&what, SOON, async || is_told(world, &wrong, revision).await).await;
        assert_eq!(world.config(0).await.unwrap()["fields"], before, "{}", wrong.rest);
        world.unedit(wrong.rest).await.unwrap();
        let what = format!("{} mended", wrong.rest);
        timed(&what, SOON, async || is_forgotten(world, &wrong).await).await;
    }
    assert_eq!(world.config(0).await.unwrap()["fields"], before);
}

/// In the acks, the status, an Event and the metrics.
async fn is_told(world: &World, wrong: &Wrong, revision: u64) -> anyhow::Result<()> {
    // Whether a node exists is not for another node to say.
    if wrong.code != RefusalCode::UnknownNode {
        for agent in &world.agents {
            let refusal = world.refusal_in_ack(&agent.name, wrong.rest).await?;
            let refusal = refusal.with_context(|| format!("not in the ack of {}", agent.name))?;
            ensure!(refusal.code == wrong.code, "{refusal:?}");
            ensure!(refusal.reason.contains(wrong.word), "{refusal:?}");
            ensure!(refusal.revision.get() == revision, "{refusal:?}");
            let series =
                format!("treasurehunt_agent_refused_edits{{code=\"{}\"}}", wrong.code.as_str());
            let text = world.metrics(agent.http).await?;
            ensure!(metric(&text, &series) == Some(1.0), "no {series} of {}", agent.name);
        }
    }
    let seen = world.status().await?;
    let refused = seen.refusal(wrong.rest).context("not in the status")?;
    ensure!(refused.code == wrong.code.as_str(), "{refused:?}");
    ensure!(refused.reason.contains(wrong.word), "{refused:?}");
    ensure!(refused.found.len() <= 1024 && seen.holds(ConditionKind::Degraded));
    let key = format!("override/{}", wrong.rest);
    ensure!(seen.has_event("EditRefused", &key), "no Event; there are {:?}", seen.events);
    let series = format!("treasurehunt_refused_edits{{code=\"{}\"}}", wrong.code.as_str());
    let counted = metric(&world.metrics(world.operators[0].http).await?, &series);
    ensure!(counted == Some(1.0), "{series} is {counted:?}");
    Ok(())
}

async fn is_forgotten(world: &World, wrong: &Wrong) -> anyhow::Result<()> {
    for agent in &world.agents {
        let refused = world.ack(&agent.name).await?.refused;
        ensure!(refused.is_empty(), "{}: {refused:?}", agent.name);
    }
    let seen = world.status().await?;
    ensure!(seen.status.refused.is_empty(), "{:?}", seen.status.refused);
    ensure!(!seen.holds(ConditionKind::Degraded), "{}", seen.message(ConditionKind::Degraded));
    let key = format!("override/{}", wrong.rest);
    ensure!(seen.has_event("EditMended", &key), "no Event; there are {:?}", seen.events);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_edits_is_accounted_for_and_a_flip_back_costs_little() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    let changes = async |index: usize| {
        let text = world.metrics(world.agents[index].http).await.unwrap();
        metric(&text, "treasurehunt_agent_config_changes_total").unwrap()
    };
    let before = changes(0).await;
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
    let made = changes(0).await - before;
    assert!((1.0..=20.0).contains(&made), "{made} changes for 20 edits");

    let before = changes(0).await;
    let flips =
        futures::future::try_join_all((0..40).map(|turn| {
            world.edit("hunt/buffers/events", if turn % 2 == 0 { "121" } else { "120" })
        }));
    flips.await.unwrap();
    let revision = world.edit("hunt/buffers/events", "120").await.unwrap();
    until("the flips are over", SOON, async || {
        world.all_run("buffers.events", &json!(120), revision).await
    })
    .await;
    let made = changes(0).await - before;
    assert!(made <= 20.0, "{made} changes for 41 edits that came back to where they began");
}
