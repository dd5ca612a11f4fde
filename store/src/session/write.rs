//! Writes one key of a session, by guarded transactions only. In: what the key should be and
//! what we wrote last. Out: written, taken by somebody else, or a failure to try again. I/O;
//! the decision what a refusal means is pure.

use bytes::Bytes;
use config_schemas::Revision;

use super::{Attached, Claim, SessionError};
use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::{Entry, LeaseId};
use crate::txn::{Guard, Txn, Verdict, Write};

/// Attempts at one key before the session turns to its other work.
const ROUNDS: usize = 4;

/// What we know to stand at the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) value: Bytes,
    /// `None`: written without one, by hand.
    pub(crate) lease: Option<LeaseId>,
    pub(crate) at: Attached,
}

impl Written {
    /// What somebody else wrote.
    pub(crate) fn found(entry: Entry) -> Written {
        let (revision, create_revision) = (entry.mod_revision, entry.create_revision);
        let at = Attached { revision, create_revision };
        Written { value: entry.value, lease: entry.lease, at }
    }
}

/// One key to write.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) claim: Claim,
    pub(crate) lease: LeaseId,
    pub(crate) written: Option<Written>,
    /// Leases that this session held: what hangs on one of them is ours.
    pub(crate) leases: Vec<LeaseId>,
}

impl Job {
    pub(crate) async fn run(self, store: Store) -> Result<Written, SessionError> {
        let mut known = self.written.as_ref().map(|w| (w.at.revision, w.at.create_revision));
        for _ in 0..ROUNDS {
            match store.commit_decided(&self.txn(known)).await? {
                Verdict::Committed(revision) => {
                    let create_revision = known.map_or(revision, |(_, created)| created);
                    let at = Attached { revision, create_revision };
                    return Ok(Written { value: self.value, lease: Some(self.lease), at });
                }
                Verdict::Refused { found, .. } => known = self.after_refusal(known, found)?,
            }
        }
        Err(SessionError::Store(StoreError::Overloaded))
    }

    fn txn(&self, known: Option<(Revision, Revision)>) -> Txn {
        let key = self.key.clone();
        let own = match known {
            Some((mod_revision, _)) => Guard::Unchanged { key: key.clone(), mod_revision },
            None => Guard::Absent(key.clone()),
        };
        let guards = std::iter::once(own).chain(self.claim.guards.iter().cloned()).collect();
        let lease = Some(self.lease);
        Txn { guards, writes: vec![Write::Put { key, value: self.value.clone(), lease }] }
    }

    /// What to expect in the next attempt, by what was found at the key.
    fn after_refusal(
        &self,
        known: Option<(Revision, Revision)>,
        found: Vec<Option<Entry>>,
    ) -> Result<Option<(Revision, Revision)>, SessionError> {
        let guards_hold = self.claim.guards.iter().zip(found.iter().skip(1));
        if !guards_hold.clone().all(|(guard, found)| guard.holds(found.as_ref())) {
            return Err(SessionError::GuardFailed { key: self.key.clone() });
        }
        let ends = self.claim.ends_with_lease && self.written.is_some();
        match found.into_iter().next().flatten() {
            _ if ends => Err(SessionError::LeaseLost { key: self.key.clone() }),
            None => Ok(None),
            Some(e) if self.is_ours(&e) => Ok(Some((e.mod_revision, e.create_revision))),
            Some(e) if known.is_some() && self.written.is_some() => {
                Err(SessionError::Usurped { by: Box::new(e) })
            }
            Some(e) => Err(SessionError::Taken { by: Box::new(e) }),
        }
    }

    /// Whether what stands at the key is no other session's. A leader's key is the leader's for as
    /// long as it is the one that it created: what was written over it never won an election.
    pub(crate) fn is_ours(&self, entry: &Entry) -> bool {
        let created = self.written.as_ref().map(|written| written.at.create_revision);
        (self.claim.ends_with_lease && created == Some(entry.create_revision))
            || entry.lease.is_some_and(|lease| self.leases.contains(&lease))
            || self.claim.takeover.as_ref().is_some_and(|mine| mine(entry))
    }
}
