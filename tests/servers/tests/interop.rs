//! Ordinary Kafka clients of other languages, as the scripts in tests/interop use them: the rule by
//! which an outcome is believed, and keys that go to the same partition whoever sends them. What
//! cannot be had on a machine is left out, and said.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use servers::{KafkaCluster, KafkaPrograms, PythonPrograms};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop").join(name)
}

#[tokio::test]
async fn the_rule_of_belief_in_python_passes_the_cases_of_ours() {
    let Some(python) = PythonPrograms::shared_or_left_out().await else { return };
    // unittest tells a failure by its exit code, and all else on standard error.
    python.run(&script("test_believe.py"), &[], None).await.unwrap();
}

/// Both on one cluster: a cluster costs seconds.
#[tokio::test]
async fn other_clients_agree_on_partitions_and_on_what_is_believed() {
    let Some(python) = PythonPrograms::shared_or_left_out().await else { return };
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let cluster = KafkaCluster::temporary(programs).await.unwrap();
    for topic in ["events", "outcomes"] {
        let args = ["--create", "--topic", topic, "--partitions", "3"];
        cluster.tool("kafka-topics", &args).await.unwrap();
    }
    keys_go_where_those_of_java_go(python, &cluster).await;
    a_zombie_is_told_from_an_owner(python, &cluster).await;
}

async fn keys_go_where_those_of_java_go(python: &PythonPrograms, cluster: &KafkaCluster) {
    let events: Vec<(String, String)> = (0..50)
        .map(|number| match number % 5 {
            0 => {
                let key = format!("chest-{number}");
                let event = format!(r#"{{"kind":"sight","player":"p","treasure":"{key}"}}"#);
                (key, event)
            }
            _ => {
                let key = format!("player-{number}");
                let event = format!(r#"{{"kind":"join","player":"{key}"}}"#);
                (key, event)
            }
        })
        .collect();
    let lines: Vec<&str> = events.iter().map(|(_, event)| event.as_str()).collect();
    let args = ["--bootstrap", &cluster.bootstrap(), "--topic", "events"];
    let said = python.run(&script("produce.py"), &args, Some(&lines.join("\n"))).await.unwrap();
    let told: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let python: BTreeMap<String, u64> = told
        .iter()
        .map(|line| (line["key"].as_str().unwrap().to_owned(), line["partition"].as_u64().unwrap()))
        .collect();

    let keyed: Vec<String> = events.iter().map(|(key, event)| format!("{key}|{event}\n")).collect();
    let args = ["parse.key=true", "key.separator=|"];
    let args = args.iter().flat_map(|property| ["--reader-property", *property]);
    let args: Vec<&str> = ["--topic", "events"].into_iter().chain(args).collect();
    let input = keyed.concat();
    cluster.tool_with_input("kafka-console-producer", &args, Some(&input)).await.unwrap();

    let printed = ["print.key=true", "print.partition=true", "print.value=false"];
    let printed = printed.iter().flat_map(|property| ["--formatter-property", *property]);
    let args = ["--topic", "events", "--from-beginning", "--max-messages", "100"];
    let args: Vec<&str> = args.into_iter().chain(printed).collect();
    let said = cluster.tool("kafka-console-consumer", &args).await.unwrap();
    let mut seen = BTreeMap::<String, Vec<u64>>::new();
    for line in said.lines() {
        let (partition, key) = line.split_once('\t').unwrap();
        let partition = partition.strip_prefix("Partition:").unwrap().parse().unwrap();
        seen.entry(key.to_owned()).or_default().push(partition);
    }
    assert_eq!(seen.len(), 50, "{said}");
    for (key, partitions) in seen {
        assert_eq!(partitions, [python[&key]; 2], "{key}");
    }
    let used: std::collections::BTreeSet<u64> = python.into_values().collect();
    assert_eq!(used.len(), 3, "keys are not spread");
}

/// Marks as owners write them; the values do not matter here.
async fn a_zombie_is_told_from_an_owner(python: &PythonPrograms, cluster: &KafkaCluster) {
    let marks = [
        "treasurehunt:barrier 1 0a run-1 agent-1",
        "treasurehunt:outcome 1 0a 0",
        "treasurehunt:barrier 2 0b run-2 agent-2",
        "treasurehunt:outcome 1 0a 1",
        "other:outcome 2 0b 0",
        "treasurehunt:outcome 2 0b 0",
    ];
    // One key, so one partition and one order.
    let lines: Vec<String> = marks.iter().map(|mark| format!("{mark}|key|\n")).collect();
    let properties = [
        "parse.headers=true",
        "headers.delimiter=|",
        "headers.separator=,",
        "headers.key.separator=:",
        "parse.key=true",
        "key.separator=|",
    ];
    let properties = properties.iter().flat_map(|property| ["--reader-property", *property]);
    let args: Vec<&str> = ["--topic", "outcomes"].into_iter().chain(properties).collect();
    let input = lines.concat();
    cluster.tool_with_input("kafka-console-producer", &args, Some(&input)).await.unwrap();
    let args = ["--bootstrap", &cluster.bootstrap(), "--topic", "outcomes"];
    let said = python.run(&script("consume.py"), &args, None).await.unwrap();
    let verdicts: Vec<String> = said
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["verdict"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["barrier", "believed", "barrier", "not the owner", "foreign", "believed"];
    assert_eq!(verdicts, expected, "{said}");
}
