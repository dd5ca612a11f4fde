//! Servers that die, freeze, lose or go back in time, and operators that do: nothing is reset,
//! nothing older is ever written, and everything comes right by itself.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use config_schemas::documents::{Meta, PartitionRecord};
use operator::start;
use servers::Restore;
use store::{Candidacy, Guard, Txn, campaign};
use support::{Fleet, World, condition, found, page, until};

async fn converged(world: &World, fleet: &Fleet, spec: &str) {
    let name = fleet.hunt.name.as_str();
    world.apply(name, spec).await;
    for node in ["a", "b", "c"] {
        fleet.node(node, "x").await;
        fleet.ack(node, "x").await;
    }
    world.status(name, "converged", |s| condition(s, "Converged", "True")).await;
    fleet.placed_on(16, &["a", "b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_api_server_down_placement_and_edits_go_on_and_the_status_follows() {
    let mut world = World::new().await;
    let fleet = world.fleet("default/harbour");
    let operator = world.operator("one").await;
    converged(&world, &fleet, "{}").await;
    world.kube.kill();
    fleet.leave("c").await;
    fleet.placed_on(16, &["a", "b"]).await;
    fleet.put("override/hunt/buffers/events", "lots").await;
    until("the refused edit is counted", async || {
        let text = page(&operator, "/metrics").await?;
        text.contains(r#"refused_edits{code="OutOfBounds"} 1"#).then_some(()).ok_or(text)
    })
    .await;
    assert_eq!(page(&operator, "/readyz").await.unwrap(), "ok\n");
    // An operator that starts meanwhile places too.
    operator.stop().await;
    let operator = world.operator("two").await;
    fleet.node("c", "y").await;
    until("a move is ordered", async || {
        for id in 0..16 {
            if let Ok(record @ PartitionRecord::Mov { .. }) =
                fleet.read(&format!("partition/{id}")).await
            {
                return Ok(record);
            }
        }
        Err("none".to_owned())
    })
    .await;
    world.kube.restart().await.unwrap();
    world
        .status("harbour", "caught up", |s| {
            s["refused"][0]["code"] == "OutOfBounds" && s["nodes"]["desired"] == 3
        })
        .await;
    assert!(fleet.text("desired/1").await.is_some());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_etcd_the_newest_generation_is_there_in_the_end() {
    let mut world = World::new().await;
    let fleet = world.fleet("default/harbour");
    let operator = world.operator("one").await;
    converged(&world, &fleet, "{heartbeat: {interval: 1s}}").await;
    let first: Meta = fleet.read("meta").await.unwrap();
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().join("backup.db");
    world.etcd.save_backup(&backup).await.unwrap();

    world.etcd.kill();
    world.apply("harbour", "{heartbeat: {interval: 2s}}").await;
    world.etcd.restart().await.unwrap();
    fleet.runs(2).await;
    let kept: Meta = fleet.read("meta").await.unwrap();
    assert_eq!(kept, first, "an etcd that comes back is the same");

    world.etcd.restore_backup(&backup, Restore::Exact).await.unwrap();
    fleet.runs(2).await;

    world.etcd.wipe().await.unwrap();
    fleet.runs(2).await;
    let second: Meta = fleet.read("meta").await.unwrap();
    assert_ne!(second.store_epoch, first.store_epoch, "a wiped store begins a new life");
    for node in ["a", "b", "c"] {
        fleet.node(node, "x").await;
        fleet.ack(node, "x").await;
    }
    world
        .status("harbour", "converged again", |s| {
            condition(s, "Converged", "True") && s["generation"] == 2
        })
        .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_operator_dies_the_next_one_finishes_the_work() {
    let world = World::new().await;
    let mut writes = 0;
    // From nothing to two generations and placed partitions, cut after each write in turn.
    for cut in 0.. {
        let name = format!("hunt-{cut}");
        let fleet = world.fleet(&format!("default/{name}"));
        fleet.node("a", "x").await;
        world.apply(&name, "{heartbeat: {interval: 1s}}").await;
        let mut options = world.options("mortal");
        options.fuse = operator::Fuse::after(cut);
        let mortal = start(options).await.unwrap();
        let stopping = mortal.stopping();
        tokio::select! {
            () = stopping.cancelled() => {}
            () = async {
                fleet.runs(1).await;
                fleet.placed_on(16, &["a"]).await;
                fleet.ack("a", "x").await;
                world.status(&name, "converged", |s| condition(s, "Converged", "True")).await;
            } => writes = cut,
        }
        mortal.stop().await;
        if writes == 0 {
            let heir = world.operator("heir").await;
            fleet.runs(1).await;
            fleet.placed_on(16, &["a"]).await;
            fleet.ack("a", "x").await;
            world.status(&name, "converged", |s| condition(s, "Converged", "True")).await;
            let keys: Vec<String> = fleet.all().await.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), 3 + 16 + 2, "{keys:?}");
            heir.stop().await;
        }
        world.kube.kubectl(&["delete", "th", &name, "--wait=false"]).await.unwrap();
        let sweeper = world.operator("sweeper").await;
        until("gone", async || {
            let gone = world.hunt(&name).await.is_null();
            gone.then_some(()).ok_or("still there".to_owned())
        })
        .await;
        sweeper.stop().await;
        if writes > 0 {
            break;
        }
    }
    assert!(writes >= 4, "hold, configure, place, report: {writes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_writes_nothing_when_it_wakes() {
    let world = World::new().await;
    let fleet = world.fleet("default/harbour");
    let key = format!("{}holder", config_schemas::keys::LEADER);
    let candidacy =
        Candidacy { key: key.clone(), identity: "paused".into(), ttl: Duration::from_secs(2) };
    let paused = until("elected", {
        let store = fleet.store.clone();
        async move || campaign(&store, candidacy.clone()).await.map_err(|error| error.to_string())
    })
    .await;
    let guard = paused.guard();
    world.etcd.ctl(&["del", &key]).await.unwrap();
    let operator = world.operator("next").await;
    world.apply("harbour", "{}").await;
    fleet.runs(1).await;
    let rollout = fleet.key("rollout");
    let found = fleet.store.read(&rollout).await.unwrap();
    let txn = Txn::put(Guard::as_found(&rollout, found.as_ref()), "stolen");
    let (metrics, fuse) = (operator::Metrics::new().unwrap(), operator::Fuse::default());
    let done = operator::commit::commit(&fleet.store, vec![txn], guard, &metrics, &fuse).await;
    assert!(matches!(done, operator::commit::Committed::Overtaken), "{done:?}");
    fleet.runs(1).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_cannot_reach_etcd_ends_and_the_keys_go_later() {
    let mut world = World::new().await;
    let fleet = world.fleet("default/harbour");
    let mut options = world.options("one");
    options.clean_up_within = Duration::from_secs(2);
    let operator = start(options).await.unwrap();
    world.apply("harbour", "{}").await;
    world.status("harbour", "written", |s| found(s, "Accepted")["status"] == "True").await;
    world.etcd.kill();
    world.kube.kubectl(&["delete", "th", "harbour", "--timeout=60s"]).await.unwrap();
    world.etcd.restart().await.unwrap();
    until("the keys are gone", async || {
        let left = fleet.all().await;
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_vanished_without_a_word_keeps_its_keys() {
    let world = World::new().await;
    let fleet = world.fleet("default/harbour");
    let operator = world.operator("one").await;
    world.apply("harbour", "{}").await;
    fleet.runs(1).await;
    operator.stop().await;
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    world.kube.kubectl(&["patch", "th", "harbour", "--type=merge", "-p", patch]).await.unwrap();
    world.kube.kubectl(&["delete", "th", "harbour"]).await.unwrap();
    let operator = world.operator("two").await;
    until("the orphan is reported", async || {
        let text = page(&operator, "/metrics").await?;
        text.contains("treasurehunt_operator_orphans 1").then_some(()).ok_or(text)
    })
    .await;
    assert!(fleet.text("meta").await.is_some());
    // Made anew, it is another resource, and what is left gives way to it.
    let before: Meta = fleet.read("meta").await.unwrap();
    world.apply("harbour", "{}").await;
    until("taken over", async || {
        let meta: Meta = fleet.read("meta").await?;
        (meta.uid != before.uid).then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    operator.stop().await;
}
