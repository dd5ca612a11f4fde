//! The view, shared: one writer, the road; readers look at it in place. With a thousand nodes a
//! copy for each change would cost more than the change. In: changes. Out: looks, and news that
//! there was a change of nodes or partitions. No I/O; a look is never held across an await.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::view::View;

/// The writing end.
#[derive(Debug)]
pub struct ViewWriter {
    view: Arc<RwLock<View>>,
    moved: watch::Sender<()>,
}

/// The reading end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ViewReader {
    view: Arc<RwLock<View>>,
    moved: watch::Receiver<()>,
}

/// Shares `view`.
pub fn share(view: View) -> (ViewWriter, ViewReader) {
    let view = Arc::new(RwLock::new(view));
    let (sender, moved) = watch::channel(());
    (ViewWriter { view: view.clone(), moved: sender }, ViewReader { view, moved })
}

impl ViewWriter {
    /// A look.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change. Tell of it by [`ViewWriter::moved`] when nodes or partitions are concerned.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells readers that nodes or partitions have changed.
    pub(crate) fn moved(&self) {
        self.moved.send_replace(());
    }
}

impl ViewReader {
    /// A look.
    pub fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of nodes or partitions since the last call; `false` once there will be
    /// none any more.
    pub async fn changed(&mut self) -> bool {
        self.moved.changed().await.is_ok()
    }

    /// Waits until the view is as asked, or will not change any more.
    pub async fn wait_for(&mut self, mut is: impl FnMut(&View) -> bool) {
        while !is(&self.read()) {
            if !self.changed().await {
                return;
            }
        }
    }
}
