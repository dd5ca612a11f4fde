//! A hunt on a Kafka that asks for TLS and a password: Secrets are read from a folder, and change
//! under load; what the cluster refuses is rejected and healed by itself; and no password is anywhere
//! but in its file.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use config_schemas::documents::Outcome;
use serde_json::json;
use servers::{KafkaCluster, KafkaPrograms, KafkaSecurity};
use store::KeyRange;
use tests::load::{loaded, nothing_wrong};
use tests::wait::until;
use tests::world::{Setup, World};
use tokio::sync::watch;

/// A machine that compiles beside the test gets more than any of it takes.
const SOON: Duration = Duration::from_secs(90);
/// Nothing else is called like this, wherever it might turn up.
const OLD: &str = "old-wolf-in-march";
const NEW: &str = "new-hare-in-april";

async fn secured() -> Option<(World, KafkaCluster)> {
    let programs = KafkaPrograms::shared_or_left_out().await?;
    let security = KafkaSecurity { user: "ana".to_owned(), password: OLD.to_owned() };
    let cluster = KafkaCluster::secured(programs, security).await.unwrap();
    let setup = Setup::agents(2)
        .on_kafka(&cluster.bootstrap())
        .with("kafka", "tls", true)
        .with("kafka", "authority", json!({"name": "cluster-ca", "key": "ca.crt"}))
        .with("kafka", "mechanism", "scram-sha-512")
        .with("kafka", "user", "ana")
        .with("kafka", "password", json!({"name": "ana", "key": "password"}))
        .with("partitions", "count", 8);
    let mut world = World::bare(&setup).await.unwrap();
    let authority = std::fs::read_to_string(cluster.certificates().unwrap().authority()).unwrap();
    world.keep_secret("cluster-ca", "ca.crt", &authority).unwrap();
    world.keep_secret("ana", "password", OLD).unwrap();
    world.begin(&setup).await.unwrap();
    world.served(SOON).await;
    Some((world, cluster))
}

/// Waits until every agent says of its section `kafka` that it is in effect, or is rejected because
/// of `reason`.
async fn said(world: &World, revision: u64, reason: Option<&str>) {
    until(&format!("the clients are {reason:?}"), SOON, async || {
        for agent in &world.agents {
            let ack = world.ack(&agent.name).await?;
            let here = ack.revision.is_some_and(|acked| acked.get() >= revision);
            let as_awaited = match (&ack.sections["kafka"], reason) {
                (Outcome::InEffect, None) => true,
                (Outcome::Rejected { reason }, Some(part)) => reason.contains(part),
                _ => false,
            };
            anyhow::ensure!(here && as_awaited, "{ack:?}");
        }
        Ok(())
    })
    .await;
}

async fn changes(world: &World, cluster: &KafkaCluster) {
    // A password that the cluster does not know yet: refused, and what runs goes on.
    world.keep_secret("ana", "password", NEW).unwrap();
    said(world, 0, Some("refuses the user or the password")).await;
    let user = ["--alter", "--entity-type", "users", "--entity-name", "ana"];
    let password = format!("SCRAM-SHA-512=[password={NEW}]");
    let rotate = [&user[..], &["--add-config", &password]].concat();
    cluster.tool("kafka-configs", &rotate).await.unwrap();
    said(world, 0, None).await;
    // Brokers that are not there: refused, also beside an edit that is in effect.
    let port = servers::free_port().unwrap();
    let edited = world.edit("hunt/kafka/bootstrap", format!("['127.0.0.1:{port}']")).await.unwrap();
    said(world, edited, Some("no broker can be reached")).await;
    let linger = world.edit("hunt/producer/linger", "9ms").await.unwrap();
    said(world, linger, Some("no broker can be reached")).await;
    let back = world.unedit("hunt/kafka/bootstrap").await.unwrap();
    said(world, back, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated_under_load_and_stand_nowhere_but_in_their_files() {
    let Some((world, cluster)) = secured().await else { return };
    let (done, under_way) = watch::channel(false);
    let playing = async {
        let mut acknowledged = 0;
        while !*under_way.borrow() || acknowledged < 100 {
            let report = loaded(&world, "--rate 100 --for 5s --players 100 --check").await.unwrap();
            acknowledged += nothing_wrong(&report).acknowledged;
        }
    };
    let changing = async {
        changes(&world, &cluster).await;
        done.send_replace(true);
    };
    tokio::join!(playing, changing);
    let seen = everything_seen(&world).await;
    assert!(seen.contains("cluster-ca") && seen.contains("refuses the user"), "looked elsewhere");
    for password in [OLD, NEW] {
        assert!(!seen.contains(password), "{password} is told");
    }
}

/// All that etcd, logs, metrics, statuses and admin ports say.
async fn everything_seen(world: &World) -> String {
    let mut seen = String::new();
    let listing = world.store.list(&KeyRange::prefix(world.keys.prefix())).await.unwrap();
    for entry in &listing.entries {
        seen += &format!("{} {}\n", entry.key, String::from_utf8_lossy(&entry.value));
    }
    for file in std::fs::read_dir(world.path("")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "log") {
            seen += &std::fs::read_to_string(path).unwrap();
        }
    }
    for node in world.agents.iter().chain(&world.operators) {
        seen += &world.metrics(node.http).await.unwrap();
    }
    for index in 0..world.agents.len() {
        seen += &world.config(index).await.unwrap().to_string();
    }
    let files = std::fs::read_dir(world.path("hunts")).unwrap();
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        seen += &std::fs::read_to_string(file).unwrap();
    }
    seen
}
