//! Topics on a real cluster of three brokers, as TreasureHunts declare them, confirmed by the tools
//! of Kafka's own distribution. Without a way to get Kafka these tests say so and pass.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::path::{Path, PathBuf};

use broker::kafka::Connection;
use config_schemas::Config;
use operator::topics::admin::{Admin, Answer};
use operator::topics::plan::{Memory, plan};
use operator::topics::wanted::TopicsWanted;
use serde_json::{Value as Json, json};
use support::{Fleet, condition, found, page, until};
use world::{Cluster, Described, World, led};

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_kept_and_deleted_as_declared() {
    let Some(world) = World::new(None).await else { return };
    world.apply("harbour", 12, &json!({"topics": {"eventsRetention": "2h"}}));
    let topics = world.ready("harbour", 1).await;
    let message = topics["message"].as_str().unwrap();
    assert!(message.contains(&world.kafka.options().cluster_id), "{message}");
    for topic in ["events", "outcomes", "snapshots", "dead"] {
        let partitions = world.described(&format!("default.harbour.{topic}")).await;
        assert_eq!(led(&partitions), [4, 4, 4], "{topic}: {partitions:?}");
        assert!(partitions.iter().all(|p| p.in_sync == 3 && p.replicas[0] == p.leader));
    }
    let configs = world.configs("default.harbour.events").await;
    for set in ["retention.ms=7200000", "cleanup.policy=delete", "min.insync.replicas=2"] {
        assert!(configs.contains(set), "{configs}");
    }
    assert!(world.configs("default.harbour.snapshots").await.contains("cleanup.policy=compact"));

    changed_by_hand(&world).await;
    refused_and_named(&world).await;
    raised_in_replicas(&world).await;
    bound_to_its_cluster(&world).await;
    told_when_taken(&world).await;
    deleted_when_asked(&world).await;
    world.operator.stop().await;
}

/// What the hunt names is put back and told; what it does not name is left alone and listed.
async fn changed_by_hand(world: &World) {
    let topic = "default.harbour.events";
    world.alter(topic, ["--add-config", "retention.ms=1000,flush.messages=7"]).await;
    let said = ["retention.ms", "by hand to 1000", "back to 7200000"];
    world.event("harbour", "TopicPutBack", &said).await;
    let listed = |record: &Json| {
        let topics = found(&record["status"], "TopicsReady");
        let message = topics["message"].as_str().unwrap_or_default();
        topics["status"] == "True"
            && message.contains("flush.messages=")
            && message.contains("left alone")
    };
    world.record("harbour", "the stray is listed", listed).await;
    let configs = world.configs(topic).await;
    assert!(
        configs.contains("retention.ms=7200000") && configs.contains("flush.messages=7"),
        "{configs}"
    );
    world.alter(topic, ["--delete-config", "flush.messages"]).await;
}

/// A key that Kafka refuses is named, and the others are set all the same; no longer named, it is
/// no trouble, and what was set is taken away.
async fn refused_and_named(world: &World) {
    let configs = ["events:segment.bytes=nonsense", "events:segment.ms=3600000"];
    let topics = json!({"eventsRetention": "3h", "configs": configs});
    world.apply("harbour", 12, &json!({"topics": topics}));
    let message = world.not_ready("harbour", "Refused").await;
    assert!(message.contains("segment.bytes=nonsense") && message.contains("Invalid"), "{message}");
    let configs = until("the others are set", async || {
        let configs = world.configs("default.harbour.events").await;
        let set =
            configs.contains("retention.ms=10800000") && configs.contains("segment.ms=3600000");
        set.then(|| configs.clone()).ok_or(configs)
    })
    .await;
    assert!(!configs.contains("segment.bytes"), "{configs}");
    world.event("harbour", "TopicsNotReady", &["segment.bytes"]).await;
    world.apply("harbour", 12, &json!({"topics": {"eventsRetention": "3h"}}));
    world.ready("harbour", 3).await;
    let configs = world.configs("default.harbour.events").await;
    assert!(!configs.contains("segment.ms"), "{configs}");
}

