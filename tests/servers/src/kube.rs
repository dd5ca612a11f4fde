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
use crate::poll::{ServerError, run_tool};
use crate::process::server::ServerProcess;
use crate::process::server::has_process;
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
    process: ServerProcess,
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

    /// Starts it again with the same port, keys and etcd; kills it first if it still runs.
    ///
    /// # Errors
    /// When it cannot be started or does not get ready.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.process = run(&self.programs, &self.options)?;
        self.ready().await
    }

    /// Waits until `/readyz` answers ok.
    ///
    /// # Errors
    /// When it has ended, or is not ready within 90 s.
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        let (options, programs) = (&self.options, &self.programs);
        self.process.ready(READY_LIMIT, || options.is_ready(programs)).await
    }
}

has_process!(KubeApi);

fn run(programs: &KubePrograms, options: &KubeOptions) -> Result<ServerProcess, ServerError> {
    ServerProcess::spawn("kube-apiserver", &options.launch(programs))
}
