//! The broker for one machine: append-only segments under a data directory that the agents of
//! that machine share. In: claims, batches, reads. Out: durable offsets, believed records. I/O;
//! the blocking parts below run on commit threads and on a bounded share of tokio's blocking pool.

mod chain;
mod claims;
mod committer;
mod files;
mod format;
mod index;
mod log;
mod owned;
mod prepared;
mod read;
mod reader;
mod segments;
mod snapshots;
mod take;
mod tuning;
mod watcher;
mod writer;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fencing_tests;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use config_schemas::{HuntName, PartitionId};
use tokio::sync::{Semaphore, watch};

use crate::claim::Claim;
use crate::embedded::committer::{COMMIT_THREADS, Committer};
use crate::embedded::files::Disk;
use crate::embedded::index::Index;
use crate::embedded::log::Log;
use crate::embedded::prepared::Prepared;
use crate::embedded::snapshots::Snapshots;
use crate::embedded::take::Taking;
use crate::embedded::tuning::LiveTuning;
use crate::embedded::watcher::{Following, Watcher};
use crate::embedded::writer::{Storage, Writer};
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::traits::{Broker, LogKind};

pub(crate) use crate::embedded::files::Files;
pub use crate::embedded::owned::{EmbeddedOwned, EmbeddedSubmitted};
pub use crate::embedded::reader::EmbeddedReader;
pub use crate::embedded::tuning::Tuning;

/// How many reads and take-overs use a blocking thread at once.
const BLOCKING_MAX: usize = 16;
/// After a failed write, how long a log answers with the same error before it tries the disk
/// again: a full disk is not hammered, and each try may cost a segment.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Take-overs for which files lie ready, two each. Those of a move that was called off lie there
/// until others need their place.
const PREPARED_MAX: usize = 64;

/// Where and how an embedded log is kept.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    data_dir: PathBuf,
    hunt: HuntName,
    tuning: Tuning,
    #[cfg(feature = "sim")]
    simulated: Option<crate::sim::SimDisk>,
}

impl EmbeddedOptions {
    /// The logs of `hunt` under `<data_dir>/<namespace>.<name>/<partition>/`.
    pub fn new(data_dir: impl Into<PathBuf>, hunt: HuntName) -> EmbeddedOptions {
        EmbeddedOptions {
            data_dir: data_dir.into(),
            hunt,
            tuning: Tuning::default(),
            #[cfg(feature = "sim")]
            simulated: None,
        }
    }

    /// Works on a simulated disk, without a thread of its own.
    #[cfg(feature = "sim")]
    pub fn simulated(self, disk: crate::sim::SimDisk) -> EmbeddedOptions {
        EmbeddedOptions { simulated: Some(disk), ..self }
    }

    /// Begins a new segment after so many bytes instead of 64 MiB.
    pub fn segment_bytes(self, segment_bytes: u64) -> EmbeddedOptions {
        let tuning = Tuning { segment_bytes, ..self.tuning };
        EmbeddedOptions { tuning, ..self }
    }
}

/// The embedded broker of one hunt. Clones share everything.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

/// What all handles of one `Embedded` share.
pub(crate) struct Shared {
    hunt_dir: PathBuf,
    tuning: Arc<LiveTuning>,
    files: Arc<dyn Files>,
    retry_after: Duration,
    committer: Committer,
    #[cfg(feature = "sim")]
    simulated: Option<crate::sim::SimDisk>,
    index: Arc<Index>,
    blocking: Semaphore,
    /// Per partition taken by this process, the last holding; its lock is held while it is taken.
    held: Mutex<HashMap<PartitionId, Arc<Mutex<Holding>>>>,
    /// Files that lie ready for take-overs.
    prepared: Mutex<BTreeMap<PartitionId, Prepared>>,
    /// Per log that this process wrote or follows, the end as this process last made it.
    ends: Mutex<HashMap<(PartitionId, LogKind), watch::Sender<u64>>>,
    /// Made when somebody first follows what another process writes; none where that cannot be.
    watcher: OnceLock<Option<Watcher>>,
}

/// The logs of a holding, as long as somebody uses them.
type Holding = [Weak<Log>; 2];

impl Embedded {
    /// Opens the directory, creating it if needed, and starts the commit threads. They end when
    /// the last clone and the last handle are gone.
    pub fn open(options: EmbeddedOptions) -> Result<Embedded, Error> {
        #[cfg(feature = "sim")]
        if let Some(disk) = options.simulated.clone() {
            return Embedded::open_on(options, Arc::new(disk), RETRY_AFTER);
        }
        Embedded::open_on(options, Arc::new(Disk), RETRY_AFTER)
    }

    pub(crate) fn open_on(
        options: EmbeddedOptions,
        files: Arc<dyn Files>,
        retry_after: Duration,
    ) -> Result<Embedded, Error> {
        let hunt = format!("{}.{}", options.hunt.namespace, options.hunt.name);
        let hunt_dir = options.data_dir.join(hunt);
        files::create_dir(&*files, &hunt_dir).map_err(Error::io("create", &hunt_dir))?;
        let hunt_dir = fs::canonicalize(&hunt_dir).map_err(Error::io("open", &hunt_dir))?;
        #[cfg(feature = "sim")]
        let threads = if options.simulated.is_some() { 0 } else { COMMIT_THREADS };
        #[cfg(not(feature = "sim"))]
        let threads = COMMIT_THREADS;
        let committer = Committer::start(threads);
        let committer = committer.map_err(Error::io("start threads for", &hunt_dir))?;
        let shared = Shared {
            hunt_dir,
            tuning: Arc::new(LiveTuning::new(options.tuning)),
            files,
            retry_after,
            committer,
            #[cfg(feature = "sim")]
            simulated: options.simulated,
            index: Arc::new(Index::default()),
            blocking: Semaphore::new(BLOCKING_MAX),
            held: Mutex::default(),
            prepared: Mutex::default(),
            ends: Mutex::default(),
            watcher: OnceLock::new(),
        };
        Ok(Embedded { shared: Arc::new(shared) })
    }

