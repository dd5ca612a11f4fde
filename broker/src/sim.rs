//! The disk of a simulated host: the real files of the embedded log, read and written on the
//! caller's own thread, with simulated time for each access. In: a seed. Out: delays, torn groups.
//! Feature `sim`; not for production. I/O.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

use crate::embedded::Files;

/// Most accesses are as quick as a cache.
const QUICK: Duration = Duration::from_micros(300);
/// Some wait for the disk.
const SLOW: Duration = Duration::from_millis(60);
/// One in so many.
const SLOW_ONE_IN: u32 = 24;

/// What is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Owners do not look whether a newer one has claimed the partition.
    pub unfenced: bool,
}

/// The disk as one host sees it. Clones are the same disk; hosts share the files.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

struct Inner {
    rng: Mutex<SmallRng>,
    frozen: watch::Sender<bool>,
    sabotage: Sabotage,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("sabotage", &self.0.sabotage).finish_non_exhaustive()
    }
}

impl SimDisk {
    /// A healthy disk.
    pub fn new(seed: u64, sabotage: Sabotage) -> SimDisk {
        let rng = Mutex::new(SmallRng::seed_from_u64(seed));
        SimDisk(Arc::new(Inner { rng, frozen: watch::Sender::new(false), sabotage }))
    }

    /// Stops or lets go on all accesses that have not begun.
    pub fn freeze(&self, frozen: bool) {
        self.0.frozen.send_replace(frozen);
    }

    /// Waits as long as an access takes, and while it is frozen.
    pub(crate) async fn access(&self) {
        let takes = {
            let mut rng = self.rng();
            let slow = rng.random_ratio(1, SLOW_ONE_IN);
            rng.random_range(Duration::ZERO..if slow { SLOW } else { QUICK })
        };
        tokio::time::sleep(takes).await;
        // its sender lives as long as this disk
        let _ = self.0.frozen.subscribe().wait_for(|frozen| !frozen).await;
    }

    /// How much of a group that was never synced is there after a crash.
    pub(crate) fn torn(&self, len: usize) -> usize {
        if len == 0 {
            return 0;
        }
        let mut rng = self.rng();
        match rng.random_range(0..3) {
            0 => 0,
            1 => rng.random_range(0..=len),
            _ => len,
        }
    }

    fn rng(&self) -> MutexGuard<'_, SmallRng> {
        self.0.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for SimDisk {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// The simulated crash spares what was written; what it does not spare is torn in time.
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_fenced(&self) -> bool {
        !self.0.sabotage.unfenced
    }
}
