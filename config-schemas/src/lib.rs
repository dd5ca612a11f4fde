//! What operator and agents agree on: names, keys in etcd, sections and their fields, layering,
//! documents, acks. Everything here is pure.

#![deny(missing_docs)]

mod names;

pub use names::*;
