//! An event that could not be played, as people find it. Pure.

use config_schemas::{Offset, PartitionId};

/// An event that cannot be played.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// Where it stands.
    pub partition: PartitionId,
    /// And at which place there.
    pub offset: Offset,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Why, for a person.
    pub why: &'a str,
    /// What it was tried under.
    pub config_revision: u64,
}
