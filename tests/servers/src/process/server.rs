//! The process of a server: what can be done to any of them and seen of it, whichever server it is.
//! Killed when dropped. I/O.

use std::time::Duration;

use super::guarded::Guarded;
use super::launch::{Launch, ProcessError};
use crate::poll::{self, ServerError};

/// A server's process, running or killed.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    process: Guarded,
}

/// What any server's process can have done to it and tells of itself, for a type that has one.
macro_rules! has_process {
    ($server:ty) => {
        impl std::ops::Deref for $server {
            type Target = $crate::ServerProcess;

            fn deref(&self) -> &Self::Target {
                &self.process
            }
        }

        impl std::ops::DerefMut for $server {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.process
            }
        }
    };
}

pub(crate) use has_process;

impl ServerProcess {
    /// Starts it and does not wait until it serves.
    pub(crate) fn spawn(name: impl Into<String>, launch: &Launch) -> Result<Self, ServerError> {
        let name = name.into();
        match Guarded::spawn(launch) {
            Ok(process) => Ok(Self { name, process }),
            Err(source) => Err(ServerError::Start { name, source }),
        }
    }

    /// Waits until `is_ready` says so.
    ///
    /// # Errors
    /// When it has ended, or is not ready within that time.
    pub(crate) async fn ready<F: Future<Output = bool>>(
        &mut self,
        within: Duration,
        mut is_ready: impl FnMut() -> F,
    ) -> Result<(), ServerError> {
        let process = &mut self.process;
        let mut running = true;
        let settled = poll::until(within, || {
            running = process.is_running();
            let ready = is_ready();
            async move { !running || ready.await }
        })
        .await;
        let (name, log_tail) = (self.name.clone(), || self.process.log_tail());
        match (running, settled) {
            (false, _) => Err(ServerError::Ended { name, log_tail: log_tail() }),
            (true, false) => Err(ServerError::NotReady { name, within, log_tail: log_tail() }),
            (true, true) => Ok(()),
        }
    }

    /// SIGKILL, and waits until it is gone. Twice is the same as once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn freeze(&mut self) -> Result<(), ServerError> {
        let frozen = self.process.freeze().await;
        frozen.map_err(|source| self.failed(source))
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn thaw(&mut self) -> Result<(), ServerError> {
        let thawed = self.process.thaw().await;
        thawed.map_err(|source| self.failed(source))
    }

    /// SIGTERM: it ends in order; after `within` it is killed.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub(crate) async fn stop(&mut self, within: Duration) -> Result<(), ServerError> {
        if !self.process.is_running() {
            return Ok(());
        }
        self.process.terminate().map_err(|source| self.failed(source))?;
        if self.process.wait(within).await.is_err() {
            self.process.kill();
        }
        Ok(())
    }

    /// Its process id; another one after each restart.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it not ended? A frozen one has not.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Resident memory in bytes; 0 when it does not run.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.process.rss_bytes()
    }

    /// User and system time used since its last start.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }

    /// What it and its predecessors wrote.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.process.log_text()
    }

    fn failed(&self, source: ProcessError) -> ServerError {
        ServerError::Start { name: self.name.clone(), source }
    }
}
