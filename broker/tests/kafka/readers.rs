//! Who reads one partition at once: its owner, and whoever follows it.

use broker::kafka::KafkaTrouble;
use broker::{Broker as _, Error, KafkaReader, LogKind, Owned as _, Reader as _};
use config_schemas::{Offset, PartitionId};

use crate::world::{
    LIMIT, batch, cluster, connect, end_of, hunt, numbers, read_all, take, try_take,
};

const P: PartitionId = PartitionId(0);
/// More than there are places for.
const MANY: usize = 9;

/// As many of them as may, all waiting for what is not there.
async fn waiting(readers: impl Iterator<Item = KafkaReader>) -> Vec<KafkaReader> {
    let mut waiting = Vec::new();
    for mut reader in readers {
        let begun = reader.read(Offset(1), 1_000).await;
        match begun {
            Ok(_) => waiting.push(reader),
            Err(error) => {
                assert!(matches!(error, Error::Kafka(KafkaTrouble::Busy { .. })), "{error:?}");
                return waiting;
            }
        }
    }
    panic!("there is no end of places");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_a_partition_never_stand_in_its_owners_way() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "followed").await).await;
    take(&broker, 0, 1, "a").await.append(LogKind::Outcomes, batch(["1"])).await.unwrap();
    let mut followers = waiting((0..MANY).map(|_| broker.follower(P))).await;
    let owned = take(&broker, 0, 2, "b").await;
    owned.append(LogKind::Outcomes, batch(["2"])).await.unwrap();
    assert_eq!(numbers(&read_all(&broker, 0, LogKind::Outcomes).await), [1, 2]);
    let body = vec![1];
    let (outcomes, events) = (owned.end(LogKind::Outcomes), Offset(0));
    let snapshot = broker::Snapshot { epoch: owned.epoch(), outcomes, events, body };
    broker.keep_snapshot(P, snapshot).await.unwrap();
    for follower in &mut followers {
        let waited = tokio::time::timeout(LIMIT, follower.wait_beyond(Offset(3))).await;
        waited.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_overs_that_fail_leave_nothing_behind() {
    let Some(cluster) = cluster().await else { return };
    let broker = connect(&hunt(cluster, "untaken").await).await;
    let owned = take(&broker, 0, 5, "a").await;
    owned.append(LogKind::Outcomes, batch(["1"])).await.unwrap();
    let mut reader = broker.reader(P, LogKind::Outcomes);
    let before = end_of(&mut reader).await;
    for epoch in [3, 4, 5] {
        let refused = try_take(&broker, 0, epoch, "b").await.err().unwrap();
        assert!(matches!(refused, Error::Superseded { holds, .. } if holds.0 == 5), "{refused:?}");
    }
    let readers = waiting((0..MANY).map(|_| broker.reader(P, LogKind::Outcomes))).await;
    for _ in 0..5 {
        let refused = try_take(&broker, 0, 6, "b").await.err().unwrap();
        assert!(matches!(refused, Error::Kafka(KafkaTrouble::Busy { .. })), "{refused:?}");
    }
    assert_eq!(end_of(&mut reader).await, before);
    drop(readers);
    take(&broker, 0, 6, "b").await;
}
