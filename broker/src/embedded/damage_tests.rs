//! Torn tails, damaged bytes and full disks: what was not acknowledged is left out, what was is
//! named with file and place, and the log goes on when the disk does.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config_schemas::{Epoch, HuntName, Offset, PartitionId};

use super::files::{Disk, Files};
use super::format::{FRAME_LEN, HEADER_LEN, frame};
use super::{Embedded, EmbeddedOptions};
use crate::traits::{Broker, LogKind, Owned, Reader};
use crate::{Chunk, Claim, Error, Records};

const P: PartitionId = PartitionId(0);
/// Far above what anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// A disk that can be full, or fail when told to sync.
#[derive(Default)]
struct Failing {
    full: AtomicBool,
    unsynced: AtomicBool,
}

impl Files for Failing {
    fn write_at(&self, file: &fs::File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            // as a real disk does, it takes a part of it first
            Disk.write_at(file, &bytes[..bytes.len() / 2], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Disk.write_at(file, bytes, at)
    }

    fn sync(&self, file: &fs::File) -> io::Result<()> {
        if self.unsynced.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Disk.sync(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }
}

fn open_on(dir: &Path, files: Arc<dyn Files>) -> Embedded {
    let hunt = HuntName::new("default", "harbour").expect("a name");
    Embedded::open_on(EmbeddedOptions::new(dir, hunt), files, Duration::ZERO).expect("opened")
}

fn open(dir: &Path) -> Embedded {
    open_on(dir, Arc::new(Disk))
}

fn claim(epoch: u64) -> Claim {
    Claim { epoch: Epoch(epoch), owner: "agent".into(), incarnation: "run".into() }
}

fn one(text: &str) -> Records {
    let mut records = Records::new();
    records.push(text.as_bytes());
    records
}

async fn read(broker: &Embedded, from: u64) -> Result<Chunk, Error> {
    broker.reader(P, LogKind::Events).read(Offset(from), 1 << 20).await
}

async fn texts(broker: &Embedded) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let chunk = read(broker, texts.len() as u64).await.expect("readable");
        if chunk.records.is_empty() {
            return texts;
        }
        let text = |r: &crate::Record| String::from_utf8_lossy(&r.payload).into_owned();
        texts.extend(chunk.records.iter().map(text));
    }
}

/// The newest segment of the events, by epoch.
fn newest_segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("default.harbour/0")).expect("listed");
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    names.retain(|path| path.to_string_lossy().contains("/events."));
    names.sort();
    names.pop().expect("a segment")
}

async fn written(dir: &Path, texts: &[&str]) -> PathBuf {
    let owned = open(dir).take(P, claim(1)).await.expect("taken");
    for text in texts {
        owned.append(LogKind::Events, one(text)).await.expect("appended");
    }
    newest_segment(dir)
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_left_out_and_the_log_goes_on() {
    let mut torn = Vec::new();
    frame(&one("torn"), &mut torn);
    for cut in 0..torn.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let segment = written(dir.path(), &["one", "two"]).await;
        let file = fs::OpenOptions::new().append(true).open(&segment).expect("opened");
        io::Write::write_all(&mut &file, &torn[..cut]).expect("torn");
        let broker = open(dir.path());
        assert_eq!(texts(&broker).await, ["one", "two"], "cut at {cut}, before the take-over");
        let owned = broker.take(P, claim(2)).await.expect("taken");
        assert_eq!(owned.end(LogKind::Events), Offset(2), "cut at {cut}");
        owned.append(LogKind::Events, one("three")).await.expect("appended");
        assert_eq!(texts(&broker).await, ["one", "two", "three"], "cut at {cut}");
    }
}

#[tokio::test]
async fn a_whole_record_behind_the_mark_is_kept_by_the_next_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = written(dir.path(), &["one"]).await;
    let mut whole = Vec::new();
    frame(&one("synced, then killed before the mark"), &mut whole);
    let file = fs::OpenOptions::new().append(true).open(&segment).expect("opened");
    io::Write::write_all(&mut &file, &whole).expect("written");
    let broker = open(dir.path());
    assert_eq!(texts(&broker).await.len(), 1);
    let owned = broker.take(P, claim(2)).await.expect("taken");
    assert_eq!(owned.end(LogKind::Events), Offset(2));
    assert_eq!(texts(&broker).await.len(), 2);
}

