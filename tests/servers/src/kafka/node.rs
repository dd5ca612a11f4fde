//! One node of a cluster: its process, and what can be done to it. I/O.

use std::time::Duration;

use super::options::KafkaOptions;
use crate::poll::{self, ServerError};
use crate::process::guarded::Guarded;
use crate::process::launch::{ProcessError, log_tail};
use crate::programs::KafkaPrograms;

/// Three nodes start in 3 s on a quiet machine, in 20 s beside a compiler.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// One running (or killed) node, broker and controller; killed on drop.
#[derive(Debug)]
pub struct KafkaNode {
    programs: KafkaPrograms,
    options: KafkaOptions,
    id: usize,
    process: Guarded,
    is_wanted: bool,
}

impl KafkaNode {
    /// Starts it without waiting: it is ready only with the others.
    pub(crate) fn spawn(
        programs: &KafkaPrograms,
        options: &KafkaOptions,
        id: usize,
    ) -> Result<Self, ServerError> {
        let process = run(programs, options, id)?;
        let (programs, options) = (programs.clone(), options.clone());
        Ok(Self { programs, options, id, process, is_wanted: true })
    }

    /// Kafka's id of it, from 1.
    #[must_use]
    pub fn id(&self) -> usize {
        self.id
    }

    /// SIGKILL, and waits until it is gone. What it has acknowledged is with the system, if not on
    /// the disk, and comes back with it.
    pub fn kill(&mut self) {
        self.is_wanted = false;
        self.process.kill();
    }

    /// Starts it again, on the same ports and data; kills it first if it still runs. Ready when it
    /// serves; it leads nothing until leaders are elected.
    ///
    /// # Errors
    /// When it cannot be started or does not get ready: alone it never does.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.respawn()?;
        self.ready().await
    }

    /// Starts it again and does not wait until it serves.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn respawn(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.process = run(&self.programs, &self.options, self.id)?;
        self.is_wanted = true;
        Ok(())
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn freeze(&mut self) -> Result<(), ServerError> {
        let frozen = self.process.freeze().await;
        frozen.map_err(|source| failed(self.id, source))
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn thaw(&mut self) -> Result<(), ServerError> {
        let thawed = self.process.thaw().await;
        thawed.map_err(|source| failed(self.id, source))
    }

    /// SIGTERM: it hands its leaders over and ends; after `within` it is killed.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn stop(&mut self, within: Duration) -> Result<(), ServerError> {
        self.is_wanted = false;
        if !self.process.is_running() {
            return Ok(());
        }
        self.process.terminate().map_err(|source| failed(self.id, source))?;
        if self.process.wait(within).await.is_err() {
            self.process.kill();
        }
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it has ended, or does not serve within 90 s.
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        self.ready_with(&[]).await
    }

    /// Waits until it serves and knows that `others` do too.
    pub(super) async fn ready_with(&mut self, others: &[usize]) -> Result<(), ServerError> {
        let (options, id, process) = (&self.options, self.id, &mut self.process);
        let mut running = true;
        let settled = poll::until(READY_LIMIT, || {
            running = process.is_running();
            async move { !running || options.is_ready(id, others).await }
        })
        .await;
        let (name, log_tail) = (name(id), || log_tail(&options.log(id)));
        match (running, settled) {
            (false, _) => Err(ServerError::Ended { name, log_tail: log_tail() }),
            (true, true) => Ok(()),
            (true, false) => {
                Err(ServerError::NotReady { name, within: READY_LIMIT, log_tail: log_tail() })
            }
        }
    }

    /// Was it neither killed nor stopped by us?
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
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
}

fn run(
    programs: &KafkaPrograms,
    options: &KafkaOptions,
    id: usize,
) -> Result<Guarded, ServerError> {
    Guarded::spawn(&options.launch(programs, id)).map_err(|source| failed(id, source))
}

fn failed(id: usize, source: ProcessError) -> ServerError {
    ServerError::Start { name: name(id), source }
}

fn name(id: usize) -> String {
    format!("kafka-{id}")
}
