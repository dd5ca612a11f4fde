//! Child processes: what to run (`launch`), what the system says of one (`stat`), one that dies
//! with us (`guarded`), one that outlives us (`detached`), and what a server's has on top (`server`).

pub(crate) mod detached;
pub(crate) mod guarded;
pub(crate) mod launch;
pub(crate) mod server;
pub(crate) mod spawner;
pub(crate) mod stat;
