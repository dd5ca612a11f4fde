//! The task behind a session: renews the lease, and beside that does one piece of work at a
//! time (see `work`). I/O.
//!
//! Renewing never waits for other work, so that a slow write cannot cost the lease.

mod check;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::moving::Moved;
use super::write::Written;
use super::{ATTACHED_MAX, Attached, Claim, SessionError, SessionOptions, SessionStatus};
use crate::backoff::Backoff;
use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::LeaseId;
use crate::lease::{Granted, Renewals, whole_seconds};
use crate::txn::Verdict;

/// Renewals closer together than this only load etcd.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Former leases that are remembered: what still hangs on one of them is ours.
const LEASES_KNOWN: usize = 8;

type Done<T> = oneshot::Sender<Result<T, SessionError>>;

pub(crate) enum Command {
    Attach { key: String, value: Bytes, claim: Claim, done: Done<Attached> },
    Update { key: String, value: Bytes, done: Done<Attached> },
    Detach { key: String, done: Done<()> },
    Retune { options: SessionOptions, done: Done<()> },
    Recheck,
    Close { done: Done<()> },
}

struct Record {
    value: Bytes,
    claim: Claim,
    written: Option<Written>,
    /// Callers that wait for the newest value.
    waiting: Vec<Done<Attached>>,
    leaving: Option<Done<()>>,
    /// Somebody deleted or changed it, and it is not put back yet.
    astray: bool,
}

/// What one piece of work brought.
enum Worked {
    Granted(Result<Granted, StoreError>),
    Wrote {
        key: String,
        waiting: Vec<Done<Attached>>,
        result: Result<Written, SessionError>,
    },
    Moved {
        options: SessionOptions,
        done: Done<()>,
        result: Result<Moved, SessionError>,
    },
    /// What stands at the keys that were checked.
    Verified {
        keys: Vec<String>,
        found: Result<Verdict, StoreError>,
    },
    /// An old lease without keys was ended, or could not be: then it runs out by itself.
    Retired,
    Deleted {
        key: String,
        result: Result<Verdict, StoreError>,
    },
    Revoked(Result<(), StoreError>),
}

type Renewed = (Renewals, LeaseId, Result<Instant, StoreError>);

pub(crate) struct Task {
    store: Store,
    options: SessionOptions,
    inbox: mpsc::Receiver<Command>,
    told: watch::Sender<SessionStatus>,
    status: SessionStatus,
    lease: Option<Granted>,
    leases: VecDeque<LeaseId>,
    keys: BTreeMap<String, Record>,
    /// Former leases that hold no key any more. Ended only after the new one is in force, lest a
    /// renewal under way takes the end of the old one for a loss.
    retiring: VecDeque<LeaseId>,
    retunes: VecDeque<(SessionOptions, Done<()>)>,
    closing: Option<(Done<()>, Instant)>,
    renewals: Option<Renewals>,
    renewing: Option<BoxFuture<'static, Renewed>>,
    renew_at: Instant,
    working: Option<BoxFuture<'static, Worked>>,
    work_at: Instant,
    verify_at: Instant,
    backoff: Backoff,
    rng: SmallRng,
}

impl Task {
    pub(crate) fn new(
        store: Store,
        options: SessionOptions,
        inbox: mpsc::Receiver<Command>,
        told: watch::Sender<SessionStatus>,
    ) -> Self {
        let (now, rng) = (Instant::now(), store.randomness());
        Self {
            store,
            options,
            inbox,
            told,
            status: SessionStatus::default(),
            lease: None,
            leases: VecDeque::new(),
            keys: BTreeMap::new(),
            retiring: VecDeque::new(),
            retunes: VecDeque::new(),
            closing: None,
            renewals: Some(Renewals::default()),
            renewing: None,
            renew_at: now,
            working: None,
            work_at: now,
            verify_at: now + check::VERIFY_EVERY,
            backoff: Backoff::default(),
            rng,
        }
    }

