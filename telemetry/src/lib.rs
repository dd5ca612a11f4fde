//! What operator and agent share around their work: logs, the clock, the admin port, tasks that
//! end in order. Knows nothing of hunts.

pub mod admin;
pub mod clock;
pub mod logs;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tasks;
