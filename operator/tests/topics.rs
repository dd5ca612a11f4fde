//! Topics on a real cluster of three brokers, as TreasureHunts declare them, confirmed by the tools
//! of Kafka's own distribution. Without a way to get Kafka these tests say so and pass.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

mod support;

use std::path::{Path, PathBuf};

use broker::kafka::Connection;
use config_schemas::Config;
use operator::topics::admin::{Admin, Answer};
use operator::topics::plan::{Memory, plan};
use operator::topics::wanted::TopicsWanted;
use operator::{Running, start};
use serde_json::{Value as Json, json};
use servers::{Etcd, EtcdPrograms, KafkaCluster, KafkaPrograms, KafkaSecurity};
use support::{Fleet, condition, directory, found, manifest, options, page, until};
use tempfile::TempDir;

/// An etcd, an operator that reads hunts from a folder, and a cluster.
struct World {
    kafka: KafkaCluster,
    etcd: Etcd,
    operator: Running,
    folder: TempDir,
}

impl World {
    /// None where there is no Kafka to be had.
    async fn new(security: Option<KafkaSecurity>) -> Option<World> {
        let programs = KafkaPrograms::shared_or_left_out().await?;
        let kafka = match security {
            Some(security) => KafkaCluster::secured(programs, security).await.unwrap(),
            None => KafkaCluster::temporary(programs).await.unwrap(),
        };
        let etcd = Etcd::temporary(EtcdPrograms::shared().await.unwrap()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&etcd, "one", directory(folder.path().join("hunts")));
        options.secrets = Some(folder.path().join("secrets"));
        std::fs::create_dir(folder.path().join("hunts")).unwrap();
        let operator = start(options).await.unwrap();
        Some(World { kafka, etcd, operator, folder })
    }

    fn file(&self, hunt: &str) -> PathBuf {
        self.folder.path().join(format!("hunts/{hunt}.yaml"))
    }

