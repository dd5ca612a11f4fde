//! What operator and agents agree on: names, keys in etcd, sections and their fields, layering,
//! documents, acks. Everything here is pure.
//!
//! Read `settings` first (every setting in one place), then `keys` (where things stand in etcd),
//! `documents`, `load`, `hot`, `warm` (what machines write there), `edit` (what people write), `layers`
//! (which value wins), `generation` (which generation runs), `diff` (what a change asks of whom)
//! and `convergence` (whether a node runs what it should).

#![deny(missing_docs)]

pub mod artefacts;
pub mod convergence;
pub mod diff;
pub mod documents;
pub mod edit;
mod field;
pub mod generation;
pub mod hot;
pub mod keys;
pub mod layers;
mod load;
mod lookup;
mod names;
mod pin;
mod problem;
mod reading;
mod settings;
mod table;
mod value;
mod warm;

pub use field::*;
pub use load::*;
pub use lookup::*;
pub use names::*;
pub use pin::Pin;
pub use problem::{Problem, excerpt, excerpt_of};
pub use reading::{Read, Resource, conflicts, read_sections};
pub use settings::*;
pub use value::*;
pub use warm::Warm;
