//! The step about others: events by kafka-console-producer and by Python's confluent-kafka are
//! played, outcomes are read by kafka-console-consumer and by Python. I/O.

use std::collections::BTreeMap;

use events::partition_of;
use serde_json::{Value as Json, json};
use servers::{Places, PythonPrograms};
use tokio::time::Instant;

use super::{declared, topic};
use crate::dev::demo::stream::Played;
use crate::dev::demo::tour::{Seen, Tour};
use crate::dev::demo::verdict::judged;
use crate::dev::up::example;
use crate::dev::world::World;
use crate::failure::Failure;
use crate::load::checker::{Acked, Told};
use config_schemas::TopicRole;

/// Players whom each of the other clients lets join.
const PLAYERS: usize = 20;
/// How long a consumer of the distribution waits for more.
const CONSUMER_MILLIS: &str = "5000";

/// Neither knows of us more than topics, keys and the form of an event.
pub(in crate::dev::demo) async fn other_clients(world: &World, tour: &mut Tour) {
    let events = topic(world, TopicRole::Events);
    let outcomes = topic(world, TopicRole::Outcomes);
    let python = python(world).await;
    let mut command = format!(
        "kafka-console-producer --topic {events} --reader-property parse.key=true  # KEY<tab>EVENT\n\
         kafka-console-consumer --topic {outcomes} --from-beginning --formatter-property \
         print.headers=true"
    );
    if python.is_some() {
        command += &format!(
            "\npython tests/interop/produce.py --bootstrap $KAFKA_BOOTSTRAP --topic {events}\n\
             python tests/interop/consume.py --bootstrap $KAFKA_BOOTSTRAP --topic {outcomes}"
        );
    }
    let work = async {
        let began = Instant::now();
        let partitions = declared(&example(world)?)?.partitions.count;
        let by_console = produce_by_console(world, &events, partitions).await?;
        let mut what = format!("by kafka-console-producer: {}", judged(world, &by_console).await?);
        let took = began.elapsed();
        if let Some(python) = &python {
            let by_python = produce_by_python(world, python, &events).await?;
            what += &format!("\nby Python: {}", judged(world, &by_python).await?);
        }
        what += &format!("\nby kafka-console-consumer: {}", consume(world, &outcomes).await?);
        if let Some(python) = &python {
            what += &format!("\nby Python: {}", consume_by_python(world, python, &outcomes).await?);
        }
        Ok(Seen { what, took })
    };
    tour.step("events of other Kafka clients are played", &command, work).await;
}

async fn python(world: &World) -> Option<PythonPrograms> {
    let tell = world.tell;
    let work = tokio::task::spawn_blocking(move || {
        let mut last = None;
        PythonPrograms::ensure(&Places::default(), &mut |now| tell.building(now, &mut last))
    });
    match work.await {
        Ok(Ok(python)) => Some(python),
        Ok(Err(left_out)) => {
            tell.line(&format!("  -- {left_out}"));
            None
        }
        Err(error) => {
            tell.line(&format!("  -- Python is left out: {error}"));
            None
        }
    }
}

/// Events of a run, with their keys.
fn joins(run: &str) -> Vec<(String, Json)> {
    let join = |number| {
        let player = format!("{run}.p{number}");
        let event = json!({"id": format!("{run}.{number}"), "kind": "join", "player": player});
        (player, event)
    };
    (0..PLAYERS).map(join).collect()
}

async fn produce_by_console(
    world: &World,
    topic: &str,
    partitions: u64,
) -> Result<Played, Failure> {
    let run = "tour-console";
    let all = joins(run);
    let lines: String = all.iter().map(|(key, event)| format!("{key}\t{event}\n")).collect();
    let args = ["--topic", topic, "--reader-property", "parse.key=true"];
    world.kafka_tool("kafka-console-producer", &args, Some(&lines)).await?;
    // Where Kafka's own client puts a key is where we look for it.
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    let place = |key: &str| partition_of(key, partitions).0;
    Ok(played(run, all, place))
}

async fn produce_by_python(
    world: &World,
    python: &PythonPrograms,
    topic: &str,
) -> Result<Played, Failure> {
    let run = "tour-python";
    let all = joins(run);
    let lines: String = all.iter().map(|(_, event)| format!("{event}\n")).collect();
    let said = script(world, python, "produce.py", topic, Some(&lines)).await?;
    let places: BTreeMap<String, u32> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Json>(line).ok())
        .filter_map(|line| {
            let partition = u32::try_from(line["partition"].as_u64()?).ok()?;
            Some((line["key"].as_str()?.to_owned(), partition))
        })
        .collect();
    if places.len() != all.len() {
        return Err(Failure::failed(format!("produce.py says of {} events only", places.len())));
    }
    Ok(played(run, all, |key| places.get(key).copied().unwrap_or(u32::MAX)))
}

/// What the checker is to find: each event durable in its partition, and played once.
fn played(run: &str, all: Vec<(String, Json)>, place: impl Fn(&str) -> u32) -> Played {
    let told = all.into_iter().map(|(player, event)| {
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        let event = Acked { id, partition: place(&player), player, claim: false };
        Told { event, sent: 0, heard: 0, ordered: false }
    });
    Played {
        of: format!("{run}."),
        told: told.collect(),
        turned_away: Vec::new(),
        longest: std::time::Duration::ZERO,
        refused: 0,
        unanswered: 0,
        last_refusal: String::new(),
    }
}

async fn consume(world: &World, topic: &str) -> Result<String, Failure> {
    let printed = ["print.headers=true", "print.value=false"];
    let printed = printed.iter().flat_map(|property| ["--formatter-property", *property]);
    let args = ["--topic", topic, "--from-beginning", "--timeout-ms", CONSUMER_MILLIS];
    let args: Vec<&str> = args.into_iter().chain(printed).collect();
    let said = world.kafka_tool("kafka-console-consumer", &args, None).await?;
    let with = |mark: &str| said.lines().filter(|line| line.contains(mark)).count();
    let (outcomes, barriers) = (with("treasurehunt:outcome "), with("treasurehunt:barrier "));
    if outcomes == 0 || barriers == 0 {
        return Err(Failure::failed(format!("{outcomes} outcomes and {barriers} take-overs read")));
    }
    Ok(format!("{outcomes} outcomes and {barriers} take-overs, told by their header"))
}

async fn consume_by_python(
    world: &World,
    python: &PythonPrograms,
    topic: &str,
) -> Result<String, Failure> {
    let said = script(world, python, "consume.py", topic, None).await?;
    let lines: Vec<Json> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let joined = lines.iter().filter(|line| !line["outcome"]["joined"].is_null()).count();
    let believed = lines.iter().filter(|line| line["verdict"] == "believed").count();
    if joined < 2 * PLAYERS {
        return Err(Failure::failed(format!("only {joined} players joined, as Python reads it")));
    }
    Ok(format!(
        "{believed} of {} records are believed outcomes; {joined} players joined",
        lines.len()
    ))
}

async fn script(
    world: &World,
    python: &PythonPrograms,
    name: &str,
    topic: &str,
    input: Option<&str>,
) -> Result<String, Failure> {
    let Some((options, _)) = world.kafka() else {
        return Err(Failure::failed("there is no Kafka in this environment"));
    };
    let path = world.place.root.join("tests/interop").join(name);
    let args = ["--bootstrap", &options.bootstrap(), "--topic", topic];
    let said = python.run(&path, &args, input).await;
    said.map_err(|error| Failure::caused(&format!("running {name}"), &error))
}
