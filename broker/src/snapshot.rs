//! What was made of a partition's outcomes, with its place in them. Pure.

use config_schemas::{Epoch, Offset};

/// What was made of a partition's outcomes up to some place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The ownership under which it was made.
    pub epoch: Epoch,
    /// The first outcome that is not in it; not 0.
    pub outcomes: Offset,
    /// The first event whose outcome is not in it.
    pub events: Offset,
    /// What was made of them.
    pub body: Vec<u8>,
}
