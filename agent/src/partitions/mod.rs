//! The partitions that this agent serves. Orders and routes are decided purely; a seat carries one
//! partition from take-over to hand-over, with its intake, worker and outbox; the plane is them all.

pub mod answer;
pub mod credits;
mod intake;
pub mod log;
pub mod outbox;
pub mod ownership;
pub mod plane;
pub mod queues;
mod rebuild;
pub mod routes;
mod seat;
mod snapshots;
pub mod turns;
mod worker;
