//! The load generator: an open loop of players who hunt, and a judge of what became of their events.
//!
//! `shape` says how many events are due when, `cast` who does what, `replay` reads events from a
//! file instead; `sender` sends each when it is due, whatever became of those before; `tally`
//! keeps times and refusals, `report` shows them; `outcomes` reads what the hunt says happened and
//! `checker` names everything that is wrong with it. Pure but for `sender`, `replay` and `outcomes`.

pub mod args;
pub mod cast;
pub mod checker;
pub mod outcomes;
pub mod replay;
pub mod report;
pub(crate) mod request;
pub mod sender;
pub mod shape;
pub mod tally;
