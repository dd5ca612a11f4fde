//! Ends the operator between two of its writes, for tests that start it again and ask for the
//! same outcome whatever the write was. Without a limit it does nothing. I/O only in that it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// Counts writes and stops at a limit.
#[derive(Debug, Clone, Default)]
pub struct Fuse {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    left: AtomicI64,
    blown: Notify,
}

impl Fuse {
    /// A fuse that lets that many writes through.
    pub fn after(writes: u32) -> Fuse {
        let inner = Inner { left: AtomicI64::new(i64::from(writes)), blown: Notify::new() };
        Fuse { inner: Some(Arc::new(inner)) }
    }

    /// Passes, or never returns: then the write never happens, as if the process had died.
    pub async fn before_write(&self) {
        let Some(inner) = &self.inner else { return };
        if inner.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            inner.blown.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when a write was stopped; never without a limit.
    pub async fn blown(&self) {
        match &self.inner {
            Some(inner) => inner.blown.notified().await,
            None => std::future::pending().await,
        }
    }
}
