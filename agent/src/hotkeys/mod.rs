//! Keys that more events ask for than one partition should bear: found by a sketch of bounded
//! size, spread when their kind of event needs no order, and reported as the bound when it does.
//! In: keys of events and the time. Out: over how many partitions a key goes. Pure.
//!
//! Each gateway decides about splits for itself. Every split of a kind without order is
//! correct, so there is nothing to agree on; a record in etcd would cost a round of the controller
//! where a second is allowed, and would make the data plane wait for the control plane.

mod heap;
mod keys;
mod sketch;
mod spread;

pub use keys::HotKeys;
pub(crate) use keys::{Extent, count_spread};
pub use sketch::{Counted, SKETCH_KEYS, Sketch};
pub use spread::{FAN_MAX, HotKey, Load, Spread, SpreadLimits};
