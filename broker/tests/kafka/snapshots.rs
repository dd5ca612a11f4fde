//! Snapshots beside the outcomes, and dead letters for people.

use broker::{Broker as _, DeadLetter, Error, LogKind, Owned as _, Snapshot};
use config_schemas::{Epoch, Offset, PartitionId};

use crate::world::{batch, cluster, connect, hunt, numbers, read_all, take};

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
    let refused = broker.keep_snapshot(P, snapshot(Offset(end.0 + 1), vec![1])).await;
    assert!(matches!(refused, Err(Error::NotInLog { .. })), "{refused:?}");
    let unread = broker.kept_snapshot(P, |_| Err::<(), _>("of another build".to_owned())).await;
    assert_eq!(unread.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_knows_whom_to_believe_without_the_outcomes_before_the_snapshot() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "grounded").await;
    let owned = take(&connect(&options).await, 0, 1, "a").await;
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
