//! `warm/<id>`: the destination of a move says that it has loaded the partition's state. Pure.

use serde::{Deserialize, Serialize};

use crate::documents::Owner;
use crate::names::Epoch;

/// Written by the destination, on its lease; the owner then drains. Goes when the move is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// See [`FORMAT`](crate::documents::FORMAT).
    pub format: u32,
    /// Who has loaded it.
    pub owner: Owner,
    /// The epoch of the move, which is its present owner's.
    pub epoch: Epoch,
}