/// Replicas are added some at a time, which the status tells; who leads stays.
async fn raised_in_replicas(world: &World) {
    let of =
        |factor: u32, min: u32| json!({"topics": {"replicationFactor": factor, "minInSync": min}});
    world.apply("single", 24, &of(1, 1));
    world.ready("single", 1).await;
    let topic = "default.single.events";
    let before = world.described(topic).await;
    assert!(before.iter().all(|partition| partition.replicas.len() == 1));
    let load = world.produce(topic);
    let raised = async {
        world.apply("single", 24, &of(3, 2));
        let message = world.not_ready("single", "Moving").await;
        assert!(message.contains("of 24 partitions have 3 replicas"), "{message}");
        world.ready("single", 2).await;
    };
    let (produced, ()) = tokio::join!(load, raised);
    assert!(
        produced.contains("10000 records sent") && !produced.contains("Exception"),
        "{produced}"
    );
    let after = world.described(topic).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.replicas.len(), after.in_sync), (3, 3), "{after:?}");
        assert_eq!((&after.leader, &after.replicas[0]), (&before.leader, &before.leader));
    }
    assert!(world.configs(topic).await.contains("min.insync.replicas=2"));
    world.apply("single", 24, &of(2, 1));
    world.ready("single", 3).await;
    assert!(world.described(topic).await.iter().all(|p| p.replicas.len() == 2 && p.in_sync == 2));
}

/// Where nobody answers, it is told; where the right ones answer again, all goes on.
async fn bound_to_its_cluster(world: &World) {
    let fleet = Fleet::new(&world.etcd, "default/harbour");
    let meta: config_schemas::documents::Meta = fleet.read("meta").await.unwrap();
    assert_eq!(meta.cluster.as_ref(), Some(&world.kafka.options().cluster_id));
    world.apply("harbour", 12, &json!({"kafka": {"bootstrap": ["127.0.0.1:1"]}}));
    world.not_ready("harbour", "Unreachable").await;
    let degraded = |record: &Json| condition(&record["status"], "Degraded", "True");
    world.record("harbour", "degraded", degraded).await;
    world.apply("harbour", 12, &json!({}));
    world.ready("harbour", 5).await;

    let other =
        config_schemas::documents::Meta { cluster: Some("another".to_owned()), ..meta.clone() };
    fleet.put("meta", config_schemas::documents::write(&other)).await;
    let message = world.not_ready("harbour", "WrongCluster").await;
    assert!(message.contains("another"), "{message}");
    world.alter("default.harbour.events", ["--add-config", "retention.ms=5"]).await;
    let looks = || world.operator.metrics.topics_look_seconds.get_sample_count();
    let before = looks();
    until("it was looked at again", async || {
        (looks() >= before + 2).then_some(()).ok_or(format!("{before}, {}", looks()))
    })
    .await;
    assert!(world.configs("default.harbour.events").await.contains("retention.ms=5"));
    fleet.put("meta", config_schemas::documents::write(&meta)).await;
    world.ready("harbour", 5).await;
    assert!(world.configs("default.harbour.events").await.contains("retention.ms=604800000"));
}

/// Two hunts do not share a topic: they would undo each other's settings for ever.
async fn told_when_taken(world: &World) {
    world.apply("rival", 3, &json!({"topics": {"events": "default.harbour.events"}}));
    let message = world.not_ready("rival", "TopicTaken").await;
    assert!(message.contains("default/harbour"), "{message}");
    assert!(!world.topics().await.contains("default.rival.outcomes"));
    std::fs::remove_file(world.file("rival")).unwrap();
}

