//! Checks and figures that need more than one crate, on the real servers. `bench` measures what
//! the README promises.

pub mod bench;
