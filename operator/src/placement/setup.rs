//! What placement is told from outside: the settings in effect, and what else was seen of the hunt
//! at a look. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::{NodeName, PartitionId};
use jiff::Timestamp;

/// The settings that rounds go by.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Time between two rounds.
    pub round: Duration,
    /// Share of the load that may move in a round; of the partitions half as many.
    pub budget: f64,
    /// How far over the mean a node may be.
    pub tolerance: f64,
    /// See [`Policy::moves`].
    pub moves: usize,
    /// See [`Policy::drain`].
    pub drain: Duration,
    /// See [`Policy::paused`].
    pub paused: bool,
    /// See [`Policy::pins`].
    pub pins: BTreeMap<PartitionId, NodeName>,
    /// How long a dead node's lease lasts.
    pub lease: Duration,
}

/// What else a policy is made from.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Forced moves wait until then.
    pub hold: Option<Timestamp>,
    /// Since when nodes are gone.
    pub gone: &'a BTreeMap<NodeName, Timestamp>,
    /// Parked partitions that are to be served again.
    pub freed: &'a BTreeSet<PartitionId>,
    /// The time.
    pub now: Timestamp,
}
