//! What a new owner says of itself when it takes a partition. Pure.

use config_schemas::Epoch;

/// Who takes a partition, and under which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The ownership; higher than every earlier one of the partition.
    pub epoch: Epoch,
    /// The node's name, for people.
    pub owner: String,
    /// Which run of that node. Taking the same epoch again is allowed to the same run only.
    pub incarnation: String,
}
