//! The road of settings: watch, view, wanted, live, component, ack.

pub mod live;
pub mod switched;
pub mod view;
pub mod wanted;
