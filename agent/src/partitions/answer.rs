//! What an append into a partition asks and answers. Pure.

use std::time::Duration;

use config_schemas::{Epoch, Offset, PartitionId};

/// Where an event stands once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its partition.
    pub partition: PartitionId,
    /// Its place in the partition's event log.
    pub offset: Offset,
    /// Under which ownership it was taken in.
    pub epoch: Epoch,
}

/// Why a batch was not taken in. Nothing of it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// This node does not serve the partition, or is handing it over; nothing was kept. `epoch` is
    /// what it knows.
    NotMine {
        /// The newest epoch that this node knows.
        epoch: Option<Epoch>,
    },
    /// A newer owner took over while this was being written: it may have been kept, and then that
    /// owner plays it. The same event ids may be sent again.
    Fenced {
        /// The newer owner's epoch.
        by: Epoch,
    },
    /// The queue is full; nothing was queued.
    Full {
        /// When there will probably be room.
        retry_after: Duration,
    },
    /// A record of it is larger than what the log takes; nothing was kept.
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// The log did not take it in in time, or at all. The same event ids may be sent again.
    Log {
        /// What went wrong.
        why: String,
    },
}

/// Where events come from, which decides whether they need credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A producer.
    Producer,
    /// Another partition's outbox, whose own length bounds them: making them wait for credits
    /// could have two partitions wait for each other.
    Outbox,
}
