//! What this node carries, and how well it does. Workers and intakes count into `meter`; each
//! window, `fold` turns the counts, what `cores` the node has and `health` into a `Load`, purely;
//! `reporter` does so on time and writes it to etcd on the node's lease.

pub mod cores;
pub mod fold;
#[cfg(test)]
mod fold_tests;
pub mod health;
mod latency;
pub mod meter;
pub mod reporter;
#[cfg(test)]
mod reporter_tests;
pub mod troubles;

pub use latency::Latencies;