    /// Runs until closed, or until the last handle is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.expire(now);
            self.start_renewal(now);
            self.start_work(now);
            self.publish();
            let wake_at = self.wake_at(now);
            tokio::select! {
                biased;
                renewed = pending_or(&mut self.renewing) => {
                    self.renewing = None;
                    self.renewed(renewed);
                }
                worked = pending_or(&mut self.working) => {
                    self.working = None;
                    if self.worked(worked) {
                        return;
                    }
                }
                command = self.inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn publish(&mut self) {
        self.status.lease = self.lease.map(|lease| lease.id);
        self.status.deadline = self.lease.map(|lease| lease.deadline);
        self.status.ttl = self.lease.map_or(whole_seconds(self.options.ttl), |lease| lease.ttl);
        self.status.interval = self.interval();
        self.status.attached = self.keys.values().filter(|k| k.written.is_some()).count();
        let astray = self.keys.iter().filter(|(_, record)| record.astray);
        self.status.astray = astray.map(|(key, _)| key.clone()).collect();
        if *self.told.borrow() != self.status {
            self.told.send_replace(self.status.clone());
        }
    }

    /// Time between renewals: a third of the lifetime at most, so that one may be lost.
    fn interval(&self) -> Duration {
        let ttl = self.lease.map_or(whole_seconds(self.options.ttl), |lease| lease.ttl);
        self.options.interval.clamp(INTERVAL_MIN, ttl / 3)
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let mut wake_at = now + Duration::from_secs(1);
        if let Some(lease) = &self.lease {
            wake_at = wake_at.min(lease.deadline);
            if self.renewing.is_none() {
                wake_at = wake_at.min(self.renew_at);
            }
        }
        if self.working.is_none() && self.work_at > now {
            wake_at = wake_at.min(self.work_at);
        }
        wake_at
    }

    fn expire(&mut self, now: Instant) {
        if self.lease.is_some_and(|lease| lease.deadline <= now) {
            tracing::warn!("a lease was not confirmed in time: taking it as lost");
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.lease = None;
        self.status.lost += 1;
        let ending = self
            .keys
            .extract_if(.., |_, record| record.claim.ends_with_lease && record.written.is_some());
        for (key, record) in ending {
            for done in record.waiting {
                let _ = done.send(Err(SessionError::LeaseLost { key: key.clone() }));
            }
        }
    }

    fn start_renewal(&mut self, now: Instant) {
        let Some(lease) = self.lease else { return };
        if self.renewing.is_some() || self.renew_at > now {
            return;
        }
        let Some(mut renewals) = self.renewals.take() else { return };
        let store = self.store.clone();
        self.renew_at = now + self.interval();
        self.renewing = Some(
            async move {
                let result = renewals.renew(&store, &lease).await;
                (renewals, lease.id, result)
            }
            .boxed(),
        );
    }

    fn renewed(&mut self, (renewals, id, result): Renewed) {
        self.renewals = Some(renewals);
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.id == id) else {
            self.renew_at = Instant::now();
            return;
        };
        match result {
            Ok(deadline) => {
                lease.deadline = lease.deadline.max(deadline);
                self.status.renewals += 1;
                self.status.trouble = None;
            }
            Err(StoreError::LeaseNotFound) => {
                tracing::warn!(lease = %id, "the lease is gone");
                self.lose();
            }
            Err(error) => {
                self.status.failures += 1;
                self.status.trouble = Some(error.kind());
                let soon = Instant::now() + INTERVAL_MIN;
                self.renew_at = self.renew_at.min(soon).max(soon);
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.work_at = Instant::now();
        match command {
            Command::Attach { key, value, claim, done } => {
                if self.keys.len() >= ATTACHED_MAX && !self.keys.contains_key(&key) {
                    let _ = done.send(Err(SessionError::Full));
                    return;
                }
                self.status.usurped.retain(|usurped| *usurped != key);
                let fresh = Record {
                    value: Bytes::new(),
                    claim: Claim::default(),
                    written: None,
                    waiting: Vec::new(),
                    leaving: None,
                    astray: false,
                };
                let record = self.keys.entry(key).or_insert(fresh);
                (record.value, record.claim) = (value, claim);
                record.waiting.push(done);
            }
            Command::Update { key, value, done } => match self.keys.get_mut(&key) {
                Some(record) => {
                    record.value = value;
                    record.waiting.push(done);
                }
                None => {
                    let _ = done.send(Err(SessionError::NotAttached { key }));
                }
            },
            Command::Detach { key, done } => match self.keys.get_mut(&key) {
                Some(record) => record.leaving = Some(done),
                None => {
                    let _ = done.send(Err(SessionError::NotAttached { key }));
                }
            },
            Command::Retune { options, done } => self.retunes.push_back((options, done)),
            Command::Recheck => self.verify_at = Instant::now(),
            Command::Close { done } => {
                let give_up = Instant::now() + whole_seconds(self.options.ttl);
                self.closing = Some((done, give_up));
            }
        }
    }
}

async fn pending_or<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
