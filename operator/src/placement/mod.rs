//! Which node works on which partition. `plan` decides, `commit` says it in records and guards,
//! `brake` holds forced moves back when many nodes vanish at once. It needs etcd alone. Pure.

mod brake;
mod commit;
mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName, PartitionId};
use jiff::Timestamp;

pub use brake::hold_until;
pub use commit::{PARTITIONS_PER_TXN, transactions};
pub use plan::plan_placement;

/// A live node.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Which life of which node.
    pub owner: Owner,
    /// Whether it takes partitions.
    pub mode: NodeMode,
}

/// A partition as it stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// Nobody ever had it, or its record cannot be read; the epoch is the highest ever known.
    Nowhere {
        /// The highest epoch that it is known to have had.
        epoch: Epoch,
    },
    /// As the record says.
    Recorded(PartitionRecord),
}

/// What placement has to go by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Where partitions are to run when that node is ready.
    pub pins: BTreeMap<PartitionId, NodeName>,
    /// No move for balance or for a pin.
    pub paused: bool,
    /// Partitions on the move at the same time.
    pub moves: usize,
    /// Time that an owner has to hand over.
    pub drain: Duration,
    /// Forced moves wait until then, because many nodes vanished at once.
    pub hold: Option<Timestamp>,
    /// Partitions whose move was called off, left in peace until then.
    pub resting: BTreeMap<PartitionId, Timestamp>,
}

/// One partition's next record.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which partition.
    pub partition: PartitionId,
    /// Why.
    pub cause: StepCause,
    /// What to write.
    pub record: PartitionRecord,
}

/// Why a partition's record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepCause {
    /// It had no owner.
    First,
    /// Its owner is dead.
    Forced,
    /// Its owner is draining.
    Drain,
    /// A pin wants it elsewhere.
    Pin,
    /// Its owner has more than others.
    Balance,
    /// The destination of its move is gone.
    NoDestination,
    /// Its move took too long.
    Overdue,
}

impl StepCause {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            StepCause::First => "first",
            StepCause::Forced => "forced",
            StepCause::Drain => "drain",
            StepCause::Pin => "pin",
            StepCause::Balance => "balance",
            StepCause::NoDestination => "no_destination",
            StepCause::Overdue => "overdue",
        }
    }
}
