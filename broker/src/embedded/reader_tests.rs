//! What a reader learns of a log that another process writes: here, another broker of the same
//! directory.

use std::time::Duration;

use config_schemas::{Epoch, HuntName, Offset, PartitionId};
use tokio::time::Instant;

use super::*;
use crate::records::Records;
use crate::{Broker as _, Claim, Embedded, EmbeddedOptions, EmbeddedOwned, Owned as _};

const P: PartitionId = PartitionId(3);
/// Far above what anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(20);

fn broker(dir: &std::path::Path) -> Embedded {
    let hunt = HuntName::new("default", "harbour").expect("a name");
    Embedded::open(EmbeddedOptions::new(dir, hunt)).expect("opened")
}

async fn take(broker: &Embedded, epoch: u64) -> EmbeddedOwned {
    let owner = format!("node-{epoch}");
    let claim = Claim { epoch: Epoch(epoch), owner: owner.clone(), incarnation: owner };
    broker.take(P, claim).await.expect("taken")
}

async fn append(owned: &EmbeddedOwned, log: LogKind) {
    let mut records = Records::new();
    records.push(b"one");
    owned.append(log, records).await.expect("durable");
}

async fn told(reader: &mut EmbeddedReader, offset: u64) {
    let waited = tokio::time::timeout(PATIENCE, reader.wait_beyond(Offset(offset))).await;
    waited.expect("it is told").expect("read");
}

#[tokio::test]
async fn a_log_that_another_process_writes_tells_its_readers_and_nobody_else() {
    let data = tempfile::tempdir().expect("a directory");
    let (writer, other) = (broker(data.path()), broker(data.path()));
    let owned = take(&writer, 1).await;
    let mut outcomes = other.reader(P, LogKind::Outcomes);
    let mut events = other.reader(P, LogKind::Events);
    outcomes.follow();
    events.follow();
    append(&owned, LogKind::Outcomes).await;
    let following = outcomes.following.as_mut().expect("this file system tells");
    assert!(tokio::time::timeout(PATIENCE, following.stirred()).await.expect("told"));
    let quiet = events.following.as_mut().expect("followed").stirred();
    assert!(
        tokio::time::timeout(5 * LOOK_AGAIN_MIN, quiet).await.is_err(),
        "the other log is told"
    );
    told(&mut outcomes, 0).await;
    // also of a log that was taken over, by a third one
    let (third, began) = (broker(data.path()), Instant::now());
    let mut followed = 0;
    for epoch in 2..12 {
        let (owned, offset) = (take(&third, epoch).await, epoch - 1);
        let (waited, ()) =
            tokio::join!(told(&mut outcomes, offset), append(&owned, LogKind::Outcomes));
        drop((waited, owned));
        followed += usize::from(outcomes.following.is_some());
    }
    assert_eq!(followed, 10);
    assert!(began.elapsed() < 5 * LOOK_ANYWAY, "it only looked now and then");
}

#[tokio::test]
async fn a_reader_follows_no_files_of_a_log_that_is_written_here_and_none_that_is_not_there() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = broker(data.path());
    let mut reader = broker.reader(P, LogKind::Outcomes);
    reader.follow();
    assert!(reader.following.is_none(), "nobody ever took it");
    let owned = take(&broker, 1).await;
    let ((), ()) = tokio::join!(told(&mut reader, 0), append(&owned, LogKind::Outcomes));
    assert!(reader.following.is_none(), "the writer tells it");
    owned.release().await;
    drop(owned);
    reader.follow();
    assert!(reader.following.is_some(), "whoever is next may be in another process");
}

#[tokio::test]
async fn the_last_one_to_follow_ends_the_watch_and_the_last_broker_the_thread() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = broker(data.path());
    drop(take(&broker, 1).await);
    let mut readers = [LogKind::Outcomes, LogKind::Outcomes, LogKind::Events].map(|log| {
        let mut reader = broker.reader(P, log);
        reader.follow();
        reader
    });
    let watches = || broker.shared.watcher().expect("there").watches();
    assert_eq!(watches(), 1);
    for reader in &mut readers[..2] {
        reader.following = None;
    }
    assert_eq!(watches(), 1);
    readers[2].following = None;
    assert_eq!(watches(), 0);
    let mut left = broker.reader(P, LogKind::Events);
    left.follow();
    let mut following = left.following.take().expect("followed");
    drop((readers, left, broker));
    let told = tokio::time::timeout(PATIENCE, following.stirred()).await.expect("it is told");
    assert!(!told, "nobody follows any more");
}
