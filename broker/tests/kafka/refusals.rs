//! What a client that cannot work says, and that the one before goes on undisturbed.

use std::time::{Duration, Instant};

use broker::kafka::{Connection, Identity, KafkaTrouble, Login, Mechanism, Secret, Tls};
use broker::{Error, KafkaBroker, KafkaOptions, LogKind, Owned as _};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};
use servers::{Certificates, FaultProxy, KafkaCluster, KafkaPrograms, KafkaSecurity};

use crate::world::{
    LIMIT, Load, PARTITIONS, batch, cluster, connect, hunt, numbers, options, read_all, take, texts,
};

/// "Within seconds": twice the proof's own limit, and as much again on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

async fn refusal(options: &KafkaOptions) -> KafkaTrouble {
    let refused = tokio::time::timeout(SOON, KafkaBroker::connect(options.clone())).await.unwrap();
    trouble(refused.err().unwrap())
}

fn trouble(error: Error) -> KafkaTrouble {
    match error {
        Error::Kafka(trouble) => trouble,
        other => panic!("{other:?}"),
    }
}

/// A client that lets topics be made has this one, which shows that the cluster does so.
fn asked_into_being(bootstrap: &str, topic: &str) {
    let mut config = ClientConfig::new();
    let client: BaseProducer = config.set("bootstrap.servers", bootstrap).create().unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let metadata = client.client().fetch_metadata(Some(topic), SOON).unwrap();
        if metadata.topics().iter().all(|topic| topic.error().is_none()) {
            return;
        }
        assert!(Instant::now() < deadline, "the cluster makes no topics");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_connect_is_told_why() {
    let Some(cluster) = cluster().await else { return };
    let good = hunt(cluster, "refused").await;
    let missing = KafkaOptions { events: "nowhere".to_owned(), ..good.clone() };
    let topic = "nowhere".to_owned();
    assert_eq!(refusal(&missing).await, KafkaTrouble::TopicMissing { topic });
    let bootstrap = cluster.bootstrap();
    tokio::task::spawn_blocking(move || asked_into_being(&bootstrap, "somewhere")).await.unwrap();
    let topics = cluster.tool("kafka-topics", &["--list"]).await.unwrap();
    assert!(topics.contains("somewhere") && !topics.contains("nowhere"), "{topics}");

    let few = KafkaOptions { partitions: PARTITIONS + 1, ..good.clone() };
    let (topic, has, needs) = (good.events.clone(), PARTITIONS, PARTITIONS + 1);
    assert_eq!(refusal(&few).await, KafkaTrouble::TooFewPartitions { topic, has, needs });

    let port = servers::free_port().unwrap();
    let nobody = Connection::plain(format!("127.0.0.1:{port}").parse().unwrap());
    let unreachable = KafkaOptions { connection: nobody, ..good.clone() };
    let said = refusal(&unreachable).await;
    assert!(matches!(said, KafkaTrouble::Unreachable { .. }), "{said:?}");

    let expected = "not-this-one".to_owned();
    let other = KafkaOptions { cluster: Some(expected.clone()), ..good.clone() };
    let found = cluster.options().cluster_id.clone();
    assert_eq!(refusal(&other).await, KafkaTrouble::WrongCluster { expected, found });

    let mut wrong = good.clone();
    wrong.settings.producer.in_flight = 0;
    assert!(
        matches!(refusal(&wrong).await, KafkaTrouble::Settings(problems) if problems.len() == 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_is_refused_and_the_partition_goes_on() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "large").await).await;
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch(["small"])).await.unwrap();
    for size in [2 << 20, (1 << 20) - 10] {
        let refused = owned.append(LogKind::Outcomes, batch([vec![b'x'; size]])).await;
        assert!(matches!(refused, Err(Error::TooLarge { bytes }) if bytes == size), "{refused:?}");
    }
    let largest = vec![b'x'; (1 << 20) - 400];
    owned.append(LogKind::Outcomes, batch([&largest])).await.unwrap();
    // A topic may take less than the client would send.
    let smaller = ["--alter", "--entity-type", "topics", "--entity-name", "large.outcomes"];
    let args: Vec<&str> =
        smaller.into_iter().chain(["--add-config", "max.message.bytes=10000"]).collect();
    cluster.tool("kafka-configs", &args).await.unwrap();
    let refused = owned.append(LogKind::Outcomes, batch([vec![b'y'; 20_000]])).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    // Its place in the order is lost, so this holding is over; the next one goes on.
    assert!(owned.append(LogKind::Outcomes, batch(["no"])).await.is_err());
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch(["again"])).await.unwrap();
    let texts = texts(&read_all(&broker, 0, LogKind::Outcomes).await);
    assert_eq!((texts.len(), &*texts[0], &*texts[2]), (3, "small", "again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_changes_are_refused_while_the_running_client_goes_on() {
    let Some(cluster) = cluster().await else { return };
    let good = hunt(cluster, "impossible").await;
    let broker = connect(&good).await;
    let owned = take(&broker, 0, 1, "a").await;
    let load = Load { owned, log: LogKind::Outcomes, batch: 20, every: Duration::from_millis(2) };
    let port = servers::free_port().unwrap();
    let changes = async {
        let nobody = Connection::plain(format!("127.0.0.1:{port}").parse().unwrap());
        let mut settings = good.settings.clone();
        settings.session.proof = Duration::from_secs(1);
        for linger in [1, 3] {
            settings.producer.linger = Duration::from_millis(linger);
            let refused = broker.retune(nobody.clone(), settings.clone()).await.err().unwrap();
            assert!(matches!(trouble(refused), KafkaTrouble::Unreachable { .. }));
        }
        settings.producer.linger = Duration::from_secs(9);
        let refused = broker.retune(good.connection.clone(), settings).await.err().unwrap();
        assert!(matches!(trouble(refused), KafkaTrouble::Settings(_)));
    };
    let (sent, _) = load.run(changes).await;
    assert!(sent > 1_000, "{sent}");
    assert_eq!(broker.trouble(), None);
    let read = numbers(&read_all(&broker, 0, LogKind::Outcomes).await);
    assert_eq!(read, (0..sent).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clusters_brokers_are_refused() {
    let (Some(cluster), Some(programs)) =
        (cluster().await, KafkaPrograms::shared_or_left_out().await)
    else {
        return;
    };
    let good = hunt(cluster, "stays").await;
    let broker = connect(&good).await;
    let owned = take(&broker, 0, 1, "a").await;
    let stranger = KafkaCluster::temporary(programs).await.unwrap();
    hunt(&stranger, "stays").await;
    let elsewhere = options(&stranger, "stays").connection;
    let refused = broker.retune(elsewhere, good.settings.clone()).await.err().unwrap();
    let (expected, found) =
        (cluster.options().cluster_id.clone(), stranger.options().cluster_id.clone());
    assert_eq!(trouble(refused), KafkaTrouble::WrongCluster { expected, found });
    owned.append(LogKind::Outcomes, batch(["still here"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_certificates_are_checked_and_rotated_while_it_runs() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let security = KafkaSecurity { user: "ana".to_owned(), password: "old".to_owned() };
    let cluster = KafkaCluster::secured(programs, security).await.unwrap();
    let authority = |certificates: &Certificates| {
        Some(std::fs::read_to_string(certificates.authority()).unwrap())
    };
    let login = |password: &str| Login {
        mechanism: Mechanism::ScramSha512,
        user: "ana".to_owned(),
        password: Secret::new(password),
    };
    let plain = hunt(&cluster, "secured").await;
    let tls = Tls { authority: authority(&cluster.certificates().unwrap()), identity: None };
    let connection = |password, tls: &Tls| Connection {
        tls: Some(tls.clone()),
        login: Some(login(password)),
        ..plain.connection.clone()
    };
    let good = KafkaOptions { connection: connection("old", &tls), ..plain.clone() };
    let broker = connect(&good).await;
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch(["0"])).await.unwrap();

    let wrong = KafkaOptions { connection: connection("new", &tls), ..plain.clone() };
    let said = refusal(&wrong).await;
    assert!(matches!(&said, KafkaTrouble::Authentication { .. }), "{said:?}");
    assert!(!format!("{said} {said:?}").contains("new"), "{said:?}");
    let folder = tempfile::tempdir().unwrap();
    let stranger = Certificates::in_dir(folder.path());
    stranger.make_authority().await.unwrap();
    let strange = Tls { authority: authority(&stranger), identity: None };
    let said =
        refusal(&KafkaOptions { connection: connection("old", &strange), ..plain.clone() }).await;
    assert!(matches!(&said, KafkaTrouble::Certificate { .. }), "{said:?}");
    let broken = Identity {
        certificate: "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----".to_owned(),
        key: Secret::new("-----BEGIN PRIVATE KEY-----\ny\n-----END PRIVATE KEY-----"),
    };
    let broken = Tls { identity: Some(broken), ..tls.clone() };
    let said =
        refusal(&KafkaOptions { connection: connection("old", &broken), ..plain.clone() }).await;
    assert!(
        matches!(&said, KafkaTrouble::Certificate { .. } | KafkaTrouble::Settings(_)),
        "{said:?}"
    );
    let said = refusal(&plain).await;
    assert!(matches!(&said, KafkaTrouble::Unreachable { .. }), "plain text: {said:?}");

    // The new password is refused until it is one, then taken; the one before is gone by then.
    let refused = broker.retune(wrong.connection.clone(), good.settings.clone()).await;
    assert!(matches!(trouble(refused.err().unwrap()), KafkaTrouble::Authentication { .. }));
    owned.append(LogKind::Outcomes, batch(["1"])).await.unwrap();
    let user = ["--alter", "--entity-type", "users", "--entity-name", "ana"];
    let rotate: Vec<&str> =
        user.into_iter().chain(["--add-config", "SCRAM-SHA-512=[password=new]"]).collect();
    cluster.tool("kafka-configs", &rotate).await.unwrap();
    let retuned = broker.retune(wrong.connection.clone(), good.settings.clone()).await.unwrap();
    assert!(retuned.consumers && retuned.producer.is_some_and(|swapped| !swapped.given_up));
    owned.append(LogKind::Outcomes, batch(["2"])).await.unwrap();

    cluster.expire_certificate().await.unwrap();
    let said =
        refusal(&KafkaOptions { connection: wrong.connection.clone(), ..plain.clone() }).await;
    assert!(matches!(&said, KafkaTrouble::Certificate { .. }), "{said:?}");
    owned.append(LogKind::Outcomes, batch(["3"])).await.unwrap();
    cluster.renew_certificate().await.unwrap();
    let mut settings = good.settings.clone();
    settings.producer.linger = Duration::from_millis(7);
    broker.retune(wrong.connection.clone(), settings).await.unwrap();
    owned.append(LogKind::Outcomes, batch(["4"])).await.unwrap();
    let read = tokio::time::timeout(LIMIT, read_all(&broker, 0, LogKind::Outcomes)).await.unwrap();
    assert_eq!(numbers(&read), [0, 1, 2, 3, 4]);
}

/// Everything between us and the brokers is cut: what runs says so by itself, and mends itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_client_tells_that_it_reaches_nobody_and_goes_on_when_it_does() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let mut proxies = Vec::new();
    let mut ports = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let mut options = servers::KafkaOptions::in_dir(folder.path()).unwrap();
    for node in &mut options.nodes {
        let server = format!("http://127.0.0.1:{}", node.client);
        let proxy = FaultProxy::in_front_of(&server).await.unwrap();
        node.advertised = proxy.addr().port();
        ports.push(node.advertised);
        proxies.push(proxy);
    }
    let cluster = KafkaCluster::start(programs, options).await.unwrap();
    let broker = connect(&hunt(&cluster, "cut").await).await;
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch(["0"])).await.unwrap();
    assert_eq!(broker.trouble(), None);
    proxies.iter().for_each(FaultProxy::cut);
    let answer = owned.submit(LogKind::Outcomes, batch(["1"])).await.unwrap();
    let told = async {
        while !matches!(broker.trouble(), Some(KafkaTrouble::Unreachable { .. })) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, told).await.unwrap();
    proxies.iter().for_each(FaultProxy::heal);
    tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    let read = tokio::time::timeout(LIMIT, read_all(&broker, 0, LogKind::Outcomes)).await.unwrap();
    assert_eq!(numbers(&read), [0, 1]);
    // also of clients that have nothing to do: nobody appends or reads here
    let over = async {
        while broker.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, over).await.unwrap();

    // The old way is gone for good: what was on it is given up, and told so.
    proxies.iter().for_each(FaultProxy::cut);
    let stuck = owned.submit(LogKind::Outcomes, batch(["2"])).await.unwrap();
    let bootstrap = cluster.options().internal_bootstrap();
    let directly = Connection::plain(bootstrap.parse().unwrap());
    let mut settings = broker::kafka::ClientSettings::default();
    settings.session.drain = Duration::from_secs(1);
    let retuned = broker.retune(directly, settings).await.unwrap();
    assert!(retuned.producer.unwrap().given_up);
    assert!(tokio::time::timeout(SOON, stuck).await.unwrap().is_err());
    assert!(owned.append(LogKind::Outcomes, batch(["3"])).await.is_err(), "one before it is lost");
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch(["4"])).await.unwrap();
    let read = tokio::time::timeout(LIMIT, read_all(&broker, 0, LogKind::Outcomes)).await.unwrap();
    assert_eq!(numbers(&read), [0, 1, 4]);
}

/// Nothing is lost by it, so nobody is told to stop; only who looks why all is late has to find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_holds_requests_back_is_told_and_ends() {
    let Some(cluster) = cluster().await else { return };
    let mut options = hunt(cluster, "quota").await;
    options.client_id = "held-back".to_owned();
    let broker = connect(&options).await;
    let owned = take(&broker, 0, 1, "a").await;
    let quota = ["--alter", "--entity-type", "clients", "--entity-name", "held-back"];
    let set = [&quota[..], &["--add-config", "producer_byte_rate=4000"]].concat();
    cluster.tool("kafka-configs", &set).await.unwrap();
    let deadline = Instant::now() + LIMIT;
    let mut sent = 0;
    while !matches!(broker.trouble(), Some(KafkaTrouble::Throttled { .. })) {
        assert!(Instant::now() < deadline, "never told: {:?}", broker.trouble());
        owned.append(LogKind::Events, batch([format!("{sent:>2000}")])).await.unwrap();
        sent += 1;
    }
    let unset = [&quota[..], &["--delete-config", "producer_byte_rate"]].concat();
    cluster.tool("kafka-configs", &unset).await.unwrap();
    while broker.trouble().is_some() {
        assert!(Instant::now() < deadline, "never ends: {:?}", broker.trouble());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        numbers(&read_all(&broker, 0, LogKind::Events).await),
        (0..sent).collect::<Vec<_>>()
    );
}
