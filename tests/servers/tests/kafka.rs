//! Kafka for real: three brokers, what the faults of this crate do to them, and TLS with
//! passwords, as seen by the distribution's own tools. Without a way to get one (no Java or no
//! Maven) these tests say so and pass: then there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use servers::{
    Certificates, Detached, FaultProxy, Guarded, KafkaCluster, KafkaOptions, KafkaPrograms,
    KafkaSecurity, Launch, ProcessState, ServerError, Stopped,
};
use table::{eventually, state};

/// Longer than anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn create(cluster: &KafkaCluster, topic: &str) {
    let replicas = ["--partitions", "3", "--replication-factor", "3"];
    let args: Vec<&str> = ["--create", "--topic", topic].into_iter().chain(replicas).collect();
    cluster.tool("kafka-topics", &args).await.unwrap();
}

/// Appends one record for each word; each waits until all in-sync replicas have it.
async fn produce(cluster: &KafkaCluster, topic: &str, words: &[&str]) {
    produce_within(cluster, topic, words, LIMIT).await.unwrap();
}

async fn produce_within(
    cluster: &KafkaCluster,
    topic: &str,
    words: &[&str],
    limit: Duration,
) -> Result<(), ServerError> {
    let limit = limit.as_millis();
    let delivery = format!("delivery.timeout.ms={limit}");
    // Without a quorum nobody gives out producer ids, and the tool would wait for one when it ends.
    let properties = ["acks=all", "enable.idempotence=false", &delivery];
    let limit = limit.to_string();
    let mut args = vec!["--topic", topic, "--sync", "--request-timeout-ms", "2000"];
    args.extend(["--max-block-ms", &limit]);
    args.extend(properties.iter().flat_map(|property| ["--command-property", property]));
    let lines = words.join("\n") + "\n";
    cluster.tool_with_input("kafka-console-producer", &args, Some(&lines)).await.map(drop)
}

/// So many different records from the beginning, sorted. One that was sent to a frozen leader may stand
/// there twice: this producer sends again, and carries no number by which a broker would know.
async fn consume(cluster: &KafkaCluster, topic: &str, count: usize) -> Vec<String> {
    for doubles in 0..2 {
        let mut words = read(cluster, topic, count + doubles).await;
        words.dedup();
        if words.len() == count {
            return words;
        }
    }
    read(cluster, topic, count).await
}

/// So many records from the beginning, sorted.
async fn read(cluster: &KafkaCluster, topic: &str, count: usize) -> Vec<String> {
    let count = count.to_string();
    let args = ["--topic", topic, "--from-beginning", "--max-messages", &count];
    let limit = ["--timeout-ms", "30000"];
    let args: Vec<&str> = args.into_iter().chain(limit).collect();
    let text = cluster.tool("kafka-console-consumer", &args).await.unwrap();
    let mut words: Vec<String> = text.lines().map(str::to_owned).collect();
    words.sort();
    words
}

