//! Owners: what they append, who is believed, and that anybody's events count.

use broker::{
    Broker as _, Error, KafkaOptions, KafkaTrouble, LogKind, Owned as _, Reader as _, Snapshot,
};
use config_schemas::{Epoch, Offset, PartitionId};

use crate::world::{
    LIMIT, Load, batch, cluster, connect, hunt, numbers, options, read_all, read_to, take, texts,
    try_take,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_appends_is_read_and_outlives_it() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "outlives").await).await;
    let first = take(&broker, 1, 1, "a").await;
    let events = first.append(LogKind::Events, batch(["e0", "e1"])).await.unwrap();
    assert_eq!(events, [Offset(0), Offset(1)]);
    assert_eq!(first.end(LogKind::Events), Offset(2));
    let outcomes = first.append(LogKind::Outcomes, batch(["o0", "o1"])).await.unwrap();
    assert_eq!(outcomes, [Offset(1), Offset(2)], "behind the barrier");
    assert_eq!(first.end(LogKind::Outcomes), Offset(3));

    let other = connect(&options(cluster, "outlives")).await;
    let second = take(&other, 1, 2, "b").await;
    let records = read_all(&other, 1, LogKind::Outcomes).await;
    assert_eq!(texts(&records), ["o0", "o1"]);
    assert!(records.iter().all(|record| record.epoch == Epoch(1)));
    assert_eq!(second.end(LogKind::Events), Offset(2), "known without having read them");
    assert_eq!(texts(&read_all(&other, 1, LogKind::Events).await), ["e0", "e1"]);
    let offsets = second.append(LogKind::Outcomes, batch(["o2"])).await.unwrap();
    assert_eq!(offsets, [Offset(4)]);

    second.release().await;
    let closed = second.append(LogKind::Outcomes, batch(["o3"])).await;
    assert!(matches!(closed, Err(Error::Closed)));
    assert!(matches!(second.append(LogKind::Events, batch(["e"])).await, Err(Error::Closed)));
    assert_eq!(texts(&read_all(&broker, 1, LogKind::Outcomes).await), ["o0", "o1", "o2"]);
    assert!(read_all(&broker, 2, LogKind::Outcomes).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_is_never_believed_and_is_told_so() {
    let Some(cluster) = cluster().await else { return };
    let old = connect(&hunt(cluster, "zombie").await).await;
    let new = connect(&options(cluster, "zombie")).await;
    let zombie = take(&old, 0, 1, "a").await;
    zombie.append(LogKind::Outcomes, batch(["before"])).await.unwrap();
    let owner = take(&new, 0, 2, "b").await;
    let late = zombie.append(LogKind::Outcomes, batch(["late"])).await;
    assert!(matches!(late, Err(Error::Fenced { by: Epoch(2) })), "{late:?}");
    owner.append(LogKind::Outcomes, batch(["after"])).await.unwrap();
    let again = zombie.append(LogKind::Outcomes, batch(["later"])).await;
    assert!(matches!(again, Err(Error::Fenced { by: Epoch(2) })), "{again:?}");
    owner.append(LogKind::Outcomes, batch(["at last"])).await.unwrap();

    let third = connect(&options(cluster, "zombie")).await;
    for broker in [&old, &new, &third] {
        let records = read_all(broker, 0, LogKind::Outcomes).await;
        assert_eq!(texts(&records), ["before", "after", "at last"]);
    }
    // The bytes are there: an ordinary consumer sees them, and their marks.
    let topic = ["--topic", "zombie.outcomes", "--partition", "0", "--offset", "earliest"];
    let show = [
        "--max-messages",
        "6",
        "--timeout-ms",
        "20000",
        "--formatter-property",
        "print.headers=true",
    ];
    let args: Vec<&str> = topic.into_iter().chain(show).collect();
    let seen = cluster.tool("kafka-console-consumer", &args).await.unwrap();
    assert!(seen.contains("late") && seen.contains("treasurehunt:outcome 1 "), "{seen}");

    let refused = try_take(&old, 0, 1, "a").await.err().unwrap();
    assert!(
        matches!(&refused, Error::Superseded { holds: Epoch(2), owner } if owner == "node of b"),
        "{refused:?}"
    );
    let refused = try_take(&old, 0, 2, "a").await.err().unwrap();
    assert!(
        matches!(refused, Error::Superseded { holds: Epoch(2), .. }),
        "another run: {refused:?}"
    );
    let retaken = take(&new, 0, 2, "b").await;
    assert!(matches!(owner.append(LogKind::Outcomes, batch(["x"])).await, Err(Error::Closed)));
    retaken.append(LogKind::Outcomes, batch(["again"])).await.unwrap();
    let records = read_all(&third, 0, LogKind::Outcomes).await;
    assert_eq!(texts(&records), ["before", "after", "at last", "again"]);
}

/// Owners take the partition from each other while all of them go on appending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_is_what_is_believed_while_owners_change() {
    let Some(cluster) = cluster().await else { return };
    let brokers =
        [connect(&hunt(cluster, "change").await).await, connect(&options(cluster, "change")).await];
    let mut writers = Vec::new();
    for epoch in 1..=12_u64 {
        let run = format!("run-{epoch}");
        let owned = take(&brokers[epoch as usize % 2], 3, epoch, &run).await;
        owned.append(LogKind::Outcomes, batch([format!("{epoch}/0")])).await.unwrap();
        writers.push(tokio::spawn(async move {
            let mut promised = vec![format!("{epoch}/0")];
            for number in 1.. {
                let text = format!("{epoch}/{number}");
                match owned.append(LogKind::Outcomes, batch([&text])).await {
                    Ok(_) => promised.push(text),
                    Err(Error::Fenced { by }) => {
                        assert!(by.0 > epoch);
                        return promised;
                    }
                    Err(Error::Closed) if epoch == 12 => return promised,
                    Err(other) => panic!("{other}"),
                }
                if epoch == 12 && number == 200 {
                    owned.release().await;
                }
            }
            promised
        }));
    }
    let mut promised = Vec::new();
    for writer in writers {
        promised.extend(tokio::time::timeout(LIMIT, writer).await.unwrap().unwrap());
    }
    let believed = texts(&read_all(&brokers[0], 3, LogKind::Outcomes).await);
    // What was not answered may be there, as the last of its owner; nothing else differs.
    let mut rest = believed.iter();
    assert!(promised.iter().all(|text| rest.any(|it| it == text)), "{promised:?} {believed:?}");
    assert!(believed.len() - promised.len() <= 12, "{promised:?} {believed:?}");
    let epochs: Vec<u64> =
        believed.iter().map(|text| text.split('/').next().unwrap().parse().unwrap()).collect();
    assert!(epochs.is_sorted(), "{believed:?}");
    assert_eq!(texts(&read_all(&brokers[1], 3, LogKind::Outcomes).await), believed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_for_which_there_never_is_room_goes_in_parts() {
    let Some(cluster) = cluster().await else { return };
    let mut options = hunt(cluster, "parts").await;
    options.settings.producer.queue_bytes = 1 << 20;
    let broker = connect(&options).await;
    let owned = take(&broker, 0, 1, "a").await;
    for log in LogKind::ALL {
        let sent = owned.append(log, batch((0..400).map(|number| format!("{number:>9000}")))).await;
        assert_eq!(sent.unwrap().len(), 400);
        let read = numbers(&read_all(&broker, 0, log).await);
        assert_eq!(read, (0..400).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_other_producers_are_events_at_kafkas_own_offsets() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "foreign").await;
    let broker = connect(&options).await;
    let lines = ["ana:one", "bob:two", "ana:three"].join("\n") + "\n";
    let args = [
        "--topic",
        "foreign.events",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
    ];
    cluster.tool_with_input("kafka-console-producer", &args, Some(&lines)).await.unwrap();
    let ana = events::partition_of("ana", options.partitions);
    let bob = events::partition_of("bob", options.partitions);
    assert_ne!(ana, bob, "or the test shows nothing");
    assert_eq!(texts(&read_all(&broker, ana.0, LogKind::Events).await), ["one", "three"]);
    assert_eq!(texts(&read_all(&broker, bob.0, LogKind::Events).await), ["two"]);
    let owned = take(&broker, ana.0, 1, "a").await;
    owned.append(LogKind::Events, batch(["taken in"])).await.unwrap();
    let events = read_all(&broker, ana.0, LogKind::Events).await;
    let ours: Vec<bool> = events.iter().map(|event| event.ours).collect();
    assert_eq!(ours, [false, false, true], "{events:?}");
    // Nor does a stranger's record count as an outcome.
    owned.append(LogKind::Outcomes, batch(["ours"])).await.unwrap();
    let args = [
        "--topic",
        "foreign.outcomes",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
    ];
    cluster.tool_with_input("kafka-console-producer", &args, Some("ana:theirs\n")).await.unwrap();
    owned.append(LogKind::Outcomes, batch(["ours too"])).await.unwrap();
    assert_eq!(texts(&read_all(&broker, ana.0, LogKind::Outcomes).await), ["ours", "ours too"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_waits_reads_on_goes_back_and_keeps_its_place_when_cancelled() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "waits").await).await;
    let owned = take(&broker, 0, 1, "a").await;
    let mut reader = broker.reader(PartitionId(0), LogKind::Outcomes);
    let empty = reader.read(Offset(0), 100).await.unwrap();
    assert_eq!((empty.records.len(), empty.next), (0, Offset(1)), "only the barrier");
    for round in 0..20_u64 {
        let mut cancelled = std::pin::pin!(reader.wait_beyond(Offset(1 + round)));
        assert!(futures_now(cancelled.as_mut()).await.is_none(), "there is nothing yet");
        let appended = owned.append(LogKind::Outcomes, batch([format!("{round:>200}")]));
        let (waited, _) = tokio::join!(tokio::time::timeout(LIMIT, cancelled), appended);
        waited.unwrap().unwrap();
    }
    let all = read_to(&mut reader, Offset(1), Offset(21)).await;
    assert_eq!(numbers(&all), (0..20).collect::<Vec<_>>());
    let middle = read_to(&mut reader, Offset(11), Offset(21)).await;
    assert_eq!(numbers(&middle), (10..20).collect::<Vec<_>>());
    let one = reader.read(Offset(3), 1).await.unwrap();
    assert_eq!((numbers(&one.records), one.next), (vec![2], Offset(4)));
}

/// The future's result, if it is there at once.
async fn futures_now<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    tokio::time::timeout(std::time::Duration::from_millis(20), future).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_reader_of_a_long_log_believes_the_same() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "long").await).await;
    let (log, every) = (LogKind::Outcomes, std::time::Duration::from_millis(1));
    let load = Load { owned: take(&broker, 2, 1, "a").await, log, batch: 200, every };
    let (sent, _) = load.run(tokio::time::sleep(std::time::Duration::from_millis(400))).await;
    let second = take(&broker, 2, 2, "b").await;
    second.append(log, batch([format!("{sent:>200}")])).await.unwrap();
    let expected: Vec<u64> = (0..=sent).collect();
    assert_eq!(numbers(&read_all(&broker, 2, log).await), expected);
    let other = connect(&options(cluster, "long")).await;
    let mut reader = other.reader(PartitionId(2), log);
    let end = reader.end().await.unwrap();
    let last = read_to(&mut reader, Offset(end.0 - 1), end).await;
    assert_eq!(numbers(&last), [sent], "read from the middle");
    assert_eq!(numbers(&read_all(&other, 2, log).await), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_its_beginning_is_read_from_where_a_snapshot_was_made() {
    let Some(cluster) = cluster().await else { return };
    let log = LogKind::Outcomes;
    let old = connect(&hunt(cluster, "trimmed").await).await;
    let owned = take(&old, 0, 1, "a").await;
    owned.append(log, batch((0..50).map(|number| number.to_string()))).await.unwrap();
    let body = Vec::new();
    let at_31 = Snapshot { epoch: Epoch(1), outcomes: Offset(31), events: Offset(0), body };
    old.keep_snapshot(PartitionId(0), at_31).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    let before =
        r#"{"version":1,"partitions":[{"topic":"trimmed.outcomes","partition":0,"offset":31}]}"#;
    std::fs::write(&file, before).unwrap();
    let file = file.display().to_string();
    cluster.tool("kafka-delete-records", &["--offset-json-file", &file]).await.unwrap();

    // who has no snapshots, as after their topic was lost
    let without = KafkaOptions { snapshots: "trimmed.dead".into(), ..options(cluster, "trimmed") };
    let refused = try_take(&connect(&without).await, 0, 2, "b").await.err().unwrap();
    assert!(
        matches!(&refused, Error::Kafka(KafkaTrouble::Trimmed { first: 31, .. })),
        "{refused:?}"
    );
    let new = connect(&options(cluster, "trimmed")).await;
    let owned = take(&new, 0, 3, "b").await;
    let mut reader = new.reader(PartitionId(0), log);
    let read = read_to(&mut reader, Offset(31), owned.end(log)).await;
    assert_eq!(numbers(&read), (30..50).collect::<Vec<_>>());
    let refused = reader.read(Offset(3), 100).await.err().unwrap();
    assert!(
        matches!(refused, Error::Kafka(KafkaTrouble::Trimmed { first: 31, .. })),
        "{refused:?}"
    );
}
