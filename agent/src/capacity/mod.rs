//! What bounds the work of a node, and changes live: credits in front of each partition's worker,
//! the queues that they belong to, turns of workers. No I/O.

pub mod credits;
pub mod queues;
pub mod turns;