    fn secret(&self, name: &str, key: &str, text: &str) {
        let folder = self.folder.path().join("secrets").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(key), text).unwrap();
    }

    /// A hunt in the cluster with that many partitions; `more` are further sections of its spec.
    fn apply(&self, hunt: &str, partitions: u32, more: &Json) {
        let mut spec = json!({
            "broker": {"kind": "kafka"},
            "kafka": {"bootstrap": self.kafka.bootstrap().split(',').collect::<Vec<_>>()},
            "partitions": {"count": partitions},
        });
        for (section, fields) in more.as_object().unwrap() {
            match (fields.as_object(), spec.get_mut(section)) {
                (Some(fields), Some(known)) => {
                    fields.iter().for_each(|(name, value)| known[name] = value.clone());
                }
                _ => spec[section] = fields.clone(),
            }
        }
        std::fs::write(self.file(hunt), manifest(hunt, &spec.to_string())).unwrap();
    }

    /// Waits until what is written beside the hunt's file is as wanted.
    async fn record(&self, hunt: &str, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        let beside = format!("{}.status.yaml", self.file(hunt).display());
        until(what, async || {
            let text = std::fs::read_to_string(&beside).map_err(|error| error.to_string())?;
            let file: Json = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
            wanted(&file["hunts"][0]).then(|| file["hunts"][0].clone()).ok_or(text)
        })
        .await
    }

    /// Waits until the topics are as the given generation of the hunt declares them.
    async fn ready(&self, hunt: &str, generation: u64) -> Json {
        let ready = |record: &Json| {
            let topics = found(&record["status"], "TopicsReady");
            topics["observedGeneration"] == generation && topics["status"] == "True"
        };
        let record = self.record(hunt, &format!("{hunt} is ready, {generation}"), ready).await;
        found(&record["status"], "TopicsReady").clone()
    }

    /// Waits until the topics are not ready for that reason; the message.
    async fn not_ready(&self, hunt: &str, reason: &str) -> String {
        let told = |record: &Json| {
            let topics = found(&record["status"], "TopicsReady");
            topics["reason"] == reason && topics["status"] != "True"
        };
        let record = self.record(hunt, reason, told).await;
        found(&record["status"], "TopicsReady")["message"].as_str().unwrap().to_owned()
    }

    /// Waits until the event was told.
    async fn event(&self, hunt: &str, reason: &str, words: &[&str]) {
        let told = |record: &Json| {
            let events = record["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            events.iter().any(|event| {
                let note = event["note"].as_str().unwrap_or_default();
                event["reason"] == reason && words.iter().all(|word| note.contains(word))
            })
        };
        self.record(hunt, &format!("{reason} {words:?}"), told).await;
    }

    /// The lines that `kafka-topics --describe` has for the topic's partitions.
    async fn described(&self, topic: &str) -> Vec<Described> {
        let said =
            self.kafka.tool("kafka-topics", &["--describe", "--topic", topic]).await.unwrap();
        said.lines().filter_map(Described::read).collect()
    }

    /// What `kafka-configs` says was set for the topic itself.
    async fn configs(&self, topic: &str) -> String {
        let entity = ["--describe", "--entity-type", "topics", "--entity-name", topic];
        self.kafka.tool("kafka-configs", &entity).await.unwrap()
    }

    async fn alter(&self, topic: &str, change: [&str; 2]) {
        let entity = ["--alter", "--entity-type", "topics", "--entity-name", topic];
        let args: Vec<&str> = entity.into_iter().chain(change).collect();
        self.kafka.tool("kafka-configs", &args).await.unwrap();
    }

    /// Five seconds of events, each of which all in-sync replicas must have; what became of them.
    async fn produce(&self, topic: &str) -> String {
        let args = ["--topic", topic, "--num-records", "10000", "--record-size", "100"];
        let more = ["--throughput", "2000", "--command-property", "acks=all"];
        let args: Vec<&str> = args.into_iter().chain(more).collect();
        self.kafka.tool("kafka-producer-perf-test", &args).await.unwrap()
    }

    async fn topics(&self) -> String {
        self.kafka.tool("kafka-topics", &["--list"]).await.unwrap()
    }
}

/// A partition as the tool describes it.
#[derive(Debug)]
struct Described {
    leader: String,
    replicas: Vec<String>,
    in_sync: usize,
}

impl Described {
    fn read(line: &str) -> Option<Described> {
        let after = |name: &str| {
            let rest = line.split_once(name)?.1;
            Some(rest.split('\t').next()?.trim().to_owned())
        };
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        Some(Described {
            leader: after("Leader: ")?,
            replicas: list(after("Replicas: ")?),
            in_sync: list(after("Isr: ")?).len(),
        })
    }
}

/// How many partitions each broker leads, ascending.
fn led(partitions: &[Described]) -> Vec<usize> {
    let of = |id: &str| partitions.iter().filter(|p| p.leader == id).count();
    let mut counts = vec![of("1"), of("2"), of("3")];
    counts.sort_unstable();
    counts
}

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

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_secrets_and_a_wrong_one_is_told() {
    const PASSWORD: &str = "correct-horse";
    let security = KafkaSecurity { user: "ana".to_owned(), password: PASSWORD.to_owned() };
    let Some(world) = World::new(Some(security)).await else { return };
    let authority = world.kafka.certificates().unwrap().authority();
    world.secret("kafka", "ca.crt", &std::fs::read_to_string(authority).unwrap());
    let secret = |key: &str| json!({"name": "kafka", "key": key});
    let kafka = json!({
        "tls": true, "authority": secret("ca.crt"),
        "mechanism": "scram-sha-512", "user": "ana", "password": secret("password"),
    });
    world.apply("harbour", 3, &json!({"kafka": kafka}));
    let message = world.not_ready("harbour", "NoAccess").await;
    assert!(message.contains("there is no Secret kafka/password"), "{message}");
    world.secret("kafka", "password", "wrong-battery");
    let message = world.not_ready("harbour", "WrongPassword").await;
    assert!(!message.contains("wrong-battery"), "{message}");
    world.secret("kafka", "password", PASSWORD);
    world.ready("harbour", 1).await;
    let stranger = servers::Certificates::in_dir(&world.folder.path().join("stranger"));
    stranger.make_authority().await.unwrap();
    world.secret("kafka", "ca.crt", &std::fs::read_to_string(stranger.authority()).unwrap());
    world.not_ready("harbour", "Certificate").await;
    let shown = page(&world.operator, "/config?hunt=default/harbour").await.unwrap();
    let keys = Fleet::new(&world.etcd, "default/harbour").all().await;
    assert!(!shown.contains(PASSWORD) && !format!("{keys:?}").contains(PASSWORD));
    world.operator.stop().await;
}

