//! The partitions that this agent serves: ownership, queues, workers.

pub mod credits;
pub mod ownership;
pub mod turns;
