//! Wakes a consumer's thread: records came for one of its partitions, or a reader has made room. In:
//! rings, from any thread, however often. Out: one wake-up. No I/O.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Whoever has news rings it; it never waits.
#[derive(Debug, Clone)]
pub(crate) struct Bell(SyncSender<()>);

/// Who is woken by it.
pub(crate) struct Sleeper(Receiver<()>);

/// A bell, and who hears it. One ring is kept while nobody sleeps.
pub(crate) fn bell() -> (Bell, Sleeper) {
    let (rings, rung) = sync_channel(1);
    (Bell(rings), Sleeper(rung))
}

impl Bell {
    pub(crate) fn ring(&self) {
        // refused where one ring is kept already
        let _ = self.0.try_send(());
    }
}

impl Sleeper {
    /// Whether it has rung since it was asked last.
    #[cfg(test)]
    pub(crate) fn has_rung(&self) -> bool {
        self.0.try_recv().is_ok()
    }

    /// Until it rings, or has rung since the last time; at most so long.
    pub(crate) fn sleep(&self, at_most: Duration) {
        let _ = self.0.recv_timeout(at_most);
    }
}
