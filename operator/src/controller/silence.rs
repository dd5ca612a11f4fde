//! Whether etcd is heard. In: the follower's word and the time. Out: whether it answers now, and
//! whether it has been silent for so long that people are told. No I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::Controller;

/// Without proof for this long, etcd does not answer.
const STORE_SILENT: Duration = Duration::from_secs(10);
/// Found not to answer so often in a row, etcd is said to be silent. An operator that was paused
/// finds so once when it wakes up, and would say what is not so.
const SILENT_COUNTS: u32 = 2;

impl Controller {
    /// Has every hunt looked at when etcd falls silent, and when it is heard again.
    pub(super) fn listen(&mut self, now: Instant) {
        let before = self.is_silent();
        let silent = self.revision.is_some() && !self.store_answers(now);
        self.silent_counts = if silent { self.silent_counts.saturating_add(1) } else { 0 };
        if self.is_silent() != before {
            tracing::warn!(silent = self.is_silent(), "whether etcd answers has changed");
            self.mark_all();
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent_counts >= SILENT_COUNTS
    }

    pub(super) fn store_answers(&self, now: Instant) -> bool {
        let status = self.follow_status.borrow();
        status.proven_at.is_some_and(|at| now.saturating_duration_since(at) < STORE_SILENT)
    }
}
