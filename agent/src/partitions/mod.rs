//! The partitions that this agent serves. Orders and routes are decided purely; a seat is one
//! partition here, its keeper carries out its orders, a tenure serves it with intake, worker and
//! outbox; the plane is them all.

mod abandoned;
pub mod answer;
mod backlog;
mod believed;
mod cutting;
mod dead_letters;
mod deciding;
mod flight;
mod foreign;
mod gate;
mod intake;
mod keeper;
mod lanes;
pub mod log;
pub mod outbox;
pub mod ownership;
pub mod plane;
mod rebuild;
pub mod routes;
mod seat;
mod snapshots;
mod tenure;
mod trial;
mod warmth;
mod worker;

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod backlog_tests;
#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod fresh_tests;
#[cfg(test)]
mod handover_tests;
#[cfg(test)]
mod intake_tests;
#[cfg(test)]
mod poison_tests;
#[cfg(test)]
#[path = "../../../events/tests/scripted/mod.rs"]
mod scripted;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod world_tests;
