//! Clients of Kafka in another language take part in a whole hunt: Python's events are played, and
//! Python reads the outcomes, told from what is none by their headers. What cannot be had on a
//! machine is left out, and said.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;
use servers::{KafkaCluster, KafkaPrograms, PythonPrograms};
use tests::world::{Setup, World, root};

/// A machine that compiles beside the test gets more than any of it takes.
const SOON: Duration = Duration::from_secs(90);
const OUTCOMES: &str = "default.harbour.outcomes";

async fn run(
    python: &PythonPrograms,
    cluster: &KafkaCluster,
    args: &[&str],
    input: Option<&str>,
) -> String {
    let (script, args) = args.split_first().unwrap();
    let script = root().join("tests/interop").join(script);
    let bootstrap = cluster.bootstrap();
    let all: Vec<&str> =
        ["--bootstrap", &bootstrap].into_iter().chain(args.iter().copied()).collect();
    python.run(&script, &all, input).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_python_are_played_and_python_reads_what_became_of_them() {
    let Some(python) = PythonPrograms::shared_or_left_out().await else { return };
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let cluster = KafkaCluster::temporary(programs).await.unwrap();
    let setup = Setup::agents(2).on_kafka(&cluster.bootstrap()).with("partitions", "count", 8);
    let world = World::start(setup).await.unwrap();
    world.served(SOON).await;

    let players: Vec<String> = (0..20).map(|number| format!("player-{number}")).collect();
    let events: String = ["join", "move"]
        .iter()
        .flat_map(|kind| players.iter().map(move |player| (kind, player)))
        .map(|(kind, player)| {
            format!("{{\"id\":\"{player}.{kind}\",\"kind\":\"{kind}\",\"player\":\"{player}\"}}\n")
        })
        .collect();
    let args = ["produce.py", "--topic", "default.harbour.events"];
    let told = run(python, &cluster, &args, Some(&events)).await;
    assert_eq!(told.lines().count(), 40, "{told}");

    // Somebody who owns nothing appends as well.
    let forged = ["--topic", OUTCOMES, "--reader-property", "parse.headers=true"];
    let line = "treasurehunt:outcome 1 0000000000000001 0\tforged\n";
    cluster.tool_with_input("kafka-console-producer", &forged, Some(line)).await.unwrap();

    let seconds = SOON.as_secs().min(50).to_string();
    let args = ["consume.py", "--topic", OUTCOMES, "--count", "40", "--seconds", &seconds];
    run(python, &cluster, &args, None).await;
    // All of it once more, up to the end: nothing is there twice, and what was forged is none.
    let read = run(python, &cluster, &["consume.py", "--topic", OUTCOMES], None).await;
    let lines: Vec<Json> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with = |verdict: &'static str| lines.iter().filter(move |line| line["verdict"] == verdict);
    let ids: Vec<String> = with("believed")
        .filter_map(|line| line["outcome"]["event_id"].as_str())
        .map(str::to_owned)
        .collect();
    let expected: BTreeSet<String> = players
        .iter()
        .flat_map(|player| ["join", "move"].map(|kind| format!("{player}.{kind}")))
        .collect();
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (40, expected), "{read}");
    assert_eq!(with("not the owner").count(), 1, "{read}");
    assert!(with("barrier").count() >= 8, "{read}");
    let joined = |line: &&Json| line["outcome"]["joined"]["player"].is_string();
    assert_eq!(with("believed").filter(joined).count(), 20, "{read}");
}
