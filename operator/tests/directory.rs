//! TreasureHunts from a directory of files, on a real etcd: the same checks, the same status, as
//! a file beside each.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use operator::{Running, start};
use serde_json::Value as Json;
use servers::{Etcd, EtcdPrograms, Restore};
use support::{Fleet, condition, directory, found, manifest, options, until};

async fn etcd() -> Etcd {
    Etcd::temporary(EtcdPrograms::shared().await.unwrap()).await.unwrap()
}

async fn operator(etcd: &Etcd, path: &Path) -> Running {
    start(options(etcd, "one", directory(path.to_owned()))).await.unwrap()
}

/// Waits until the hunt's record in the status file is as wanted.
async fn record(path: &Path, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
    until(what, async || {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let file: Json = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
        wanted(&file["hunts"][0]).then(|| file["hunts"][0].clone()).ok_or(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_a_hunt_with_its_status_beside_it() {
    let mut etcd = etcd().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, beside) =
        (dir.path().join("harbour.yaml"), dir.path().join("harbour.yaml.status.yaml"));
    let fleet = Fleet::new(&etcd, "default/harbour");
    let running = operator(&etcd, dir.path()).await;
    std::fs::write(&file, include_str!("../../examples/harbour.yaml")).unwrap();
    fleet.runs(1).await;
    fleet.node("a", "x").await;
    fleet.ack("a", "x").await;
    let ready = |r: &Json| condition(&r["status"], "Ready", "True");
    let first = record(&beside, "ready", ready).await;
    let backup = dir.path().join("backup.db");
    etcd.save_backup(&backup).await.unwrap();

    std::fs::write(&file, manifest("harbour", "{heartbeat: {interval: 1ms}}")).unwrap();
    let told = |r: &Json| {
        r["events"]
            .as_array()
            .and_then(|all| all.last())
            .is_some_and(|e| e["reason"] == "NotAccepted")
    };
    let refused = |r: &Json| found(&r["status"], "Accepted")["reason"] == "Invalid" && told(r);
    let second = record(&beside, "refused", refused).await;
    let message = found(&second["status"], "Accepted")["message"].as_str().unwrap();
    assert!(message.contains("heartbeat.interval: \"1ms\"") && message.contains("20ms"));
    assert_eq!(second["uid"], first["uid"]);

    std::fs::write(&file, manifest("harbour", "{partitions: {count: 24}}")).unwrap();
    let fixed = |r: &Json| {
        let message = found(&r["status"], "Accepted")["message"].as_str();
        message.is_some_and(|text| text.contains("partitions.count: 24"))
    };
    record(&beside, "what is fixed stays", fixed).await;
    std::fs::write(&file, "a: [").unwrap();
    let unreadable = |r: &Json| found(&r["status"], "Accepted")["reason"] == "Undecodable";
    record(&beside, "not YAML", unreadable).await;
    fleet.runs(1).await;

    std::fs::write(&file, manifest("harbour", "{heartbeat: {interval: 2s}}")).unwrap();
    fleet.runs(4).await;
    etcd.restore_backup(&backup, Restore::Exact).await.unwrap();
    fleet.runs(4).await;

    running.stop().await;
    std::fs::remove_file(&file).unwrap();
    let running = operator(&etcd, dir.path()).await;
    until("keys and status are gone", async || {
        let keys = fleet.text("meta").await;
        (keys.is_none() && !beside.exists()).then_some(()).ok_or(format!("{keys:?}"))
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_empty_or_gone_deletes_nothing() {
    let etcd = etcd().await;
    let dir = tempfile::tempdir().unwrap();
    let hunts = dir.path().join("hunts");
    std::fs::create_dir(&hunts).unwrap();
    std::fs::write(hunts.join("a.yaml"), manifest("a", "{}") + "---\n" + &manifest("b", "{}"))
        .unwrap();
    let running = operator(&etcd, &hunts).await;
    let fleets = [Fleet::new(&etcd, "default/a"), Fleet::new(&etcd, "default/b")];
    for fleet in &fleets {
        fleet.runs(1).await;
    }
    running.stop().await;
    std::fs::rename(&hunts, dir.path().join("elsewhere")).unwrap();
    let running = operator(&etcd, &hunts).await;
    let orphans = || running.metrics.orphans.get();
    until("orphans are counted", async || (orphans() == 2).then_some(()).ok_or(String::new()))
        .await;
    std::fs::create_dir(&hunts).unwrap();
    std::fs::write(hunts.join("c.yaml"), manifest("c", "{}")).unwrap();
    Fleet::new(&etcd, "default/c").runs(1).await;
    for fleet in &fleets {
        assert!(fleet.text("meta").await.is_some());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_nothing_is_written() {
    let etcd = etcd().await;
    let dir = tempfile::tempdir().unwrap();
    for index in 0..200 {
        let text = manifest(&format!("hunt-{index}"), "{}");
        std::fs::write(dir.path().join(format!("{index}.yaml")), text).unwrap();
    }
    let first = operator(&etcd, dir.path()).await;
    let written = |o: &Running, kind| o.metrics.reports.with_label_values(&[kind, "written"]).get();
    let committed = |o: &Running| o.metrics.txns.with_label_values(&["committed"]).get();
    until("all are written", async || {
        let files = std::fs::read_dir(dir.path()).unwrap();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
        let reported = texts.filter(|text| text.contains("reason: NoNodes")).count();
        (reported == 200).then_some(()).ok_or(format!("{reported}, {}", committed(&first)))
    })
    .await;
    assert_eq!(committed(&first), 200);
    first.stop().await;
    let second = operator(&etcd, dir.path()).await;
    until("all are looked at", async || {
        let looks = second.metrics.reconcile_seconds.get_sample_count();
        let leads = second.metrics.leader.get() == 1;
        (looks >= 400 && leads).then_some(()).ok_or(format!("{looks}"))
    })
    .await;
    assert_eq!(committed(&second), 0);
    assert_eq!(written(&second, "status"), 0);
    second.stop().await;
}
