//! What the operator knows: a resource as its source saw it, a hunt's keys as etcd holds them, and
//! what has to be remembered of earlier states. Pure.

mod cutting;
mod memory;
mod observed;
mod view;

pub use cutting::Cutting;
pub use memory::Memory;
pub use observed::{Observed, parse_status};
pub use view::{HuntView, Slot};
