//! The Kafka broker on a real cluster of three nodes. Without a way to get one (no Java or no
//! Maven) these tests say so and pass: then there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]
#![allow(clippy::print_stdout, reason = "what is left out, and what was measured, is said aloud")]

mod world;

mod ahead;
mod anew;
mod damaged;
mod faults;
mod owners;
mod readers;
mod refusals;
mod snapshots;
mod swaps;
mod transactions;
