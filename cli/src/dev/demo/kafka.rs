//! The steps about Kafka: topics as declared, partitions that one lacked, clients that are retuned and
//! that refuse a cluster that is not there, more replicas, a broker that dies. Players play meanwhile,
//! and everything they were told is judged. What the status claims is asked of the tools of the
//! distribution as well. I/O; `described` reads their answers, `clients` is the step about others.

mod clients;
mod described;

use std::time::Duration;

use config_schemas::{Config, Generation, TopicRole};
use serde_json::Value as Json;
use tokio::time::Instant;

use self::described::{Topics, declared};
use super::config::{done, expect_everywhere, status_of, with};
use super::examples;
use super::faults::{EVENTS, EVENTS_LIMIT, begin, fleet, pid};
use super::put_command;
use super::tour::{Seen, Tour};
use super::verdict::judged;
use crate::dev::kube::shown;
use crate::dev::layout::write;
use crate::dev::up::{EDIT_LIMIT, edit, example, write_edit};
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::shown::elapsed;
use crate::wait::Progress;

pub(super) use clients::other_clients;

/// Topics are made in a second; replicas are copied in some.
const TOPICS_LIMIT: Duration = Duration::from_secs(60);
/// Replicas with which the tour begins, so that there is one to add.
const REPLICAS_FIRST: u64 = 2;
/// Partitions of the topic that is made by hand, fewer than the hunt has.
const SMALL: usize = 4;
/// The broker that dies.
const VICTIM: &str = "kafka-2";
/// Before the status or a tool is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Where nobody listens.
const NOBODY: &str = r#"["127.0.0.1:1"]"#;
const READY: &str = "TopicsReady";

/// Has the tour begin with fewer replicas than the example: a copy that it applies instead.
pub(super) fn begin_small(world: &mut World) -> Result<(), Failure> {
    let all = example(world)?;
    let (from, to) = replicas(&all)?;
    let copy = world.place.state.join("first-harbour-kafka.yaml");
    write(&copy, &all.replace(&from, &to))?;
    let file = shown(&world.place.example);
    let copy_shown = shown(&copy);
    world.tell.line(&format!("  -- sed 's/{from}/{to}/' {file} > {copy_shown}"));
    world.place.example = copy;
    Ok(())
}

/// Makes one of the hunt's topics by hand, before there is a hunt: too small.
pub(super) async fn make_small_topic(world: &World) -> Result<(), Failure> {
    let (topic, args) = small_topic(world);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.kafka_tool("kafka-topics", &args, None).await?;
    world.tell.line(&format!("  -- kafka-topics {}  # {topic}, too small", args.join(" ")));
    Ok(())
}

fn small_topic(world: &World) -> (String, Vec<String>) {
    let topic = topic(world, TopicRole::DeadLetters);
    let args = format!("--create --topic {topic} --partitions {SMALL} --replication-factor 1");
    (topic, args.split(' ').map(str::to_owned).collect())
}

/// The topic that was too small has what it lacked.
pub(super) async fn partitions_raised(world: &World, tour: &mut Tour) {
    let (topic, args) = small_topic(world);
    let work = async {
        let began = Instant::now();
        topics_ready(world).await?;
        let took = began.elapsed();
        let wanted = declared(&example(world)?)?.partitions.count;
        let seen = described(world).await?;
        let has = seen.get(&topic).map_or(0, |topic| topic.replicas.len());
        if u64::try_from(has) != Ok(wanted) || has <= SMALL {
            return Err(Failure::failed(format!("{topic} has {has} partitions, not {wanted}")));
        }
        let what = format!("{topic} was there with {SMALL} partitions, and has {has} now");
        Ok(Seen { what, took })
    };
    let command = format!(
        "kafka-topics {}  # before there was a hunt\nkafka-topics --describe --topic {topic}",
        args.join(" ")
    );
    tour.step("partitions that a topic lacks are added", &command, work).await;
}

