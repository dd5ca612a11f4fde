//! What a follower says of itself: how fresh, in which phase, what went wrong how often. Pure.

use std::time::Duration;

use config_schemas::Revision;
use tokio::time::Instant;

/// Without proof for this long the store is away, and not merely slow: a follower asks every second
/// and opens its stream anew after two.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What the follower is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the whole range.
    Listing,
    /// Opening a watch.
    Opening,
    /// Live.
    Watching,
    /// Waiting before the next attempt.
    BackingOff {
        /// What failed, as `StoreError::kind` or a word of the watch protocol.
        cause: &'static str,
        /// When it goes on.
        until: Instant,
    },
    /// The store lost the root marker: what is held is kept, nothing is emitted, and the store
    /// is asked again until the marker is back.
    Lost {
        /// How it showed.
        why: &'static str,
    },
}

/// How fresh what is held is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowStatus {
    /// Everything in the range up to this revision is held. `None` before the first list.
    pub proven: Option<Revision>,
    /// When that was last proven by the store: the age of what is held.
    pub proven_at: Option<Instant>,
    /// What the follower is doing.
    pub phase: Phase,
    /// What happened how often.
    pub counts: FollowCounts,
}

impl FollowStatus {
    /// How long the store has been silent, once that is longer than [`SILENT_AFTER`]. `None` while
    /// it answers, and before the first list.
    pub fn silent_for(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.proven_at?);
        (silent >= SILENT_AFTER).then_some(silent)
    }
}

/// What happened how often since the follower was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FollowCounts {
    /// Events applied.
    pub events: u64,
    /// Updates handed out.
    pub updates: u64,
    /// Watches opened again after one had ended.
    pub reconnects: u64,
    /// Lists read because a watch could not be resumed.
    pub relists: u64,
    /// Watches refused because their start had been compacted away.
    pub compactions: u64,
    /// Times the store was found to be older than what is held, or another one.
    pub rewinds: u64,
    /// Streams dropped because nothing came in answer to a progress request.
    pub silences: u64,
    /// Watches refused for want of a valid token or permission.
    pub denials: u64,
    /// Times the root marker was found missing.
    pub losses: u64,
    /// Messages that could not be read, a panic while decoding among them.
    pub unreadable: u64,
    /// Audits done.
    pub audits: u64,
    /// Keys that an audit had to repair. Should stay 0.
    pub audit_repairs: u64,
    /// Events that came after a progress answer which had promised there were none. Applied all
    /// the same. Should stay 0 (etcd #15220, open below 3.4.25 and 3.5.8).
    pub out_of_step: u64,
    /// Events at or below what was already complete; dropped.
    pub repeated: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_silent_once_it_was_not_heard_for_long_and_not_before_it_was_ever_heard() {
        let now = Instant::now() + Duration::from_secs(60);
        let (phase, counts) = (Phase::Watching, FollowCounts::default());
        let check = |heard: Option<u64>, silent: Option<u64>| {
            let proven_at = heard.map(|ago| now - Duration::from_secs(ago));
            let status = FollowStatus { proven: None, proven_at, phase, counts };
            assert_eq!(status.silent_for(now), silent.map(Duration::from_secs), "{heard:?}");
        };
        check(None, None);
        check(Some(0), None);
        check(Some(4), None);
        check(Some(5), Some(5));
        check(Some(12), Some(12));
    }
}
