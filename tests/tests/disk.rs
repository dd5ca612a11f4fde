//! What the disk does to a running hunt: it is full, it loses the end of a write, it returns other
//! bytes than were written. Nothing that was acknowledged is lost, what is damaged is named, and
//! everybody else goes on.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::PartitionId;
use crds::ConditionKind;
use serde_json::{Value as Json, json};
use tests::disk::{Ballast, SmallDisk};
use tests::players::{Players, judged};
use tests::wait::{promised, recovery, timed};
use tests::world::{Setup, World};

/// A report of what is wrong comes within a few seconds, on a machine that compiles besides in more.
const SOON: Duration = Duration::from_secs(40);
/// A log that is corrupt is read again each 10 s, for somebody who may have mended it; then it opens.
const MENDED_WITHIN: Duration = Duration::from_secs(12);
const PLAYERS: usize = 8;
const SOME: usize = 150;
/// Room for twelve partitions' logs of this test, and for the agents' own few files.
const DISK_BYTES: u64 = 48 << 20;

/// What follows each fault: every partition is served again, the hunt goes on, and what was
/// acknowledged before, during and after is played as it should be.
async fn recovers_and_is_judged(world: &World, within: Duration, players: Players) {
    timed("every partition served again", within, async || world.is_served().await).await;
    players.goes_on(SOME, SOON).await;
    judged(world, world.agents[0].http, &players.finish().await.unwrap()).await;
}

/// Waits until the status says, or no longer says, what is wrong with a log.
async fn told(world: &World, wanted: &[&str]) {
    timed(&format!("the status tells of {wanted:?}"), SOON, async || {
        let status = world.status().await?;
        let message = status.message(ConditionKind::Degraded);
        let says = message.contains("cannot serve");
        ensure!(says != wanted.is_empty(), "{message}");
        for part in wanted {
            ensure!(message.contains(part), "no {part:?} in {message}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_is_told_and_the_hunt_goes_on_when_there_is_room() {
    let setup = Setup::agents(2);
    let mut world = World::bare(&setup).await.unwrap();
    let Some(disk) = SmallDisk::mount(&world.path("data"), DISK_BYTES).unwrap() else { return };
    world.begin(&setup).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    let ballast = Ballast::fill(disk.path()).unwrap();
    told(&world, &["No space left on device"]).await;
    for agent in &mut world.agents {
        assert!(agent.is_running(), "{} ended", agent.name);
    }
    ballast.remove().unwrap();
    recovers_and_is_judged(&world, recovery(world.lease()), players).await;
    told(&world, &[]).await;
}

/// The segments of every partition's logs, by partition: those whose names begin with `kind`.
fn segments(world: &World, kind: &str) -> Vec<(PartitionId, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![world.path("data/hunts")];
    while let Some(folder) = folders.pop() {
        let partition = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match partition {
                Some(id) if name.starts_with(kind) => found.push((PartitionId(id), path)),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Kills every agent, lets `harm` touch the files, and starts the agents again.
async fn harmed(world: &mut World, harm: impl FnOnce(&World)) {
    for agent in &mut world.agents {
        agent.kill();
    }
    harm(world);
    for agent in &mut world.agents {
        agent.restart().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_torn_end_of_a_write_is_left_out_and_nothing_acknowledged_is_lost() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    harmed(&mut world, |world| {
        let logs = segments(world, "");
        let logs: Vec<_> = logs.iter().filter(|(_, path)| path.extension().is_some()).collect();
        assert!(logs.len() >= 24, "{logs:?}");
        for (_, path) in logs {
            // A record that says that it is longer than what came onto the disk of it.
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(&[200, 0, 0, 0, 7, 7, 7, 7, b't', b'o', b'r', b'n']).unwrap();
        }
    })
    .await;
    recovers_and_is_judged(&world, recovery(world.lease()), players).await;
}

/// Changes the byte in the middle of a file to another one; the same again undoes it.
fn flip_the_middle(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

/// Which partitions the agents serve.
async fn served_by_anybody(world: &World) -> anyhow::Result<BTreeSet<PartitionId>> {
    let mut served = BTreeSet::new();
    for agent in &world.agents {
        let shown = world.http.json(agent.http, "/partitions").await?;
        let all = shown["partitions"].as_array().context("no list")?;
        let mine = all.iter().filter(|it| it["serving"] == true);
        served.extend(
            mine.filter_map(|it| serde_json::from_value::<PartitionId>(it["id"].clone()).ok()),
        );
    }
    Ok(served)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_named_with_file_and_place_and_stops_its_own_partition_only() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    // Players go on while a partition is out: those who need it wait and try again.
    let (damaged, file) = segments(&world, "outcomes").into_iter().max_by_key(size).unwrap();
    harmed(&mut world, |_| flip_the_middle(&file)).await;
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    told(&world, &[&format!("partition {damaged}"), &name, "is corrupt at byte"]).await;
    let lives = incarnations(&world).await.unwrap();
    timed("all other partitions served", SOON, async || {
        let served = served_by_anybody(&world).await?;
        ensure!(served.len() == 11 && !served.contains(&damaged), "{served:?} but {damaged}");
        Ok(())
    })
    .await;
    taken_elsewhere(&world, damaged).await;
    assert_eq!(incarnations(&world).await.unwrap(), lives, "an agent has started anew");
    flip_the_middle(&file);
    recovers_and_is_judged(&world, promised(MENDED_WITHIN), players).await;
    told(&world, &[]).await;
    assert_eq!(incarnations(&world).await.unwrap(), lives, "an agent has started anew");
}

fn size((_, path): &(PartitionId, PathBuf)) -> u64 {
    path.metadata().unwrap().len()
}

/// The lives of all agents, by name.
async fn incarnations(world: &World) -> anyhow::Result<Vec<String>> {
    let mut lives = Vec::new();
    for agent in &world.agents {
        lives.push(world.ack(&agent.name).await?.incarnation);
    }
    Ok(lives)
}

/// Events of other partitions are taken; those of the damaged one are refused, with a time to come
/// back.
async fn taken_elsewhere(world: &World, damaged: PartitionId) {
    let (mut taken, mut refused) = (0, 0);
    for number in 0.. {
        if taken >= 20 && refused > 0 {
            return;
        }
        assert!(number < 500, "{taken} taken, {refused} refused");
        let event = json!({"kind": "join", "player": format!("elsewhere-{number}")});
        let port = world.agents[number % 2].http;
        let (status, body) = world.http.post(port, "/v1/events", event.to_string()).await.unwrap();
        let answer: Json = serde_json::from_str(body.trim()).unwrap();
        if status == 200 {
            assert_ne!(answer["partition"], json!(damaged), "{answer}");
            taken += 1;
        } else {
            assert_eq!(status, 503, "{answer}");
            assert!(answer["error"]["retryAfterMs"].is_u64(), "{answer}");
            refused += 1;
        }
    }
}
