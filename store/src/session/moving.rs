//! Moves all keys of a session onto a new lease, in one transaction, so that nobody ever sees one
//! absent. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::Revision;

use super::write::{Job, Written};
use super::{Attached, SessionError};
use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::LeaseId;
use crate::lease::Granted;
use crate::txn::{Guard, Txn, Verdict, Write};

/// Attempts to move all keys to a new lease, each after reading what changed.
const MOVE_ROUNDS: usize = 4;

/// The new lease, and what now stands at the keys.
pub(crate) struct Moved {
    pub(crate) lease: Granted,
    pub(crate) written: BTreeMap<String, Written>,
}

/// Grants a lease and moves the keys onto it, all in one transaction.
pub(crate) async fn move_keys(
    store: &Store,
    mut jobs: Vec<Job>,
    ttl: Duration,
) -> Result<Moved, SessionError> {
    let lease = store.grant(ttl).await?;
    for _ in 0..MOVE_ROUNDS {
        let verdict = if jobs.is_empty() {
            Verdict::Committed(Revision::FIRST)
        } else {
            store.commit_decided(&moving(&jobs, lease.id)).await?
        };
        let found = match verdict {
            Verdict::Committed(revision) => {
                let written = jobs.into_iter().filter_map(|job| {
                    let at = Attached { revision, ..job.written?.at };
                    Some((job.key, Written { value: job.value, lease: Some(lease.id), at }))
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
