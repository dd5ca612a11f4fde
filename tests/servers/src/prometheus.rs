//! A real Prometheus that scrapes what a file says, on loopback. In: a folder with its configuration.
//! Out: a port that answers queries. I/O.

use std::path::Path;
use std::time::Duration;

use crate::poll::{ServerError, http_ok};
use crate::port::free_port;
use crate::process::launch::Launch;
use crate::process::server::ServerProcess;
use crate::programs::PrometheusPrograms;

/// It starts in a second; a loaded machine takes longer.
const READY_LIMIT: Duration = Duration::from_secs(30);

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
        let launch = Launch::new(&programs.prometheus, folder.join("prometheus.log"))
            .args([format!("--config.file={}", folder.join("prometheus.yaml").display())])
            .args([format!("--storage.tsdb.path={}", folder.join("data").display())])
            .args([format!("--web.listen-address=127.0.0.1:{port}")]);
        let mut process = ServerProcess::spawn("prometheus", &launch)?;
        process.ready(READY_LIMIT, || async { http_ok(port, "/-/ready").await.is_some() }).await?;
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
