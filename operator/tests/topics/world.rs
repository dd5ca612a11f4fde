//! What tests of topics share: a cluster, one at a time, and an operator that makes topics there.

use std::path::PathBuf;

use operator::{Running, start};
use serde_json::{Value as Json, json};
use servers::{Etcd, EtcdPrograms, KafkaCluster, KafkaPrograms, KafkaSecurity};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{directory, found, manifest, options, until};

/// Three brokers take both cores of a small machine: two clusters would wait for each other.
static ONE: Mutex<()> = Mutex::const_new(());

/// The only cluster of these tests that runs now.
pub(crate) struct Cluster {
    pub(crate) kafka: KafkaCluster,
    /// Dropped after it.
    pub(crate) one: MutexGuard<'static, ()>,
}

impl Cluster {
    /// None where there is no Kafka to be had.
    pub(crate) async fn new(security: Option<KafkaSecurity>) -> Option<Cluster> {
        let programs = KafkaPrograms::shared_or_left_out().await?;
        let one = ONE.lock().await;
        let kafka = match security {
            Some(security) => KafkaCluster::secured(programs, security).await.unwrap(),
            None => KafkaCluster::temporary(programs).await.unwrap(),
        };
        Some(Cluster { kafka, one })
    }
}

/// An etcd, an operator that reads hunts from a folder, and a cluster.
pub(crate) struct World {
    pub(crate) kafka: KafkaCluster,
    pub(crate) etcd: Etcd,
    pub(crate) operator: Running,
    pub(crate) folder: TempDir,
    _one: MutexGuard<'static, ()>,
}

impl World {
    /// None where there is no Kafka to be had.
    pub(crate) async fn new(security: Option<KafkaSecurity>) -> Option<World> {
        let Cluster { one, kafka } = Cluster::new(security).await?;
        let etcd = Etcd::temporary(EtcdPrograms::shared().await.unwrap()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&etcd, "one", directory(folder.path().join("hunts")));
        options.secrets = Some(folder.path().join("secrets"));
        std::fs::create_dir(folder.path().join("hunts")).unwrap();
        let operator = start(options).await.unwrap();
        Some(World { kafka, etcd, operator, folder, _one: one })
    }

    pub(crate) fn file(&self, hunt: &str) -> PathBuf {
        self.folder.path().join(format!("hunts/{hunt}.yaml"))
    }

    pub(crate) fn secret(&self, name: &str, key: &str, text: &str) {
        let folder = self.folder.path().join("secrets").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(key), text).unwrap();
    }

    /// A hunt in the cluster with that many partitions; `more` are further sections of its spec.
    pub(crate) fn apply(&self, hunt: &str, partitions: u32, more: &Json) {
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
    pub(crate) async fn record(
        &self,
        hunt: &str,
        what: &str,
        wanted: impl Fn(&Json) -> bool,
    ) -> Json {
        let beside = format!("{}.status.yaml", self.file(hunt).display());
        until(what, async || {
            let text = std::fs::read_to_string(&beside).map_err(|error| error.to_string())?;
            let file: Json = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
            wanted(&file["hunts"][0]).then(|| file["hunts"][0].clone()).ok_or(text)
        })
        .await
    }

    /// Waits until the topics are as the given generation of the hunt declares them.
    pub(crate) async fn ready(&self, hunt: &str, generation: u64) -> Json {
        let ready = |record: &Json| {
            let topics = found(&record["status"], "TopicsReady");
            topics["observedGeneration"] == generation && topics["status"] == "True"
        };
        let record = self.record(hunt, &format!("{hunt} is ready, {generation}"), ready).await;
        found(&record["status"], "TopicsReady").clone()
    }

    /// Waits until the topics are not ready for that reason; the message.
    pub(crate) async fn not_ready(&self, hunt: &str, reason: &str) -> String {
        let told = |record: &Json| {
            let topics = found(&record["status"], "TopicsReady");
            topics["reason"] == reason && topics["status"] != "True"
        };
        let record = self.record(hunt, reason, told).await;
        found(&record["status"], "TopicsReady")["message"].as_str().unwrap().to_owned()
    }

    /// Waits until the event was told.
    pub(crate) async fn event(&self, hunt: &str, reason: &str, words: &[&str]) {
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
    pub(crate) async fn described(&self, topic: &str) -> Vec<Described> {
        let said =
            self.kafka.tool("kafka-topics", &["--describe", "--topic", topic]).await.unwrap();
        said.lines().filter_map(Described::read).collect()
    }

    /// What `kafka-configs` says was set for the topic itself.
    pub(crate) async fn configs(&self, topic: &str) -> String {
        let entity = ["--describe", "--entity-type", "topics", "--entity-name", topic];
        self.kafka.tool("kafka-configs", &entity).await.unwrap()
    }

    pub(crate) async fn alter(&self, topic: &str, change: [&str; 2]) {
        let entity = ["--alter", "--entity-type", "topics", "--entity-name", topic];
        let args: Vec<&str> = entity.into_iter().chain(change).collect();
        self.kafka.tool("kafka-configs", &args).await.unwrap();
    }

    /// Five seconds of events, each of which all in-sync replicas must have; what became of them.
    pub(crate) async fn produce(&self, topic: &str) -> String {
        let args = ["--topic", topic, "--num-records", "10000", "--record-size", "100"];
        let more = ["--throughput", "2000", "--command-property", "acks=all"];
        let args: Vec<&str> = args.into_iter().chain(more).collect();
        self.kafka.tool("kafka-producer-perf-test", &args).await.unwrap()
    }

    pub(crate) async fn topics(&self) -> String {
        self.kafka.tool("kafka-topics", &["--list"]).await.unwrap()
    }
}

/// A partition as the tool describes it.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) leader: String,
    pub(crate) replicas: Vec<String>,
    pub(crate) in_sync: usize,
}

impl Described {
    pub(crate) fn read(line: &str) -> Option<Described> {
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
pub(crate) fn led(partitions: &[Described]) -> Vec<usize> {
    let of = |id: &str| partitions.iter().filter(|p| p.leader == id).count();
    let mut counts = vec![of("1"), of("2"), of("3")];
    counts.sort_unstable();
    counts
}
