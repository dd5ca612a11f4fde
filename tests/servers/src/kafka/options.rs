//! How a Kafka cluster is started: folder, ports, properties, formatting. Comes in: choices. Goes
//! out: a `Launch` for each node, guarded or detached. Pure but for free ports, the files that
//! `prepare` writes, and the question whether a node serves.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::security::KafkaSecurity;
use super::{tools, wire};
use crate::poll::{ServerError, run_tool};
use crate::port::free_port;
use crate::process::launch::Launch;
use crate::programs::KafkaPrograms;

/// Nodes of a cluster: the smallest number that survives the loss of one.
pub(super) const NODES: usize = 3;
/// Kafka's tools tell their whole configuration otherwise.
pub(super) const QUIET: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error";
/// A broker's heap. It uses 60 MB of it after a million events.
const HEAP_MB: u32 = 256;
/// Digits of an id as Kafka writes it: 128 bits in URL-safe base64.
const ID_DIGITS: usize = 22;
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What all nodes are told. The timeouts set how long all partitions stall when a node is killed:
/// 2 to 4 s with these, 8 to 12 s with Kafka's own.
const PROPERTIES: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "INTERNAL"),
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "300"),
    ("controller.quorum.fetch.timeout.ms", "1000"),
    ("controller.quorum.election.timeout.ms", "500"),
    ("controller.quorum.election.backoff.max.ms", "500"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    // A changed thread pool restarts the cleaner, whose own buffer would be half of the heap.
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
];

/// How the nodes of one cluster are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// Holds `node-1/`, `node-2/`, ...: each node's data, properties and log.
    pub dir: PathBuf,
    /// 22 digits, as Kafka writes it; clients can tell clusters apart by it.
    pub cluster_id: String,
    /// The nodes, with the ids 1, 2, ...; each is broker and controller.
    pub nodes: Vec<KafkaPorts>,
    /// TLS and passwords for clients; neither when None.
    pub security: Option<KafkaSecurity>,
    /// Further properties of every node, such as `num.partitions`; they come last, so they win.
    pub extra: Vec<(String, String)>,
}

/// The ports of one node on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPorts {
    /// Clients, with TLS and passwords where the cluster has them.
    pub client: u16,
    /// Where clients are told to connect: another than `client` when a proxy stands between.
    pub advertised: u16,
    /// Other brokers, the tools and we: always plain.
    pub internal: u16,
    /// Controllers among themselves.
    pub controller: u16,
}

