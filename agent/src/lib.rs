//! The agent: one node of a hunt. Settings come in by `config` (watch, view, wanted, live, ack),
//! events by `gateway`, and `partitions` plays them; `capacity` bounds both, `hotkeys` and `load` see
//! what is too much. `core` is an agent without its ports; `traced` tells of events that are followed.

pub mod admin;
pub mod capacity;
pub mod config;
pub mod core;
mod files;
pub mod gateway;
pub mod hotkeys;
pub mod identity;
pub mod load;
pub mod metrics;
pub mod options;
pub mod partitions;
pub mod registration;
pub mod run;
pub mod secrets;
#[cfg(feature = "sim")]
pub mod sim;
mod traced;