    /// Changes settings live: the next group of each log goes by them.
    pub fn retune(&self, tuning: Tuning) {
        self.shared.tuning.set(tuning);
    }
}

impl Broker for Embedded {
    type Owned = EmbeddedOwned;
    type Reader = EmbeddedReader;

    async fn take(&self, partition: PartitionId, claim: Claim) -> Result<EmbeddedOwned, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.blocking(move || shared.take(partition, &claim)).await
    }

    fn reader(&self, partition: PartitionId, log: LogKind) -> EmbeddedReader {
        EmbeddedReader::new(Arc::clone(&self.shared), partition, log)
    }

    /// Lays files ready, so that taking waits less for the disk.
    async fn prepare(&self, partition: PartitionId) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.blocking(move || shared.prepare(partition)).await
    }

    async fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Result<(), Error> {
        let snapshots = self.shared.snapshots(partition);
        self.shared.blocking(move || snapshots.keep(&snapshot)).await
    }

    async fn kept_snapshot<T: Send + 'static>(
        &self,
        partition: PartitionId,
        read: impl Fn(Snapshot) -> Result<T, String> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let snapshots = self.shared.snapshots(partition);
        self.shared.blocking(move || Ok(snapshots.newest(read))).await
    }
}

impl Shared {
    pub(crate) fn partition_dir(&self, partition: PartitionId) -> PathBuf {
        self.hunt_dir.join(partition.to_string())
    }

    fn snapshots(&self, partition: PartitionId) -> Snapshots {
        let dir = self.partition_dir(partition);
        let (files, index) = (Arc::clone(&self.files), Arc::clone(&self.index));
        Snapshots { dir, partition, files, index }
    }

    fn path(&self) -> &Path {
        &self.hunt_dir
    }

    /// Runs blocking work on tokio's blocking pool, a bounded number at once.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _permit = self.blocking.acquire().await.map_err(|_| Error::Closed)?;
        #[cfg(feature = "sim")]
        if let Some(disk) = &self.simulated {
            disk.access().await;
            return work();
        }
        let joined = tokio::task::spawn_blocking(work).await;
        joined.map_err(|error| Error::io("work on", self.path())(std::io::Error::other(error)))?
    }

    /// The end of a log as this process makes it; readers of this process wait on it.
    pub(crate) fn end_of(&self, partition: PartitionId, log: LogKind) -> watch::Sender<u64> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.entry((partition, log)).or_insert_with(|| watch::Sender::new(0)).clone()
    }

    /// Whether this process has taken the partition and not let go of it.
    pub(crate) fn holds(&self, partition: PartitionId) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // locked while it is being taken: not yet
        let holding = held.get(&partition).and_then(|holding| holding.try_lock().ok());
        holding.is_some_and(|holding| holding.iter().any(|log| log.strong_count() > 0))
    }

    /// Follows the files of a log; `None` where nothing tells of changes.
    pub(crate) fn follow(&self, partition: PartitionId, log: LogKind) -> Option<Following> {
        self.watcher()?.follow(partition, log, &self.partition_dir(partition)).ok()
    }

    pub(crate) fn watcher(&self) -> Option<&Watcher> {
        // simulated disks are real files, and when they tell of changes is no simulated time
        #[cfg(feature = "sim")]
        if self.simulated.is_some() {
            return None;
        }
        let start = || {
            let started = Watcher::start(&self.hunt_dir);
            started
                .inspect_err(|error| {
                    tracing::warn!(%error, "cannot follow files; looking at them instead");
                })
                .ok()
        };
        self.watcher.get_or_init(start).as_ref()
    }

    fn prepare(&self, partition: PartitionId) -> Result<(), Error> {
        if self.prepared().contains_key(&partition) {
            return Ok(());
        }
        let prepared = Prepared::make(&*self.files, &self.partition_dir(partition))?;
        let mut all = self.prepared();
        let replaced = all.insert(partition, prepared);
        let one_too_many = if all.len() > PREPARED_MAX { all.pop_first() } else { None };
        drop(all);
        drop((replaced, one_too_many));
        Ok(())
    }

    fn prepared(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(
        self: &Arc<Self>,
        partition: PartitionId,
        claim: &Claim,
    ) -> Result<EmbeddedOwned, Error> {
        let holding = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(held.entry(partition).or_default())
        };
        let mut holding = holding.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.partition_dir(partition);
        let taking = Taking::new(&dir, claim.clone(), Arc::clone(&self.files));
        taking.stake()?;
        // the same run may take the same epoch twice; its older handle must not write any more
        for log in holding.iter().filter_map(Weak::upgrade) {
            log.abandon();
        }
        let (files, tuning) = (Arc::clone(&self.files), Arc::clone(&self.tuning));
        let storage = Storage { dir, files, tuning };
        let prepared = self.prepared().remove(&partition);
        let logs = taking.settle(prepared)?.map(|laid| {
            let end = self.end_of(partition, laid.segment.kind);
            Arc::new(Log::new(Writer::new(storage.clone(), laid), self.retry_after, end))
        });
        *holding = [Arc::downgrade(&logs[0]), Arc::downgrade(&logs[1])];
        Ok(EmbeddedOwned::new(Arc::clone(self), partition, claim.epoch, logs))
    }
}
