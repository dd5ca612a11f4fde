//! What operator and agent share around their work: logs, traces, the clock, the admin port, tasks that
//! end in order, and the catalogue of all metrics. Knows nothing of hunts but the names of figures.

pub mod admin;
pub mod catalogue;
pub mod clock;
pub mod logs;
pub mod metrics;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tasks;
pub mod traces;
