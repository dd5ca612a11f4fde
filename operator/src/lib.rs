//! The operator: brings what TreasureHunts ask for into etcd, places partitions, and reports what
//! agents really run.
//!
//! Read in this order: `controller` (the loop), `hunt` (one look at one hunt), `desire` (what a
//! resource asks for), `plan` (what to write), `evaluate` (what is in effect, who is behind),
//! `report` (the status), `placement` (who works on which partition), `source` (where resources
//! come from). Only `controller`, `commit`, `lead`, `source` and `run` do I/O.

#![deny(missing_docs)]

pub mod admin;
pub mod commit;
pub mod controller;
pub mod desire;
pub mod evaluate;
pub mod fuse;
pub mod hands;
pub mod hunt;
pub mod journal;
pub mod lead;
pub mod metrics;
pub mod placement;
pub mod plan;
pub mod queue;
pub mod report;
pub mod run;
pub mod source;
pub mod state;
pub mod topics;

pub use fuse::Fuse;
pub use hunt::CLEAN_UP_WITHIN;
pub use metrics::Metrics;
pub use run::{From, Options, RunError, Running, start};
