//! An agent that gets a third of the time that it needs, as on a machine that is asked for too
//! much: its process is stopped and continued, over and over. I/O.

use std::time::Duration;

use servers::Detached;

use crate::dev::world::World;
use crate::failure::Failure;

/// How a slowed process runs: the lesser part of the time.
const FROZEN: Duration = Duration::from_millis(600);
const RUNS: Duration = Duration::from_millis(300);

/// The process; it goes on when this is dropped.
pub(super) struct Slowed {
    name: String,
    process: Detached,
}

impl Slowed {
    /// The agent of that name.
    pub(super) fn agent(world: &World, name: &str) -> Result<Slowed, Failure> {
        Ok(Slowed { name: name.to_owned(), process: world.process(name)? })
    }

    /// What a person types for it.
    pub(super) fn command(pid: &str) -> String {
        format!("kill -STOP {pid}; sleep 0.6; kill -CONT {pid}; sleep 0.3  # over and over")
    }

    /// Slows it until this is dropped; why it cannot.
    pub(super) async fn run(&self) -> Failure {
        let what = format!("slowing {}", self.name);
        let failed = |error: std::io::Error| Failure::caused(&what, &error);
        loop {
            if let Err(error) = self.process.freeze() {
                return failed(error);
            }
            tokio::time::sleep(FROZEN).await;
            if let Err(error) = self.process.thaw() {
                return failed(error);
            }
            tokio::time::sleep(RUNS).await;
        }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        // One that has ended needs none.
        let _ = self.process.thaw();
    }
}
