//! What operator and agents agree on: names, keys in etcd, sections and their fields, layering,
//! documents, acks. Everything here is pure.
//!
//! Read `settings` first (every setting in one place), `between` (rules that two or more keep), then `keys` (where things stand in etcd),
//! `documents`, `load`, `hot`, `warm` (what machines write there), `edit` (what people write), `layers`
//! (which value wins), `generation` (which generation runs), `diff` (what a change asks of whom)
//! and `convergence` (whether a node runs what it should).

#![deny(missing_docs)]

mod address;
pub mod artefacts;
mod between;
pub mod convergence;
pub mod cuts;
pub mod diff;
pub mod documents;
mod drained;
pub mod edit;
mod field;
pub mod generation;
pub mod hot;
pub mod keys;
mod kinds;
pub mod layers;
mod load;
mod lookup;
mod names;
mod pin;
mod problem;
mod reading;
mod secret;
mod settings;
mod table;
mod topics;
mod typed;
mod value;
mod warm;

pub use address::{ADDRESSES_MAX, is_address};
pub use between::{AT_MOST, RULES, Rule, conflicts, contradictions};
pub use cuts::{Cuts, Origin};
pub use drained::drained;
pub use field::*;
pub use load::*;
pub use lookup::*;
pub use names::*;
pub use pin::Pin;
pub use problem::{Problem, excerpt, excerpt_of};
pub use reading::{Read, Resource, read_sections};
pub use secret::SecretRef;
pub use settings::*;
pub use topics::{RESERVED_KEYS, TopicConfig, TopicRole};
pub use typed::{BrokerKind, Compression, SaslMechanism};
pub use value::*;
pub use warm::Warm;