#[tokio::test]
async fn a_cluster_goes_on_without_one_broker_and_takes_it_back() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = KafkaOptions::in_dir(folder.path()).unwrap();
    let mut cluster = KafkaCluster::start(programs, options.clone()).await.unwrap();
    let bootstrap = cluster.bootstrap();
    for node in cluster.nodes() {
        assert!(node.rss_bytes() > 50 * 1024 * 1024 && node.cpu_time() > Duration::ZERO);
    }
    create(&cluster, "clues").await;
    produce(&cluster, "clues", &["a", "b"]).await;

    let pid = cluster.nodes()[0].pid();
    cluster.nodes()[0].kill();
    cluster.nodes()[0].kill();
    assert!(!cluster.nodes()[0].is_running());
    assert_eq!(cluster.nodes()[0].rss_bytes(), 0);
    produce(&cluster, "clues", &["c"]).await;
    assert_eq!(consume(&cluster, "clues", 3).await, ["a", "b", "c"]);

    cluster.nodes()[0].restart().await.unwrap();
    cluster.ready().await.unwrap();
    assert_ne!(cluster.nodes()[0].pid(), pid);
    assert_eq!(cluster.bootstrap(), bootstrap);
    in_sync(&cluster, "clues", 3).await;

    cluster.nodes()[1].freeze().await.unwrap();
    assert!(cluster.nodes()[1].is_running());
    produce(&cluster, "clues", &["d"]).await;
    cluster.nodes()[1].thaw().await.unwrap();
    cluster.ready().await.unwrap();
    in_sync(&cluster, "clues", 3).await;

    let pids: Vec<u32> = cluster.nodes().iter().map(|node| node.pid()).collect();
    cluster.stop().await.unwrap();
    for pid in pids {
        assert_eq!(state(pid), ProcessState::Dead);
    }
    let cluster = KafkaCluster::start(programs, options).await.unwrap();
    assert_eq!(consume(&cluster, "clues", 4).await, ["a", "b", "c", "d"]);
}

/// Waits until every partition of the topic has so many replicas in sync.
async fn in_sync(cluster: &KafkaCluster, topic: &str, replicas: usize) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = cluster.tool("kafka-topics", &["--describe", "--topic", topic]).await.unwrap();
        let isr = text.split("Isr: ").skip(1).map(|rest| rest.split_whitespace().next().unwrap());
        let counts: Vec<usize> = isr.map(|ids| ids.split(',').count()).collect();
        if counts.len() == 3 && counts.iter().all(|count| *count == replicas) {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
}

#[tokio::test]
async fn a_cluster_without_two_of_three_acknowledges_nothing_until_one_is_back() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let mut cluster = KafkaCluster::temporary(programs).await.unwrap();
    create(&cluster, "clues").await;
    produce(&cluster, "clues", &["a"]).await;
    for node in &mut cluster.nodes()[..2] {
        node.kill();
    }
    let late = produce_within(&cluster, "clues", &["late"], Duration::from_secs(4)).await;
    let late = late.unwrap_err().to_string();
    assert!(late.contains("TimeoutException"), "{late}");
    cluster.nodes()[0].restart().await.unwrap();
    produce(&cluster, "clues", &["b"]).await;
}

#[tokio::test]
async fn a_proxy_stands_between_clients_and_brokers_but_not_between_brokers() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let mut proxies = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let mut options = KafkaOptions::in_dir(folder.path()).unwrap();
    for ports in &mut options.nodes {
        let server = format!("http://127.0.0.1:{}", ports.client);
        let proxy = FaultProxy::in_front_of(&server).await.unwrap();
        ports.advertised = proxy.addr().port();
        proxies.push(proxy);
    }
    let cluster = KafkaCluster::start(programs, options).await.unwrap();
    let through = ["--list", "--bootstrap-server", &cluster.bootstrap()];
    cluster.tool("kafka-topics", &through).await.unwrap();
    proxies.iter().for_each(FaultProxy::cut);
    create(&cluster, "clues").await;
    produce(&cluster, "clues", &["a"]).await;
    let hasty = folder.path().join("hasty.properties");
    std::fs::write(&hasty, "default.api.timeout.ms=2000\nrequest.timeout.ms=1000\n").unwrap();
    let hasty = hasty.display().to_string();
    let args: Vec<&str> = through.into_iter().chain(["--command-config", &hasty]).collect();
    assert!(cluster.tool("kafka-topics", &args).await.is_err());
}

