//! A cluster for these tests, its topics, and load that knows what it sent.

use std::time::Duration;

use broker::kafka::{ClientSettings, Connection};
use broker::{
    Broker as _, Claim, Error, KafkaBroker, KafkaOptions, KafkaOwned, KafkaReader, LogKind,
    Owned as _, Reader as _, Record, Records,
};
use config_schemas::{Epoch, Offset, PartitionId};
use servers::{KafkaCluster, KafkaPrograms};
use tokio::sync::OnceCell;

/// Partitions of every topic here.
pub(crate) const PARTITIONS: u32 = 4;
/// Longer than anything here takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The cluster of all tests that do it no harm. It makes topics for clients that ask for them, as
/// many clusters do: ours must not.
pub(crate) async fn cluster() -> Option<&'static KafkaCluster> {
    static CLUSTER: OnceCell<KafkaCluster> = OnceCell::const_new();
    let programs = KafkaPrograms::shared_or_left_out().await?;
    let makes_topics = ("auto.create.topics.enable".to_owned(), "true".to_owned());
    let change = |options: &mut servers::KafkaOptions| options.extra.push(makes_topics);
    let start = async || KafkaCluster::temporary_with(programs, change).await.unwrap();
    Some(CLUSTER.get_or_init(start).await)
}

/// Makes the topics of a hunt.
pub(crate) async fn hunt(cluster: &KafkaCluster, hunt: &str) -> KafkaOptions {
    let partitions = PARTITIONS.to_string();
    for topic in ["events", "outcomes", "snapshots", "dead"] {
        let topic = format!("{hunt}.{topic}");
        let args = ["--create", "--topic", &topic, "--partitions", &partitions];
        let replicas = ["--replication-factor", "3"];
        let args: Vec<&str> = args.into_iter().chain(replicas).collect();
        cluster.tool("kafka-topics", &args).await.unwrap();
    }
    options(cluster, hunt)
}

/// Of a hunt whose topics are there, or not.
pub(crate) fn options(cluster: &KafkaCluster, hunt: &str) -> KafkaOptions {
    KafkaOptions {
        events: format!("{hunt}.events"),
        outcomes: format!("{hunt}.outcomes"),
        snapshots: format!("{hunt}.snapshots"),
        dead: format!("{hunt}.dead"),
        partitions: PARTITIONS,
        cluster: None,
        client_id: "test".to_owned(),
        connection: Connection::plain(cluster.bootstrap().parse().unwrap()),
        settings: ClientSettings::default(),
    }
}

pub(crate) async fn connect(options: &KafkaOptions) -> KafkaBroker {
    KafkaBroker::connect(options.clone()).await.unwrap()
}

pub(crate) async fn take(
    broker: &KafkaBroker,
    partition: u32,
    epoch: u64,
    run: &str,
) -> KafkaOwned {
    try_take(broker, partition, epoch, run).await.unwrap()
}

pub(crate) async fn try_take(
    broker: &KafkaBroker,
    partition: u32,
    epoch: u64,
    run: &str,
) -> Result<KafkaOwned, Error> {
    let (owner, incarnation) = (format!("node of {run}"), run.to_owned());
    let claim = Claim { epoch: Epoch(epoch), owner, incarnation };
    tokio::time::timeout(LIMIT, broker.take(PartitionId(partition), claim)).await.unwrap()
}

pub(crate) fn batch<T: AsRef<[u8]>>(payloads: impl IntoIterator<Item = T>) -> Records {
    let mut records = Records::new();
    payloads.into_iter().for_each(|payload| records.push(payload.as_ref()));
    records
}

/// All that is there now.
pub(crate) async fn read_all(broker: &KafkaBroker, partition: u32, log: LogKind) -> Vec<Record> {
    let mut reader = broker.reader(PartitionId(partition), log);
    let end = end_of(&mut reader).await;
    read_to(&mut reader, Offset(0), end).await
}

/// Asks as often as it takes: right after a broker died, nobody may know who leads.
pub(crate) async fn end_of(reader: &mut KafkaReader) -> Offset {
    let ask = async {
        loop {
            match reader.end().await {
                Ok(end) => return end,
                Err(error) => assert!(error.retryable(), "{error:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, ask).await.unwrap()
}

pub(crate) async fn read_to(reader: &mut KafkaReader, from: Offset, end: Offset) -> Vec<Record> {
    let (mut records, mut next) = (Vec::new(), from);
    while next < end {
        let chunk = match tokio::time::timeout(LIMIT, reader.read(next, 64 << 10)).await.unwrap() {
            Ok(chunk) => chunk,
            Err(error) if error.retryable() => continue,
            Err(error) => panic!("{error:?}"),
        };
        assert!(chunk.next > next, "nothing at {next}, and the end is {end}");
        next = chunk.next;
        records.extend(chunk.records);
    }
    records
}

pub(crate) fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// The numbers that a [`Load`] wrote.
pub(crate) fn numbers(records: &[Record]) -> Vec<u64> {
    texts(records).iter().map(|text| text.trim_start().parse().unwrap()).collect()
}

/// Appends 0, 1, 2, ... of 200 bytes each to one topic of one partition, at a steady rate.
pub(crate) struct Load {
    pub(crate) owned: KafkaOwned,
    pub(crate) log: LogKind,
    pub(crate) batch: u64,
    pub(crate) every: Duration,
}

impl Load {
    /// Until `stop` ends and everything is answered. Out: how many were sent, and the longest time
    /// that one batch waited for its answer.
    pub(crate) async fn run(&self, stop: impl Future<Output = ()>) -> (u64, Duration) {
        let (answers, mut waiting) = tokio::sync::mpsc::channel(4_096);
        let sending = async {
            let mut stop = std::pin::pin!(stop);
            let mut ticks = tokio::time::interval(self.every);
            let mut next = 0;
            loop {
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    _ = ticks.tick() => {}
                }
                let texts = (next..next + self.batch).map(|number| format!("{number:>200}"));
                let began = tokio::time::Instant::now();
                let answer = self.owned.submit(self.log, batch(texts)).await.unwrap();
                next += self.batch;
                answers.send((began, answer)).await.unwrap();
            }
            drop(answers);
            next
        };
        let answered = async {
            let (mut longest, mut last) = (Duration::ZERO, None);
            while let Some((began, answer)) = waiting.recv().await {
                let offsets: Vec<Offset> = answer.await.unwrap();
                assert!(offsets.is_sorted() && last < offsets.first().copied());
                last = offsets.last().copied();
                longest = longest.max(began.elapsed());
            }
            longest
        };
        tokio::join!(sending, answered)
    }
}
