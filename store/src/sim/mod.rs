//! An in-memory etcd that speaks etcd's wire protocol, with faults made by the test: for the
//! simulation, and for tests that need no disk. It is proven faithful by the behavioural suite,
//! which runs against it and against the real one. Feature `sim`; not for production.
//!
//! `mvcc` is the store (pure), `kv`, `watch` and `lease` are the services, `net` carries them
//! over TCP or turmoil.

mod faults;
mod kv;
mod lease;
mod mvcc;
mod net;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use etcd_client::proto::PbResponseHeader;
use tokio::sync::watch as latest;
use tokio::time::Instant;
use tonic::Status;

pub use faults::Faults;
pub use mvcc::Mvcc;
pub use net::{SimNetError, turmoil_store};

/// Handle of an in-memory etcd. Clones are the same etcd.
#[derive(Clone)]
pub struct SimEtcd {
    shared: Arc<Shared>,
}

struct Shared {
    store: Mutex<Mvcc>,
    /// Wakes watches: changes with every write.
    changed: latest::Sender<u64>,
    faults: latest::Sender<Faults>,
}

/// The state of a store at some moment, to go back to.
#[derive(Clone)]
pub struct Backup(Mvcc);

impl Default for SimEtcd {
    fn default() -> Self {
        Self::new()
    }
}

impl SimEtcd {
    /// A new, empty etcd, healthy.
    pub fn new() -> Self {
        let shared = Shared {
            store: Mutex::new(Mvcc::new()),
            changed: latest::Sender::new(0),
            faults: latest::Sender::new(Faults::default()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Looks at the store, behind the protocol's back.
    pub fn look<R>(&self, look: impl FnOnce(&Mvcc) -> R) -> R {
        look(&self.shared.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the store, behind the protocol's back.
    pub fn change<R>(&self, change: impl FnOnce(&mut Mvcc) -> R) -> R {
        let mut store = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut store);
        drop(store);
        self.shared.changed.send_modify(|n| *n += 1);
        result
    }

    /// Changes what is wrong with it.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(change);
    }

    /// Ends all streams, as a crash does: with the code Unknown.
    pub fn cut_streams(&self) {
        self.faults(|faults| faults.era += 1);
    }

    /// All data gone, same cluster id, revision 1: an etcd started again on an empty directory.
    pub fn wipe(&self) {
        self.change(Mvcc::wipe);
        self.cut_streams();
    }

    /// What it holds now.
    pub fn backup(&self) -> Backup {
        self.look(|store| Backup(store.clone()))
    }

    /// Goes back to a backup, as an etcd restored from a snapshot: revisions fall.
    pub fn restore(&self, backup: &Backup) {
        self.change(|store| store.restore(&backup.0));
        self.cut_streams();
    }

    /// Forgets history up to and including `revision`.
    pub fn compact(&self, revision: i64) {
        // A compaction out of range changes nothing, and that is all the caller can want.
        let _ = self.change(|store| store.compact(revision));
    }

    /// Deletes the keys whose lease has run out, where there is a leader to say so.
    fn expire_leases(&self, now: Instant) {
        if self.shared.faults.borrow().leader && self.look(|store| store.has_expired(now)) {
            self.change(|store| store.expire(now));
        }
    }

    /// The faults now; waits while it is frozen.
    async fn thawed(&self) -> Faults {
        let mut faults = self.shared.faults.subscribe();
        // The sender lives as long as we do, so waiting cannot fail.
        match faults.wait_for(|faults| !faults.frozen).await {
            Ok(faults) => faults.clone(),
            Err(_) => Faults::default(),
        }
    }

    /// Before any call: waits while frozen, refuses without a leader.
    async fn admit(&self) -> Result<Faults, Status> {
        let faults = self.thawed().await;
        match faults.leader {
            true => Ok(faults),
            false => Err(Status::unavailable("etcdserver: no leader")),
        }
    }

    /// Waits until the streams that began in `era` break, and says how.
    async fn broken(&self, era: u64) -> Status {
        let mut faults = self.shared.faults.subscribe();
        let broken = faults.wait_for(|faults| faults.era != era || !faults.leader).await;
        match broken.is_ok_and(|faults| faults.leader) {
            true => Status::unknown("h2 protocol error: error reading a body from connection"),
            false => Status::unavailable("etcdserver: no leader"),
        }
    }

    fn header(&self) -> PbResponseHeader {
        self.look(Mvcc::header)
    }
}
