//! etcd for real: what the faults of this crate do to it, as seen by its own client.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use servers::{Etcd, EtcdCluster, EtcdPrograms, Restore};

async fn programs() -> &'static EtcdPrograms {
    EtcdPrograms::shared().await.unwrap()
}

async fn value(etcd: &Etcd, key: &str) -> String {
    etcd.ctl(&["get", key, "--print-value-only"]).await.unwrap().trim().to_owned()
}

async fn revision(etcd: &Etcd) -> u64 {
    let json = etcd.ctl(&["get", "none", "--write-out", "json"]).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    answer["header"]["revision"].as_u64().unwrap()
}

#[tokio::test]
async fn a_killed_member_comes_back_with_its_data_on_the_same_port() {
    let mut etcd = Etcd::temporary(programs().await).await.unwrap();
    let (endpoint, pid) = (etcd.endpoint(), etcd.pid());
    etcd.ctl(&["put", "a", "1"]).await.unwrap();
    etcd.kill();
    etcd.kill();
    assert!(!etcd.is_running());
    assert_eq!(etcd.rss_bytes(), 0);
    assert!(etcd.ctl(&["get", "a", "--command-timeout=300ms"]).await.is_err());
    etcd.restart().await.unwrap();
    assert_eq!((etcd.endpoint(), value(&etcd, "a").await), (endpoint, "1".to_owned()));
    assert_ne!(etcd.pid(), pid);
    assert!(etcd.rss_bytes() > 1024 * 1024);
    assert!(etcd.cpu_time() > Duration::ZERO);
}

#[tokio::test]
async fn a_frozen_member_answers_nothing_until_it_is_thawed() {
    let mut etcd = Etcd::temporary(programs().await).await.unwrap();
    etcd.freeze().await.unwrap();
    assert!(etcd.is_running());
    assert!(etcd.ctl(&["put", "a", "1", "--command-timeout=300ms"]).await.is_err());
    etcd.thaw().await.unwrap();
    etcd.ready().await.unwrap();
    etcd.ctl(&["put", "a", "2"]).await.unwrap();
    assert_eq!(value(&etcd, "a").await, "2");
}

#[tokio::test]
async fn a_wiped_member_starts_from_revision_one_with_the_same_ids() {
    let mut etcd = Etcd::temporary(programs().await).await.unwrap();
    let ids = cluster_and_member(&etcd).await;
    etcd.ctl(&["put", "a", "1"]).await.unwrap();
    assert_eq!(revision(&etcd).await, 2);
    etcd.wipe().await.unwrap();
    assert_eq!((revision(&etcd).await, value(&etcd, "a").await), (1, String::new()));
    assert_eq!(cluster_and_member(&etcd).await, ids);
}

#[tokio::test]
async fn a_restored_backup_brings_back_old_values_and_revisions_or_higher_ones() {
    let mut etcd = Etcd::temporary(programs().await).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    etcd.ctl(&["put", "a", "old"]).await.unwrap();
    etcd.save_backup(&backup).await.unwrap();
    etcd.ctl(&["put", "a", "new"]).await.unwrap();
    assert_eq!(revision(&etcd).await, 3);
    etcd.restore_backup(&backup, Restore::Exact).await.unwrap();
    assert_eq!((value(&etcd, "a").await.as_str(), revision(&etcd).await), ("old", 2));
    etcd.restore_backup(&backup, Restore::BumpRevision(1_000)).await.unwrap();
    assert_eq!(value(&etcd, "a").await, "old");
    assert!(revision(&etcd).await > 1_000);
}

#[tokio::test]
async fn a_compacted_revision_can_no_longer_be_read() {
    let etcd = Etcd::temporary(programs().await).await.unwrap();
    for text in ["1", "2", "3"] {
        etcd.ctl(&["put", "a", text]).await.unwrap();
    }
    etcd.ctl(&["get", "a", "--rev=2"]).await.unwrap();
    etcd.compact(3).await.unwrap();
    let refused = etcd.ctl(&["get", "a", "--rev=2"]).await.unwrap_err();
    assert!(refused.to_string().contains("compacted"), "{refused}");
    assert!(etcd.compact(3).await.is_err());
}

#[tokio::test]
async fn a_cluster_serves_without_one_member_and_not_without_two() {
    let mut cluster = EtcdCluster::temporary(programs().await).await.unwrap();
    assert_eq!(cluster.endpoints().len(), 3);
    let killed = cluster.leader().await.unwrap();
    cluster.members()[killed].kill();
    // What is sent to a dead leader times out, so the election comes first.
    let leader = cluster.leader().await.unwrap();
    let third = 3 - killed - leader;
    cluster.members()[leader].ctl(&["put", "a", "1"]).await.unwrap();
    cluster.members()[third].freeze().await.unwrap();
    let put = ["put", "a", "2", "--command-timeout=1s"];
    assert!(cluster.members()[leader].ctl(&put).await.is_err());
    cluster.members()[third].thaw().await.unwrap();
    cluster.members()[killed].respawn().unwrap();
    cluster.ready().await.unwrap();
    assert!(cluster.leader().await.is_some());
}

async fn cluster_and_member(etcd: &Etcd) -> (u64, u64) {
    let json = etcd.ctl(&["get", "none", "--write-out", "json"]).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    let id = |name: &str| answer["header"][name].as_u64().unwrap();
    (id("cluster_id"), id("member_id"))
}
