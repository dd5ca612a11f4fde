//! Topics that somebody deleted and that were made anew while a process knew the old ones.

use std::time::Duration;

use broker::kafka::KafkaTrouble;
use broker::{Broker as _, Error, KafkaBroker, KafkaOwned, LogKind, Owned as _, Reader as _};
use config_schemas::{Offset, PartitionId};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::world::{
    LIMIT, PARTITIONS, batch, cluster, connect, hunt, numbers, read_all, read_to, take, try_take,
};

const P: PartitionId = PartitionId(0);

/// Deletes a topic and makes it anew.
async fn make_anew(bootstrap: &str, topic: &str) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", bootstrap).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    admin.delete_topics(&[topic], &options).await.unwrap()[0].as_ref().unwrap();
    let new = NewTopic::new(topic, PARTITIONS as i32, TopicReplication::Fixed(3));
    let made = async {
        // its name is free a little later
        while admin.create_topics([&new], &options).await.unwrap()[0].is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, made).await.unwrap();
}

/// Takes the partition as soon as the client has found the new topic.
async fn take_anew(broker: &KafkaBroker, epoch: u64) -> KafkaOwned {
    let taken = async {
        loop {
            match try_take(broker, 0, epoch, "a").await {
                Err(Error::Kafka(KafkaTrouble::TopicMissing { .. })) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                taken => return taken.unwrap(),
            }
        }
    };
    tokio::time::timeout(LIMIT, taken).await.unwrap()
}

fn is_shrunk<T: std::fmt::Debug>(read: Result<T, Error>, at: u64) {
    assert!(
        matches!(&read, Err(Error::Kafka(KafkaTrouble::Shrunk { end, wanted, .. }))
            if *end == at && *wanted == 50),
        "{read:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knew_the_events_before_is_told_that_they_are_gone() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "gone").await;
    let broker = connect(&options).await;
    let owned = take(&broker, 0, 1, "a").await;
    let texts = || batch((0..50).map(|number| number.to_string()));
    owned.append(LogKind::Events, texts()).await.unwrap();
    let mut reader = broker.reader(P, LogKind::Events);
    read_to(&mut reader, Offset(0), Offset(50)).await;
    make_anew(&cluster.bootstrap(), &options.events).await;
    let waited = tokio::time::timeout(LIMIT, reader.wait_beyond(Offset(50))).await;
    is_shrunk(waited.unwrap(), 0);
    // what is appended now must neither be lost nor skipped
    let owned = take_anew(&broker, 2).await;
    assert_eq!(owned.end(LogKind::Events), Offset(0), "or the state would be served on");
    owned.append(LogKind::Events, batch(["50"])).await.unwrap();
    is_shrunk(reader.read(Offset(50), 1_000).await, 1);
    is_shrunk(broker.reader(P, LogKind::Events).wait_beyond(Offset(50)).await, 1);
    assert_eq!(numbers(&read_all(&broker, 0, LogKind::Events).await), [50]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_made_anew_are_believed_from_their_beginning() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "anew").await;
    let (broker, log) = (connect(&options).await, LogKind::Outcomes);
    let owned = take(&broker, 0, 7, "a").await;
    owned.append(log, batch((0..50).map(|number| number.to_string()))).await.unwrap();
    read_all(&broker, 0, log).await;
    make_anew(&cluster.bootstrap(), &options.outcomes).await;
    // shorter than what was known
    let owned = take_anew(&broker, 1).await;
    owned.append(log, batch(["1", "2"])).await.unwrap();
    assert_eq!(numbers(&read_all(&broker, 0, log).await), [1, 2]);
    assert_eq!(owned.end(log), Offset(3));
    // and longer, before this process hears of it
    make_anew(&cluster.bootstrap(), &options.outcomes).await;
    let other = connect(&options).await;
    let owned = take(&other, 0, 1, "c").await;
    owned.append(log, batch((0..9).map(|number| number.to_string()))).await.unwrap();
    let known = broker.reader(P, log).read(Offset(5), 1_000).await;
    assert!(
        matches!(&known, Err(Error::Kafka(KafkaTrouble::Another { .. }))),
        "it begins at what it knew: {known:?}"
    );
    let read = broker.reader(P, log).read(Offset(5), 1_000).await.unwrap();
    assert_eq!(numbers(&read.records), (4..9).collect::<Vec<_>>());
    take(&broker, 0, 2, "d").await;
}
