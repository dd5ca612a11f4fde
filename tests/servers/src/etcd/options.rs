//! How an etcd member is started: folder, ports, flags. Comes in: choices. Goes out: a `Launch`
//! that serves guarded and detached processes alike. Pure but for the choice of free ports and
//! the question whether the member is healthy.

use std::path::{Path, PathBuf};

use super::Restore;
use crate::poll::{ServerError, http_ok};
use crate::port::free_port;
use crate::process::launch::Launch;
use crate::programs::EtcdPrograms;

/// All members of one cluster share it; with the same flags a wiped member gets the same ids.
const CLUSTER_TOKEN: &str = "treasurehunt";

/// How one etcd member is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// Name of the member.
    pub name: String,
    /// Holds `data/` and `etcd.log`.
    pub dir: PathBuf,
    /// Port for clients on 127.0.0.1.
    pub client_port: u16,
    /// Port for other members on 127.0.0.1.
    pub peer_port: u16,
    /// All members as `name=peer url`, separated by commas; only itself when None.
    pub initial_cluster: Option<String>,
    /// Wait for the disk on each write. Without, writes are lost only when the machine itself
    /// fails, not when etcd is killed; and tests are several times faster.
    pub fsync: bool,
    /// Further flags, such as `--quota-backend-bytes=...`.
    pub extra_args: Vec<String>,
}

impl EtcdOptions {
    /// A single member in `dir`, on free ports, with fsync.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn in_dir(dir: &Path) -> Result<Self, ServerError> {
        Ok(Self {
            name: "etcd".to_owned(),
            dir: dir.to_owned(),
            client_port: free_port().map_err(ServerError::Port)?,
            peer_port: free_port().map_err(ServerError::Port)?,
            initial_cluster: None,
            fsync: true,
            extra_args: Vec::new(),
        })
    }

    /// What clients connect to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// What other members connect to.
    #[must_use]
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// Where the member keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("etcd.log")
    }

    /// The process to start, guarded or detached.
    #[must_use]
    pub fn launch(&self, programs: &EtcdPrograms) -> Launch {
        let (client, peer) = (self.endpoint(), self.peer_url());
        let mut launch = Launch::new(&programs.etcd, self.log())
            .without_env("ETCD_")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-cluster-state", "new"])
            .args(["--logger", "zap", "--log-level", "warn"])
            .args(self.identity_args());
        if !self.fsync && programs.version.at_least(3, 5) {
            launch = launch.arg("--unsafe-no-fsync");
        }
        launch.args(&self.extra_args)
    }

    /// Does the member answer that it has a leader and can serve?
    pub async fn is_healthy(&self) -> bool {
        http_ok(self.client_port, "/health").await.is_some_and(|body| body.contains("true"))
    }

    pub(super) fn restore_args(&self, from: &Path, how: Restore) -> Vec<String> {
        let mut args: Vec<String> = ["snapshot", "restore"].map(str::to_owned).to_vec();
        args.push(from.to_string_lossy().into_owned());
        args.extend(["--data-dir".to_owned(), self.data_dir().to_string_lossy().into_owned()]);
        args.extend(self.identity_args());
        if let Restore::BumpRevision(by) = how {
            args.extend(["--bump-revision".to_owned(), by.to_string()]);
            args.push("--mark-compacted".to_owned());
        }
        args
    }

    /// What the member's and the cluster's ids are computed from.
    fn identity_args(&self) -> Vec<String> {
        let alone = || format!("{}={}", self.name, self.peer_url());
        let cluster = self.initial_cluster.clone().unwrap_or_else(alone);
        let flags = [
            ("--name", self.name.clone()),
            ("--initial-advertise-peer-urls", self.peer_url()),
            ("--initial-cluster", cluster),
            ("--initial-cluster-token", CLUSTER_TOKEN.to_owned()),
        ];
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}
