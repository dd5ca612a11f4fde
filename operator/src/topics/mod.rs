//! Kafka topics of hunts, brought to be as their resources say and kept so: made, raised, moved,
//! led, set, and read back.
//!
//! Read in this order: `wanted` (what a hunt asks for), `seen` (what the cluster says), `plan` (what
//! to do next), `admin` (the words of Kafka), `task` (the loop of one hunt).

pub mod admin;
pub mod plan;
pub mod seen;
pub mod wanted;
