//! Ten thousand hunts that nobody changes: an operator that starts anew looks at each of them and
//! must write nothing. I/O.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use config_schemas::keys::{LEADER, ROOT};
use tokio::time::Instant;

use super::operator::{Operator, Source};
use super::raw::{RawWatches, touched};
use super::{Row, Scene, Setting, within};

const HUNTS: usize = 10_000;
/// Ten thousand transactions that wait for the disk, on a busy machine.
const LIMIT: Duration = Duration::from_secs(420);
/// Nothing waits and nothing was written for this long: it is done.
const STEADY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const MEGABYTES_GOAL: f64 = 200.0;

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let scene = Scene::open().await?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let (source, logs) = (folder.path().join("hunts"), folder.path());
    let hunts = setting.scaled(HUNTS);
    write_hunts(&source, hunts)?;
    let writes = Arc::new(AtomicU64::new(0));
    let rollouts = Arc::new(AtomicU64::new(0));
    let endpoint = scene.etcd.endpoint();
    let (all, done) = (writes.clone(), rollouts.clone());
    let _watch = RawWatches::of_prefix(&endpoint, ROOT, move |event| {
        let Some((key, _)) = touched(event).filter(|(key, _)| !key.starts_with(LEADER)) else {
            return;
        };
        all.fetch_add(1, Ordering::SeqCst);
        done.fetch_add(u64::from(key.ends_with("/rollout")), Ordering::SeqCst);
    })
    .await?;
    let started = Instant::now();
    let directory = || Source::Directory(&source);
    let first = Operator::start(setting, &endpoint, directory(), logs.join("first.log")).await?;
    let written = || rollouts.load(Ordering::SeqCst) >= hunts as u64;
    within(LIMIT, "all hunts in etcd", steady(&first, &writes, hunts, written)).await??;
    let took_first = started.elapsed().saturating_sub(STEADY);
    let (_, first_peak) = first.memory();
    first.stop().await?;
    let before = writes.load(Ordering::SeqCst);
    let started = Instant::now();
    let second = Operator::start(setting, &endpoint, directory(), logs.join("second.log")).await?;
    within(LIMIT, "a second look at all hunts", steady(&second, &writes, hunts, || true)).await??;
    let took_second = started.elapsed().saturating_sub(STEADY);
    let (resident, peak) = second.memory();
    let cpu = second.cpu_time();
    second.stop().await?;
    let again = writes.load(Ordering::SeqCst) - before;
    rows.extend([
        Row::new(format!("{hunts} hunts: keys written by the second look"), again as f64, "keys")
            .at_most(0.0),
        Row::new("operator resident after it", resident / 1e6, "MB").at_most(MEGABYTES_GOAL),
        Row::new("operator resident at most, second look", peak / 1e6, "MB"),
        Row::new("operator resident at most, first look", first_peak / 1e6, "MB"),
        Row::new("keys written by the first look", before as f64, "keys"),
        Row::new("first look took", took_first.as_secs_f64(), "s"),
        Row::new("second look took", took_second.as_secs_f64(), "s"),
        Row::new("second look, of a core", cpu.as_secs_f64(), "s"),
    ]);
    Ok(())
}

fn write_hunts(source: &Path, hunts: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(source).context("making the folder of hunts")?;
    for index in 0..hunts {
        let hunt = serde_json::json!({
            "apiVersion": "treasurehunt.dev/v1alpha1",
            "kind": "TreasureHunt",
            "metadata": {"name": format!("hunt-{index}"), "namespace": "default"},
            "spec": {"heartbeat": {"interval": "1s"}, "partitions": {"count": 8}},
        });
        // JSON is YAML.
        std::fs::write(source.join(format!("hunt-{index}.yaml")), hunt.to_string())
            .context("writing a hunt")?;
    }
    Ok(())
}

/// Waits until the operator knows all hunts, has nothing to do, and nothing is written any more.
async fn steady(
    operator: &Operator,
    writes: &AtomicU64,
    hunts: usize,
    done: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let (mut last, mut since) = (u64::MAX, Instant::now());
    while since.elapsed() < STEADY {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = writes.load(Ordering::SeqCst);
        let known = operator.metric("treasurehunt_operator_hunts").await?;
        let waiting = operator.metric("workqueue_depth").await?;
        if now != last || known < hunts as f64 || waiting > 0.0 || !done() {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}
