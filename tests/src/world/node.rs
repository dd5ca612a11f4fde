//! One of our own processes under test: started, killed, frozen, thawed, started again on the same
//! ports and files. I/O.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result};
use servers::{Guarded, Launch, free_port};

/// What the binaries log: every decision, and no noise of libraries.
const LOG_LEVEL: &str = "info";

/// A process under test.
#[derive(Debug)]
pub struct Node {
    /// The agent's node name, or the operator's identity.
    pub name: String,
    /// Port of HTTP; the same after a restart.
    pub http: u16,
    /// Port of an agent's gRPC; 0 for an operator.
    pub grpc: u16,
    /// Where an agent keeps its identity; empty for an operator.
    pub data_dir: PathBuf,
    launch: Launch,
    process: Guarded,
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentSetup {
    /// The node's name.
    pub name: String,
    /// `namespace/name`.
    pub hunt: String,
    /// etcd.
    pub endpoints: String,
    /// Its data; agents of one machine share it.
    pub data_dir: PathBuf,
    /// Where Secrets are.
    pub secrets: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// The binary.
    pub program: PathBuf,
}

impl Node {
    /// Starts an agent on free ports; does not wait for it.
    pub fn agent(setup: AgentSetup) -> Result<Node> {
        let (http, grpc) = (free_port()?, free_port()?);
        let launch = Launch::new(setup.program, setup.log)
            .without_env("TREASUREHUNT_")
            .env("RUST_LOG", LOG_LEVEL)
            .args(["--etcd", &setup.endpoints, "--hunt", &setup.hunt, "--node", &setup.name])
            .arg("--data-dir")
            .arg(&setup.data_dir)
            .arg("--secrets")
            .arg(&setup.secrets)
            .args(["--http".to_owned(), format!("127.0.0.1:{http}")])
            .args(["--grpc".to_owned(), format!("127.0.0.1:{grpc}")]);
        Node::start(setup.name, (http, grpc), setup.data_dir, launch)
    }

    /// Starts an operator on a free port; `source` are the flags that say where hunts come from.
    pub fn operator(
        name: &str,
        program: PathBuf,
        endpoints: &str,
        source: &[String],
        log: PathBuf,
    ) -> Result<Node> {
        let http = free_port()?;
        let launch = Launch::new(program, log)
            .without_env("TREASUREHUNT_")
            .env("RUST_LOG", LOG_LEVEL)
            .args(["--etcd", endpoints, "--identity", name])
            .args(["--listen".to_owned(), format!("127.0.0.1:{http}")])
            .args(source);
        Node::start(name.to_owned(), (http, 0), PathBuf::new(), launch)
    }

    fn start(
        name: String,
        (http, grpc): (u16, u16),
        data_dir: PathBuf,
        launch: Launch,
    ) -> Result<Node> {
        let process = Guarded::spawn(&launch).with_context(|| format!("starting {name}"))?;
        Ok(Node { name, http, grpc, data_dir, launch, process })
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same flags; kills it first if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = Guarded::spawn(&self.launch)?;
        Ok(())
    }

    /// SIGSTOP.
    pub async fn freeze(&mut self) -> Result<()> {
        Ok(self.process.freeze().await?)
    }

    /// SIGCONT.
    pub async fn thaw(&mut self) -> Result<()> {
        Ok(self.process.thaw().await?)
    }

    /// SIGTERM: asks it to end in order.
    pub fn terminate(&mut self) -> Result<()> {
        Ok(self.process.terminate()?)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        Ok(self.process.wait(within).await?)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.process.rss_bytes()
    }

    /// Has it not ended?
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// All that it has logged, over all its lives.
    pub fn log(&self) -> String {
        self.process.log_text()
    }

    /// The end of its log, for a message.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