/// The line of the example that is changed, and what it becomes.
fn replicas(manifest: &str) -> Result<(String, String), Failure> {
    let factor = declared(manifest)?.topics.replicationFactor;
    let line = |factor| format!("replicationFactor: {factor}");
    if !manifest.contains(&line(factor)) {
        return Err(Failure::failed("the example does not say how many replicas topics have"));
    }
    Ok((line(factor), line(REPLICAS_FIRST)))
}

/// What the status says of topics, the distribution's tools confirm.
pub(super) async fn topics_declared(world: &World, tour: &mut Tour) {
    let work = async {
        let began = Instant::now();
        topics_ready(world).await?;
        let took = began.elapsed();
        let what = confirmed(world, &declared(&example(world)?)?).await?;
        Ok(Seen { what: format!("{READY}=True, and the tools say the same:\n{what}"), took })
    };
    tour.step("topics are as declared", &describe_command(world), work).await;
}

fn describe_command(world: &World) -> String {
    let status = world.source().status_command();
    let all = all_topics(world);
    format!(
        "{status}\nkafka-topics --describe --topic '{all}'; kafka-configs --describe --entity-type \
         topics"
    )
}

/// Producers are given another linger and another compression while players play.
pub(super) async fn retuned(world: &World, tour: &mut Tour) {
    let edits = [("linger", "20ms"), ("compression", "zstd")];
    let rest = |name: &str| format!("hunt/producer/{name}");
    let commands = edits.map(|(name, value)| put_command(world, &rest(name), value));
    let seen = "kafka-get-offsets --topic {events}; kafka-dump-log --files .../{outcomes}-*/*.log";
    let command = format!("{}\n{}", commands.join("; "), with_topics(world, seen));
    let stream = begin(world, "tour-retune");
    let work = async {
        let etcd = world.etcd()?;
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let (mut lines, mut slowest) = (Vec::new(), Duration::ZERO);
        let before = reach(world, TopicRole::Events).await?;
        for (name, value) in edits {
            let (progress, took) = edit(world, &etcd, &rest(name), Some(value), EDIT_LIMIT).await?;
            let nodes = done(progress)?;
            expect_everywhere(world, &format!("producer.{name}"), &[value]).await?;
            slowest = slowest.max(took);
            lines.push(format!("{name} {value} on {} agents after {}", nodes.len(), elapsed(took)));
            stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        }
        let appended = reach(world, TopicRole::Events).await?.saturating_sub(before);
        let batches = batches(world, "zstd").await?;
        for (name, _) in edits {
            write_edit(world, &etcd, &rest(name), None).await?;
        }
        let played = stream.finish().await;
        if batches == 0 || appended == 0 {
            return Err(Failure::failed(format!(
                "{appended} events in the topic, {batches} batches in zstd on the brokers' disks"
            )));
        }
        lines.push(format!(
            "the events topic grew by {appended}; on the brokers' disks lie {batches} batches in zstd"
        ));
        lines.push(format!("the longest wait of an event meanwhile: {}", elapsed(played.longest)));
        lines.push(judged(world, &played).await?);
        Ok(Seen { what: lines.join("\n"), took: slowest })
    };
    tour.step("linger and compression are retuned under load", &command, work).await;
}

/// Batches that brokers keep compressed so, of all outcomes; on every broker that has a copy.
async fn batches(world: &World, compression: &str) -> Result<usize, Failure> {
    let Some((options, _)) = world.kafka() else { return Ok(0) };
    let files = options.segments(&topic(world, TopicRole::Outcomes));
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let said = world.kafka_tool("kafka-dump-log", &["--files", &files.join(",")], None).await?;
    let mark = format!("compresscodec: {compression} ");
    Ok(said.lines().filter(|line| line.contains(&mark)).count())
}

/// How far all partitions of a topic reach together.
async fn reach(world: &World, role: TopicRole) -> Result<u64, Failure> {
    let topic = topic(world, role);
    let said = world.kafka_tool("kafka-get-offsets", &["--topic", &topic], None).await?;
    Ok(said.lines().filter_map(|line| line.rsplit(':').next()?.trim().parse::<u64>().ok()).sum())
}