/// Everything through the Kubernetes API, the Secret too; and how long an edit of a setting takes
/// from `kubectl apply` until it is read back from Kafka.
#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_in_kubernetes_has_its_topics_by_a_secret_of_its_namespace() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let security = KafkaSecurity { user: "ana".to_owned(), password: "correct-horse".to_owned() };
    let kafka = KafkaCluster::secured(programs, security).await.unwrap();
    let world = support::World::new().await;
    let operator = world.operator("one").await;
    let authority = kafka.certificates().unwrap().authority();
    let spec = |retention: &str| {
        let secret = |key: &str| json!({"name": "kafka", "key": key});
        json!({
            "broker": {"kind": "kafka"}, "partitions": {"count": 4},
            "topics": {"eventsRetention": retention},
            "kafka": {
                "bootstrap": kafka.bootstrap().split(',').collect::<Vec<_>>(),
                "tls": true, "authority": secret("ca.crt"),
                "mechanism": "scram-sha-512", "user": "ana", "password": secret("password"),
            },
        })
        .to_string()
    };
    world.apply("harbour", &spec("1h")).await;
    let reason = |status: &Json| found(status, "TopicsReady")["reason"].clone();
    let status = world.status("harbour", "no Secret", |s| reason(s) == "NoAccess").await;
    let message = found(&status, "TopicsReady")["message"].as_str().unwrap();
    assert!(message.contains("there is no Secret kafka/ca.crt"), "{message}");
    let from = ["create", "secret", "generic", "kafka", "--from-literal=password=correct-horse"];
    let file = format!("--from-file=ca.crt={}", authority.display());
    let args: Vec<&str> = from.into_iter().chain([file.as_str()]).collect();
    world.kube.kubectl(&args).await.unwrap();
    let wait = ["wait", "th/harbour", "--for=condition=TopicsReady", "--timeout=40s"];
    world.kube.kubectl(&wait).await.unwrap();
    let mut took = Vec::new();
    for hours in 2..22 {
        let begun = std::time::Instant::now();
        world.apply("harbour", &spec(&format!("{hours}h"))).await;
        let applied = begun.elapsed();
        let ready = |status: &Json| {
            let topics = found(status, "TopicsReady");
            topics["status"] == "True" && topics["observedGeneration"] == hours
        };
        world.status("harbour", "read back", ready).await;
        took.push((begun.elapsed().saturating_sub(applied), applied));
    }
    took.sort_unstable();
    println!("from kubectl's end to what kubectl get shows: {took:?}");
    let retention = kafka
        .tool(
            "kafka-configs",
            &["--describe", "--entity-type", "topics", "--entity-name", "default.harbour.events"],
        )
        .await
        .unwrap();
    assert!(retention.contains("retention.ms=75600000"), "{retention}");
    let all = world.hunt("harbour").await.to_string();
    assert!(!all.contains("correct-horse"));
    operator.stop().await;
}

/// Partitions are only ever added, and those that Kafka has placed by itself are spread.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_raised_and_spread() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let kafka = KafkaCluster::temporary(programs).await.unwrap();
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
                let answers = admin.carry_out(step).await.map_err(|error| error.to_string())?;
                for answer in answers {
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
