//! Prometheus and Alertmanager by what a file says, on loopback. In: a folder with their
//! configuration, a port. Out: a `Launch` for guarded and detached processes alike, and a Prometheus
//! for tests. I/O only to ask, and to run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::poll::{ServerError, http_ok};
use crate::port::free_port;
use crate::process::launch::Launch;
use crate::process::server::ServerProcess;
use crate::programs::{AlertmanagerPrograms, PrometheusPrograms};

/// It starts in a second; a loaded machine takes longer.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// What one machine's figures of a day come to, and no more than a disk can spare.
const KEPT: [&str; 2] = ["--storage.tsdb.retention.time=1d", "--storage.tsdb.retention.size=512MB"];

/// How a Prometheus is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusOptions {
    /// Holds `prometheus.yaml`; its data goes there too.
    pub dir: PathBuf,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Where its output goes.
    pub log: PathBuf,
}

/// How an Alertmanager is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertmanagerOptions {
    /// Holds `alertmanager.yaml`; its data goes there too.
    pub dir: PathBuf,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Where its output goes.
    pub log: PathBuf,
}

impl PrometheusOptions {
    /// What clients ask.
    #[must_use]
    pub fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    /// The process to start.
    #[must_use]
    pub fn launch(&self, programs: &PrometheusPrograms) -> Launch {
        Launch::new(&programs.prometheus, &self.log)
            .args([format!("--config.file={}", self.dir.join("prometheus.yaml").display())])
            .args([format!("--storage.tsdb.path={}", self.dir.join("data").display())])
            .args(KEPT)
            .args([format!("--web.listen-address=127.0.0.1:{}", self.port)])
    }

    /// Whether it answers queries.
    pub async fn is_ready(&self) -> bool {
        http_ok(self.port, "/-/ready").await.is_some()
    }
}

impl AlertmanagerOptions {
    /// What clients ask.
    #[must_use]
    pub fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    /// The process to start. It is alone: it looks for no others.
    #[must_use]
    pub fn launch(&self, programs: &AlertmanagerPrograms) -> Launch {
        Launch::new(&programs.alertmanager, &self.log)
            .args([format!("--config.file={}", self.dir.join("alertmanager.yaml").display())])
            .args([format!("--storage.path={}", self.dir.join("alerts").display())])
            .args([format!("--web.listen-address=127.0.0.1:{}", self.port)])
            .args(["--cluster.listen-address="])
    }

    /// Whether it takes alerts.
    pub async fn is_ready(&self) -> bool {
        http_ok(self.port, "/-/ready").await.is_some()
    }
}

fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A running Prometheus; it is killed on drop.
#[derive(Debug)]
pub struct Prometheus {
    process: ServerProcess,
    port: u16,
}

impl Prometheus {
    /// Starts it by `prometheus.yaml` in `folder`, where it keeps its data and its log too; ready when
    /// it says so.
    ///
    /// # Errors
    /// When it cannot be started or does not become ready.
    pub async fn start(programs: &PrometheusPrograms, folder: &Path) -> Result<Self, ServerError> {
        let port = free_port().map_err(ServerError::Port)?;
        let log = folder.join("prometheus.log");
        let options = PrometheusOptions { dir: folder.to_owned(), port, log };
        let mut process = ServerProcess::spawn("prometheus", &options.launch(programs))?;
        process.ready(READY_LIMIT, || options.is_ready()).await?;
        Ok(Self { process, port })
    }

    /// Where it answers.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it wrote.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.process.log_text()
    }
}
