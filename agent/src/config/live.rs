//! The configuration that runs, for whoever works by it. One writer, many readers; a reader
//! looks once per batch, so that every event runs under exactly one configuration. Pure.

use std::sync::Arc;

use config_schemas::Config;
use tokio::sync::watch;

/// Counts the configurations that this process has run; rises by one with each change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A configuration that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// Which one of this process.
    pub version: Version,
    /// The store's revision that it stems from, for stamping outcomes; 0 for defaults.
    pub revision: u64,
    /// The settings.
    pub config: Arc<Config>,
}

/// The writing end.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Running>);

/// The reading end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    receiver: watch::Receiver<Running>,
    cached: Running,
}

/// Starts with `config`, which is what runs until something is published.
pub fn channel(config: Config) -> (Publisher, Live) {
    let running = Running { version: Version(0), revision: 0, config: Arc::new(config) };
    let (sender, receiver) = watch::channel(running.clone());
    (Publisher(sender), Live { receiver, cached: running })
}

impl Publisher {
    /// Makes `config` the one that runs. Readers see it at their next batch.
    pub fn publish(&self, config: Config, revision: u64) -> Version {
        let version = Version(self.0.borrow().version.0 + 1);
        self.0.send_replace(Running { version, revision, config: Arc::new(config) });
        version
    }
}

impl Live {
    /// The configuration to work by now. About a nanosecond while nothing changes.
    pub fn load(&mut self) -> &Running {
        if self.receiver.has_changed().unwrap_or(false) {
            self.cached = self.receiver.borrow_and_update().clone();
        }
        &self.cached
    }

    /// A copy for one use, from a shared handle.
    pub fn snapshot(&self) -> Running {
        self.receiver.borrow().clone()
    }

    /// Waits for a configuration that this handle has not loaded; for ever once the process is
    /// stopping.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.cached = self.receiver.borrow().clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_sees_the_newest_once() {
        let (publisher, mut live) = channel(Config::default());
        assert_eq!(live.load().version, Version(0));
        publisher.publish(Config::default(), 7);
        publisher.publish(Config::default(), 8);
        live.changed().await;
        assert_eq!((live.load().version, live.load().revision), (Version(2), 8));
    }
}
