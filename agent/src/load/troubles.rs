//! What keeps partitions of this node from being served or written to: a full disk, a damaged log.
//! In: what a partition's keeper and intake ran into, and that it is over. Out: all that stands,
//! for the node's report; a log line when it begins, changes or ends, however often it is tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use config_schemas::PartitionId;

/// The troubles of a node, by partition. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<PartitionId, String>>>);

impl Troubles {
    /// The partition has this trouble now.
    pub fn begin(&self, partition: PartitionId, why: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&partition) != Some(&why) {
            tracing::error!(%partition, %why, "the partition's log is in trouble; trying again");
            all.insert(partition, why);
        }
    }

    /// The partition has none any more, or is no longer ours.
    pub fn end(&self, partition: PartitionId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.remove(&partition).is_some() {
            tracing::info!(%partition, "the partition's log is well again");
        }
    }

    /// Those that stand.
    pub fn standing(&self) -> BTreeMap<PartitionId, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
