//! A whole hunt on a real Kafka of three brokers: what is declared, what other clients write, what
//! is left of it when agents and brokers die, and clients retuned under load.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use hunt::load::report::Report;
use servers::{KafkaCluster, KafkaPrograms};
use tests::load::{loaded, nothing_wrong};
use tests::wait::until;
use tests::world::{Setup, World};
use tokio::time::sleep;

/// A machine that compiles beside the test gets more than any of it takes.
const SOON: Duration = Duration::from_secs(90);

fn played_well(report: &Report) {
    assert!(nothing_wrong(report).acknowledged > 100, "{report:?}");
}

/// Cluster and hunt; the cluster ends last.
async fn world(agents: usize) -> Option<(World, KafkaCluster)> {
    let programs = KafkaPrograms::shared_or_left_out().await?;
    let cluster = KafkaCluster::temporary(programs).await.unwrap();
    let bootstrap: Vec<String> = cluster.bootstrap().split(',').map(str::to_owned).collect();
    let setup = Setup::agents(agents)
        .with("broker", "kind", "kafka")
        .with("kafka", "bootstrap", bootstrap)
        .with("partitions", "count", 8);
    let world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    Some((world, cluster))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_is_played_on_kafka_and_an_agent_that_dies_loses_nothing() {
    let Some((mut world, _cluster)) = world(3).await else { return };
    let report = loaded(&world, "--rate 100 --for 4s --players 60 --check").await;
    played_well(&report.unwrap());
    let mut victim = world.agents.pop().unwrap();
    let load = loaded(&world, "--rate 100 --for 8s --players 100 --check");
    let kill = async {
        sleep(Duration::from_secs(2)).await;
        victim.kill();
    };
    let (report, ()) = tokio::join!(load, kill);
    played_well(&report.unwrap());
    world.served(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_loses_nothing_and_every_partition_serves_again() {
    let Some((world, mut cluster)) = world(2).await else { return };
    let load = loaded(&world, "--rate 100 --for 15s --players 100 --check");
    let kill = async {
        sleep(Duration::from_secs(3)).await;
        cluster.nodes()[1].kill();
        sleep(Duration::from_secs(6)).await;
        cluster.nodes()[1].restart().await.unwrap();
    };
    let (report, ()) = tokio::join!(load, kill);
    played_well(&report.unwrap());
    until("the hunt is well again", SOON, async || {
        let report = loaded(&world, "--rate 100 --for 2s --players 100").await.unwrap();
        let total = &report.total;
        anyhow::ensure!(total.accepted == total.due, "{report:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_ordinary_clients_are_played_and_what_cannot_be_is_a_dead_letter() {
    let Some((world, cluster)) = world(1).await else { return };
    let lines = [
        r#"ana|{"id":"c-1","kind":"join","player":"ana"}"#,
        r#"bob|{"kind":"join","player":"bob"}"#,
        r#"ana|{"kind":"dance","player":"ana"}"#,
        r#"ana|{"id":"c-2","kind":"move","player":"ana"}"#,
    ];
    let args = [
        ["--topic", "default.harbour.events"],
        ["--property", "parse.key=true"],
        ["--property", "key.separator=|"],
    ];
    let input = lines.join("\n") + "\n";
    cluster.tool_with_input("kafka-console-producer", &args.concat(), Some(&input)).await.unwrap();
    let port = world.agents[0].http;
    until("all four are judged", SOON, async || {
        let page = world.http.text(port, "/v1/outcomes?limit=100").await?;
        for part in ["c-1", "c-2", "kafka:", "dead_letter"] {
            anyhow::ensure!(page.contains(part), "{part} is not in {page}");
        }
        Ok(())
    })
    .await;
    let args = [
        ["--topic", "default.harbour.dead"],
        ["--from-beginning", "--max-messages=1"],
        ["--timeout-ms", "60000"],
        ["--property", "print.headers=true"],
    ];
    let letter = cluster.tool("kafka-console-consumer", &args.concat()).await.unwrap();
    assert!(letter.contains("dance") && letter.contains("treasurehunt-cause"), "{letter}");
}
