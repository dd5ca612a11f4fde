//! Hunts from a directory: two operators that look at the same new one agree who each hunt is, and a
//! status file that is lost, a file that is copied or renamed, lose nothing that matters.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use config_schemas::HuntName;
use config_schemas::documents::{self, Meta, Rollout};
use config_schemas::keys::{HuntKeys, Key};
use serde_json::{Value as Json, json};
use tests::wait::{timed, until};
use tests::world::{Setup, World};

const SOON: Duration = Duration::from_secs(20);
/// Hunts that two operators meet at the same time: one alone might be seen by one of them first.
const HUNTS: usize = 16;

fn keys(number: usize) -> HuntKeys {
    HuntKeys::new(&HuntName::new("default", format!("hunt-{number}")).unwrap())
}

fn write(world: &World, number: usize, events: u64) {
    let manifest = json!({
        "apiVersion": "treasurehunt.dev/v1alpha1",
        "kind": "TreasureHunt",
        "metadata": {"name": format!("hunt-{number}")},
        "spec": {"buffers": {"events": events}, "partitions": {"count": 2}},
    });
    let draft = world.path(&format!("hunts/.hunt-{number}.new"));
    std::fs::write(&draft, manifest.to_string()).unwrap();
    std::fs::rename(draft, world.path(&format!("hunts/hunt-{number}.yaml"))).unwrap();
}

/// The root marker, which must have been written once, and its hunt's rollout.
async fn written(world: &World, number: usize) -> Result<(String, Rollout)> {
    let keys = keys(number);
    let meta = world.store.read(&keys.key(&Key::Meta)).await?.context("no root marker")?;
    let uid = documents::read::<Meta>(&meta.value).map_err(anyhow::Error::msg)?.uid;
    assert_eq!(meta.version, 1, "hunt-{number} was somebody else before");
    let rollout = world.store.read(&keys.key(&Key::Rollout)).await?.context("no rollout")?;
    Ok((uid, documents::read(&rollout.value).map_err(anyhow::Error::msg)?))
}

/// Id and generation in the status file.
fn told(world: &World, number: usize) -> Result<(String, u64)> {
    let text = std::fs::read_to_string(status_file(world, number))?;
    let file: Json = serde_yaml::from_str(&text)?;
    let hunt = &file["hunts"][0];
    ensure!(hunt["status"]["observedGeneration"] == hunt["generation"], "{hunt}");
    Ok((
        hunt["uid"].as_str().context("no id")?.to_owned(),
        hunt["generation"].as_u64().context("no generation")?,
    ))
}

fn status_file(world: &World, number: usize) -> std::path::PathBuf {
    world.path(&format!("hunts/hunt-{number}.yaml.status.yaml"))
}

