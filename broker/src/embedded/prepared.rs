//! Files that lie ready for a take-over, so that it does not wait for the disk to find room for
//! them. In: a partition. Out: drafts without a meaning to anybody, gone unless they are used.
//! I/O, blocking.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::embedded::files::{Files, create_dir, remove_if_there};
use crate::embedded::format::HEADER_LEN;
use crate::error::Error;
use crate::traits::LogKind;

/// Names that are tried for one draft. A process that was killed leaves a few behind.
const NAMES_MAX: usize = 100;

/// Drafts of the segments that a take-over begins with.
pub(crate) struct Prepared {
    pub(crate) drafts: [Draft; 2],
}

/// A file that is to get its name; removed if it does not.
pub(crate) struct Draft {
    pub(crate) file: File,
    /// None of its own any more once it is a segment.
    path: Option<PathBuf>,
}

impl Draft {
    /// An empty one.
    pub(crate) fn new(path: PathBuf) -> Result<Draft, Error> {
        let made = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = made.map_err(Error::io("create", &path))?;
        Ok(Draft { file, path: Some(path) })
    }

    /// Renames it.
    pub(crate) fn become_named(mut self, name: &Path) -> Result<File, Error> {
        if let Some(path) = &self.path {
            fs::rename(path, name).map_err(Error::io("rename to", name))?;
        }
        self.path = None;
        self.file.try_clone().map_err(Error::io("hold", name))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // only tidiness: a draft has no meaning to anybody
            let _ = remove_if_there(path);
        }
    }
}

impl Prepared {
    pub(crate) fn make(files: &dyn Files, dir: &Path) -> Result<Prepared, Error> {
        create_dir(files, dir).map_err(Error::io("create", dir))?;
        let [events, outcomes] = LogKind::ALL;
        Ok(Prepared { drafts: [draft(files, dir, events)?, draft(files, dir, outcomes)?] })
    }
}

/// With room for a header: writing that into it later changes nothing but its bytes.
fn draft(files: &dyn Files, dir: &Path, kind: LogKind) -> Result<Draft, Error> {
    let draft = nameless(dir, kind)?;
    files
        .write_at(&draft.file, &[0; HEADER_LEN as usize], 0)
        .and_then(|()| files.sync(&draft.file))
        .map_err(Error::io("write drafts in", dir))?;
    Ok(draft)
}

/// Under a name that nobody has: processes that share a directory may share their number too, and
/// two must never share a draft.
fn nameless(dir: &Path, kind: LogKind) -> Result<Draft, Error> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for _ in 0..NAMES_MAX {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{kind:?}.{}.{number}.tmp", std::process::id()).to_lowercase();
        let path = dir.join(name);
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let file = made.map_err(Error::io("create", &path))?;
                return Ok(Draft { file, path: Some(path) });
            }
        }
    }
    Err(Error::io("create drafts in", dir)(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::files::Disk;

    #[test]
    fn drafts_that_are_not_used_are_gone_and_no_two_are_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = || std::fs::read_dir(dir.path()).expect("readable").count();
        let one = Prepared::make(&Disk, dir.path()).expect("made");
        let other = Prepared::make(&Disk, dir.path()).expect("made");
        assert_eq!(names(), 4);
        drop(one);
        assert_eq!(names(), 2);
        let [events, outcomes] = other.drafts;
        events.become_named(&dir.path().join("named")).expect("renamed");
        drop(outcomes);
        assert_eq!(names(), 1);
    }

    #[tokio::test]
    async fn a_take_over_begins_in_the_files_that_lie_ready() {
        use std::os::unix::fs::MetadataExt as _;

        use config_schemas::{Epoch, HuntName, PartitionId};

        use crate::{Broker as _, Claim, Embedded, EmbeddedOptions};

        let data = tempfile::tempdir().expect("a directory");
        let hunt = HuntName::new("default", "harbour").expect("a name");
        let log = Embedded::open(EmbeddedOptions::new(data.path(), hunt)).expect("opened");
        log.prepare(PartitionId(3)).await.expect("prepared");
        let files = |ending: &str| -> Vec<u64> {
            let entries = std::fs::read_dir(data.path().join("default.harbour/3"));
            let entries = entries.expect("readable").map(|entry| entry.expect("readable"));
            let ends = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(ending);
            let found = entries.filter(|entry| ends(&entry.file_name()));
            let mut found: Vec<_> =
                found.map(|entry| entry.metadata().expect("there").ino()).collect();
            found.sort_unstable();
            found
        };
        let ready = files(".tmp");
        let claim = Claim { epoch: Epoch(1), owner: "a".into(), incarnation: "a-1".into() };
        let _owned = log.take(PartitionId(3), claim).await.expect("taken");
        assert_eq!((ready.len(), files(".log"), files(".tmp")), (2, ready, Vec::new()));
    }
}
