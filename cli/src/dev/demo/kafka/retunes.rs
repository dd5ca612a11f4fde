//! The steps about settings of our clients: linger and compression retuned under load, a cluster that
//! is not there refused. I/O.

use std::time::Duration;

use config_schemas::TopicRole;
use serde_json::Value as Json;

use super::{declared, topic};
use crate::dev::demo::config::{done, expect_everywhere, status_of};
use crate::dev::demo::faults::{EVENTS, EVENTS_LIMIT, begin};
use crate::dev::demo::put_command;
use crate::dev::demo::tour::{Seen, Tour};
use crate::dev::demo::verdict::judged;
use crate::dev::up::{EDIT_LIMIT, edit, example, write_edit};
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::shown::elapsed;
use crate::wait::Progress;

/// Where nobody listens.
const NOBODY: &str = r#"["127.0.0.1:1"]"#;
/// Of a reason, what the status shows in any case.
const REASON_CHARS: usize = 40;

/// Producers are given another linger and another compression while players play.
pub(in crate::dev::demo) async fn retuned(world: &World, tour: &mut Tour) {
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
    undo(world, &edits.map(|(name, _)| rest(name))).await;
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
pub(in crate::dev::demo) async fn refused_cluster(world: &World, tour: &mut Tour) {
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
        let told = || async { Ok(rejects(&status_of(&source).await?, &reason)) };
        let told = until(EDIT_LIMIT, "the rejection in the status", told).await?;
        write_edit(world, &etcd, rest, None).await?;
        let gone =
            || async { Ok(rejects(&status_of(&source).await?, &reason).is_none().then_some(())) };
        until(EDIT_LIMIT, "the rejection gone after the mend", gone).await?;
        let played = stream.finish().await;
        if played.refused + played.unanswered > 0 {
            let (refused, unanswered) = (played.refused, played.unanswered);
            return Err(Failure::failed(format!("{refused} refused, {unanswered} unanswered")));
        }
        let what = format!(
            "rejected by {} agents; in the status until it was mended: {told}\nno event was turned \
             away meanwhile, the longest wait {}\n{}",
            objections.len(),
            elapsed(played.longest),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    let command = format!("{}; {}", put_command(world, rest, NOBODY), source.status_command());
    tour.step("brokers that are not there are refused", &command, work).await;
    undo(world, &[rest.to_owned()]).await;
}

/// Takes edits back, however their step ended: the next one begins without them.
async fn undo(world: &World, edits: &[String]) {
    for rest in edits {
        let undone = async { write_edit(world, &world.etcd()?, rest, None).await };
        if let Err(failure) = undone.await {
            world.tell.line(&format!("  -- override/{rest} is left: {}", failure.message));
        }
    }
}

/// What the status says of nodes that reject something for that reason.
fn rejects(status: &Json, reason: &str) -> Option<String> {
    let all = status["conditions"].as_array()?;
    let found = all.iter().find(|it| it["type"] == "Degraded" && it["status"] == "True")?;
    let message = found["message"].as_str()?;
    // The status names one of the sections that are part of a client, and the beginning of a reason.
    let begins: String = reason.chars().take(REASON_CHARS).collect();
    let of_node = |part: &&str| part.contains(" rejects ") && part.contains(&begins);
    message.split("; ").find(of_node).map(str::to_owned)
}

fn with_topics(world: &World, text: &str) -> String {
    let name = |role| topic(world, role);
    let text = text.replace("{events}", &name(TopicRole::Events));
    text.replace("{outcomes}", &name(TopicRole::Outcomes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_found_in_the_status_only_with_its_reason() {
        let degraded = |status: &str, message: &str| {
            let condition =
                serde_json::json!({"type": "Degraded", "status": status, "message": message});
            serde_json::json!({"conditions": [condition]})
        };
        let told = "2 of 3 agents; agent-1 rejects kafka: nobody is there";
        assert_eq!(
            rejects(&degraded("True", told), "nobody is there").as_deref(),
            Some("agent-1 rejects kafka: nobody is there")
        );
        assert_eq!(rejects(&degraded("False", told), "nobody is there"), None);
        assert_eq!(rejects(&degraded("True", told), "another"), None);
        assert_eq!(rejects(&Json::Null, "nobody is there"), None);
    }
}
