//! Wrong live edits, and what must become of each: refused alone, told in the acks, the status, an
//! Event and the metrics, and forgotten when mended. In: a world. Out: a failed test, or nothing.
//! I/O.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::RefusalCode;
use crds::ConditionKind;
use serde_json::json;

use crate::http::metric;
use crate::wait::{promised, timed, until};
use crate::world::World;

/// For what is no part of the promise.
const PATIENCE: Duration = Duration::from_secs(20);

/// One wrong edit: what is written where, and what people are told.
#[derive(Debug)]
pub struct Wrong {
    /// What follows `override/`.
    pub rest: &'static str,
    /// The bytes.
    pub value: Vec<u8>,
    /// As what it is refused.
    pub code: RefusalCode,
    /// What the reason names.
    pub word: &'static str,
}

/// Every way to be wrong, one edit each.
pub fn edits() -> Vec<Wrong> {
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

/// Makes each edit, sees it refused and told within `within`, takes it back and sees it forgotten.
pub async fn refuse_and_mend(world: &World, edits: &[Wrong], within: Duration) {
    let revision = world.edit("hunt/rules/cluePoints", "7").await.unwrap();
    until("the good edit holds", PATIENCE, async || {
        world.all_run("rules.cluePoints", &json!(7), revision).await
    })
    .await;
    let before = world.config(0).await.unwrap()["fields"].clone();
    for wrong in edits {
        let revision = world.edit(wrong.rest, wrong.value.clone()).await.unwrap();
        let what = format!("{} = {:?} told", wrong.rest, wrong.code);
        timed(&what, promised(within), async || is_told(world, wrong, revision).await).await;
        assert_eq!(world.config(0).await.unwrap()["fields"], before, "{}", wrong.rest);
        world.unedit(wrong.rest).await.unwrap();
        let what = format!("{} mended", wrong.rest);
        timed(&what, promised(within), async || is_forgotten(world, wrong).await).await;
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
    ensure!(refused.found.len() <= 1024);
    // What ended is no trouble: its author said when.
    let ended = wrong.code == RefusalCode::Expired;
    ensure!(seen.holds(ConditionKind::Degraded) != ended);
    let key = format!("override/{}", wrong.rest);
    let reason = if ended { "EditExpired" } else { "EditRefused" };
    ensure!(seen.has_event(reason, &key), "no Event; there are {:?}", seen.events);
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
