//! A whole hunt on Kafka while it is played: copies of 64 partitions raised from one to three, client
//! settings edited in etcd, topics changed by the resource. I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::{Ack, Outcome};
use crds::ConditionKind;
use hunt::load::report::Report;
use tokio::time::{Instant, sleep};

use super::super::numbers::{millis, rank};
use super::super::{Row, Setting, within};
use super::{cluster, world_on};
use crate::load::loaded;
use crate::world::{Setup, World};

const AGENTS: usize = 3;
const PARTITIONS: u64 = 64;
const EDITS: usize = 40;
const TOPIC_EDITS: usize = 20;
/// Events per second meanwhile: enough on every partition to be missed, and little beside all else
/// that runs on these cores.
const RATE: u64 = 200;
/// Longer than 256 partitions, a few a second, take to get their copies.
const RAISING_SECONDS: u64 = 100;
const LOOK: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(300);
const EDIT_GOAL_MILLIS: f64 = 300.0;
const TOPIC_GOAL_MILLIS: f64 = 1_000.0;

pub(in super::super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let setup = Setup::agents(AGENTS)
        .with("topics", "replicationFactor", 1)
        .with("topics", "minInSync", 1)
        .with("partitions", "count", PARTITIONS);
    let mut world = world_on(&cluster, setting, setup).await?;
    raised(&mut world, rows).await?;
    edited(setting, &world, rows).await?;
    topics(setting, &mut world, rows).await
}

async fn played(world: &World, seconds: u64) -> anyhow::Result<Report> {
    let line = format!("--rate {RATE} --for {seconds}s --players 500 --check");
    loaded(world, &line).await
}

/// From one copy of each partition to three, while all of them are played.
async fn raised(world: &mut World, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    world.spec["topics"]["replicationFactor"] = 3.into();
    let world = &*world;
    let playing = played(world, RAISING_SECONDS);
    let raising = async {
        sleep(Duration::from_secs(3)).await;
        world.apply().await?;
        let began = Instant::now();
        let mut told = BTreeSet::new();
        let ready = async {
            loop {
                let status = world.status().await?;
                told.insert(status.message(ConditionKind::TopicsReady));
                if status.generation > 1 && status.holds(ConditionKind::TopicsReady) {
                    return anyhow::Ok(());
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        within(LIMIT, "three copies of everything", ready).await??;
        anyhow::Ok((began.elapsed(), told.len()))
    };
    let (report, raised) = tokio::join!(playing, raising);
    let (report, (took, words)) = (report?, raised?);
    let refused = report.total.all_refused() + report.total.all_unanswered();
    rows.push(Row::new("64 partitions, 1 copy to 3, under load: took", took.as_secs_f64(), "s"));
    rows.push(Row::new("events meanwhile", report.total.due as f64, ""));
    rows.push(Row::new("of them refused or unanswered", refused as f64, "").at_most(0.0));
    let told = report.total.refused.iter().chain(&report.total.unanswered);
    for (why, count) in told.filter(|(_, count)| **count > 0) {
        rows.push(Row::new(format!("of those {why}"), *count as f64, ""));
    }
    let answers = report.total.answers.as_ref().context("no answers")?;
    rows.push(Row::new("acknowledgement of an event meanwhile, p50", answers.p50, "ms"));
    rows.push(Row::new("the same, p99", answers.p99, "ms"));
    rows.push(Row::new("different words of progress seen in the status", words as f64, ""));
    judged(&report, rows)
}

/// Client settings edited in etcd, from the commit to the last agent's ack.
async fn edited(setting: &Setting, world: &World, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let playing = played(world, if setting.quick { 15 } else { 45 });
    let editing = async {
        sleep(Duration::from_secs(2)).await;
        let mut took = Vec::new();
        for edit in 0..setting.scaled(EDITS) {
            let millis_of = 1 + edit % 6;
            let revision = world.edit("hunt/producer/linger", format!("{millis_of}ms")).await?;
            let began = Instant::now();
            within(LIMIT, "an edit's effect", acked(world, revision)).await??;
            took.push(millis(began.elapsed()));
        }
        anyhow::Ok(took)
    };
    let (report, took) = tokio::join!(playing, editing);
    let (report, took) = (report?, took?);
    let answers = report.total.answers.as_ref().context("no answers")?;
    rows.push(Row::new("acknowledgement of an event meanwhile, p99", answers.p99, "ms"));
    rows.push(Row::new("edit of a client setting to all acks, p50", rank(&took, 0.5), "ms"));
    let late = rank(&took, 0.99);
    rows.push(Row::new("the same, p99", late, "ms").at_most(EDIT_GOAL_MILLIS + answers.p99));
    judged(&report, rows)
}

/// Every agent runs everything up to that revision.
async fn acked(world: &World, revision: u64) -> anyhow::Result<()> {
    for agent in &world.agents {
        while !runs(&world.ack(&agent.name).await?, revision).context(agent.name.clone())? {
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Whether the ack's agent runs everything up to that revision; an error if it has heard of it and
/// runs something else.
fn runs(ack: &Ack, revision: u64) -> anyhow::Result<bool> {
    if ack.revision.is_none_or(|acked| acked.get() < revision) {
        return Ok(false);
    }
    ensure!(ack.refused_count == 0, "refuses {:?}", ack.refused);
    for (section, outcome) in &ack.sections {
        ensure!(*outcome == Outcome::InEffect, "{section}: {outcome:?}");
    }
    Ok(true)
}

/// A topic's configuration, from the resource to what Kafka says when asked again.
async fn topics(setting: &Setting, world: &mut World, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut took = Vec::new();
    for edit in 0..setting.scaled(TOPIC_EDITS) {
        world.change("topics", "eventsRetention", format!("{}h", 24 + edit)).await?;
        let began = Instant::now();
        let ready = async {
            loop {
                let status = world.status().await?;
                let applied = status.holds(ConditionKind::TopicsReady);
                if applied && status.generation as usize >= 3 + edit {
                    return anyhow::Ok(());
                }
                sleep(LOOK).await;
            }
        };
        within(LIMIT, "a topic's change", ready).await??;
        took.push(millis(began.elapsed()));
    }
    rows.push(Row::new("topic config, resource to read back, p50", rank(&took, 0.5), "ms"));
    let late = rank(&took, 0.99);
    rows.push(Row::new("the same, p99", late, "ms").at_most(TOPIC_GOAL_MILLIS));
    Ok(())
}

fn judged(report: &Report, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let checked = report.checked.as_ref().context("nothing was checked")?;
    let wrong = checked.findings.len() as f64;
    rows.push(Row::new("events lost, doubled or out of order meanwhile", wrong, "").at_most(0.0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use config_schemas::Revision;

    use super::*;

    #[test]
    fn an_ack_is_effect_only_when_nothing_is_rejected_or_refused() {
        let check = |acked: u64, outcome: Outcome, refused_count, expected: Option<bool>| {
            let ack = Ack {
                format: 1,
                incarnation: "life".to_owned(),
                generation: None,
                revision: Revision::new(acked),
                hash: String::new(),
                sections: [("producer".to_owned(), outcome)].into(),
                refused: Vec::new(),
                refused_count,
            };
            assert_eq!(runs(&ack, 7).ok(), expected, "{ack:?}");
        };
        let rejected = || Outcome::Rejected { reason: "nobody answers".to_owned() };
        check(6, Outcome::InEffect, 0, Some(false));
        check(6, rejected(), 0, Some(false));
        check(7, Outcome::InEffect, 0, Some(true));
        check(7, rejected(), 0, None);
        check(7, Outcome::InEffect, 1, None);
    }
}
