//! A snapshot is the whole truth about a prefix of this log, or is not believed: damage, other
//! builds, fenced owners and exchanged logs.

use std::fs;
use std::path::{Path, PathBuf};

use config_schemas::{Epoch, HuntName, Offset, PartitionId};
use tempfile::TempDir;

use super::*;
use crate::embedded::{Embedded, EmbeddedOptions, EmbeddedOwned};
use crate::traits::{Broker as _, Owned as _};
use crate::{Claim, Records};

const P: PartitionId = PartitionId(3);

struct World {
    folder: TempDir,
    broker: Embedded,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = open(folder.path());
        World { folder, broker }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("default.harbour").join(P.to_string())
    }

    async fn take(&self, epoch: u64) -> EmbeddedOwned {
        let owner = format!("node-{epoch}");
        let claim = Claim { epoch: Epoch(epoch), owner, incarnation: format!("{epoch}") };
        self.broker.take(P, claim).await.expect("taken")
    }

    async fn keep(&self, epoch: u64, outcomes: u64) -> Result<(), Error> {
        let body = format!("{epoch}:{outcomes}").into_bytes();
        let (epoch, outcomes) = (Epoch(epoch), Offset(outcomes));
        let snapshot = Snapshot { epoch, outcomes, events: Offset(0), body };
        self.broker.keep_snapshot(P, snapshot).await
    }

    async fn newest(&self) -> Option<String> {
        let text = |snapshot: Snapshot| Ok(String::from_utf8_lossy(&snapshot.body).into_owned());
        self.broker.kept_snapshot(P, text).await.expect("looked")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).expect("listed");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
        let names = names.map(|name| name.expect("text"));
        let mut names: Vec<_> = names.filter(|name| name.starts_with("state")).collect();
        names.sort();
        names
    }

    /// Writes a snapshot without asking whether the log holds what it is about.
    fn forge(&self, epoch: u64, outcomes: u64, last: Last) {
        let body = b"forged".to_vec();
        let snapshot =
            Snapshot { epoch: Epoch(epoch), outcomes: Offset(outcomes), events: Offset(0), body };
        let name = Name { outcomes, epoch };
        let bytes = encode(P, &snapshot, last);
        fs::write(self.dir().join(name.to_string()), bytes).expect("written");
    }
}

fn open(dir: &Path) -> Embedded {
    let hunt = HuntName::new("default", "harbour").expect("a name");
    Embedded::open(EmbeddedOptions::new(dir, hunt)).expect("opened")
}

async fn outcome(owned: &EmbeddedOwned, texts: &[&str]) {
    let mut records = Records::new();
    texts.iter().for_each(|text| records.push(text.as_bytes()));
    owned.append(LogKind::Outcomes, records).await.expect("durable");
}

#[tokio::test]
async fn the_newest_counts_and_the_one_before_it_is_kept() {
    let world = World::new();
    assert_eq!(world.newest().await, None);
    let owned = world.take(1).await;
    outcome(&owned, &["a", "b", "c"]).await;
    for outcomes in 1..=3 {
        world.keep(1, outcomes).await.expect("kept");
        assert_eq!(world.newest().await, Some(format!("1:{outcomes}")));
    }
    assert_eq!(world.files().len(), 2);
    let owned = world.take(2).await;
    assert_eq!(world.newest().await, Some("1:3".into()), "an earlier owner's fact stays one");
    outcome(&owned, &["d"]).await;
    world.keep(2, 4).await.expect("kept");
    assert_eq!(world.newest().await, Some("2:4".into()));
    // a stale owner that wakes up states what it knows, and takes nothing newer away
    world.keep(1, 2).await.expect("true, so kept");
    assert_eq!(world.newest().await, Some("2:4".into()));
}

