//! The operator as a process of its own, so that its memory and its processor time are its own,
//! and what it says of itself on its admin port. I/O.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use servers::{Guarded, Launch, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Setting, within};

/// The operator's start: it has to find etcd and its source.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A stop in order hands the leadership over.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Where its TreasureHunts come from.
pub(super) enum Source<'a> {
    Directory(&'a Path),
    Kubernetes(&'a Path),
}

/// A running operator; killed when dropped.
pub(super) struct Operator {
    process: Guarded,
    port: u16,
}

impl Operator {
    /// Starts it; returns when it is ready.
    pub(super) async fn start(
        setting: &Setting,
        etcd: &str,
        source: Source<'_>,
        log: PathBuf,
    ) -> anyhow::Result<Operator> {
        anyhow::ensure!(
            setting.operator.is_file(),
            "no operator at {}: build it with the same profile (cargo build -p operator)",
            setting.operator.display()
        );
        let port = free_port().context("finding a free port")?;
        let launch = Launch::new(&setting.operator, log).without_env("TREASUREHUNT_").args([
            "--etcd",
            etcd,
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        let launch = match source {
            Source::Directory(path) => {
                launch.args(["--source", "directory", "--directory"]).arg(path)
            }
            Source::Kubernetes(path) => {
                launch.args(["--source", "kubernetes", "--kubeconfig"]).arg(path)
            }
        };
        let mut operator = Operator { process: Guarded::spawn(&launch)?, port };
        within(START_LIMIT, "a ready operator", operator.ready()).await??;
        Ok(operator)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        loop {
            anyhow::ensure!(
                self.process.is_running(),
                "the operator ended: {}",
                self.process.log_tail()
            );
            if http_get(self.port, "/readyz").await.is_ok_and(|answer| answer.contains(" 200 ")) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The sum of a metric of it over all labels.
    pub(super) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        metric(self.port, name).await
    }

    /// Resident memory: now, and the most there ever was, in bytes.
    pub(super) fn memory(&self) -> (f64, f64) {
        let path = format!("/proc/{}/status", self.process.pid());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        (self.process.rss_bytes() as f64, kib.unwrap_or(0.0) * 1024.0)
    }

    pub(super) fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }

    /// Asks it to stop and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.process.terminate()?;
        self.process.wait(STOP_LIMIT).await?;
        Ok(())
    }
}

/// The sum of a metric over all labels, from the port of anything that serves `/metrics`.
pub(super) async fn metric(port: u16, name: &str) -> anyhow::Result<f64> {
    let text = http_get(port, "/metrics").await?;
    let of_name =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
    Ok(text.lines().filter(of_name).filter_map(value).sum())
}

pub(super) async fn http_get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("connecting")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("asking")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.context("reading the answer")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
