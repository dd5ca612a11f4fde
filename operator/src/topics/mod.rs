//! Kafka topics of hunts, brought to be as their resources say and kept so: made, raised, moved,
//! led, set, and read back.
//!
//! Read in this order: `wanted` (what a hunt asks for), `seen` (what the cluster says), `plan` (what
//! to do next), `admin` (the words of Kafka), `task` (the loop of one hunt), `standing` (what is told), `claims`
//! (whose a topic is), `keeper` (the tasks of all hunts). Only `secrets`, `admin`, `task` and `keeper` do I/O.

pub mod admin;
pub mod asked;
pub mod claims;
pub mod keeper;
pub mod plan;
pub mod secrets;
pub mod seen;
pub mod standing;
pub mod task;
pub mod wanted;

pub use keeper::Keeper;
pub use secrets::SecretStore;
pub use standing::Standing;
pub use task::{Asked, Told};
