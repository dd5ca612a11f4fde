//! Events that are not played: the one on which the machine fails, and what is left of each for
//! people. In: records and reasons. Out: dead letters at the broker, where it has a place for them.
//! I/O, thin.

use broker::{AnyOwned, DeadLetter, Owned as _, Record};
use config_schemas::Offset;
use events::Stamp;

use crate::config::road::chain;

/// An event that is not to be played, and why.
#[derive(Debug, Clone)]
pub(crate) struct Condemned {
    pub(crate) offset: Offset,
    pub(crate) why: String,
}

/// Leaves dead letters where people find them, a batch of them at once. Before their outcomes are
/// there: one that is written twice, by this worker and the next, is better than none.
pub(crate) async fn put_dead_letters(owned: &AnyOwned, dead: &[(&Record, String)], stamp: Stamp) {
    let (partition, config_revision) = (stamp.partition, stamp.config_revision);
    let letters = dead.iter().map(|(record, why)| async move {
        let (offset, payload) = (record.offset, &record.payload);
        let letter = DeadLetter { partition, offset, payload, why, config_revision };
        if let Err(error) = owned.put_dead_letter(letter).await {
            let error = chain(&error);
            tracing::warn!(%partition, %offset, %error, "a dead letter is only in the outcomes");
        }
    });
    futures::future::join_all(letters).await;
}
