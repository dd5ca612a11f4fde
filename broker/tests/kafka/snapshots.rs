//! Snapshots beside the outcomes, and dead letters for people.

use std::collections::BTreeSet;

use broker::{Broker as _, DeadLetter, Error, KafkaOptions, LogKind, Owned as _, Snapshot};
use config_schemas::{Epoch, Offset, PartitionId};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, TopicPartitionList};
use servers::KafkaCluster;

use crate::world::{LIMIT, batch, cluster, connect, hunt, numbers, read_all, take};

const P: PartitionId = PartitionId(0);

fn snapshot(outcomes: Offset, body: Vec<u8>) -> Snapshot {
    Snapshot { epoch: Epoch(1), outcomes, events: Offset(3), body }
}

fn read(snapshot: Snapshot) -> Result<Snapshot, String> {
    Ok(snapshot)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_snapshot_that_is_whole_is_found_by_another_process() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "kept").await;
    let broker = connect(&options).await;
    assert_eq!(broker.kept_snapshot(P, read).await.unwrap(), None);
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch((0..10).map(|n| n.to_string()))).await.unwrap();
    let end = owned.end(LogKind::Outcomes);
    // more than one chunk, fewer, none
    for bytes in [1_200_000, 70, 0] {
        let body: Vec<u8> = (0..bytes).map(|at: u32| at.wrapping_mul(31) as u8).collect();
        broker.keep_snapshot(P, snapshot(end, body.clone())).await.unwrap();
        let kept = connect(&options).await.kept_snapshot(P, read).await.unwrap();
        assert_eq!(kept, Some(snapshot(end, body)), "{bytes}");
    }
    // two who write at once may spoil each other's, and never what is kept
    let others = [connect(&options).await, connect(&options).await];
    let bodies = [vec![1; 1_500_000], vec![2; 1_500_000]];
    let [one, two] =
        [0, 1].map(|at| others[at].keep_snapshot(P, snapshot(end, bodies[at].clone())));
    let (one, two) = tokio::join!(one, two);
    let kept = broker.kept_snapshot(P, read).await.unwrap().unwrap().body;
    let written = [
        Some(Vec::new()),
        one.ok().map(|()| bodies[0].clone()),
        two.ok().map(|()| bodies[1].clone()),
    ];
    assert!(written.contains(&Some(kept)));
    let refused = broker.keep_snapshot(P, snapshot(Offset(end.0 + 1), vec![1])).await;
    assert!(matches!(refused, Err(Error::NotInLog { .. })), "{refused:?}");
    let unread = broker.kept_snapshot(P, |_| Err::<(), _>("of another build".to_owned())).await;
    assert_eq!(unread.unwrap(), None);
}

/// What compaction leaves of a partition's snapshots: keys whose last record is no removal.
async fn live_keys(cluster: &KafkaCluster, options: &KafkaOptions) -> BTreeSet<String> {
    let (bootstrap, topic) = (cluster.bootstrap(), options.snapshots.clone());
    tokio::task::spawn_blocking(move || read_live_keys(&bootstrap, &topic)).await.unwrap()
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "any");
    config.set("enable.auto.commit", "false").create().unwrap()
}

