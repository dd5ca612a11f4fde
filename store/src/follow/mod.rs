//! A range of keys followed live. In: a store and a range. Out: updates, each complete at one
//! revision and conflated by key, and a status that says how fresh they are.
//!
//! `machine` decides (pure), `driver` acts (I/O), and nothing runs between `next` calls: the
//! consumer's own task reads the stream, so no hop lies between the wire and the consumer.

mod driver;
mod held;
mod machine;
#[cfg(test)]
mod machine_tests;
mod metrics;
mod status;
mod wire;

use std::time::Duration;

use config_schemas::Revision;
use tokio::time::Instant;

pub use driver::{Follower, follow};
pub use status::{FollowCounts, FollowStatus, Phase, SILENT_AFTER};

use crate::keys::{Change, KeyRange};

/// How often what is held is compared with a full list, unless told otherwise; jittered.
pub const AUDIT_PERIOD: Duration = Duration::from_secs(300);

/// What to follow, and how.
#[derive(Debug, Clone)]
pub struct FollowOptions {
    /// The keys.
    pub range: KeyRange,
    /// The key, inside the range, whose absence means that the store was wiped, once it has been
    /// seen: then nothing is emitted until it is back.
    pub marker: Option<String>,
    /// The marker was seen in an earlier life of this process, so that even the first list
    /// without it is a wiped store and not a new hunt.
    pub marker_seen: bool,
    /// Mean time between two audits.
    pub audit_period: Duration,
    /// A short name for logs.
    pub name: String,
}

impl FollowOptions {
    /// A range without a marker, audited every `AUDIT_PERIOD`.
    pub fn new(name: impl Into<String>, range: KeyRange) -> Self {
        let name = name.into();
        Self { range, marker: None, marker_seen: false, audit_period: AUDIT_PERIOD, name }
    }

    /// With a root marker.
    #[must_use]
    pub fn with_marker(mut self, key: impl Into<String>) -> Self {
        self.marker = Some(key.into());
        self
    }
}

/// Why an update was emitted. When several were conflated into one, the greatest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The store told us of a change.
    Watch,
    /// An audit found that a change had been missed; counted, and should not happen.
    Audit,
    /// The watch could not be resumed, and a new list differed from what was held.
    Relist,
    /// The first list.
    First,
}

/// What changed since the update before, complete at `revision`: never half a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The revision at which the held state is complete. It only falls when the store itself
    /// went back (restored or wiped), and then `cause` is `Relist`.
    pub revision: Revision,
    /// The newest state of each key that changed, in the order of keys.
    pub changes: Vec<Change>,
    /// Why.
    pub cause: Cause,
    /// When the newest of it arrived from the wire.
    pub arrived: Instant,
}
