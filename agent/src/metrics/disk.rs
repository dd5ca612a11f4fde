//! Room on the disk that the log is on. In: a directory. Out: figures, asked of the system at each
//! scrape. I/O.

use std::path::{Path, PathBuf};

use prometheus::Registry;
use telemetry::catalogue::agent as catalogue;

use super::MetricsError;

/// Registers the figures of the disk that `directory` is on.
pub(crate) fn register_disk(registry: &Registry, directory: PathBuf) -> Result<(), MetricsError> {
    let at = directory.clone();
    catalogue::DISK_FREE.read(registry, move || room(&at).map_or(f64::NAN, |(free, _)| free))?;
    catalogue::DISK_SIZE
        .read(registry, move || room(&directory).map_or(f64::NAN, |(_, size)| size))?;
    Ok(())
}

/// What is free for us and the size, in bytes; `None` where the directory is gone.
fn room(directory: &Path) -> Option<(f64, f64)> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    let bytes = |blocks: u64| (blocks * disk.f_frsize) as f64;
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_less_free_than_its_size() {
        let (free, size) = room(Path::new(".")).unwrap();
        assert!(free > 0.0 && free <= size);
        assert_eq!(room(Path::new("/nowhere")), None);
    }
}
