//! The process table as tests look at it: what a process does, and waiting until it is so. I/O.

use std::time::{Duration, Instant};

use servers::{ProcessStat, ProcessState};

/// What a process does; one that is not there is dead.
pub(crate) fn state(pid: u32) -> ProcessState {
    ProcessStat::read(pid).map_or(ProcessState::Dead, |stat| stat.state)
}

/// Asks until it is so.
///
/// # Panics
/// When it is not within `limit`.
pub(crate) async fn eventually(limit: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
