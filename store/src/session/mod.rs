//! A lease and the keys that live on it. In: keys to hold, new values, new lifetimes. Out: keys
//! that are there for as long as this process is, re-registered when the lease is lost, never
//! fought over. The task behind it is in `task`, one key's writing in `write`.

mod moving;
mod task;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config_schemas::Revision;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::{Entry, LeaseId};
use crate::txn::Guard;
use task::{Command, Task};

/// Commands that may wait for the session's task; a caller beyond waits for its turn.
const COMMANDS_WAITING: usize = 64;
/// Keys that one session can hold: moving them to a new lease is one transaction.
pub const ATTACHED_MAX: usize = 64;

/// How long the lease lasts, and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Lifetime; whole seconds, rounded up, at least 2 s.
    pub ttl: Duration,
    /// Time between renewals; never more than a third of the lifetime.
    pub interval: Duration,
}

/// Says whether what stands at a key is an older incarnation of its claimant.
type IsMine = dyn Fn(&Entry) -> bool + Send + Sync;

/// How a key may be claimed.
#[derive(Clone, Default)]
pub struct Claim {
    takeover: Option<Arc<IsMine>>,
    guards: Vec<Guard>,
    ends_with_lease: bool,
}

/// What became of an `attach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The revision that wrote it.
    pub revision: Revision,
    /// The revision that created the key: for `Guard::CreatedAt`.
    pub create_revision: Revision,
}

/// Why a key could not be claimed or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// Somebody else holds the key.
    #[error("{} is taken", by.key)]
    Taken {
        /// What stands there.
        by: Box<Entry>,
    },
    /// The key was ours, and now somebody else holds it; it is given up.
    #[error("{} was taken over by somebody else", by.key)]
    Usurped {
        /// What stands there.
        by: Box<Entry>,
    },
    /// One of the claim's own guards does not hold.
    #[error("a guard of the claim to {key} does not hold")]
    GuardFailed {
        /// The key that was to be claimed.
        key: String,
    },
    /// The key was to end with its lease, and the lease is lost.
    #[error("the lease of {key} is lost")]
    LeaseLost {
        /// The key.
        key: String,
    },
    /// No such key is attached.
    #[error("{key} is not attached")]
    NotAttached {
        /// The key.
        key: String,
    },
    /// More keys than one session can hold.
    #[error("a session holds at most {ATTACHED_MAX} keys")]
    Full,
    /// The store refuses it for good.
    #[error("the session's key cannot be written")]
    Store(#[from] StoreError),
}

/// What a session says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionStatus {
    /// The lease, if there is one now.
    pub lease: Option<LeaseId>,
    /// Until when the lease surely lasts: the last confirmed renewal's sending plus the lifetime.
    pub deadline: Option<Instant>,
    /// The lifetime in force.
    pub ttl: Duration,
    /// The time between renewals in force.
    pub interval: Duration,
    /// Keys attached.
    pub attached: usize,
    /// Keys that somebody else took over; given up, never fought for.
    pub usurped: Vec<String>,
    /// Keys that were found deleted or changed by somebody, and are not put back yet.
    pub astray: Vec<String>,
    /// How often a key was put back that somebody had deleted or changed.
    pub put_back: u64,
    /// Leases granted.
    pub grants: u64,
    /// Renewals confirmed.
    pub renewals: u64,
    /// Renewals that failed.
    pub failures: u64,
    /// Leases lost: expired, revoked, or not confirmed in time.
    pub lost: u64,
    /// What failed last, as `StoreError::kind`; `None` while all is well.
    pub trouble: Option<&'static str>,
}

/// A lease and its keys. Cheap to clone; when the last clone is dropped without `close`, the
/// lease runs out by itself.
#[derive(Debug, Clone)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<SessionStatus>,
}

impl Claim {
    /// Only if there is no such key.
    pub fn absent() -> Self {
        Self::default()
    }

    /// Also if `mine` says that what stands there is our own older incarnation. Asked again when
    /// the key has to be registered anew.
    pub fn or_if(mine: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        Self { takeover: Some(Arc::new(mine)), ..Self::default() }
    }

    /// Further conditions, checked with each write of the key.
    #[must_use]
    pub fn guarded_by(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// The key is not registered again when its lease is lost: a leader's key.
    #[must_use]
    pub fn ending_with_lease(mut self) -> Self {
        self.ends_with_lease = true;
        self
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("takeover", &self.takeover.is_some())
            .field("guards", &self.guards)
            .field("ends_with_lease", &self.ends_with_lease)
            .finish()
    }
}

impl Session {
    /// Starts the session's task. Does not wait for the lease.
    pub fn start(store: &Store, options: SessionOptions) -> Session {
        let (commands, inbox) = mpsc::channel(COMMANDS_WAITING);
        let (told, status) = watch::channel(SessionStatus::default());
        tokio::spawn(Task::new(store.clone(), options, inbox, told).run());
        Session { commands, status }
    }

    /// Claims a key and holds it. Waits as long as etcd is away; the claim goes on in the
    /// background if the caller stops waiting.
    pub async fn attach(
        &self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        claim: Claim,
    ) -> Result<Attached, SessionError> {
        let (key, value) = (key.into(), value.into());
        self.ask(|done| Command::Attach { key, value, claim, done }).await
    }

    /// Replaces the value of an attached key; returns when this value or a newer one is durable.
    /// Called faster than the store answers, only the newest value is written.
    pub async fn update(
        &self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
    ) -> Result<Attached, SessionError> {
        let (key, value) = (key.into(), value.into());
        self.ask(|done| Command::Update { key, value, done }).await
    }

    /// Deletes an attached key and forgets it.
    pub async fn detach(&self, key: impl Into<String>) -> Result<(), SessionError> {
        let key = key.into();
        self.ask(|done| Command::Detach { key, done }).await
    }

    /// Changes lifetime and cadence while live. Another lifetime needs another lease: all keys
    /// move onto it in one transaction, and nobody ever sees one absent.
    pub async fn retune(&self, ttl: Duration, interval: Duration) -> Result<(), SessionError> {
        let options = SessionOptions { ttl, interval };
        self.ask(|done| Command::Retune { options, done }).await
    }

    /// Has the keys looked at now, because somebody saw one of them change. They are looked at
    /// every two seconds anyway: a call too many, or one that is lost, does no harm.
    pub fn recheck(&self) {
        // Full: so much is going on that a look at the keys comes about soon.
        let _ = self.commands.try_send(Command::Recheck);
    }

    /// What it says of itself; changes with each renewal.
    pub fn status(&self) -> watch::Receiver<SessionStatus> {
        self.status.clone()
    }

    /// Deletes the keys, ends the lease, ends the task. Gives up after the lease's lifetime.
    pub async fn close(self) -> Result<(), SessionError> {
        self.ask(|done| Command::Close { done }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, SessionError>>) -> Command,
    ) -> Result<T, SessionError> {
        let (done, answer) = oneshot::channel();
        let closed = || SessionError::Store(StoreError::Closed);
        self.commands.send(command(done)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}
