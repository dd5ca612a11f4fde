//! The steps about topics: made as declared, given partitions and replicas that they lack. I/O.

use config_schemas::{Config, Generation, TopicRole};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::{LOOK_AGAIN, TOPICS_LIMIT, all_topics, declared, described, topic};
use crate::dev::demo::config::{status_of, with};
use crate::dev::demo::examples;
use crate::dev::demo::faults::{EVENTS, EVENTS_LIMIT, begin, fleet};
use crate::dev::demo::tour::{Seen, Tour};
use crate::dev::demo::verdict::judged;
use crate::dev::kube::shown;
use crate::dev::layout::write;
use crate::dev::up::{example, served};
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::shown::elapsed;

/// Replicas with which the tour begins, so that there is one to add.
const REPLICAS_FIRST: u64 = 2;
/// So many partitions become of each.
const CUT: u64 = 2;
/// Partitions of the topic that is made by hand, fewer than the hunt has.
const SMALL: usize = 4;
const READY: &str = "TopicsReady";

/// Has the tour begin with fewer replicas than the example: a copy that it applies instead.
pub(in crate::dev::demo) fn begin_small(world: &mut World) -> Result<(), Failure> {
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

/// The line of the example that is changed, and what it becomes.
fn replicas(manifest: &str) -> Result<(String, String), Failure> {
    let factor = declared(manifest)?.topics.replicationFactor;
    let line = |factor| format!("replicationFactor: {factor}");
    if !manifest.contains(&line(factor)) {
        return Err(Failure::failed("the example does not say how many replicas topics have"));
    }
    Ok((line(factor), line(REPLICAS_FIRST)))
}

/// Makes one of the hunt's topics by hand, before there is a hunt: too small.
pub(in crate::dev::demo) async fn make_small_topic(world: &World) -> Result<(), Failure> {
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

/// What the status says of topics, the distribution's tools confirm.
pub(in crate::dev::demo) async fn topics_declared(world: &World, tour: &mut Tour) {
    let work = async {
        let began = Instant::now();
        topics_ready(world).await?;
        let took = began.elapsed();
        let what = confirmed(world, &declared(&example(world)?)?).await?;
        Ok(Seen { what: format!("{READY}=True, and the tools say the same:\n{what}"), took })
    };
    tour.step("topics are as declared", &describe_command(world), work).await;
}

/// The topic that was too small has what it lacked.
pub(in crate::dev::demo) async fn partitions_raised(world: &World, tour: &mut Tour) {
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

/// Every topic gets another replica under load.
pub(in crate::dev::demo) async fn replicas_raised(world: &World, tour: &mut Tour) {
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

/// The hunt gets more partitions under load: its topics first, then its keys.
pub(in crate::dev::demo) async fn hunt_cut(world: &World, tour: &mut Tour) {
    let stream = begin(world, "tour-cut");
    let file = shown(&world.place.root.join("examples").join(crate::dev::kafka::EXAMPLE));
    let work = async {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let now = with(&example(world)?, &["topics", "replicationFactor"], REPLICAS_FIRST + 1)?;
        let count = declared(&now)?.partitions.count;
        let manifest = with(&now, &["partitions", "count"], CUT * count)?;
        let began = Instant::now();
        examples::apply(world, &manifest).await?;
        let cut = async || {
            let has = fleet(world).await?.meta.map_or(0, |meta| u64::from(meta.partitions));
            Ok((has == CUT * count).then_some(()))
        };
        until(TOPICS_LIMIT, "keys go to the new partitions", cut).await?;
        served(world).await?;
        let took = began.elapsed();
        topics_ready(world).await?;
        let confirmed = confirmed(world, &declared(&manifest)?).await?;
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let played = stream.finish().await;
        let what = format!(
            "{count} partitions became {}, each key took along what was known of it\n{confirmed}\n{} \
             events were told to wait, the longest wait {}\n{}",
            CUT * count,
            played.refused,
            elapsed(played.longest),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    let command = format!("{}\n{}", world.source().apply_command(&file), describe_command(world));
    tour.step("the hunt is cut into more partitions under load", &command, work).await;
}

fn describe_command(world: &World) -> String {
    let status = world.source().status_command();
    let all = all_topics(world);
    format!(
        "{status}\nkafka-topics --describe --topic '{all}'; kafka-configs --describe --entity-type \
         topics"
    )
}

/// What the tools say, if it is what is declared.
async fn confirmed(world: &World, declared: &Config) -> Result<String, Failure> {
    let seen = described(world).await?;
    super::described::told(declared, &world.layout.hunt, &seen).map_err(Failure::failed)
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
