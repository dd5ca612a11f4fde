//! The agent.
pub mod config;
pub mod partitions;
