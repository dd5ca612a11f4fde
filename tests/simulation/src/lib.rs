//! The whole data plane in simulated worlds, one per seed: the real operators, agents and logs on
//! simulated time, network and disks, under seeded faults, judged from outside.
//!
//! Read in this order: `world` (one world), `schedule` (what goes wrong), `agent`, `operator`,
//! `players` (the hosts), `wire` and `carry` (how events travel), `records` and `verdict` (what is
//! checked), `fleet` (many worlds, one process each).

mod agent;
mod carry;
mod fleet;
mod operator;
mod players;
mod records;
mod schedule;
mod verdict;
mod wire;
mod world;

pub use fleet::{Fleet, RANDOM};
pub use world::{Broken, Ended, simulate};
