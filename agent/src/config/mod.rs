//! The road of settings: watch, view, wanted, live, component, ack.

pub mod ack;
pub mod clients;
pub mod components;
mod journal;
pub mod live;
pub mod report;
pub mod road;
pub mod shared;
pub mod snapshot;
pub mod switched;
mod undecided;
pub mod view;
pub mod wanted;
