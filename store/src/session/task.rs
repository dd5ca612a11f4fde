//! The task behind a session: renews the lease, and beside that does one piece of work at a
//! time (grant, write a key, move to a new lease, delete, revoke). I/O.
//!
//! Renewing never waits for other work, so that a slow write cannot cost the lease.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::write::{Job, Written};
use super::{ATTACHED_MAX, Attached, Claim, SessionError, SessionOptions, SessionStatus};
use crate::backoff::Backoff;
use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::LeaseId;
use crate::lease::{Granted, Renewals, whole_seconds};
use crate::txn::{Guard, Txn, Verdict, Write};

/// Renewals closer together than this only load etcd.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Former leases that are remembered: what still hangs on one of them is ours.
const LEASES_KNOWN: usize = 8;
/// Attempts to move all keys to a new lease, each after reading what changed.
const MOVE_ROUNDS: usize = 4;

/// How often it is checked that the keys are still there as written: somebody may have deleted
/// one while the lease lives on, of which no renewal tells.
const VERIFY_EVERY: Duration = Duration::from_secs(20);

type Done<T> = oneshot::Sender<Result<T, SessionError>>;

pub(crate) enum Command {
    Attach { key: String, value: Bytes, claim: Claim, done: Done<Attached> },
    Update { key: String, value: Bytes, done: Done<Attached> },
    Detach { key: String, done: Done<()> },
    Retune { options: SessionOptions, done: Done<()> },
    Close { done: Done<()> },
}