/// Every hunt runs that generation, and etcd and the files agree on its id.
async fn all_at(world: &World, generation: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..HUNTS {
        let what = format!("hunt-{number} at generation {generation}");
        let id = until(&what, SOON, async || {
            let (uid, rollout) = written(world, number).await?;
            ensure!(rollout.stable.0 == generation, "{rollout:?}");
            let told = told(world, number)?;
            ensure!(told == (uid.clone(), generation), "{told:?} and {uid}");
            Ok(uid)
        })
        .await;
        ids.push(id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_on_one_new_directory_agree_and_lost_status_files_change_nothing() {
    let mut world = World::bare(&Setup::agents(0)).await.unwrap();
    for number in 0..HUNTS {
        write(&world, number, 100);
    }
    world.start_operator("operator-1").unwrap();
    world.start_operator("operator-2").unwrap();
    let ids = all_at(&world, 1).await;

    for number in 0..HUNTS {
        write(&world, number, 200);
    }
    assert_eq!(all_at(&world, 2).await, ids);

    // With both operators there, and with none: as it was; and with a change on top.
    for number in 0..HUNTS {
        std::fs::remove_file(status_file(&world, number)).unwrap();
    }
    assert_eq!(all_at(&world, 2).await, ids);
    world.operators.iter_mut().for_each(tests::world::Node::kill);
    for number in 0..HUNTS {
        std::fs::remove_file(status_file(&world, number)).unwrap();
        write(&world, number, 300);
    }
    for operator in &mut world.operators {
        operator.restart().unwrap();
    }
    assert_eq!(all_at(&world, 3).await, ids);

    // Taken away and made anew, it is another hunt of that name.
    std::fs::remove_file(world.path("hunts/hunt-0.yaml")).unwrap();
    timed("the hunt is gone", SOON, async || {
        let left = world.store.list(&store::KeyRange::prefix(keys(0).prefix())).await?.entries;
        ensure!(left.is_empty(), "{left:?}");
        ensure!(!status_file(&world, 0).exists(), "its status is still there");
        Ok(())
    })
    .await;
    write(&world, 0, 100);
    let anew = until("made anew", SOON, async || {
        let (uid, rollout) = written(&world, 0).await?;
        ensure!(rollout.stable.0 == 1 && told(&world, 0)? == (uid.clone(), 1), "{rollout:?}");
        Ok(uid)
    })
    .await;
    assert_ne!(anew, ids[0]);
}

/// The record of the hunt in the status file of `file`.
fn record(world: &World, file: &str) -> Result<Json> {
    let text = std::fs::read_to_string(world.path(&format!("hunts/{file}.status.yaml")))?;
    let file: Json = serde_yaml::from_str(&text)?;
    ensure!(file["hunts"][0]["uid"].is_string(), "{file}");
    Ok(file["hunts"][0].clone())
}

/// What a deleted hunt would not have kept: its root marker, a live edit, and where its partitions
/// are; with the ids of the processes that run it.
async fn life(world: &mut World) -> Result<Json> {
    world.is_served().await?;
    let mut kept = json!({});
    for key in [Key::Meta, Key::Override("hunt/buffers/events".to_owned())] {
        let entry = world.entry(&key).await?.context("a key is gone")?;
        kept[entry.key] = json!([entry.create_revision.get(), entry.version]);
    }
    kept["partitions"] = json!(format!("{:?}", world.partitions().await?));
    let running: Vec<bool> = world.agents.iter_mut().map(tests::world::Node::is_running).collect();
    kept["running"] = json!(running);
    Ok(kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_and_a_renamed_file_change_nothing_of_the_hunt_that_runs() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    world.edit("hunt/buffers/events", "128").await.unwrap();
    world.served(SOON).await;
    let first = record(&world, "harbour.yaml").unwrap();
    let before = life(&mut world).await.unwrap();

    // A copy whose name sorts first, met by an operator that remembers nothing.
    std::fs::copy(world.path("hunts/harbour.yaml"), world.path("hunts/a-copy.yaml")).unwrap();
    world.operators[0].kill();
    world.operators[0].restart().unwrap();
    until("the copy is refused", SOON, async || {
        let text = std::fs::read_to_string(world.path("hunts/a-copy.yaml.status.yaml"))?;
        ensure!(text.contains("stands in harbour.yaml already"), "{text}");
        Ok(())
    })
    .await;
    let again = record(&world, "harbour.yaml").unwrap();
    assert_eq!((&again["uid"], &again["generation"]), (&first["uid"], &first["generation"]));
    std::fs::remove_file(world.path("hunts/a-copy.yaml")).unwrap();
    assert_eq!(life(&mut world).await.unwrap(), before);

    // Under the running operator, and while it is away.
    for (from, to, away) in [("harbour.yaml", "zz.yaml", false), ("zz.yaml", "harbour.yaml", true)]
    {
        if away {
            world.operators[0].kill();
        }
        std::fs::rename(world.path(&format!("hunts/{from}")), world.path(&format!("hunts/{to}")))
            .unwrap();
        if away {
            world.operators[0].restart().unwrap();
        }
        let moved = until("the hunt moved", SOON, async || {
            let old = world.path(&format!("hunts/{from}.status.yaml"));
            ensure!(!old.exists(), "the old status file is there");
            record(&world, to)
        })
        .await;
        assert_eq!((&moved["uid"], &moved["generation"]), (&first["uid"], &first["generation"]));
        assert_eq!(life(&mut world).await.unwrap(), before);
    }
    // It is the moved file that rules the hunt now.
    world.change("heartbeat", "misses", 8).await.unwrap();
    let changed = until("the change is taken in", SOON, async || {
        let changed = record(&world, "harbour.yaml")?;
        ensure!(changed["generation"] != first["generation"], "{changed}");
        Ok(changed)
    })
    .await;
    assert_eq!(changed["uid"], first["uid"]);
    assert_eq!(changed["generation"].as_u64(), first["generation"].as_u64().map(|was| was + 1));
    world.converged(SOON).await;
}
