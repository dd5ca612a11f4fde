//! What of the log can be changed while it is written to. In: new settings. Out: the ones that
//! hold now, read at each group. Pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Settings of the embedded log that change live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// How long a group waits for more appends before it is written.
    pub linger: Duration,
    /// Where a segment ends and the next begins, in bytes.
    pub segment_bytes: u64,
}

/// Where a segment ends unless told otherwise: large enough that files stay few, small enough to
/// be dropped one by one when retention comes.
const SEGMENT_BYTES: u64 = 64 << 20;

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { linger: Duration::ZERO, segment_bytes: SEGMENT_BYTES }
    }
}

/// The settings in force. The two are independent, so that reading one at a time is enough.
pub(crate) struct LiveTuning {
    linger_micros: AtomicU64,
    segment_bytes: AtomicU64,
}

impl LiveTuning {
    pub(crate) fn new(tuning: Tuning) -> LiveTuning {
        let live =
            LiveTuning { linger_micros: AtomicU64::new(0), segment_bytes: AtomicU64::new(0) };
        live.set(tuning);
        live
    }

    pub(crate) fn set(&self, tuning: Tuning) {
        let micros = u64::try_from(tuning.linger.as_micros()).unwrap_or(u64::MAX);
        self.linger_micros.store(micros, Ordering::Relaxed);
        self.segment_bytes.store(tuning.segment_bytes, Ordering::Relaxed);
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_micros(self.linger_micros.load(Ordering::Relaxed))
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }
}