#[tokio::test]
async fn any_damaged_byte_is_named_with_file_and_place() {
    let first = HEADER_LEN as usize;
    let second = first + FRAME_LEN + 3;
    let len = second + FRAME_LEN + 3;
    for at in (0..36).chain(64..84).chain(first..len) {
        let dir = tempfile::tempdir().expect("a directory");
        let segment = written(dir.path(), &["one", "two"]).await;
        assert_eq!(fs::metadata(&segment).expect("there").len() as usize, len);
        let file = fs::OpenOptions::new().write(true).read(true).open(&segment).expect("opened");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at as u64).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], at as u64).expect("damaged");
        let broker = open(dir.path());
        let damage = match read(&broker, 0).await {
            Err(error) => error,
            Ok(chunk) => {
                assert_eq!(chunk.records.len(), 1, "byte {at}: what is before it is read");
                read(&broker, 1).await.expect_err("damaged")
            }
        };
        let expected = match at {
            0..36 => 0,
            36..84 => 64,
            84.. if at < second => first,
            84.. => second,
        };
        let Error::Corrupt { file, at: place, .. } = &damage else { panic!("{at}: {damage}") };
        assert_eq!((file, *place as usize), (&segment, expected), "byte {at}: {damage}");
        assert!(!damage.retryable());
    }
}

#[tokio::test]
async fn a_segment_that_lost_acknowledged_bytes_is_not_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = written(dir.path(), &["one", "two"]).await;
    let len = fs::metadata(&segment).expect("there").len();
    let file = fs::OpenOptions::new().write(true).open(&segment).expect("opened");
    file.set_len(len - 1).expect("cut");
    let broker = open(dir.path());
    for epoch in 2..4 {
        let taken = broker.take(P, claim(epoch)).await.err();
        assert!(
            matches!(&taken, Some(Error::Corrupt { file, at, .. }) if file == &segment && *at == len - 1),
            "{taken:?}"
        );
    }
}

#[tokio::test]
async fn a_head_shorter_than_its_mark_is_read_up_to_the_cut_and_the_place_is_named() {
    let first = HEADER_LEN + FRAME_LEN as u64 + 3;
    let len = first + FRAME_LEN as u64 + 3;
    for cut in HEADER_LEN..len {
        let dir = tempfile::tempdir().expect("a directory");
        let segment = written(dir.path(), &["one", "two"]).await;
        let file = fs::OpenOptions::new().write(true).open(&segment).expect("opened");
        file.set_len(cut).expect("cut");
        let broker = open(dir.path());
        let whole = u64::from(cut >= first);
        if whole > 0 {
            assert_eq!(read(&broker, 0).await.expect("before the cut").next, Offset(1), "{cut}");
        }
        // a read that spins keeps its thread, and the runtime would wait for that
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("built");
            let _ = done.send(runtime.block_on(read(&broker, whole)));
        });
        let damage = ended.recv_timeout(PATIENCE).expect("it spins").expect_err("cut");
        let Error::Corrupt { file, at, .. } = &damage else { panic!("{cut}: {damage}") };
        let place = if whole > 0 { first } else { HEADER_LEN };
        assert_eq!((file, *at), (&segment, place), "{cut}: {damage}");
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_the_log_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(Failing::default());
    let broker = open_on(dir.path(), Arc::clone(&disk) as _);
    let owned = broker.take(P, claim(1)).await.expect("taken");
    owned.append(LogKind::Events, one("before")).await.expect("appended");
    disk.full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let full = owned.append(LogKind::Events, one("lost")).await.expect_err("full");
        assert!(full.is_disk_full() && full.retryable(), "{full}");
        assert_eq!(texts(&broker).await, ["before"]);
    }
    disk.full.store(false, Ordering::Relaxed);
    assert_eq!(owned.append(LogKind::Events, one("after")).await.expect("room"), [Offset(1)]);
    assert_eq!(texts(&broker).await, ["before", "after"]);
    let next = open(dir.path()).take(P, claim(2)).await.expect("taken");
    assert_eq!(next.end(LogKind::Events), Offset(2));
}

#[tokio::test]
async fn a_group_that_could_not_be_synced_is_not_acknowledged_even_if_it_was_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(Failing::default());
    let broker = open_on(dir.path(), Arc::clone(&disk) as _);
    let owned = broker.take(P, claim(1)).await.expect("taken");
    owned.append(LogKind::Events, one("before")).await.expect("appended");
    disk.unsynced.store(true, Ordering::Relaxed);
    let failed = owned.append(LogKind::Events, one("doubtful")).await.expect_err("not synced");
    assert!(failed.retryable() && !failed.is_disk_full(), "{failed}");
    disk.unsynced.store(false, Ordering::Relaxed);
    owned.append(LogKind::Events, one("after")).await.expect("synced");
    assert_eq!(texts(&broker).await, ["before", "after"]);
}
