//! What one partition's worker plays from and to Kafka, by the agent's own code, beside a bare
//! client that consumes each event and produces a record of an outcome's size for it, with the same
//! settings on the same brokers; and how fast a state is rebuilt from outcomes alone. I/O.

use std::time::{Duration, Instant};

use agent::partitions::log::Log;
use broker::{Broker as _, KafkaBroker, KafkaOptions, LogKind, Reader as _};
use config_schemas::{BrokerKind, Epoch, HuntName, Offset};
use events::{HuntGame, OutcomeRecord, PartitionState};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset as Place, TopicPartitionList};

use super::super::worker::{Cost, Game, P, append, batches, middle, play, timed};
use super::super::{Row, Setting};
use super::{cluster, take as take_partition, topics};

const EVENTS: usize = 500_000;
const ROUNDS: usize = 3;
/// A barrier lies before the first outcome.
const FIRST: Offset = Offset(1);
/// About what an outcome takes.
const OUTCOME: [u8; 90] = [7; 90];
const READ_BYTES: usize = 256 << 10;

pub(in super::super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let count = setting.scaled(EVENTS);
    let cluster = cluster().await?;
    let (mut ours, mut bare, mut rebuilt) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let options = topics(&cluster, &format!("play{round}"), 1).await?;
        let broker = KafkaBroker::connect(options.clone()).await?;
        let owned = take_partition(&broker, 0, 1).await?;
        append(&owned, batches(count)).await?;
        drop((owned, broker));
        let bare_topic = topics(&cluster, &format!("bare{round}"), 1).await?.outcomes;
        // whoever comes second finds warm brokers
        if round % 2 == 0 {
            bare.push(timed(count, bare_loop(options.clone(), bare_topic, count)).await?);
            ours.push(ours_on(options.clone(), count).await?);
        } else {
            ours.push(ours_on(options.clone(), count).await?);
            bare.push(timed(count, bare_loop(options.clone(), bare_topic, count)).await?);
        }
        rebuilt.push(rebuild(&options, count).await?);
    }
    let (ours, bare) = (middle(&ours), middle(&bare));
    let per_second = |nanos: f64| 1e9 / nanos;
    rows.push(Row::new(
        "consume, decide, outcome: by the clock",
        per_second(ours.wall),
        "events/s",
    ));
    rows.push(Row::new(
        "bare consume and produce: by the clock",
        per_second(bare.wall),
        "events/s",
    ));
    rows.push(Row::new("ours, of the bare loop", bare.wall / ours.wall, "x").at_least(0.8));
    rows.push(Row::new("ours: processor time per event", ours.cpu, "ns"));
    rows.push(Row::new("bare: processor time per event", bare.cpu, "ns"));
    let restored = super::super::numbers::median(&rebuilt);
    rows.push(
        Row::new("cold restore without a snapshot", restored, "records/s").at_least(300_000.0),
    );
    Ok(())
}

async fn ours_on(options: KafkaOptions, count: usize) -> anyhow::Result<Cost> {
    let hunt = HuntName::new("bench", "play")?;
    let folder = tempfile::tempdir()?;
    let log = Log::new(folder.path().to_owned(), hunt.clone());
    (log.retune_kafka())(Ok(options)).await.map_err(anyhow::Error::msg)?;
    let game = Game { hunt, kind: BrokerKind::Kafka, log, epoch: Epoch(2) };
    // the barrier of whoever appended the events, and that of the player
    play(&game, FIRST.next(), count).await
}

async fn bare_loop(options: KafkaOptions, into: String, count: usize) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || bare(&options, &into, count)).await?
}

/// As a straightforward client does it: idempotent, all acknowledgements waited for.
fn bare(options: &KafkaOptions, into: &str, count: usize) -> anyhow::Result<()> {
    let (producing, consuming) = (&options.settings.producer, &options.settings.consumer);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap(options));
    let mut produce = config.clone();
    produce
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", producing.linger.as_millis().to_string())
        .set("batch.size", producing.batch_bytes.to_string())
        .set("batch.num.messages", producing.batch_records.to_string())
        .set("queue.buffering.max.messages", "1000000");
    config
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", consuming.fetch_wait.as_millis().to_string())
        .set("queued.max.messages.kbytes", (consuming.queued_bytes >> 10).to_string())
        // as ours: a full queue is looked at again long before it is empty
        .set("fetch.queue.backoff.ms", "5");
    let producer: BaseProducer = produce.create()?;
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&options.events, 0, Place::Beginning)?;
    consumer.assign(&list)?;
    let (mut seen, mut bytes) = (0, 0);
    while seen < count {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else {
            anyhow::bail!("the events end after {seen}");
        };
        bytes += message?.payload_len();
        seen += 1;
        let mut record = BaseRecord::<(), [u8]>::to(into).partition(0).payload(&OUTCOME[..]);
        while let Err((error, again)) = producer.send(record) {
            anyhow::ensure!(producer.in_flight_count() > 0, "{error}");
            producer.poll(Duration::from_millis(1));
            record = again;
        }
        if seen % 1_024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    anyhow::ensure!(bytes > count, "events have no bytes");
    Ok(())
}

fn bootstrap(options: &KafkaOptions) -> String {
    options.connection.bootstrap.as_str().to_owned()
}

/// Reads and folds all outcomes, as a take-over without a snapshot does. Records a second.
async fn rebuild(options: &KafkaOptions, count: usize) -> anyhow::Result<f64> {
    let broker = KafkaBroker::connect(options.clone()).await?;
    let mut reader = broker.reader(P, LogKind::Outcomes);
    let began = Instant::now();
    let end = reader.end().await?;
    let (mut next, mut folded) = (Offset(0), 0);
    let mut state = PartitionState::<HuntGame>::default();
    while next < end {
        let chunk = reader.read(next, READ_BYTES).await?;
        for record in &chunk.records {
            state.fold(&OutcomeRecord::decode(&record.payload)?);
            folded += 1;
        }
        next = chunk.next;
    }
    anyhow::ensure!(folded >= count, "{folded} outcomes of {count} events");
    let next = state.ledger().next_offset();
    anyhow::ensure!(next.0 as usize >= count, "folded up to event {next}");
    Ok(folded as f64 / began.elapsed().as_secs_f64())
}