/// Topics stay unless the hunt says that they go.
async fn deleted_when_asked(world: &World) {
    let text = page(&world.operator, "/metrics").await.unwrap();
    let steps = "treasurehunt_operator_topic_steps_total";
    assert!(text.contains(&format!("{steps}{{kind=\"create\",result=\"taken\"}}")), "{text}");
    assert!(text.contains(&format!("{steps}{{kind=\"configure\",result=\"refused\"}}")), "{text}");
    world.apply("single", 24, &json!({"deletionPolicy": "Delete"}));
    world.ready("single", 4).await;
    for hunt in ["harbour", "single"] {
        std::fs::remove_file(world.file(hunt)).unwrap();
        let beside = PathBuf::from(format!("{}.status.yaml", world.file(hunt).display()));
        gone(&beside).await;
    }
    let topics = world.topics().await;
    assert!(topics.contains("default.harbour.outcomes") && !topics.contains("single"), "{topics}");
}

async fn gone(file: &Path) {
    until("the status is gone", async || {
        (!file.exists())
            .then_some(())
            .ok_or_else(|| std::fs::read_to_string(file).unwrap_or_default())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_leads_again() {
    let Some(mut world) = World::new(None).await else { return };
    world.apply("harbour", 6, &json!({}));
    world.ready("harbour", 1).await;
    world.kafka.nodes()[1].kill();
    let message = world.not_ready("harbour", "BrokerAway").await;
    assert!(message.contains("broker 2 is away"), "{message}");
    let partitions = world.described("default.harbour.events").await;
    assert_eq!(led(&partitions)[0], 0, "{partitions:?}");
    world.kafka.nodes()[1].restart().await.unwrap();
    world.event("harbour", "LeadersElected", &["led by their first replica"]).await;
    world.ready("harbour", 1).await;
    until("all lead as at first", async || {
        let partitions = world.described("default.harbour.events").await;
        (led(&partitions) == [2, 2, 2]).then_some(()).ok_or(format!("{partitions:?}"))
    })
    .await;
    world.operator.stop().await;
}

/// Partitions are only ever added, and those that Kafka has placed by itself are spread.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_raised_and_spread() {
    let Some(Cluster { one: _one, kafka }) = Cluster::new(None).await else { return };
    let bootstrap = kafka.bootstrap().parse().unwrap();
    let admin = Admin::connect(&Connection::plain(bootstrap)).await.unwrap();
    let wish = |partitions| {
        let mut config = Config::default();
        config.topics.replicationFactor = 2;
        TopicsWanted::of(&"default/harbour".parse().unwrap(), &config, partitions)
    };
    let mut memory = Memory::default();
    for partitions in [4, 13] {
        let wanted = wish(partitions);
        let names: Vec<&str> = wanted.names().collect();
        until("all is as wanted", async || {
            let mut seen = admin.look(&names, None).await.map_err(|error| error.to_string())?;
            seen.sizes = admin.sizes(&seen).await;
            let now = tokio::time::Instant::now();
            memory.see(&wanted, &seen, now);
            let plan = plan(&wanted, &seen, &memory, now);
            for step in &plan.steps {
                let answers = admin.carry_out(step).await;
                if let Some(error) = answers.missing {
                    return Err(error.to_string());
                }
                for answer in answers.given {
                    let Answer::Taken(what, tried) = answer else { panic!("{answer:?}") };
                    memory.taken(what, tried, now);
                }
            }
            plan.is_settled().then_some(()).ok_or(format!("{plan:?}"))
        })
        .await;
    }
    let fewer = wish(4);
    let seen = admin.look(&fewer.names().collect::<Vec<_>>(), None).await.unwrap();
    let plan = plan(&fewer, &seen, &memory, tokio::time::Instant::now());
    assert!(plan.steps.is_empty() && plan.troubles.len() == 4, "{plan:?}");
    let said = kafka.tool("kafka-topics", &["--describe", "--topic", "default.harbour.events"]);
    let partitions: Vec<Described> =
        said.await.unwrap().lines().filter_map(Described::read).collect();
    assert_eq!(led(&partitions), [4, 4, 5], "{partitions:?}");
    let has = |id: &str| partitions.iter().filter(|p| p.replicas.iter().any(|r| r == id)).count();
    let counts = ["1", "2", "3"].map(has);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 2, "{counts:?}");
}