#[tokio::test]
async fn what_no_reader_believes_is_not_kept() {
    let world = World::new();
    let owned = world.take(1).await;
    outcome(&owned, &["a"]).await;
    for outcomes in [0, 2] {
        let refused = world.keep(1, outcomes).await;
        assert!(matches!(refused, Err(Error::NotInLog { .. })), "{outcomes}: {refused:?}");
    }
    assert_eq!(world.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fenced_owner_s_snapshot_of_what_nobody_believes_is_left_out() {
    let world = World::new();
    let owned = world.take(1).await;
    outcome(&owned, &["a"]).await;
    world.keep(1, 1).await.expect("kept");
    let owned = world.take(2).await;
    outcome(&owned, &["b", "c"]).await;
    // what the first owner wrote at the second place and nobody acknowledged, down to the text
    world.forge(1, 2, Last { epoch: 1, seq: 1, at: 137, crc: crc32c::crc32c(b"b") });
    world.forge(1, 9, Last { epoch: 1, seq: 1, at: 137, crc: crc32c::crc32c(b"b") });
    assert_eq!(world.newest().await, Some("1:1".into()));
    // the owner's next one clears up what cannot be about this log
    world.keep(2, 3).await.expect("kept");
    assert_eq!(world.newest().await, Some("2:3".into()));
    assert!(!world.files().iter().any(|name| name.contains("o00000000000000000009")));
}

#[tokio::test]
async fn a_snapshot_of_an_exchanged_log_is_left_out() {
    let world = World::new();
    let owned = world.take(1).await;
    outcome(&owned, &["a", "b"]).await;
    world.keep(1, 2).await.expect("kept");
    let kept = world.files().remove(0);
    let bytes = fs::read(world.dir().join(&kept)).expect("read");
    let other = World::new();
    let owned = other.take(1).await;
    fs::write(other.dir().join(&kept), bytes).expect("written");
    assert_eq!(other.newest().await, None, "beyond the end");
    outcome(&owned, &["a", "x"]).await;
    assert_eq!(other.newest().await, None, "another record");
    outcome(&owned, &["b"]).await;
    assert_eq!(other.newest().await, None, "the same record elsewhere");
}

#[tokio::test]
async fn damage_at_any_byte_and_any_cut_is_seen_and_the_one_before_counts() {
    let world = World::new();
    let owned = world.take(1).await;
    outcome(&owned, &["a", "b"]).await;
    world.keep(1, 1).await.expect("kept");
    world.keep(1, 2).await.expect("kept");
    let path = world.dir().join(world.files().pop().expect("one"));
    let good = fs::read(&path).expect("read");
    let name = Name { outcomes: 2, epoch: 1 };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(decode(P, name, bad).is_err(), "byte {at}");
        assert!(decode(P, name, good[..at].to_vec()).is_err(), "cut at {at}");
    }
    let mut newer = good.clone();
    newer[8] = 2;
    for (bytes, why) in [(newer, "another build's"), (good[..85].to_vec(), "a torn one")] {
        fs::write(&path, bytes).expect("written");
        assert_eq!(world.newest().await, Some("1:1".into()), "{why}");
    }
    assert!(decode(PartitionId(4), name, good.clone()).is_err(), "another partition's");
    fs::write(&path, good).expect("written");
    assert_eq!(world.newest().await, Some("1:2".into()));
}

#[tokio::test]
async fn drafts_of_processes_that_ended_go_with_the_next_snapshot() {
    let world = World::new();
    let owned = world.take(2).await;
    outcome(&owned, &["a"]).await;
    for draft in ["state.o00000000000000000001.e1.77.tmp", "state.o00000000000000000009.e3.78.tmp"]
    {
        fs::write(world.dir().join(draft), "half").expect("written");
    }
    world.keep(2, 1).await.expect("kept");
    let names = world.files();
    assert_eq!(names.len(), 2, "a newer owner's draft stays: {names:?}");
}

#[test]
fn a_name_says_all_and_nothing_else_is_a_name() {
    let name = Name { outcomes: 12, epoch: 3 };
    assert_eq!(name.to_string().parse(), Ok(name));
    for text in ["state.o12.e3.snapshot", "state.oX.e3.snapshot", "EPOCH", ""] {
        assert_eq!(text.parse::<Name>(), Err(()), "{text}");
    }
}
