//! Readers that wait far ahead of what is there, go back, and are cancelled all the time.

use std::time::Duration;

use broker::{Broker as _, LogKind, Owned as _, Reader as _};
use config_schemas::{Offset, PartitionId};

use crate::world::{LIMIT, batch, cluster, connect, hunt, numbers, take};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_waits_for_a_place_far_ahead() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "ahead").await).await;
    let owned = take(&broker, 0, 1, "a").await;
    let mut reader = broker.follower(PartitionId(0));
    let waiting = tokio::spawn(async move {
        reader.wait_beyond(Offset(20_000)).await.unwrap();
        reader.read(Offset(20_000), 1).await.unwrap().records.len()
    });
    for _ in 0..25 {
        let records = batch((0..1_000).map(|number: u32| format!("{number:100}")));
        owned.append(LogKind::Outcomes, records).await.unwrap();
    }
    assert_eq!(tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap(), 1);
}

/// More than is fetched ahead, so that fetching pauses.
const RECORDS: u64 = 12_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_long_log_that_goes_back_and_is_cancelled_goes_on() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "back").await).await;
    let owned = take(&broker, 0, 1, "a").await;
    for start in (0..RECORDS).step_by(500) {
        let records = batch((start..start + 500).map(|number| format!("{number:1000}")));
        owned.append(LogKind::Events, records).await.unwrap();
    }
    let mut reader = broker.reader(PartitionId(0), LogKind::Events);
    let (mut next, mut rounds) = (0, 0_u64);
    let whole = async {
        while next < RECORDS {
            let chunk = reader.read(Offset(next), 64 << 10).await.unwrap();
            let read = numbers(&chunk.records);
            assert_eq!(read, (next..next + read.len() as u64).collect::<Vec<_>>());
            rounds += 1;
            // only some of them are worked on in this turn
            next += (read.len() as u64).min(7 + rounds);
            let cancelled = reader.wait_beyond(Offset(next));
            drop(tokio::time::timeout(Duration::from_micros(rounds % 300), cancelled).await);
            if rounds.is_multiple_of(40) {
                // all the way back, while what was fetched ahead is full
                let first = reader.read(Offset(rounds), 1).await.unwrap();
                assert_eq!(numbers(&first.records), [rounds]);
            }
        }
    };
    tokio::time::timeout(LIMIT, whole).await.unwrap();
}
