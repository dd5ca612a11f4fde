//! The few file operations whose failure decides what may be acknowledged, behind one seam so that
//! a full or failing disk can be played. I/O, blocking.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What appending does to a file.
pub(crate) trait Files: Send + Sync + 'static {
    /// Writes all bytes at a place.
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when what was written is durable.
    fn sync(&self, file: &File) -> io::Result<()>;
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
}
