//! One leader per key, elected by creating it. In: a key and an identity. Out: a `Leadership`
//! whose guard fences every write: a paused leader's key is gone, so its writes are refused. I/O.

use std::time::Duration;

use bytes::Bytes;
use config_schemas::Revision;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::backoff::WAIT_MAX;
use crate::connect::Store;
use crate::follow::{FollowOptions, Follower, follow};
use crate::keys::{Entry, KeyRange};
use crate::session::{Claim, Session, SessionError, SessionOptions};
use crate::txn::{Guard, Txn, Write};

/// Candidates wait up to this long after the leader's key is gone, so that they do not all ask
/// at the same instant.
const CANDIDATE_SPREAD: Duration = Duration::from_millis(50);

/// What to stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidacy {
    /// The key whose creator leads.
    pub key: String,
    /// Who we are; stands in the key for people to read. It names the incarnation too: a key with
    /// this very text is our own, so no two candidates may share it.
    pub identity: Bytes,
    /// How long a dead leader blocks the next one.
    pub ttl: Duration,
}

/// Being the leader, for as long as `lost` says so.
#[derive(Debug)]
pub struct Leadership {
    key: String,
    create_revision: Revision,
    session: Session,
    lost: watch::Receiver<bool>,
    watcher: JoinHandle<()>,
}

/// Waits until we lead. Waits through every trouble; cancel it by dropping it.
pub async fn campaign(store: &Store, candidacy: Candidacy) -> Result<Leadership, SessionError> {
    let Candidacy { key, identity, ttl } = candidacy;
    let session = Session::start(store, SessionOptions { ttl, interval: ttl / 4 });
    loop {
        let claim = Claim::absent().ending_with_lease();
        match session.attach(key.clone(), identity.clone(), claim).await {
            Ok(attached) => {
                return Ok(Leadership::begin(store, key, attached.create_revision, session));
            }
            Err(SessionError::Taken { by }) if by.value == identity => step_down(store, &by).await,
            Err(SessionError::Taken { .. }) => until_gone(store, &key).await,
            Err(SessionError::LeaseLost { .. }) => {}
            Err(SessionError::Store(error)) if error.retryable() => {
                pause(store, WAIT_MAX).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes away the key of our own earlier leadership, whose lease we lost: nobody can lead before
/// etcd ends that lease, and a restarted etcd counts it from the beginning.
async fn step_down(store: &Store, ours: &Entry) {
    let txn = Txn {
        guards: vec![Guard::as_found(&ours.key, Some(ours))],
        writes: vec![Write::delete(ours.key.clone())],
    };
    if store.commit_decided(&txn).await.is_err() {
        pause(store, WAIT_MAX).await;
    }
}

async fn until_gone(store: &Store, key: &str) {
    let mut follower = follow(store, FollowOptions::new("candidate", KeyRange::one(key)));
    loop {
        follower.next().await;
        if !follower.held().contains_key(key) {
            return pause(store, CANDIDATE_SPREAD).await;
        }
    }
}

/// A random pause of at most `longest`. The number is drawn before the wait: a generator that is
/// held across it would bind the whole campaign to one thread.
async fn pause(store: &Store, longest: Duration) {
    let wait = store.randomness().random_range(Duration::ZERO..=longest);
    sleep(wait).await;
}

impl Leadership {
    fn begin(store: &Store, key: String, create_revision: Revision, session: Session) -> Self {
        let (told, lost) = watch::channel(false);
        let follower = follow(store, FollowOptions::new("leader", KeyRange::one(&key)));
        let watched = Watched { key: key.clone(), create_revision, session: session.clone() };
        let watcher = tokio::spawn(async move {
            watched.until_lost(follower).await;
            told.send_replace(true);
        });
        Self { key, create_revision, session, lost, watcher }
    }

    /// The key that was created.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The revision that created it: rises from leader to leader.
    pub fn create_revision(&self) -> Revision {
        self.create_revision
    }

    /// The guard that every write of a leader carries: holds only while this very key lives.
    pub fn guard(&self) -> Guard {
        Guard::CreatedAt { key: self.key.clone(), create_revision: self.create_revision }
    }

    /// Becomes `true` once and stays so. A leader that was paused may see it late: it is the
    /// guard that keeps its writes out.
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Steps down at once, so that nobody has to wait for the lease to run out.
    pub async fn resign(self) -> Result<(), SessionError> {
        self.session.clone().close().await
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

struct Watched {
    key: String,
    create_revision: Revision,
    session: Session,
}

impl Watched {
    async fn until_lost(self, mut follower: Follower) {
        let mut status = self.session.status();
        let lost_before = status.borrow().lost;
        // The status must not keep the session alive.
        drop(self.session);
        let still = |entry: Option<&Entry>| {
            entry.is_some_and(|entry| entry.create_revision == self.create_revision)
        };
        loop {
            tokio::select! {
                _ = follower.next() => {
                    if !still(follower.held().get(&self.key)) {
                        return;
                    }
                }
                changed = status.changed() => {
                    if changed.is_err() || status.borrow().lost != lost_before {
                        return;
                    }
                }
            }
        }
    }
}
