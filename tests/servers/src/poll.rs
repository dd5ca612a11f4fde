//! Waiting for servers and running their tools: ask until it is true or the time is over, a bare
//! HTTP GET over TCP, a command with a time limit. I/O.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::process::launch::ProcessError;

/// How often a condition is asked again: well under what a person or a test would notice.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Limit for one question to a server: a frozen one must not hold the poll.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// Limit for one run of a tool: restoring a large backup on a slow machine takes seconds.
pub(crate) const TOOL_LIMIT: Duration = Duration::from_secs(60);
/// An answer longer than this is cut: readiness answers are a line.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Why a server could not be started, reached or told to do something.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file or folder of the server could not be made, read or removed.
    #[error("cannot use {path}")]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// No free port.
    #[error("cannot find a free port")]
    Port(#[source] std::io::Error),
    /// The process could not be started.
    #[error("cannot start {name}")]
    Start {
        /// Which server.
        name: String,
        /// The cause.
        #[source]
        source: ProcessError,
    },
    /// It ended before it answered.
    #[error("{name} ended before it was ready; end of its log:\n{log_tail}")]
    Ended {
        /// Which server.
        name: String,
        /// The last lines of its log.
        log_tail: String,
    },
    /// It did not answer in time.
    #[error("{name} did not answer within {within:?}; end of its log:\n{log_tail}")]
    NotReady {
        /// Which server.
        name: String,
        /// How long it was given.
        within: Duration,
        /// The last lines of its log.
        log_tail: String,
    },
    /// A tool could not be run.
    #[error("cannot run {program}")]
    Tool {
        /// Which program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A tool ran and failed, or took too long.
    #[error("{command} failed: {stderr}")]
    ToolFailed {
        /// Program and arguments.
        command: String,
        /// What it said.
        stderr: String,
    },
}

/// Asks `condition` until it is true; false when `within` is over first.
pub(crate) async fn until<F>(within: Duration, mut condition: impl FnMut() -> F) -> bool
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + within;
    loop {
        if condition().await {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Body of `GET path` from 127.0.0.1, or None when nothing answers with status 200.
pub(crate) async fn http_ok(port: u16, path: &str) -> Option<String> {
    timeout(REQUEST_LIMIT, http_exchange(port, path)).await.ok()?.ok()?
}

async fn http_exchange(port: u16, path: &str) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let ok = answer.split_whitespace().nth(1) == Some("200");
    Ok(answer.split_once("\r\n\r\n").filter(|_| ok).map(|(_, body)| body.to_owned()))
}

/// Runs a tool to its end, with `input` on its standard input; its standard output.
pub(crate) async fn run_tool<A: AsRef<OsStr>>(
    program: &Path,
    args: &[A],
    input: Option<&str>,
) -> Result<String, ServerError> {
    let failed = |stderr: String| ServerError::ToolFailed {
        command: shown(program, args),
        stderr: stderr.trim().to_owned(),
    };
    let cannot = |source| ServerError::Tool { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(text)) = (stdin, input) {
            stdin.write_all(text.as_bytes()).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let whole = async { tokio::join!(feed, child.wait_with_output()) };
    let Ok((fed, output)) = timeout(TOOL_LIMIT, whole).await else {
        return Err(failed(format!("no end within {TOOL_LIMIT:?}")));
    };
    let output = output.map_err(cannot)?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    fed.map_err(cannot)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown<A: AsRef<OsStr>>(program: &Path, args: &[A]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(args.iter().map(AsRef::as_ref))
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
