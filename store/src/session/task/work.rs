//! A session's work beside renewing, one piece at a time: grant, write a key, move to a new
//! lease, delete, revoke; `check` is in a file of its own. In: what is to be done. Out: futures, and their results taken in.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use rand::Rng as _;
use tokio::time::Instant;

use super::check::VERIFY_EVERY;
use super::{Done, LEASES_KNOWN, Task, Worked};
use crate::error::StoreError;
use crate::keys::LeaseId;
use crate::lease::{Granted, whole_seconds};
use crate::session::moving::move_keys;
use crate::session::write::{Job, Written};
use crate::session::{Attached, SessionError, SessionOptions};
use crate::txn::{Guard, Txn, Verdict, Write};

impl Task {
    pub(super) fn start_work(&mut self, now: Instant) {
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
            record
                .written
                .as_ref()
                .is_none_or(|w| w.value != record.value || w.lease != Some(lease.id))
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

    pub(super) fn job(&self, key: &str, lease: LeaseId) -> Option<Job> {
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
    pub(super) fn worked(&mut self, worked: Worked) -> bool {
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
            Worked::Retired => {}
            Worked::Verified { keys, found } => self.verified(keys, found),
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
                if std::mem::take(&mut record.astray) {
                    tracing::warn!(key, "an attached key is put back");
                    self.status.put_back += 1;
                }
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
                self.give_up(&key, waiting, &error);
            }
        }
    }

    /// Forgets a key, and tells those who wait for it.
    pub(super) fn give_up(
        &mut self,
        key: &str,
        waiting: Vec<Done<Attached>>,
        error: &SessionError,
    ) {
        if matches!(error, SessionError::Usurped { .. }) {
            tracing::error!(key, "an attached key was taken over by somebody else");
            self.status.usurped.push(key.to_owned());
        }
        let newer = self.keys.remove(key).map(|record| record.waiting);
        for done in waiting.into_iter().chain(newer.into_iter().flatten()) {
            let _ = done.send(Err(error.clone()));
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
