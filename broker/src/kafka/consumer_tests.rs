//! One consumer and several readers, on librdkafka's own cluster within the process.

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use super::super::connection::Connection;
use super::super::settings::ClientSettings;
use super::*;

const TOPIC: &str = "numbers";
const ROLE: (TopicRole, Whose) = (TopicRole::Snapshots, Whose::Owner);
const RECORDS: u64 = 20_000;
const RECORD_BYTES: usize = 100;
/// Records of one batch, which brokers give away as a whole.
const BATCH: usize = 100;
/// Much less than there is.
const QUEUED_BYTES: u32 = 256 << 10;
const SHARE_BYTES: u32 = 32 << 10;
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A topic of two partitions, each with the numbers from 0 on.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("batch.num.messages", BATCH.to_string());
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..RECORDS {
        let payload = format!("{number:RECORD_BYTES$}");
        for partition in 0..2 {
            let record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&payload);
            producer.send(record).unwrap();
        }
        if number % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LIMIT).unwrap();
    cluster
}

fn consumer(cluster: &MockCluster<'_, DefaultProducerContext>) -> Arc<KafkaConsumer> {
    KafkaConsumer::make(properties(cluster), &Arc::from(TOPIC), ROLE).unwrap()
}

fn properties(cluster: &MockCluster<'_, DefaultProducerContext>) -> Vec<Property> {
    let connection = Connection::plain(cluster.bootstrap_servers().parse().unwrap());
    let mut settings = ClientSettings::default();
    settings.consumer.queued_bytes = QUEUED_BYTES;
    settings.consumer.partition_bytes_max = SHARE_BYTES;
    settings.consumer_properties(&connection, "test", Duration::from_millis(10))
}

/// Reads a partition from there on.
fn open(consumer: &KafkaConsumer, partition: i32, from: u64) -> Fetched {
    let fetched = consumer.reserve((partition, from), QUEUED_BYTES as usize / 4).unwrap();
    consumer.assign(partition, from).unwrap();
    fetched
}

/// The next records, or what there is instead.
async fn next(fetched: &Fetched) -> Result<Vec<u64>, Flow> {
    let taken = async {
        loop {
            let taken = fetched.0.take(16 << 10);
            if !taken.records.is_empty() {
                return Ok(taken.records);
            }
            if taken.flow != Flow::Running {
                return Err(taken.flow);
            }
            fetched.0.moved.notified().await;
        }
    };
    let records = tokio::time::timeout(LIMIT, taken).await.unwrap()?;
    let number = |raw: &Raw| std::str::from_utf8(&raw.payload).unwrap().trim().parse().unwrap();
    Ok(records.iter().map(number).collect())
}

async fn read_all(fetched: &Fetched, from: u64) {
    let mut expected = from;
    while expected < RECORDS {
        for number in next(fetched).await.unwrap() {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
}

/// Once the count of what waits for a partition is as wanted: what it is.
async fn waiting(consumer: &KafkaConsumer, partition: i32, wanted: fn(i64) -> bool) -> i64 {
    let look = async {
        loop {
            let places = consumer.places.lock().unwrap().get(&partition).copied();
            if let Some(count) = places.map(|it| it.fetchq_cnt).filter(|count| wanted(*count)) {
                return count;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap()
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_nobody_and_not_much_is_kept_for_it() {
    let cluster = cluster();
    let consumer = consumer(&cluster);
    let idle = open(&consumer, 0, 0);
    let most = QUEUED_BYTES as usize / 256 + SHARE_BYTES as usize / RECORD_BYTES + BATCH;
    let kept = waiting(&consumer, 0, |count| count > 0).await;
    assert!(kept as usize <= most, "{kept} of {RECORDS}, at most {most}");
    read_all(&open(&consumer, 1, 0), 0).await;
    // what it keeps of whole answers is let go after a while
    waiting(&consumer, 0, |count| count == 0).await;
    read_all(&idle, 0).await;
    consumer.retire();
}

#[tokio::test]
async fn what_was_fetched_for_a_reader_that_left_is_not_given_to_the_next() {
    let cluster = cluster();
    let consumer = consumer(&cluster);
    let first = open(&consumer, 0, 0);
    waiting(&consumer, 0, |count| count > 0).await;
    drop(first);
    let free = async {
        while consumer.reads(0).is_some() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LIMIT, free).await.unwrap();
    read_all(&open(&consumer, 0, 15_000), 15_000).await;
    consumer.retire();
}

#[tokio::test]
async fn a_place_that_is_not_there_is_news_to_its_own_reader_only() {
    let cluster = cluster();
    let consumer = consumer(&cluster);
    let (other, lost) = (open(&consumer, 0, 0), open(&consumer, 1, 2 * RECORDS));
    assert_eq!(next(&lost).await, Err(Flow::Lost));
    read_all(&other, 0).await;
    assert_eq!(next(&other).await, Err(Flow::AtEnd));
    consumer.retire();
}

/// As when readers go over to a new client, which gets for all of them at once.
#[tokio::test]
async fn nobody_waits_for_all_that_has_come_to_another() {
    let cluster = cluster();
    let (consumer, _sleeper) =
        KafkaConsumer::unserved(properties(&cluster), &Arc::from(TOPIC), ROLE).unwrap();
    let place = |partition| consumer.reserve((partition, 0), 1 << 20).unwrap();
    let fetched = [place(0), place(1)];
    (0..2).for_each(|partition| consumer.assign(partition, 0).unwrap());
    let come = async {
        let has_many = |places: &BTreeMap<i32, Places>| {
            (0..2).all(|it| places.get(&it).is_some_and(|places| places.fetchq_cnt >= 800))
        };
        while !has_many(&consumer.places.lock().unwrap()) {
            consumer.hear();
            consumer.pass_on_ends();
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LIMIT, come).await.unwrap();
    assert!(consumer.fill(), "more is there");
    let given = fetched.each_ref().map(|it| it.0.take(1 << 20).records.len());
    assert!(given.iter().all(|count| (1..200).contains(count)), "{given:?}");
}
