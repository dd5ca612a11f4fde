//! One node of a cluster: its process, and what can be done to it. I/O.

use std::time::Duration;

use super::options::KafkaOptions;
use crate::poll::ServerError;
use crate::process::server::ServerProcess;
use crate::process::server::has_process;
use crate::programs::KafkaPrograms;

/// Three nodes start in 3 s on a quiet machine, in 20 s beside a compiler.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// One running (or killed) node, broker and controller; killed on drop.
#[derive(Debug)]
pub struct KafkaNode {
    programs: KafkaPrograms,
    options: KafkaOptions,
    id: usize,
    process: ServerProcess,
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

    /// SIGTERM: it hands its leaders over and ends; after `within` it is killed.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn stop(&mut self, within: Duration) -> Result<(), ServerError> {
        self.is_wanted = false;
        self.process.stop(within).await
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
        let (options, id) = (&self.options, self.id);
        self.process.ready(READY_LIMIT, || options.is_ready(id, others)).await
    }

    /// Was it neither killed nor stopped by us?
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }
}

has_process!(KafkaNode);

fn run(
    programs: &KafkaPrograms,
    options: &KafkaOptions,
    id: usize,
) -> Result<ServerProcess, ServerError> {
    ServerProcess::spawn(format!("kafka-{id}"), &options.launch(programs, id))
}