struct Record {
    value: Bytes,
    claim: Claim,
    written: Option<Written>,
    /// Callers that wait for the newest value.
    waiting: Vec<Done<Attached>>,
    leaving: Option<Done<()>>,
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
    /// What stands at the keys that were checked; empty: all is as written.
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

struct Moved {
    lease: Granted,
    written: BTreeMap<String, Written>,
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
            verify_at: now + VERIFY_EVERY,
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
            Command::Close { done } => {
                let give_up = Instant::now() + whole_seconds(self.options.ttl);
                self.closing = Some((done, give_up));
            }
        }
    }

    fn start_work(&mut self, now: Instant) {
        if self.working.is_some() || self.work_at > now {
            return;
        }
        self.working = self.next_work(now);
    }

    /// The most urgent piece of work, if there is any.
    fn next_work(&mut self, now: Instant) -> Option<BoxFuture<'static, Worked>> {
        let store = self.store.clone();
        if self.closing.is_some() {
            let lease = self.lease.map(|lease| lease.id);
            return Some(
                async move {
                    Worked::Revoked(match lease {
                        Some(id) => store.revoke(id).await,
                        None => Ok(()),
                    })
                }
                .boxed(),
            );
        }
        let Some(lease) = self.lease else {
            let ttl = self.options.ttl;
            return Some(async move { Worked::Granted(store.grant(ttl).await) }.boxed());
        };
        if let Some((options, done)) = self.retunes.pop_front() {
            return self.retune(options, done, lease);
        }
        if let Some(work) = self.next_delete() {
            return Some(work);
        }
        let dirty = self.keys.iter().find(|(_, record)| {
            record.written.as_ref().is_none_or(|w| w.value != record.value || w.lease != lease.id)
        });
        let Some(key) = dirty.map(|(key, _)| key.clone()) else {
            self.settle();
            if let Some(old) = self.retiring.pop_front() {
                let retire = async move {
                    let _ = store.revoke(old).await;
                    Worked::Retired
                };
                return Some(retire.boxed());
            }
            if self.verify_at <= now {
                self.verify_at = now + VERIFY_EVERY.mul_f64(self.rng.random_range(0.8..1.2));
                return self.verify();
            }
            self.work_at = now + Duration::from_secs(1);
            return None;
        };
        let job = self.job(&key, lease.id)?;
        let waiting = std::mem::take(&mut self.keys.get_mut(&key)?.waiting);
        Some(async move { Worked::Wrote { key, waiting, result: job.run(store).await } }.boxed())
    }

    /// A transaction of guards alone: if one fails, it tells what stands at each key.
    fn verify(&self) -> Option<BoxFuture<'static, Worked>> {
        let guards: Vec<Guard> = self
            .keys
            .iter()
            .filter_map(|(key, record)| {
                let mod_revision = record.written.as_ref()?.at.revision;
                Some(Guard::Unchanged { key: key.clone(), mod_revision })
            })
            .collect();
        if guards.is_empty() {
            return None;
        }
        let keys = guards.iter().map(|guard| guard.key().to_owned()).collect();
        let store = self.store.clone();
        let txn = Txn { guards, writes: Vec::new() };
        Some(async move { Worked::Verified { keys, found: store.commit(&txn).await } }.boxed())
    }

    /// What was deleted is written again; what was changed is left to the next update to judge.
    fn verified(&mut self, keys: Vec<String>, found: Vec<Option<crate::keys::Entry>>) {
        let gone = keys.into_iter().zip(found).filter(|(_, found)| found.is_none());
        for (key, _) in gone {
            if let Some(record) = self.keys.get_mut(&key) {
                tracing::warn!(key, "an attached key was deleted by somebody: writing it again");
                record.written = record.written.take().filter(|_| record.claim.ends_with_lease);
            }
        }
    }

    /// Answers those who asked for what is already so.
    fn settle(&mut self) {
        for record in self.keys.values_mut() {
            if let Some(written) = &record.written {
                for done in record.waiting.drain(..) {
                    let _ = done.send(Ok(written.at));
                }
            }
        }
    }

    fn job(&self, key: &str, lease: LeaseId) -> Option<Job> {
        let record = self.keys.get(key)?;
        Some(Job {
            key: key.to_owned(),
            value: record.value.clone(),
            claim: record.claim.clone(),
            lease,
            written: record.written.clone(),
            leases: self.leases.iter().copied().collect(),
        })
    }

    fn next_delete(&mut self) -> Option<BoxFuture<'static, Worked>> {
        let (key, record) = self.keys.iter().find(|(_, record)| record.leaving.is_some())?;
        let (store, key) = (self.store.clone(), key.clone());
        let Some(written) = &record.written else {
            let at = config_schemas::Revision::FIRST;
            let result = Ok(Verdict::Committed(at));
            return Some(async move { Worked::Deleted { key, result } }.boxed());
        };
        let mod_revision = written.at.revision;
        let guards = vec![Guard::Unchanged { key: key.clone(), mod_revision }];
        let txn = Txn { guards, writes: vec![Write::delete(key.clone())] };
        Some(
            async move { Worked::Deleted { key, result: store.commit_decided(&txn).await } }
                .boxed(),
        )
    }

    /// A new cadence is in force at once; a new lifetime moves all keys to a new lease.
    fn retune(
        &mut self,
        options: SessionOptions,
        done: Done<()>,
        lease: Granted,
    ) -> Option<BoxFuture<'static, Worked>> {
        if whole_seconds(options.ttl) == lease.ttl {
            self.options = options;
            self.renew_at = Instant::now();
            self.publish();
            let _ = done.send(Ok(()));
            return None;
        }
        let store = self.store.clone();
        let jobs: Vec<Job> = self
            .keys
            .iter()
            .filter(|(_, record)| record.written.is_some() && record.leaving.is_none())
            .filter_map(|(key, _)| self.job(key, lease.id))
            .collect();
        Some(
            async move {
                let result = move_keys(&store, jobs, options.ttl).await;
                Worked::Moved { options, done, result }
            }
            .boxed(),
        )
    }

    /// Takes in what the work brought; `true` when the session is over.
    fn worked(&mut self, worked: Worked) -> bool {
        let now = Instant::now();
        match worked {
            Worked::Granted(Ok(lease)) => {
                self.backoff.works(now);
                self.status.grants += 1;
                self.adopt(lease);
            }
            Worked::Granted(Err(error)) => self.pause(&error, now),
            Worked::Wrote { key, waiting, result } => self.wrote(key, waiting, result, now),
            Worked::Moved { options, done, result } => match result {
                Ok(moved) => {
                    self.options = options;
                    self.status.grants += 1;
                    self.retiring.extend(self.lease.map(|old| old.id));
                    for (key, written) in moved.written {
                        if let Some(record) = self.keys.get_mut(&key) {
                            record.written = Some(written);
                        }
                    }
                    self.adopt(moved.lease);
                    self.publish();
                    let _ = done.send(Ok(()));
                }
                Err(SessionError::Store(error)) if passes(&error) => {
                    self.pause(&error, now);
                    self.retunes.push_front((options, done));
                }
                Err(error) => {
                    let _ = done.send(Err(error));
                }
            },
            Worked::Retired | Worked::Verified { found: Ok(Verdict::Committed(_)), .. } => {}
            Worked::Verified { keys, found: Ok(Verdict::Refused { found, .. }) } => {
                self.verified(keys, found);
            }
            Worked::Verified { found: Err(error), .. } => {
                tracing::debug!(%error, "the session's keys could not be checked");
            }
            Worked::Deleted { key, result } => match result {
                Ok(_) => {
                    if let Some(done) = self.keys.remove(&key).and_then(|record| record.leaving) {
                        let _ = done.send(Ok(()));
                    }
                }
                Err(error) => self.pause(&error, now),
            },
            Worked::Revoked(result) => return self.revoked(result, now),
        }
        false
    }

    fn adopt(&mut self, lease: Granted) {
        self.lease = Some(lease);
        self.renew_at = Instant::now() + self.interval();
        self.leases.push_front(lease.id);
        self.leases.truncate(LEASES_KNOWN);
    }

    fn pause(&mut self, error: &StoreError, now: Instant) {
        tracing::debug!(%error, "a session's work failed");
        self.status.trouble = Some(error.kind());
        self.work_at = now + self.backoff.after(error.kind(), now, &mut self.rng);
    }

    fn wrote(
        &mut self,
        key: String,
        waiting: Vec<Done<Attached>>,
        result: Result<Written, SessionError>,
        now: Instant,
    ) {
        let Some(record) = self.keys.get_mut(&key) else {
            for done in waiting {
                let _ = done.send(Err(SessionError::LeaseLost { key: key.clone() }));
            }
            return;
        };
        match result {
            Ok(written) => {
                let at = written.at;
                record.written = Some(written);
                self.backoff.works(now);
                self.status.trouble = None;
                self.publish();
                for done in waiting {
                    let _ = done.send(Ok(at));
                }
            }
            Err(SessionError::Store(StoreError::LeaseNotFound)) => {
                record.waiting.extend(waiting);
                self.lose();
            }
            Err(SessionError::Store(error)) if passes(&error) => {
                record.waiting.extend(waiting);
                self.pause(&error, now);
            }
            Err(error) => {
                if matches!(error, SessionError::Usurped { .. }) {
                    tracing::error!(key, "an attached key was taken over by somebody else");
                    self.status.usurped.push(key.clone());
                }
                let newer = self.keys.remove(&key).map(|record| record.waiting);
                for done in waiting.into_iter().chain(newer.into_iter().flatten()) {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }

    fn revoked(&mut self, result: Result<(), StoreError>, now: Instant) -> bool {
        let Some((done, give_up)) = self.closing.take() else { return true };
        match result {
            Err(error) if now < give_up => {
                self.pause(&error, now);
                self.closing = Some((done, give_up));
                false
            }
            result => {
                let _ = done.send(result.map_err(SessionError::Store));
                true
            }
        }
    }
}

/// Whether the session can try the same again: its transactions decide what became of the last
/// attempt, and a lease that went with a replaced store is granted anew.
fn passes(error: &StoreError) -> bool {
    error.retryable() || matches!(error, StoreError::Ambiguous { .. } | StoreError::LeaseNotFound)
}

async fn pending_or<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Grants a lease and moves the keys onto it, all in one transaction.
async fn move_keys(
    store: &Store,
    mut jobs: Vec<Job>,
    ttl: Duration,
) -> Result<Moved, SessionError> {
    let lease = store.grant(ttl).await?;
    for _ in 0..MOVE_ROUNDS {
        let verdict = if jobs.is_empty() {
            Verdict::Committed(config_schemas::Revision::FIRST)
        } else {
            store.commit_decided(&moving(&jobs, lease.id)).await?
        };
        let found = match verdict {
            Verdict::Committed(revision) => {
                let written = jobs.into_iter().filter_map(|job| {
                    let at = Attached { revision, ..job.written?.at };
                    Some((job.key, Written { value: job.value, lease: lease.id, at }))
                });
                return Ok(Moved { lease, written: written.collect() });
            }
            Verdict::Refused { found, .. } => found,
        };
        // What is no longer ours stays behind: its own write will find out and say so.
        jobs = jobs
            .into_iter()
            .zip(found)
            .filter_map(|(mut job, found)| {
                let entry = found.filter(|entry| job.is_ours(entry))?;
                let (revision, create_revision) = (entry.mod_revision, entry.create_revision);
                job.written.as_mut()?.at = Attached { revision, create_revision };
                Some(job)
            })
            .collect();
    }
    let _ = store.revoke(lease.id).await;
    Err(SessionError::Store(StoreError::Overloaded))
}

fn moving(jobs: &[Job], lease: LeaseId) -> Txn {
    let guards = jobs.iter().filter_map(|job| {
        let mod_revision = job.written.as_ref()?.at.revision;
        Some(Guard::Unchanged { key: job.key.clone(), mod_revision })
    });
    let put = |job: &Job| Write::Put {
        key: job.key.clone(),
        value: job.value.clone(),
        lease: Some(lease),
    };
    Txn { guards: guards.collect(), writes: jobs.iter().map(put).collect() }
}
