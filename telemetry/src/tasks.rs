//! Tasks that end in order: each is spawned here, hears when to stop, and is waited for. A task
//! that panics stops the whole process in order, since nobody else would do its work. I/O.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for tasks after they were told to stop; what hangs longer is named and left.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The tasks of a process or of a part of it.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A group of its own that also stops when this one does. It is waited for by itself.
    pub fn child(&self) -> Tasks {
        Tasks { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// Runs `task` until it ends. It should end soon after [`Tasks::stopping`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        #[cfg(feature = "sim")]
        let task = crate::sim::on_this_host(task);
        self.tracker.spawn(async move {
            let mut guard = PanicGuard { name, stop, ended: false };
            task.await;
            guard.ended = true;
        });
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Heard by every task when it is to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells every task to stop and waits until all have, at most [`STOP_TIMEOUT`].
    pub async fn finish(&self) {
        self.stop();
        self.tracker.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "tasks did not end in time");
        }
    }
}

struct PanicGuard {
    name: &'static str,
    stop: CancellationToken,
    ended: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !self.ended && std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked; stopping");
            self.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stops_the_others() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping();
        tasks.spawn("waits", async move { stopping.cancelled().await });
        tasks.spawn("panics", async { panic!("on purpose") });
        tasks.stopping().cancelled().await;
        tasks.finish().await;
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_not_the_other_way() {
        let tasks = Tasks::default();
        let child = tasks.child();
        tasks.child().stop();
        assert!(!tasks.stopping().is_cancelled());
        tasks.stop();
        assert!(child.stopping().is_cancelled());
    }
}
