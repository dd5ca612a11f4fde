//! The few file operations whose failure decides what may be acknowledged, behind one seam so that
//! a full or failing disk can be played. I/O, blocking.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What appending does to a file.
pub(crate) trait Files: Send + Sync + 'static {
    /// Writes all bytes at a place.
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when what was written is durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Returns when the names in a directory are durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether owners heed newer claims. Only a simulation that proves its detectors says no.
    #[cfg(feature = "sim")]
    fn is_fenced(&self) -> bool {
        true
    }
}

/// The machine's own.
pub(crate) struct Disk;

impl Files for Disk {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Creates a directory and what is missing above it, all of them durable.
pub(crate) fn create_dir(files: &dyn Files, dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return fs::create_dir_all(dir);
    };
    create_dir(files, parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => done?,
    }
    files.sync_dir(parent)
}

/// Removes a file; one that is gone already is as good.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