impl KafkaOptions {
    /// Three plain nodes in `dir`, on free ports, with a new cluster id.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn in_dir(dir: &Path) -> Result<Self, ServerError> {
        Self::of_nodes(dir, NODES)
    }

    /// The same with so many nodes.
    pub(crate) fn of_nodes(dir: &Path, nodes: usize) -> Result<Self, ServerError> {
        let nodes = (0..nodes).map(|_| KafkaPorts::free()).collect::<Result<_, _>>()?;
        let cluster_id = random_id();
        Ok(Self { dir: dir.to_owned(), cluster_id, nodes, security: None, extra: Vec::new() })
    }

    /// What clients connect to: `127.0.0.1:<port>` of every node, separated by commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.addresses(|ports| ports.advertised)
    }

    /// The same for the plain listener between brokers.
    #[must_use]
    pub fn internal_bootstrap(&self) -> String {
        self.addresses(|ports| ports.internal)
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = usize> + use<> {
        1..=self.nodes.len()
    }

    /// Where the output of node `id` goes.
    #[must_use]
    pub fn log(&self, id: usize) -> PathBuf {
        self.node_dir(id).join("kafka.log")
    }

    /// Writes properties and certificates, and formats the data folders unless that was done
    /// before; an interrupted one is done again from the start.
    ///
    /// # Errors
    /// When a file cannot be written, or Kafka's or openssl's tool fails.
    pub async fn prepare(&self, programs: &KafkaPrograms) -> Result<(), ServerError> {
        if let Some(security) = &self.security {
            security.prepare(&self.dir).await?;
        }
        for (id, ports) in self.ids().zip(&self.nodes) {
            let file = self.properties_file(id);
            write(&file, &self.properties(id, *ports))?;
        }
        let formatted = self.dir.join("formatted");
        if formatted.exists() {
            return Ok(());
        }
        let voters = self.voters();
        let mut formats = JoinSet::new();
        for id in self.ids() {
            let data = self.data_dir(id);
            if data.exists() {
                std::fs::remove_dir_all(&data)
                    .map_err(|source| ServerError::File { path: data, source })?;
            }
            let (java, args) = (programs.java.clone(), self.format_args(programs, id, &voters));
            formats.spawn(async move { run_tool(&java, &args, None).await });
        }
        while let Some(format) = formats.join_next().await {
            // Not cancelled by anyone, so it panicked: let the panic go on.
            format.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
        }
        write(&formatted, &self.cluster_id)
    }

    /// The process of node `id` (from 1), guarded or detached, after [`KafkaOptions::prepare`].
    #[must_use]
    pub fn launch(&self, programs: &KafkaPrograms, id: usize) -> Launch {
        Launch::new(&programs.java, self.log(id))
            .without_env("KAFKA_")
            .without_env("JAVA_TOOL_OPTIONS")
            .without_env("JDK_JAVA_OPTIONS")
            .args(["-Dorg.slf4j.simpleLogger.showDateTime=true"])
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
            .args(programs.java_args(HEAP_MB, "kafka.Kafka"))
            .arg(self.properties_file(id))
    }

    /// Does node `id` serve, and do the controllers count it and all of `others` among the
    /// brokers that do?
    pub async fn is_ready(&self, id: usize, others: &[usize]) -> bool {
        let Some(ports) = id.checked_sub(1).and_then(|index| self.nodes.get(index)) else {
            return false;
        };
        let serving = wire::serving_brokers(ports.internal).await.unwrap_or_default();
        others.iter().chain([&id]).all(|id| serving.contains(id))
    }

    /// Runs a tool of the distribution (`kafka-topics`, `kafka-configs`, ...) on the plain listener
    /// between brokers, unless the arguments name a `--bootstrap-server`; its standard output.
    ///
    /// # Errors
    /// When there is no such tool, or it fails, with what it said.
    pub async fn tool(
        &self,
        programs: &KafkaPrograms,
        name: &str,
        args: &[&str],
        input: Option<&str>,
    ) -> Result<String, ServerError> {
        tools::run(programs, &self.internal_bootstrap(), name, args, input).await
    }

    /// All tools by name, each as the text of a shell script that asks this cluster where clients
    /// connect, unless it is told another.
    #[must_use]
    pub fn scripts(&self, programs: &KafkaPrograms) -> Vec<(&'static str, String)> {
        tools::scripts(programs, &self.bootstrap())
    }

    /// The files of a topic's records on all nodes, for `kafka-dump-log`; none of one that is not there.
    #[must_use]
    pub fn segments(&self, topic: &str) -> Vec<PathBuf> {
        let is_partition = |folder: &Path| {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
            let number =
                name.as_deref().and_then(|name| name.strip_prefix(topic)?.strip_prefix('-'));
            number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        };
        let of_partition = |folder: PathBuf| {
            let is_segment = |file: &PathBuf| file.extension().is_some_and(|end| end == "log");
            entries(&folder).into_iter().filter(is_segment)
        };
        let folders = self.ids().flat_map(|id| entries(&self.data_dir(id)));
        folders.filter(|folder| is_partition(folder)).flat_map(of_partition).collect()
    }

    fn properties(&self, id: usize, ports: KafkaPorts) -> String {
        let KafkaPorts { client, advertised, internal, controller } = ports;
        let at = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
        let between = at("INTERNAL", internal);
        let replicas = self.nodes.len();
        let in_sync = replicas.min(2);
        let protocol = if self.security.is_some() { "SASL_SSL" } else { "PLAINTEXT" };
        let own = [
            ("node.id", id.to_string()),
            ("broker.rack", format!("rack-{id}")),
            ("log.dirs", self.data_dir(id).display().to_string()),
            ("controller.quorum.bootstrap.servers", self.addresses(|ports| ports.controller)),
            (
                "listeners",
                [&at("CLIENT", client), &between, &at("CONTROLLER", controller)]
                    .map(String::as_str)
                    .join(","),
            ),
            (
                "advertised.listeners",
                [&at("CLIENT", advertised), &between, &at("CONTROLLER", controller)]
                    .map(String::as_str)
                    .join(","),
            ),
            (
                "listener.security.protocol.map",
                format!("CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ),
            ("default.replication.factor", replicas.to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
            // Kafka makes this a setting of the cluster at the first start; later edits are ignored.
            ("min.insync.replicas", in_sync.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
        ];
        let fixed = PROPERTIES.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let security = self.security.iter().flat_map(|security| security.properties(&self.dir));
        fixed.chain(own).chain(security).chain(self.extra.iter().cloned()).map(line).collect()
    }

    fn format_args(&self, programs: &KafkaPrograms, id: usize, voters: &str) -> Vec<String> {
        let file = self.properties_file(id).display().to_string();
        let format =
            ["format", "-t", &self.cluster_id, "-c", &file, "--initial-controllers", voters];
        let mut args = vec![QUIET.to_owned()];
        args.extend(programs.java_args(HEAP_MB, "kafka.tools.StorageTool"));
        args.extend(format.map(str::to_owned));
        args.extend(self.security.iter().flat_map(KafkaSecurity::format_args));
        args
    }

    /// The first voters with the ids of their folders, the same on every node.
    fn voters(&self) -> String {
        let voter = |(id, ports): (usize, &KafkaPorts)| {
            format!("{id}@127.0.0.1:{}:{}", ports.controller, random_id())
        };
        self.ids().zip(&self.nodes).map(voter).collect::<Vec<_>>().join(",")
    }

    fn addresses(&self, port: impl Fn(&KafkaPorts) -> u16) -> String {
        let address = |ports: &KafkaPorts| format!("127.0.0.1:{}", port(ports));
        self.nodes.iter().map(address).collect::<Vec<_>>().join(",")
    }

    fn node_dir(&self, id: usize) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    fn data_dir(&self, id: usize) -> PathBuf {
        self.node_dir(id).join("data")
    }

    fn properties_file(&self, id: usize) -> PathBuf {
        self.node_dir(id).join("server.properties")
    }
}

impl KafkaPorts {
    /// Ports that are free.
    ///
    /// # Errors
    /// When there is none.
    pub fn free() -> Result<Self, ServerError> {
        let port = || free_port().map_err(ServerError::Port);
        let client = port()?;
        Ok(Self { client, advertised: client, internal: port()?, controller: port()? })
    }
}

/// What a folder holds; nothing when it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.map(|entry| entry.path()).collect()
}

/// As Java reads properties: a backslash escapes.
fn line((name, value): (String, String)) -> String {
    format!("{name}={}\n", value.replace('\\', "\\\\"))
}

/// A new id in Kafka's notation. The first digit is a letter, since tools take a `-` for a flag; in
/// the last one only two bits count.
fn random_id() -> String {
    let random = RandomState::new();
    let digit = |index: usize| {
        let choices: &[u8] = match index {
            0 => &BASE64_URL[..52],
            last if last + 1 == ID_DIGITS => b"AQgw",
            _ => BASE64_URL,
        };
        let choice = random.hash_one(index) % choices.len() as u64;
        char::from(choices[usize::try_from(choice).unwrap_or_default()])
    };
    (0..ID_DIGITS).map(digit).collect()
}

/// Readable by its owner only: it may hold passwords.
fn write(path: &Path, text: &str) -> Result<(), ServerError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| ServerError::File { path: folder.to_owned(), source })?;
    }
    crate::certificates::write_private(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: usize) -> KafkaOptions {
        KafkaOptions::of_nodes(Path::new("/k"), nodes).unwrap()
    }

    #[test]
    fn ids_are_unique_and_of_kafka_s_form() {
        let ids: std::collections::HashSet<String> = (0..100).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            assert_eq!(id.len(), ID_DIGITS, "{id}");
            assert!(id.starts_with(|c: char| c.is_ascii_alphabetic()), "{id}");
            assert!(id.ends_with(['A', 'Q', 'g', 'w']), "{id}");
        }
    }

    #[test]
    fn clients_are_told_the_advertised_ports_and_brokers_the_internal_ones() {
        let mut options = options(3);
        let client = options.nodes[1].client;
        options.nodes[1].advertised = 7;
        let [first, second, third] = [0, 1, 2].map(|index| options.nodes[index]);
        let expected = format!("127.0.0.1:{},127.0.0.1:7,127.0.0.1:{}", first.client, third.client);
        assert_eq!(options.bootstrap(), expected);
        let text = options.properties(2, second);
        let listeners = format!("\nlisteners=CLIENT://127.0.0.1:{client},");
        assert!(text.contains(&listeners), "{text}");
        assert!(text.contains("\nadvertised.listeners=CLIENT://127.0.0.1:7,INTERNAL://"), "{text}");
    }

    #[test]
    fn only_the_topic_s_own_records_are_its_segments() {
        let folder = tempfile::tempdir().unwrap();
        let options = KafkaOptions::of_nodes(folder.path(), 2).unwrap();
        for path in ["node-1/data/h.a-0", "node-2/data/h.a-11", "node-1/data/h.a-b-0"] {
            let partition = folder.path().join(path);
            std::fs::create_dir_all(&partition).unwrap();
            for file in ["0.log", "0.index"] {
                std::fs::write(partition.join(file), "").unwrap();
            }
        }
        let mut found = options.segments("h.a");
        found.sort();
        let expected = ["node-1/data/h.a-0/0.log", "node-2/data/h.a-11/0.log"];
        assert_eq!(found, expected.map(|path| folder.path().join(path)));
        assert!(options.segments("h").is_empty());
    }

    #[test]
    fn replicas_follow_the_number_of_nodes_and_further_properties_win() {
        let check = |nodes: usize, expected: [&str; 2]| {
            let mut options = options(nodes);
            options.extra.push(("num.io.threads".to_owned(), r"8\9".to_owned()));
            let text = options.properties(1, options.nodes[0]);
            for property in expected {
                assert!(text.contains(&format!("\n{property}\n")), "{text}");
            }
            assert!(text.ends_with("\nnum.io.threads=8\\\\9\n"), "{text}");
        };
        check(1, ["default.replication.factor=1", "min.insync.replicas=1"]);
        check(3, ["default.replication.factor=3", "min.insync.replicas=2"]);
    }
}
