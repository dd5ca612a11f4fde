//! Records that every replica has, and nobody can read.

use std::path::{Path, PathBuf};

use broker::kafka::{Compression, KafkaTrouble};
use broker::{Broker as _, Error, LogKind, Owned as _, Reader as _};
use config_schemas::{Offset, PartitionId};

use crate::world::{LIMIT, batch, cluster, connect, hunt, read_all, take, texts};

/// Changes a word in all segments of a partition. Out: in how many.
fn damage(dir: &Path, partition: &str, (old, new): (&str, &str)) -> usize {
    let segment = |path: &PathBuf| {
        let of = path.parent().and_then(Path::file_name);
        of.is_some_and(|of| of == partition) && path.extension().is_some_and(|it| it == "log")
    };
    let (mut folders, mut damaged) = (vec![dir.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        // somebody may delete files meanwhile
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if segment(&path) {
                let mut bytes = std::fs::read(&path).unwrap();
                let at = bytes.windows(old.len()).position(|part| part == old.as_bytes());
                bytes[at.unwrap()..][..new.len()].copy_from_slice(new.as_bytes());
                std::fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
    }
    damaged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_told_and_never_skipped_and_other_partitions_go_on() {
    let Some(cluster) = cluster().await else { return };
    let mut options = hunt(cluster, "damaged").await;
    options.settings.producer.compression = Compression::None;
    let broker = connect(&options).await;
    let (owned, other) = (take(&broker, 0, 1, "a").await, take(&broker, 1, 1, "a").await);
    for text in ["first", "second", "third"] {
        owned.append(LogKind::Events, batch([text])).await.unwrap();
    }
    let damaged = damage(&cluster.options().dir, "damaged.events-0", ("second", "sexond"));
    assert_eq!(damaged, 3, "replicas");
    let broker = connect(&options).await;
    let mut idle = broker.reader(PartitionId(1), LogKind::Events);
    idle.read(Offset(0), 1_000).await.unwrap();
    let mut reader = broker.reader(PartitionId(0), LogKind::Events);
    for _ in 0..2 {
        let first = reader.read(Offset(0), 1_000).await.unwrap();
        assert_eq!((texts(&first.records), first.next), (vec!["first".to_owned()], Offset(1)));
        let waited = tokio::time::timeout(LIMIT, async {
            reader.wait_beyond(Offset(1)).await?;
            reader.read(Offset(1), 1_000).await.map(|chunk| texts(&chunk.records))
        });
        let told = waited.await.unwrap();
        assert!(matches!(&told, Err(Error::Kafka(KafkaTrouble::Unreadable { .. }))), "{told:?}");
        assert!(matches!(broker.trouble(), Some(KafkaTrouble::Unreadable { .. })));
    }
    other.append(LogKind::Events, batch(["here"])).await.unwrap();
    tokio::time::timeout(LIMIT, idle.wait_beyond(Offset(0))).await.unwrap().unwrap();
    assert_eq!(texts(&read_all(&broker, 1, LogKind::Events).await), ["here"]);
}
