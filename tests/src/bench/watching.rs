//! What it costs to look: a scrape of an agent that serves a thousand partitions under load, and what
//! `hunt` takes for a hunt of a thousand agents. I/O.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::HuntName;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::fleet::{Connections, Fleet};
use super::numbers::{millis, rank};
use super::{Row, STEP_LIMIT, Setting, within};
use crate::http::Http;
use crate::load::loaded;
use crate::world::{Setup, World};

const PARTITIONS: u32 = 1_024;
const AGENTS: usize = 1_000;
const SCRAPES: usize = 100;
const LOOKS: usize = 30;
/// Between two scrapes, so that events are played meanwhile.
const APART: Duration = Duration::from_millis(50);
/// Events per second while an agent is scraped.
const RATE: u32 = 1_000;
const SERVED_WITHIN: Duration = Duration::from_secs(120);
const MEGABYTE: f64 = 1e6;

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    scrape(setting, rows).await?;
    looks(setting, rows).await
}

fn setup(setting: &Setting, agents: usize) -> anyhow::Result<Setup> {
    let programs = Some(setting.programs()?);
    let setup = Setup { durable: true, programs, ..Setup::agents(agents) };
    Ok(setup.with("partitions", "count", PARTITIONS))
}

async fn scrape(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let world = World::start(setup(setting, 1)?).await?;
    world.served(SERVED_WITHIN).await;
    let port = world.agents.first().context("an agent")?.http;
    let lasts = setting.lasting(Duration::from_secs(30)).as_secs();
    let line = format!("--rate {RATE} --for {lasts}s --players 10000");
    let (report, scraped) = tokio::join!(loaded(&world, &line), scrapes(setting, port));
    report?;
    let (took, bytes) = scraped?;
    let what = format!("scrape of an agent with {PARTITIONS} partitions at {RATE} events/s");
    rows.push(Row::new(format!("{what}, p50"), rank(&took, 0.5), "ms"));
    rows.push(Row::new(format!("{what}, p99"), rank(&took, 0.99), "ms").at_most(20.0));
    rows.push(Row::new(format!("{what}, size"), bytes as f64 / MEGABYTE, "MB").at_most(1.0));
    Ok(())
}

/// How long each took in milliseconds, and the bytes of the largest.
async fn scrapes(setting: &Setting, port: u16) -> anyhow::Result<(Vec<f64>, usize)> {
    let (http, mut took, mut bytes) = (Http::default(), Vec::new(), 0);
    for _ in 0..setting.scaled(SCRAPES) {
        sleep(APART).await;
        let began = Instant::now();
        let text = http.text(port, "/metrics").await?;
        took.push(millis(began.elapsed()));
        bytes = bytes.max(text.len());
    }
    Ok((took, bytes))
}

async fn looks(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let world = World::start(setup(setting, 0)?).await?;
    let endpoint = world.members.endpoints().join(",");
    let agents = setting.agents(AGENTS);
    let hunt = HuntName::new("default", "harbour")?;
    let shared = Connections::Shared;
    let fleet = Fleet::of_hunt(hunt, &endpoint, agents, shared, Arc::new(|_, _| ())).await?;
    let program = beside(setting, "hunt")?;
    for (what, args, goal) in [
        ("status", vec!["status", "harbour"], 1_000.0),
        ("explain", vec!["explain", "harbour", "buffers.events", "--node", "agent-1"], 100.0),
    ] {
        let mut took = Vec::new();
        for _ in 0..setting.scaled(LOOKS) {
            took.push(millis(look(&program, &endpoint, &args).await?));
        }
        let what = format!("hunt {what}, {agents} agents");
        rows.push(Row::new(format!("{what}, p50"), rank(&took, 0.5), "ms"));
        rows.push(Row::new(format!("{what}, p99"), rank(&took, 0.99), "ms").at_most(goal));
    }
    fleet.stop().await;
    Ok(())
}

/// How long the program takes from its start to its end.
async fn look(program: &Path, endpoint: &str, args: &[&str]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new(program);
    command.args(args).env("TREASUREHUNT_ETCD", endpoint).kill_on_drop(true);
    let output = within(STEP_LIMIT, "an answer", command.output()).await??;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    // 1: something is not as it should be, and it says so, which is an answer
    ensure!(matches!(output.status.code(), Some(0 | 1)), "{args:?}: {} {said}", output.status);
    Ok(took)
}

fn beside(setting: &Setting, name: &str) -> anyhow::Result<PathBuf> {
    let path = setting.operator.with_file_name(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}
