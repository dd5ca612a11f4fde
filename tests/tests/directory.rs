//! Hunts from a directory: two operators that look at the same new one agree who each hunt is, and a
//! status file that is lost loses nothing that matters.

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