#[tokio::test]
async fn a_secured_cluster_asks_for_its_authority_and_the_password() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let security = KafkaSecurity { user: "ana".to_owned(), password: "old".to_owned() };
    let cluster = KafkaCluster::secured(programs, security).await.unwrap();
    let good = std::fs::read_to_string(cluster.client_properties().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.properties").display().to_string();
    let list = async |properties: &str| {
        let hasty = "\ndefault.api.timeout.ms=30000\nrequest.timeout.ms=10000\n";
        std::fs::write(&file, properties.to_owned() + hasty).unwrap();
        let secure = ["--bootstrap-server", &cluster.bootstrap(), "--command-config", &file];
        let args: Vec<&str> = ["--list"].into_iter().chain(secure).collect();
        cluster.tool("kafka-topics", &args).await.map_err(|error| error.to_string())
    };
    list(&good).await.unwrap();

    let stranger = Certificates::in_dir(folder.path());
    stranger.make_authority().await.unwrap();
    let ours = cluster.certificates().unwrap().authority().display().to_string();
    let strange = good.replace(&ours, &stranger.authority().display().to_string());
    let refused = list(&strange).await.unwrap_err();
    assert!(refused.contains("SSL handshake failed"), "{refused}");

    let wrong = good.replace("password=\"old\"", "password=\"new\"");
    let refused = list(&wrong).await.unwrap_err();
    assert!(refused.contains("Authentication failed"), "{refused}");
    let user = "SCRAM-SHA-512=[password=new]";
    let rotate =
        ["--alter", "--entity-type", "users", "--entity-name", "ana", "--add-config", user];
    cluster.tool("kafka-configs", &rotate).await.unwrap();
    list(&wrong).await.unwrap();

    cluster.renew_certificate().await.unwrap();
    list(&wrong).await.unwrap();
    cluster.expire_certificate().await.unwrap();
    let refused = list(&wrong).await.unwrap_err();
    assert!(refused.contains("SSL handshake failed"), "{refused}");
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn owner_of_a_cluster() {
    let Some(folder) = std::env::var_os("KAFKA_OWNER") else { return };
    let options = KafkaOptions::in_dir(&Path::new(&folder).join("kafka")).unwrap();
    let programs = KafkaPrograms::shared().await.unwrap();
    let mut cluster = KafkaCluster::start(programs, options).await.unwrap();
    let pids: Vec<String> = cluster.nodes().iter().map(|node| node.pid().to_string()).collect();
    let beside = Path::new(&folder).join("pids.new");
    std::fs::write(&beside, pids.join(" ")).unwrap();
    std::fs::rename(&beside, Path::new(&folder).join("pids")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn all_brokers_die_with_their_owner() {
    if KafkaPrograms::shared_or_left_out().await.is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let owner = Launch::new(std::env::current_exe().unwrap(), folder.path().join("owner.log"))
        .args(["--exact", "owner_of_a_cluster"])
        .env("KAFKA_OWNER", folder.path());
    let mut owner = Guarded::spawn(&owner).unwrap();
    let file = folder.path().join("pids");
    eventually(LIMIT, || file.exists()).await;
    let pids = std::fs::read_to_string(file).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| state(*pid) == ProcessState::Alive));
    owner.kill();
    eventually(LIMIT, || pids.iter().all(|pid| state(*pid) == ProcessState::Dead)).await;
}

#[tokio::test]
async fn detached_nodes_serve_as_well_and_end_by_their_records() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let options = KafkaOptions::in_dir(&folder.path().join("kafka")).unwrap();
    options.prepare(programs).await.unwrap();
    let nodes: Vec<Detached> = options
        .ids()
        .map(|id| {
            let name = format!("kafka-{id}");
            Detached::spawn(&records, &name, &options.launch(programs, id)).unwrap()
        })
        .collect();
    let deadline = Instant::now() + LIMIT;
    for id in options.ids() {
        while !options.is_ready(id, &[1, 2, 3]).await {
            assert!(Instant::now() < deadline, "kafka-{id} is not ready");
        }
    }
    let stopped = Detached::stop_all(&records, Duration::ZERO).unwrap();
    assert!(stopped.iter().all(|(_, how)| *how == Stopped::Killed), "{stopped:?}");
    assert!(nodes.len() == 3 && nodes.iter().all(|node| !node.is_running()));
}