fn read_live_keys(bootstrap: &str, topic: &str) -> BTreeSet<String> {
    let consumer = consumer(bootstrap);
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    // somebody may write meanwhile
    let (_, end) = consumer.fetch_watermarks(topic, 0, LIMIT).unwrap();
    let (mut live, mut next) = (BTreeSet::new(), 0);
    while next < end {
        // nothing is given also where the client only had something to do
        let Some(polled) = consumer.poll(LIMIT) else { continue };
        let message = polled.unwrap();
        let key = String::from_utf8_lossy(message.key().unwrap()).into_owned();
        match message.payload() {
            Some(_) => live.insert(key),
            None => live.remove(&key),
        };
        next = message.offset() + 1;
    }
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_fits_into_small_messages_and_one_that_was_broken_off_leaves_nothing_for_ever() {
    let Some(cluster) = cluster().await else { return };
    let mut options = hunt(cluster, "broken").await;
    options.settings.producer.message_bytes = 16 << 10;
    // less than our clients would send
    let args = ["--alter", "--entity-type", "topics", "--entity-name", &options.snapshots];
    let smaller = ["--add-config", "max.message.bytes=10000"];
    cluster.tool("kafka-configs", &[&args[..], &smaller].concat()).await.unwrap();
    let broker = connect(&options).await;
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch(["0"])).await.unwrap();
    let end = owned.end(LogKind::Outcomes);
    let body = vec![9; 100_000];
    broker.keep_snapshot(P, snapshot(end, body.clone())).await.unwrap();
    assert_eq!(broker.kept_snapshot(P, read).await.unwrap().unwrap().body, body);
    let whole = live_keys(cluster, &options).await.len();
    assert!(whole > 10, "{whole}");
    let writer = broker.clone();
    let large = snapshot(end, vec![1; 6_000_000]);
    let broken_off = tokio::spawn(async move { writer.keep_snapshot(P, large).await });
    let (bootstrap, topic) = (cluster.bootstrap(), options.snapshots.clone());
    let some_are_there = tokio::task::spawn_blocking(move || {
        let consumer = consumer(&bootstrap);
        while consumer.fetch_watermarks(&topic, 0, LIMIT).unwrap().1 < whole as i64 + 5 {}
    });
    some_are_there.await.unwrap();
    broken_off.abort();
    let ended = broken_off.await;
    assert!(ended.as_ref().is_err_and(|ended| ended.is_cancelled()), "{ended:?}");
    for number in 0..3 {
        // what was on its way when it was broken off may still arrive, which ends one attempt
        let again = connect(&options).await;
        let kept = async {
            while again.keep_snapshot(P, snapshot(end, vec![number; 9])).await.is_err() {}
        };
        tokio::time::timeout(LIMIT, kept).await.unwrap();
        assert_eq!(again.kept_snapshot(P, read).await.unwrap().unwrap().body, [number; 9]);
    }
    let live = live_keys(cluster, &options).await;
    let expected = ["a/0", "b/0", "manifest/a", "manifest/b"].map(str::to_owned);
    assert_eq!(live, BTreeSet::from(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_knows_whom_to_believe_without_the_outcomes_before_the_snapshot() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "grounded").await;
    let old = connect(&options).await;
    let owned = take(&old, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch((0..10).map(|n| n.to_string()))).await.unwrap();
    let end = owned.end(LogKind::Outcomes);
    connect(&options).await.keep_snapshot(P, snapshot(end, vec![7])).await.unwrap();
    owned.append(LogKind::Outcomes, batch(["10"])).await.unwrap();
    // as retention does it
    let gone = format!(
        r#"{{"partitions":[{{"topic":"{}","partition":0,"offset":{}}}],"version":1}}"#,
        options.outcomes, end.0
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone.json");
    std::fs::write(&file, gone).unwrap();
    let args = ["--offset-json-file", file.to_str().unwrap()];
    cluster.tool("kafka-delete-records", &args).await.unwrap();
    let broker = connect(&options).await;
    take(&broker, 0, 2, "b").await;
    let mut reader = broker.reader(P, LogKind::Outcomes);
    let behind = crate::world::end_of(&mut reader).await;
    let rest = crate::world::read_to(&mut reader, end, behind).await;
    assert_eq!(numbers(&rest), [10]);
    // and so does one that knows of places that are gone
    take(&old, 0, 3, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_played_lies_where_people_find_it() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "buried").await;
    let owned = take(&connect(&options).await, 1, 1, "a").await;
    let (partition, offset, payload) = (PartitionId(1), Offset(42), &b"{not json"[..]);
    let letter = DeadLetter { partition, offset, payload, why: "no event", config_revision: 9 };
    owned.put_dead_letter(letter).await.unwrap();
    let args = [
        ["--topic", &options.dead],
        ["--partition", "1"],
        ["--offset", "earliest"],
        ["--max-messages", "1"],
        ["--timeout-ms", "60000"],
        ["--property", "print.headers=true"],
    ];
    let told = cluster.tool("kafka-console-consumer", &args.concat()).await.unwrap();
    for part in ["cause:no event", "partition:1", "offset:42", "config-revision:9", "{not json"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let none = read_all(&connect(&options).await, 1, LogKind::Outcomes).await;
    assert!(none.is_empty(), "what became of it is for the owner to say");
}
