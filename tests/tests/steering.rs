//! People steer a hunt by hand: back to an earlier generation, also without the operator; and keys
//! that machines write are put back when somebody edits them.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::documents::{
    self, Ack, Desired, NodeRecord, PartitionRecord, RefusalCode, Rollout,
};
use config_schemas::keys::Key;
use config_schemas::{Generation, NodeName, PartitionId};
use crds::{ConditionKind, Truth};
use serde_json::json;
use store::Write;
use tests::recorder::Recorder;
use tests::wait::{timed, until};
use tests::world::{Setup, World};

const SOON: Duration = Duration::from_secs(20);

/// Two agents on generation 2: 1100 events instead of 1000.
async fn on_generation_two() -> World {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    world.change("buffers", "events", 1100).await.unwrap();
    runs(&world, 2, 1100).await;
    world
}

async fn runs(world: &World, generation: u64, events: u64) {
    let what = format!("all agents run generation {generation}");
    timed(&what, SOON, async || {
        world.all_run("buffers.events", &json!(events), 0).await?;
        for index in 0..world.agents.len() {
            let found = world.config(index).await?["generation"].as_u64();
            ensure!(found == Some(generation), "agent {index} runs generation {found:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_holds_until_it_is_taken_back_and_is_told_with_its_owner() {
    let world = on_generation_two().await;
    let signed = json!({"value": 1, "owner": "ana", "reason": "worse"}).to_string();
    world.edit("hunt/generation", signed).await.unwrap();
    runs(&world, 1, 1000).await;
    until("the status tells of the rollback", SOON, async || {
        let seen = world.status().await?;
        let back = seen.status.rollback.as_ref().context("no rollback")?;
        ensure!(back.generation == 1 && back.owner.as_deref() == Some("ana"), "{back:?}");
        ensure!(seen.status.generation == Some(1) && seen.holds(ConditionKind::Converged));
        Ok(())
    })
    .await;
    let kept = world.edit("hunt/generation", "77").await.unwrap();
    until(
        "a rollback to what is not kept is refused and nothing older or newer runs",
        SOON,
        async || {
            let refused =
                world.refusal_in_ack("agent-1", "hunt/generation").await?.context("not told")?;
            ensure!(
                refused.code == RefusalCode::NotKept && refused.revision.get() == kept,
                "{refused:?}"
            );
            Ok(())
        },
    )
    .await;
    world.unedit("hunt/generation").await.unwrap();
    runs(&world, 2, 1100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_works_with_the_operator_dead_and_a_newer_resource_lifts_it() {
    let mut world = on_generation_two().await;
    world.operators[0].kill();
    world.edit("hunt/generation", "1").await.unwrap();
    runs(&world, 1, 1000).await;
    world.agents[0].restart().unwrap();
    runs(&world, 1, 1000).await;
    world.unedit("hunt/generation").await.unwrap();
    runs(&world, 2, 1100).await;
    world.edit("hunt/generation", "1").await.unwrap();
    runs(&world, 1, 1000).await;

    world.operators[0].restart().unwrap();
    world.change("buffers", "events", 1300).await.unwrap();
    runs(&world, 3, 1300).await;
    until("the rollback is told as lifted", SOON, async || {
        let seen = world.status().await?;
        ensure!(seen.status.rollback.is_none());
        let refused = seen.refusal("hunt/generation").context("not told")?;
        ensure!(refused.code == RefusalCode::Lifted.as_str(), "{refused:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_edit_of_what_machines_write_is_put_back_with_an_event() {
    let world = on_generation_two().await;
    let recorder = Recorder::start(&world);
    put_back(&world, Key::Rollout, r#"{"format":1,"stable":1}"#, |bytes| {
        documents::read::<Rollout>(bytes).is_ok_and(|rollout| rollout.stable == Generation(2))
    })
    .await;
    put_back(&world, Key::Rollout, "two", |bytes| {
        documents::read::<Rollout>(bytes).is_ok_and(|rollout| rollout.stable == Generation(2))
    })
    .await;
    let desired = world.entry(&Key::Desired(Generation(2))).await.unwrap().unwrap().value;
    let forged = String::from_utf8(desired.to_vec()).unwrap().replace("1100", "9");
    assert_ne!(forged.as_bytes(), desired);
    put_back(&world, Key::Desired(Generation(2)), &forged, |bytes| {
        documents::read::<Desired>(bytes)
            .is_ok_and(|document| document.config["buffers"]["events"] == 1100)
    })
    .await;
    put_back(&world, Key::Partition(PartitionId(3)), "mine", |bytes| {
        documents::read::<PartitionRecord>(bytes).is_ok_and(|record| record.owner().is_some())
    })
    .await;
    world.converged(SOON).await;
    recorder.finish().await.check("buffers.events", &[json!(1100)]).unwrap();
}

async fn put_back(world: &World, what: Key, forged: &str, good: impl Fn(&[u8]) -> bool) {
    let key = world.keys.key(&what);
    world.write(Write::put(key.clone(), forged.to_owned())).await.unwrap();
    timed(&format!("{what:?} put back"), SOON, async || {
        let entry = world.entry(&what).await?.context("gone")?;
        ensure!(good(&entry.value), "{}", String::from_utf8_lossy(&entry.value));
        Ok(())
    })
    .await;
    until("an Event tells of it", SOON, async || {
        let seen = world.status().await?;
        ensure!(seen.has_event("PutBack", &key), "there are {:?}", seen.events);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_edit_of_what_an_agent_says_of_itself_is_put_back_and_it_keeps_its_partitions() {
    let world = on_generation_two().await;
    world.served(SOON).await;
    let owners = world.partitions().await.unwrap();
    let node = || NodeName::new("agent-2").unwrap();
    let record: NodeRecord = read(&world, &Key::Node(node())).await.unwrap();
    let ack: Ack = read(&world, &Key::Ack(node())).await.unwrap();
    let moved = NodeRecord { http: "127.0.0.1:1".to_owned(), ..record.clone() };
    let other = NodeRecord { instance: "another".to_owned(), ..record.clone() };
    let lie = Ack { generation: Some(Generation(1)), hash: "no".to_owned(), ..ack.clone() };
    let stale = documents::write(&Ack { incarnation: "0".to_owned(), ..ack.clone() });
    for forged in [b"zzz".to_vec(), documents::write(&moved), documents::write(&other)] {
        restored(&world, Key::Node(node()), forged, &record).await;
    }
    for forged in [b"zzz".to_vec(), documents::write(&lie), stale] {
        restored(&world, Key::Ack(node()), forged, &ack).await;
    }
    for what in [Key::Node(node()), Key::Ack(node())] {
        told(&world, &format!("{} was changed by hand", world.keys.key(&what))).await;
    }
    world.served(SOON).await;
    assert_eq!(world.partitions().await.unwrap(), owners, "it lost partitions for it");
    for what in [Key::Node(node()), Key::Ack(node())] {
        let key = world.keys.key(&what);
        world.write(Write::delete(key.clone())).await.unwrap();
        timed(&format!("{what:?} written again"), SOON, async || {
            let entry = world.entry(&what).await?.context("gone")?;
            ensure!(entry.lease.is_some(), "it would outlive its agent");
            Ok(())
        })
        .await;
        told(&world, &format!("{key} was deleted by hand")).await;
    }
    let metrics = world.metrics(world.agents[1].http).await.unwrap();
    let counted = metrics.lines().find(|line| line.contains("lease_total{what=\"put_back\"}"));
    let counted = counted.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(counted >= Some(8), "{counted:?}");
    world.converged(SOON).await;
    world.served(SOON).await;
}

async fn read<T: serde::de::DeserializeOwned>(world: &World, what: &Key) -> anyhow::Result<T> {
    let entry = world.entry(what).await?.context("gone")?;
    ensure!(entry.lease.is_some(), "it would outlive its agent");
    documents::read(&entry.value).map_err(anyhow::Error::msg)
}

async fn told(world: &World, text: &str) {
    until("an Event tells of it", SOON, async || {
        let seen = world.status().await?;
        ensure!(seen.has_event("PutBack", text), "{text}: there are {:?}", seen.events);
        Ok(())
    })
    .await;
}

/// Puts `forged` there by hand: the agent's own word returns, on its lease, and it is ready.
async fn restored<T>(world: &World, what: Key, forged: Vec<u8>, own: &T)
where
    T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    world.write(Write::put(world.keys.key(&what), forged)).await.unwrap();
    timed(&format!("{what:?} put back"), SOON, async || {
        let found: T = read(world, &what).await?;
        ensure!(found == *own, "{found:?}");
        Ok(())
    })
    .await;
    until("the agent is ready", SOON, async || {
        let ready = world.http.text(world.agents[1].http, "/readyz").await?;
        ensure!(ready.starts_with("ok"), "{ready}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_store_is_told_everywhere_while_the_work_goes_on() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    world.converged(SOON).await;
    world.served(SOON).await;
    world.etcd().freeze().await.unwrap();
    timed("the status tells that etcd is silent", SOON, async || {
        let seen = world.status().await?.status;
        let of = |kind| seen.condition(kind).map(|found| (found.status, found.reason.clone()));
        let silent = |truth| Some((truth, "StoreSilent".to_owned()));
        ensure!(of(ConditionKind::Degraded) == silent(Truth::True), "{:?}", seen.conditions);
        ensure!(of(ConditionKind::Converged) == silent(Truth::Unknown), "{:?}", seen.conditions);
        Ok(())
    })
    .await;
    let ports: Vec<u16> =
        world.agents.iter().chain(&world.operators).map(|node| node.http).collect();
    for port in ports {
        let ready = world.http.text(port, "/readyz").await.unwrap();
        assert!(ready.starts_with("ok: etcd has been silent for"), "{ready}");
    }
    let told = world.config(0).await.unwrap()["store"].clone();
    assert!(told["note"].as_str().is_some_and(|note| note.contains("what was last known")));
    assert!(told["ageSeconds"].as_f64() > Some(5.0), "{told}");
    world.etcd().thaw().await.unwrap();
    world.converged(SOON).await;
    until("nothing is wrong any more", SOON, async || {
        let seen = world.status().await?;
        ensure!(!seen.holds(ConditionKind::Degraded), "{}", seen.message(ConditionKind::Degraded));
        ensure!(world.http.text(world.agents[0].http, "/readyz").await? == "ok\n");
        Ok(())
    })
    .await;
}
