//! Real etcd: one member with its own data folder, log and ports, and what can be done to it:
//! kill, restart, freeze, wipe, back up, restore, compact. I/O.

mod cluster;
mod options;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::poll::{ServerError, run_tool};
use crate::process::server::ServerProcess;
use crate::process::server::has_process;
use crate::programs::EtcdPrograms;

pub use cluster::EtcdCluster;
pub use options::EtcdOptions;

/// A member starts in half a second; a loaded machine and a restored database take longer.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How a backup is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// As it was: revisions go back, so that watchers meet old numbers again.
    Exact,
    /// The careful way: revisions are raised by this much and the ones between are marked as
    /// compacted (`--bump-revision N --mark-compacted`; etcd 3.6 or newer).
    BumpRevision(u64),
}

/// One running (or killed) etcd member; it is killed, and a temporary folder removed, on drop.
#[derive(Debug)]
pub struct Etcd {
    programs: EtcdPrograms,
    options: EtcdOptions,
    process: ServerProcess,
    _temporary: Option<TempDir>,
}

impl Etcd {
    /// A single member in a temporary folder, without fsync: for tests that do not cut the power.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub async fn temporary(programs: &EtcdPrograms) -> Result<Self, ServerError> {
        let folder = temporary_folder("etcd-")?;
        let options = EtcdOptions { fsync: false, ..EtcdOptions::in_dir(folder.path())? };
        let mut etcd = Self::start(programs, options).await?;
        etcd._temporary = Some(folder);
        Ok(etcd)
    }

    /// Starts a member as described; ready when it answers that it is healthy.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub async fn start(programs: &EtcdPrograms, options: EtcdOptions) -> Result<Self, ServerError> {
        let mut etcd = Self::spawn(programs, options)?;
        etcd.ready().await?;
        Ok(etcd)
    }

    /// Starts it without waiting: a cluster's member is ready only with the others.
    fn spawn(programs: &EtcdPrograms, options: EtcdOptions) -> Result<Self, ServerError> {
        let process = run(programs, &options)?;
        Ok(Self { programs: programs.clone(), options, process, _temporary: None })
    }

    /// `http://127.0.0.1:<client port>`; the same after every restart.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.options.endpoint()
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &EtcdOptions {
        &self.options
    }

    /// Starts it again, on the same ports and data; kills it first if it still runs.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.respawn()?;
        self.ready().await
    }

    /// Starts it again and does not wait until it answers (a member without quorum never does).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn respawn(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.process = run(&self.programs, &self.options)?;
        Ok(())
    }

    /// Kills it, empties its data and starts it with the same flags: the same member and cluster
    /// ids, revision 1. What an operator gets who "resets" a store.
    ///
    /// # Errors
    /// When the data cannot be removed or it does not come back.
    pub async fn wipe(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.remove_data()?;
        self.restart().await
    }

    /// Saves a snapshot of the running member (`etcdctl snapshot save`).
    ///
    /// # Errors
    /// When the tool fails.
    pub async fn save_backup(&self, to: &Path) -> Result<(), ServerError> {
        self.ctl(&["snapshot", "save", &to.to_string_lossy()]).await.map(drop)
    }

    /// Kills it, replaces its data by the backup (`etcdutl snapshot restore`) and starts it.
    ///
    /// # Errors
    /// When the tool fails or it does not come back.
    pub async fn restore_backup(&mut self, from: &Path, how: Restore) -> Result<(), ServerError> {
        self.kill();
        self.remove_data()?;
        let args = self.options.restore_args(from, how);
        run_tool(&self.programs.etcdutl, &args, None).await?;
        self.restart().await
    }

    /// Compacts to `revision` (etcd's own): what is older can no longer be read or watched.
    ///
    /// # Errors
    /// When etcd refuses (already compacted, or in the future).
    pub async fn compact(&self, revision: u64) -> Result<(), ServerError> {
        self.ctl(&["compact", &revision.to_string()]).await.map(drop)
    }

    /// Runs `etcdctl ARGS` against this member; its standard output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn ctl(&self, args: &[&str]) -> Result<String, ServerError> {
        let endpoint = self.endpoint();
        let args: Vec<&str> = ["--endpoints", &endpoint].iter().chain(args).copied().collect();
        run_tool(&self.programs.etcdctl, &args, None).await
    }

    /// Waits until it answers that it is healthy.
    ///
    /// # Errors
    /// When it has ended, or does not answer within 30 s.
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        let options = &self.options;
        self.process.ready(READY_LIMIT, || options.is_healthy()).await
    }

    fn remove_data(&self) -> Result<(), ServerError> {
        let path = self.options.data_dir();
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(ServerError::File { path, source })
            }
            _ => Ok(()),
        }
    }
}

has_process!(Etcd);

fn run(programs: &EtcdPrograms, options: &EtcdOptions) -> Result<ServerProcess, ServerError> {
    ServerProcess::spawn(&options.name, &options.launch(programs))
}

/// A folder that goes with the server.
pub(crate) fn temporary_folder(prefix: &str) -> Result<TempDir, ServerError> {
    let at: PathBuf = std::env::temp_dir();
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&at)
        .map_err(|source| ServerError::File { path: at, source })
}
