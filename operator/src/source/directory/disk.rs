//! The files themselves: listed with their stamps, read, and written so that a reader sees the
//! old text or the new one, never half of one. I/O.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::fs;

use super::files::StatusFile;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What a status file's name ends in.
const STATUS_SUFFIX: &str = ".status.yaml";

/// Tells a changed file from an unchanged one: time and length of the file and of its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    file: Option<(SystemTime, u64)>,
    status: Option<(SystemTime, u64)>,
}

/// Every file of hunts, also one of which only the status is left. One hop to a thread for all of
/// them: ten thousand hops cost a busy machine seconds.
pub(super) async fn list(directory: &Path) -> io::Result<BTreeMap<PathBuf, Option<Stamp>>> {
    let directory = directory.to_owned();
    tokio::task::spawn_blocking(move || list_now(&directory)).await.map_err(io::Error::other)?
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
        if !found.contains_key(&path) {
            let stamp = Stamp { file: of(&path), status: of(&status_path(&path)) }.some();
            found.insert(path, stamp);
        }
    }
    Ok(found)
}

/// The stamp after we wrote the status. The file's part stays as it was read: what somebody saved
/// there meanwhile has not been read yet.
pub(super) async fn stamp_of_written(path: &Path, read: Option<Stamp>) -> Option<Stamp> {
    let (file, path) = (read.and_then(|stamp| stamp.file), status_path(path));
    let status = tokio::task::spawn_blocking(move || of(&path)).await.ok().flatten();
    Stamp { file, status }.some()
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

/// The file's text, `None` when it is gone, and its status file, empty when there is none.
pub(super) async fn read(path: &Path) -> io::Result<(Option<String>, StatusFile)> {
    let text = bounded(path).await?;
    let status = match bounded(&status_path(path)).await? {
        Some(text) => serde_yaml::from_str(&text).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the status file: {error}"))
        })?,
        None => StatusFile::default(),
    };
    Ok((text, status))
}

/// Writes the status beside the file; takes it away when no hunt is left and the file is gone. Not
/// synced: etcd has all that must not be lost.
pub(super) async fn write(path: &Path, status: &StatusFile) -> io::Result<()> {
    let path = path.to_owned();
    let text = serde_yaml::to_string(status).map_err(io::Error::other)?;
    let says_nothing = status.hunts.is_empty() && status.problems.is_empty();
    let write = move || write_now(&path, &text, says_nothing);
    tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
}

fn write_now(path: &Path, text: &str, says_nothing: bool) -> io::Result<()> {
    let target = status_path(path);
    if says_nothing && !std::fs::exists(path)? {
        return match std::fs::remove_file(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
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

async fn bounded(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(meta) if meta.len() > FILE_BYTES_MAX => {
            let text = format!("{} bytes, more than {FILE_BYTES_MAX}", meta.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(_) => {}
    }
    match fs::read_to_string(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
