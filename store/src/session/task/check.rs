//! Whether a session's keys still stand as it wrote them: asked by one call without a write, and
//! answered by writing again what people deleted or changed. What another session holds is given
//! up, never fought for. I/O; what a difference means is decided by `Job::is_ours`.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use super::{Task, Worked};
use crate::error::StoreError;
use crate::keys::Entry;
use crate::session::SessionError;
use crate::session::write::Written;
use crate::txn::{Guard, Txn, Verdict};

/// Mean time between two checks, jittered. No renewal tells that somebody deleted or changed a key
/// while the lease lives on, and such a key misleads all who read it until it is put back. One
/// read without a write, for all keys of the session together.
pub(super) const VERIFY_EVERY: Duration = Duration::from_secs(2);

impl Task {
    /// A transaction of guards alone: if one fails, it tells what stands at each key.
    pub(super) fn verify(&self) -> Option<BoxFuture<'static, Worked>> {
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

    /// Takes in what stands at the keys.
    pub(super) fn verified(&mut self, keys: Vec<String>, found: Result<Verdict, StoreError>) {
        let found = match found {
            Ok(Verdict::Committed(_)) => return,
            // Without a lease all keys are to be written anew, and judged then.
            Ok(Verdict::Refused { .. }) if self.lease.is_none() => return,
            Ok(Verdict::Refused { found, .. }) => found,
            Err(error) => {
                tracing::debug!(%error, "the session's keys could not be checked");
                return;
            }
        };
        let mut changed: Vec<(String, Option<Entry>)> = keys
            .into_iter()
            .zip(found)
            .filter(|(key, found)| self.is_changed(key, found.as_ref()))
            .collect();
        let usurped: Vec<_> = changed
            .extract_if(.., |(key, found)| found.as_ref().is_some_and(|e| !self.is_ours(key, e)))
            .collect();
        // Who lost one key to another session may have lost what belongs to it, too: the others
        // are looked at again after those who use the session have drawn their conclusion.
        if usurped.is_empty() {
            changed.into_iter().for_each(|(key, found)| self.put_back(&key, found));
        }
        for (key, by) in usurped {
            if let Some(by) = by {
                self.give_up(&key, Vec::new(), &SessionError::Usurped { by: Box::new(by) });
            }
        }
    }

    fn is_changed(&self, key: &str, found: Option<&Entry>) -> bool {
        let written = self.keys.get(key).and_then(|record| record.written.as_ref());
        written.is_some_and(|written| found.map(|e| e.mod_revision) != Some(written.at.revision))
    }

    /// Whether what stands there is ours to replace.
    fn is_ours(&self, key: &str, found: &Entry) -> bool {
        let job = self.lease.and_then(|lease| self.job(key, lease.id));
        job.is_some_and(|job| job.is_ours(found))
    }

    /// From here on the key counts as not written, or as written otherwise than it should be:
    /// writing it is the next piece of work.
    fn put_back(&mut self, key: &str, found: Option<Entry>) {
        let Some(record) = self.keys.get_mut(key) else { return };
        let Some(written) = &mut record.written else { return };
        match found {
            // A leader whose key is gone does not lead any more.
            None if record.claim.ends_with_lease => {}
            None => {
                tracing::warn!(key, "an attached key was deleted by somebody: writing it again");
                record.written = None;
                record.astray = true;
            }
            Some(found) => {
                tracing::warn!(key, "an attached key was changed by somebody: putting it back");
                *written = Written::found(found);
                record.astray = true;
            }
        }
    }
}
