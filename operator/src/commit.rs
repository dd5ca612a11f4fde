//! Carries a plan out: each transaction guarded by the leader's key besides, one after the other,
//! no further than the first that does not land. I/O, and no decisions.

use std::time::Instant;

use config_schemas::Revision;
use store::{Guard, Store, StoreError, Txn, Verdict};

use crate::fuse::Fuse;
use crate::metrics::Metrics;

/// What became of a plan.
#[derive(Debug)]
pub enum Committed {
    /// All of it is in etcd; the last of it at this revision.
    All(Revision),
    /// Something had changed; plan anew from what stands there.
    Overtaken,
    /// etcd could not be reached or did not take it.
    Failed(StoreError),
}

/// Commits the transactions in order.
pub async fn commit(
    store: &Store,
    txns: Vec<Txn>,
    leader: Guard,
    metrics: &Metrics,
    fuse: &Fuse,
) -> Committed {
    let mut last = None;
    for txn in txns {
        let begun = Instant::now();
        fuse.before_write().await;
        let verdict = store.commit_decided(&txn.guarded_by(leader.clone())).await;
        let word = match &verdict {
            Ok(Verdict::Committed(_)) => "committed",
            Ok(Verdict::Refused { .. }) => "refused",
            Err(error) => error.kind(),
        };
        metrics.txns.with_label_values(&[word]).inc();
        metrics.txn_seconds.with_label_values(&[word]).observe(begun.elapsed().as_secs_f64());
        match verdict {
            Ok(Verdict::Committed(revision)) => last = Some(revision),
            Ok(Verdict::Refused { .. }) => return Committed::Overtaken,
            Err(error) => return Committed::Failed(error),
        }
    }
    last.map_or(Committed::Overtaken, Committed::All)
}
