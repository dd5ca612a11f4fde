//! The partitions that this agent serves: ownership, routes, queues, workers.

pub mod credits;
pub mod ownership;
pub mod queues;
pub mod routes;
pub mod turns;