/// A cluster that nobody reaches is refused, and nobody notices.
pub(super) async fn refused_cluster(world: &World, tour: &mut Tour) {
    let rest = "hunt/kafka/bootstrap";
    let stream = begin(world, "tour-refuse");
    let source = world.source();
    let work = async {
        let etcd = world.etcd()?;
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let proof = declared(&example(world)?)?.session.proof;
        let (progress, took) = edit(world, &etcd, rest, Some(NOBODY), proof + EDIT_LIMIT).await?;
        let Progress::Refused(objections) = progress else {
            return Err(Failure::failed(format!("not refused by the agents: {progress:?}")));
        };
        let reason = objections.first().map(|it| it.reason.clone()).unwrap_or_default();
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let told = || async {
            let text = source.status().await?;
            Ok(text.contains("bootstrap").then_some(()))
        };
        until(EDIT_LIMIT, "the refusal in the status", told).await?;
        write_edit(world, &etcd, rest, None).await?;
        let played = stream.finish().await;
        if played.refused + played.unanswered > 0 {
            let (refused, unanswered) = (played.refused, played.unanswered);
            return Err(Failure::failed(format!("{refused} refused, {unanswered} unanswered")));
        }
        let what = format!(
            "rejected by {} agents: {reason}\nno event was turned away meanwhile, the longest wait \
             {}\n{}",
            objections.len(),
            elapsed(played.longest),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    let command = format!("{}; {}", put_command(world, rest, NOBODY), source.status_command());
    tour.step("brokers that are not there are refused", &command, work).await;
}

/// Every topic gets another replica under load.
pub(super) async fn replicas_raised(world: &World, tour: &mut Tour) {
    let stream = begin(world, "tour-replicas");
    let file = shown(&world.place.root.join("examples").join(crate::dev::kafka::EXAMPLE));
    let work = async {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let now = example(world)?;
        let more = REPLICAS_FIRST + 1;
        let manifest = with(&now, &["topics", "replicationFactor"], more)?;
        let wanted = declared(&manifest)?;
        let began = Instant::now();
        examples::apply(world, &manifest).await?;
        let told = topics_ready(world).await?;
        let took = began.elapsed();
        let confirmed = confirmed(world, &wanted).await?;
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let played = stream.finish().await;
        if played.refused > 0 {
            let (refused, why) = (played.refused, &played.last_refusal);
            return Err(Failure::failed(format!("{refused} events were refused, the last: {why}")));
        }
        let what = format!(
            "on the way the status said: {}\n{confirmed}\nno event was refused, the longest \
             wait {}\n{}",
            told.unwrap_or_else(|| "nothing".to_owned()),
            elapsed(played.longest),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    let command = format!("{}\n{}", world.source().apply_command(&file), describe_command(world));
    tour.step("the replication factor is raised under load", &command, work).await;
}

/// A broker is killed while players play, and comes back.
pub(super) async fn broker_dies(world: &World, tour: &mut Tour) {
    let stream = begin(world, "tour-broker");
    let mut command = format!("kill -9 {}", pid(world, VICTIM));
    command += &format!("  # {VICTIM}; then `./dev up` starts it again");
    let work = async {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let process = world.process(VICTIM)?;
        let killed = stream.micros(Instant::now());
        process.kill().map_err(|error| Failure::caused("killing a broker", &error))?;
        stream.accept_more(EVENTS * 2, EVENTS_LIMIT).await?;
        let back = Instant::now();
        world.start_kafka().await?;
        let wanted = declared(&example(world)?)?;
        let again = || async {
            // The tool takes a second of a core, which the brokers need more.
            tokio::time::sleep(LOOK_AGAIN).await;
            Ok(lagging(&described(world).await?).is_none().then_some(()))
        };
        until(TOPICS_LIMIT, "every replica in sync again", again).await?;
        let recovered = back.elapsed();
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let played = stream.finish().await;
        let (took, partitions) = played.served_again(killed);
        let all = usize::try_from(wanted.partitions.count).unwrap_or(usize::MAX);
        if partitions < all {
            return Err(Failure::failed(format!("{partitions} of {all} partitions served again")));
        }
        let what = format!(
            "every partition took events again after at most {}; every replica was in sync {} \
             after the broker's start\n{}",
            elapsed(took),
            elapsed(recovered),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    tour.step("a broker killed and back", &command, work).await;
}

/// What the tools say, if it is what is declared.
async fn confirmed(world: &World, declared: &Config) -> Result<String, Failure> {
    let seen = described(world).await?;
    described::told(declared, &world.layout.hunt, &seen).map_err(Failure::failed)
}

async fn described(world: &World) -> Result<Topics, Failure> {
    let all = all_topics(world);
    let text = world.kafka_tool("kafka-topics", &["--describe", "--topic", &all], None).await?;
    let mut topics = described::topics(&text);
    let args = ["--describe", "--entity-type", "topics"];
    described::configs(&world.kafka_tool("kafka-configs", &args, None).await?, &mut topics);
    Ok(topics)
}

/// A topic with a replica that does not have all records.
fn lagging(topics: &Topics) -> Option<&str> {
    let lags = |topic: &described::Topic| topic.replicas != topic.in_sync;
    topics.iter().find(|(_, topic)| lags(topic)).map(|(name, _)| name.as_str())
}

/// Waits until the status says that topics are as the newest generation declares them; what it said
/// on the way, in the midst of it.
async fn topics_ready(world: &World) -> Result<Option<String>, Failure> {
    let newest = fleet(world).await?.kept.keys().max().copied().unwrap_or(Generation(0));
    let (began, mut on_the_way) = (Instant::now(), Vec::new());
    while began.elapsed() < TOPICS_LIMIT {
        let status = status_of(&world.source()).await?;
        match ready(&status, newest) {
            Some((true, _)) => {
                let middle = on_the_way.len() / 2;
                return Ok(on_the_way.into_iter().nth(middle));
            }
            Some((false, message)) => on_the_way.push(message),
            None => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let last = on_the_way.pop().unwrap_or_else(|| "the status does not tell of topics".to_owned());
    Err(Failure::failed(format!("{READY} is not True within {}: {last}", elapsed(TOPICS_LIMIT))))
}

/// Whether topics are as that generation wants them, and the status's words; nothing while it tells
/// of an older one.
fn ready(status: &Json, newest: Generation) -> Option<(bool, String)> {
    let all = status["conditions"].as_array()?;
    let found = all.iter().find(|condition| condition["type"] == READY)?;
    let is_new = found["observedGeneration"].as_u64() >= Some(newest.0);
    let message = found["message"].as_str().unwrap_or_default().to_owned();
    is_new.then(|| (found["status"] == "True", message))
}

fn topic(world: &World, role: TopicRole) -> String {
    Config::default().topics.name(role, &world.layout.hunt)
}

fn with_topics(world: &World, text: &str) -> String {
    let name = |role| topic(world, role);
    let text = text.replace("{events}", &name(TopicRole::Events));
    text.replace("{outcomes}", &name(TopicRole::Outcomes))
}

/// A pattern of all topics of the hunt.
fn all_topics(world: &World) -> String {
    format!("{}[.]{}[.].*", world.layout.hunt.namespace, world.layout.hunt.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_ready_for_a_generation_only_when_the_status_tells_of_it() {
        let check = |observed: u64, status: &str, expected: Option<bool>| {
            let condition = serde_json::json!(
                {"type": READY, "status": status, "observedGeneration": observed, "message": "m"}
            );
            let status = serde_json::json!({"conditions": [{"type": "Ready"}, condition]});
            let found = ready(&status, Generation(2));
            assert_eq!(found, expected.map(|ready| (ready, "m".to_owned())));
        };
        check(1, "True", None);
        check(2, "False", Some(false));
        check(2, "True", Some(true));
        assert_eq!(ready(&Json::Null, Generation(0)), None);
    }

    #[test]
    fn the_tour_begins_with_fewer_replicas_than_the_example() {
        let text = "spec: {topics: {replicationFactor: 3, minInSync: 2}}";
        let (from, to) = replicas(text).unwrap();
        assert_eq!(declared(&text.replace(&from, &to)).unwrap().topics.replicationFactor, 2);
        assert!(replicas("spec: {}").is_err());
    }
}
