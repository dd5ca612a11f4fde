//! A real Kubernetes API server on a given etcd: no controllers, no nodes, RBAC on. Users come as
//! kubeconfig files: the administrator by token, any other by a client certificate minted here.
//! Without controllers, aggregated roles (`view`, `edit`, `admin`) are empty: bind roles of your own,
//! and nothing makes pods or `default` service accounts. I/O.

mod credentials;
mod options;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::etcd::temporary_folder;
use crate::poll::{self, ServerError, run_tool};
use crate::process::guarded::Guarded;
use crate::process::launch::{ProcessError, log_tail};
use crate::programs::KubePrograms;
use crate::proxy::FaultProxy;

pub use options::KubeOptions;

/// It starts in 3 s on a quiet machine, in 20 s beside a compiler.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// One running (or killed) API server; killed, and a temporary folder removed, on drop.
#[derive(Debug)]
pub struct KubeApi {
    programs: KubePrograms,
    options: KubeOptions,
    process: Guarded,
    _temporary: Option<TempDir>,
}

impl KubeApi {
    /// An API server in a temporary folder, on the etcd at `etcd_endpoint`.
    ///
    /// # Errors
    /// When it cannot be started or does not get ready.
    pub async fn temporary(
        programs: &KubePrograms,
        etcd_endpoint: &str,
    ) -> Result<Self, ServerError> {
        let folder = temporary_folder("kube-")?;
        let options = KubeOptions::in_dir(folder.path(), etcd_endpoint)?;
        let mut api = Self::start(programs, options).await?;
        api._temporary = Some(folder);
        Ok(api)
    }

    /// Writes keys and kubeconfig if they are not there yet, and starts it; ready when `/readyz`
    /// says so.
    ///
    /// # Errors
    /// When it cannot be started or does not get ready.
    pub async fn start(programs: &KubePrograms, options: KubeOptions) -> Result<Self, ServerError> {
        options.prepare().await?;
        let process = run(programs, &options)?;
        let mut api = Self { programs: programs.clone(), options, process, _temporary: None };
        api.ready().await?;
        Ok(api)
    }

    /// `https://127.0.0.1:<port>`; the same after every restart.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.options.endpoint()
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &KubeOptions {
        &self.options
    }

    /// The administrator's kubeconfig file (group `system:masters`).
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.options.kubeconfig()
    }

    /// A kubeconfig file for `user` in `groups`, which can do what RBAC allows them; a service
    /// account is `system:serviceaccount:<namespace>:<name>`.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub async fn kubeconfig_for(
        &self,
        user: &str,
        groups: &[&str],
    ) -> Result<PathBuf, ServerError> {
        self.options.kubeconfig_for(user, groups).await
    }

    /// The administrator's kubeconfig file for clients that are to go through `proxy`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_through(&self, proxy: &FaultProxy) -> Result<PathBuf, ServerError> {
        self.options.kubeconfig_through(&format!("https://{}", proxy.addr()))
    }

    /// Runs `kubectl ARGS` as administrator; its standard output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, ServerError> {
        self.kubectl_as(&self.kubeconfig(), args, None).await
    }

    /// `kubectl apply -f -` of `manifest` as administrator.
    ///
    /// # Errors
    /// When the API server refuses it, with its message.
    pub async fn apply(&self, manifest: &str) -> Result<String, ServerError> {
        self.kubectl_as(&self.kubeconfig(), &["apply", "-f", "-"], Some(manifest)).await
    }

    /// Runs `kubectl ARGS` as whom `kubeconfig` names, with `input` on its standard input.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn kubectl_as(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        input: Option<&str>,
    ) -> Result<String, ServerError> {
        let args = self.options.kubectl_args(kubeconfig, args);
        run_tool(&self.programs.kubectl, &args, input).await
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same port, keys and etcd; kills it first if it still runs.
    ///
    /// # Errors
    /// When it cannot be started or does not get ready.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.process = run(&self.programs, &self.options)?;
        self.ready().await
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn freeze(&mut self) -> Result<(), ServerError> {
        self.process.freeze().await.map_err(failed)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn thaw(&mut self) -> Result<(), ServerError> {
        self.process.thaw().await.map_err(failed)
    }

    /// Waits until `/readyz` answers ok.
    ///
    /// # Errors
    /// When it has ended, or is not ready within 90 s.
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        let (options, programs, process) = (&self.options, &self.programs, &mut self.process);
        let mut running = true;
        let settled = poll::until(READY_LIMIT, || {
            running = process.is_running();
            async move { !running || options.is_ready(programs).await }
        })
        .await;
        let (name, log_tail) = ("kube-apiserver".to_owned(), log_tail(&options.log()));
        match (running, settled) {
            (false, _) => Err(ServerError::Ended { name, log_tail }),
            (true, false) => Err(ServerError::NotReady { name, within: READY_LIMIT, log_tail }),
            (true, true) => Ok(()),
        }
    }

    /// Its process id; another one after each restart.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
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

fn run(programs: &KubePrograms, options: &KubeOptions) -> Result<Guarded, ServerError> {
    Guarded::spawn(&options.launch(programs)).map_err(failed)
}

fn failed(source: ProcessError) -> ServerError {
    ServerError::Start { name: "kube-apiserver".to_owned(), source }
}
