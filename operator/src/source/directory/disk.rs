//! The files themselves: listed with their stamps, read, and written so that a reader sees the
//! old text or the new one, never half of one. Each act ends in time, also on a disk that does not
//! answer. I/O.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::files::StatusFile;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What a status file's name ends in.
const STATUS_SUFFIX: &str = ".status.yaml";
/// Longest time of one act: ten thousand files on a busy machine are listed in a fraction of it.
const ACT_WITHIN: Duration = Duration::from_secs(5);
/// Files read at the same time. Also how many threads a disk that does not answer can hold.
pub(super) const READS_AT_ONCE: usize = 32;

/// Tells a changed file from an unchanged one: time and length of the file and of its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    file: Option<(SystemTime, u64)>,
    status: Option<(SystemTime, u64)>,
}

/// The way to the files. An act that did not end in time keeps its place until it does, so that
/// neither threads pile up nor an old write lands on a newer one.
pub(super) struct Disk {
    lists: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Disk {
    pub(super) fn new() -> Disk {
        let places = |count| Arc::new(Semaphore::new(count));
        Disk { lists: places(1), reads: places(READS_AT_ONCE), writes: places(1) }
    }

    /// Every file of hunts, also one of which only the status is left. One hop to a thread for all
    /// of them: ten thousand hops cost a busy machine seconds.
    pub(super) async fn list(
        &self,
        directory: &Path,
    ) -> io::Result<BTreeMap<PathBuf, Option<Stamp>>> {
        let directory = directory.to_owned();
        act(&self.lists, ACT_WITHIN, move || list_now(&directory)).await
    }

    /// The file's text, `None` when it is gone, and its status file, empty when there is none.
    pub(super) async fn read(&self, path: &Path) -> io::Result<(Option<String>, StatusFile)> {
        let path = path.to_owned();
        act(&self.reads, ACT_WITHIN, move || read_now(&path)).await
    }

    /// Writes the status beside the file; takes it away when no hunt is left and the file is gone.
    /// Not synced: etcd has all that must not be lost. Out: the stamp of now. The file's part of it
    /// stays as it was read: what somebody saved there meanwhile has not been read yet.
    pub(super) async fn write(
        &self,
        path: &Path,
        status: &StatusFile,
        read: Option<&Stamp>,
    ) -> io::Result<Option<Stamp>> {
        let (path, file) = (path.to_owned(), read.and_then(|stamp| stamp.file));
        let text = serde_yaml::to_string(status).map_err(io::Error::other)?;
        let says_nothing = status.hunts.is_empty() && status.problems.is_empty();
        let write = move || {
            write_now(&path, &text, says_nothing)?;
            Ok(Stamp { file, status: of(&status_path(&path)) }.some())
        };
        act(&self.writes, ACT_WITHIN, write).await
    }
}

/// Carries it out on a thread of its own, when there is a place for it.
async fn act<T: Send + 'static>(
    places: &Arc<Semaphore>,
    within: Duration,
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let places = Arc::clone(places);
    let acted = timeout(within, async move {
        let place = places.acquire_owned().await.map_err(io::Error::other)?;
        let act = move || {
            let done = act();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?
    });
    acted.await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {within:?}")))
    })
}

fn list_now(directory: &Path) -> io::Result<BTreeMap<PathBuf, Option<Stamp>>> {
    let mut found: BTreeMap<PathBuf, Option<Stamp>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let base = name.strip_suffix(STATUS_SUFFIX).unwrap_or(&name);
        let is_yaml = base.ends_with(".yaml") || base.ends_with(".yml");
        if !is_yaml || base.starts_with('.') {
            continue;
        }
        let path = directory.join(base);
        // A file and its status file are met apart.
        if let Entry::Vacant(entry) = found.entry(path) {
            let (file, status) = (of(entry.key()), of(&status_path(entry.key())));
            entry.insert(Stamp { file, status }.some());
        }
    }
    Ok(found)
}

fn of(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

impl Stamp {
    fn some(self) -> Option<Stamp> {
        (self.file.is_some() || self.status.is_some()).then_some(self)
    }
}

fn read_now(path: &Path) -> io::Result<(Option<String>, StatusFile)> {
    let text = bounded(path)?;
    let status = match bounded(&status_path(path))? {
        Some(text) => {
            serde_yaml::from_str(&text).map_err(|error| odd(format!("the status file: {error}")))?
        }
        None => StatusFile::default(),
    };
    Ok((text, status))
}

/// The text of a plain file; `None` when there is nothing of that name.
fn bounded(path: &Path) -> io::Result<Option<String>> {
    let meta = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match std::fs::symlink_metadata(path) {
                // What it should lead to may be on its way back.
                Ok(_) => Err(odd("a link to nothing".to_owned())),
                Err(_) => Ok(None),
            };
        }
        meta => meta?,
    };
    // To open anything else may wait for somebody at its other end, for ever.
    if !meta.is_file() {
        return Err(odd("not a plain file".to_owned()));
    }
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?,
    };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(odd(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(text))
}

fn odd(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn write_now(path: &Path, text: &str, says_nothing: bool) -> io::Result<()> {
    let target = status_path(path);
    let is_there = std::fs::exists(path)?;
    if says_nothing && !is_there {
        return match std::fs::remove_file(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
    }
    // A disk that was taken away must not be started anew in what is left of its directory.
    if !is_there && !std::fs::exists(&target)? {
        let text = "neither the file nor its status file is there";
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = target.with_file_name(name);
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, &target)
}

fn status_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(STATUS_SUFFIX);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_act_that_hangs_ends_in_time_and_keeps_its_place_until_it_ends() {
        let places = Arc::new(Semaphore::new(1));
        let (end, hangs) = std::sync::mpsc::channel::<()>();
        let soon = Duration::from_millis(50);
        let hang = act(&places, soon, move || hangs.recv().map_err(io::Error::other));
        assert_eq!(hang.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let next = act(&places, soon, || Ok(()));
        assert_eq!(next.await.unwrap_err().kind(), io::ErrorKind::TimedOut, "no second thread");
        end.send(()).unwrap();
        act(&places, ACT_WITHIN, || Ok(())).await.unwrap();
    }
}
