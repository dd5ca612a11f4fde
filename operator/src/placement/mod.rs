//! Which node works on which partition. `plan` decides, from what `rounds` remembers and `loads`
//! believes; `check` judges each plan by itself before `commit` says it in records and guards;
//! `look` puts them together for one hunt. It needs etcd alone. Pure.

mod bound;
mod brake;
mod check;
mod commit;
mod draft;
mod even;
mod hot;
mod loads;
mod look;
mod plan;
mod poison;
mod rounds;
mod setup;
mod weigh;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName, PartitionId};
use jiff::Timestamp;

pub use bound::{Bound, bound};
pub use brake::hold_until;
pub use check::{Violation, check};
pub use commit::{MOVES_PER_TXN, transactions};
pub use hot::Hot;
pub use loads::{Costs, Loads};
pub use look::{Extent, Placing, place};
pub use plan::plan_placement;
pub use rounds::Rounds;
pub use setup::{Seen, Setup};

/// A live node.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Which life of which node.
    pub owner: Owner,
    /// Whether it takes partitions.
    pub mode: NodeMode,
    /// How much it can take, in the unit of costs per partition: cores. Above 0.
    pub weight: f64,
    /// How well it does.
    pub health: Health,
}

/// How well a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It takes partitions.
    Well,
    /// It takes none for now, and keeps what it has: it was slow a moment ago, its report is late,
    /// or its moves got stuck.
    Doubtful,
    /// It loses partitions, within the budget: it says that it is slow, or says nothing any more.
    Slow,
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

/// Everything that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The live nodes, each once.
    pub nodes: &'a [Member],
    /// Every partition of the hunt.
    pub partitions: &'a BTreeMap<PartitionId, Placed>,
    /// What each partition costs.
    pub costs: &'a Costs,
    /// What to go by.
    pub policy: &'a Policy,
    /// The time.
    pub now: Timestamp,
}

/// What placement has to go by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Where partitions are to run when that node is ready.
    pub pins: BTreeMap<PartitionId, NodeName>,
    /// No move for balance, for a slow node or for a pin.
    pub paused: bool,
    /// Partitions that one node may be handing over or taking over at the same time, forced moves
    /// aside.
    pub moves: usize,
    /// Time that an owner has to hand over.
    pub drain: Duration,
    /// Forced moves wait until then, because many nodes vanished at once.
    pub hold: Option<Timestamp>,
    /// Partitions whose move was called off, left in peace until then.
    pub resting: BTreeMap<PartitionId, Timestamp>,
    /// Partitions that changed hands of late: no move for load or for a slow node.
    pub cooling: BTreeSet<PartitionId>,
    /// What balance goes by.
    pub aim: Aim,
    /// Balancing has begun and not yet come to its end: it stops later than it would start.
    pub running: bool,
    /// How far over the mean a node may be before balancing starts: 0.15 for 15 %.
    pub tolerance: f64,
    /// What may still move in this round by the nodes' own will.
    pub left: Budget,
    /// Partitions that, if their owner is dead, are parked instead of passed on.
    pub poison: BTreeSet<PartitionId>,
    /// Partitions that, if their owner is dead, go elsewhere even when it is back.
    pub spread: BTreeSet<PartitionId>,
    /// Parked partitions that are to be served again.
    pub freed: BTreeSet<PartitionId>,
    /// Partitions that one ordered key fills.
    pub hot: BTreeMap<PartitionId, Hot>,
}

/// What balance goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The same number of partitions on each node: nobody has said what they cost.
    Count,
    /// The same, but begun only for a node with less than half of its share: there is too little
    /// load for moves to be worth anything but room for what may come.
    Idle,
    /// The same utilisation of each node.
    Load,
    /// Nothing moves: too many reports are missing.
    Nothing,
}

/// What may move in a round by the nodes' own will.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// This many partitions.
    pub partitions: usize,
    /// Moves are begun until so much cost is on the move.
    pub cost: f64,
}

impl Budget {
    /// No bound.
    pub const ENDLESS: Budget = Budget { partitions: usize::MAX, cost: f64::INFINITY };

    fn is_spent(&self) -> bool {
        self.partitions == 0 || self.cost <= 0.0
    }

    fn spend(&mut self, cost: f64) {
        self.partitions = self.partitions.saturating_sub(1);
        self.cost -= cost;
    }
}

/// What to do, and how things stand once it is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Next records, at most one for each partition.
    pub steps: Vec<Step>,
    /// Balancing goes on: [`Policy::running`] of the next plan.
    pub running: bool,
    /// How evenly the load lies, moves counted as done.
    pub standing: Standing,
}

/// How evenly load lies on the nodes that take partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Standing {
    /// Cost of all partitions over the weight of those nodes.
    pub mean: f64,
    /// Utilisation of the fullest.
    pub most: f64,
    /// Utilisation of the emptiest.
    pub least: f64,
    /// `most` over `mean` that no placement can go below; see [`bound`].
    pub bound: f64,
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
    /// Its owner is slow.
    Slow,
    /// It shares a node with a hot key, or is that key's and goes to a bigger node.
    Hot,
    /// Its owner has more than others.
    Balance,
    /// The destination of its move is gone.
    NoDestination,
    /// Its move took too long.
    Overdue,
    /// Its owners died one after the other.
    Poison,
    /// It was parked and is to be served again.
    Freed,
}

impl StepCause {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            StepCause::First => "first",
            StepCause::Forced => "forced",
            StepCause::Drain => "drain",
            StepCause::Pin => "pin",
            StepCause::Slow => "slow",
            StepCause::Hot => "hot",
            StepCause::Balance => "balance",
            StepCause::NoDestination => "no_destination",
            StepCause::Overdue => "overdue",
            StepCause::Poison => "poison",
            StepCause::Freed => "freed",
        }
    }
}
