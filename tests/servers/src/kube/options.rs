//! How the API server is started: folder, port, flags, files. Comes in: choices. Goes out: a
//! `Launch` for guarded and detached processes alike. I/O only to prepare files and to ask.

use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

use super::credentials::Credentials;
use crate::poll::{ServerError, run_tool};
use crate::port::free_port;
use crate::process::launch::Launch;
use crate::programs::KubePrograms;

/// How an API server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeOptions {
    /// Holds keys, `admin.kubeconfig` and `kube-apiserver.log`.
    pub dir: PathBuf,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Its etcd, under `/registry`. It compacts that etcd every 5 minutes, all of it.
    pub etcd_endpoint: String,
    /// Further flags.
    pub extra_args: Vec<String>,
}

impl KubeOptions {
    /// In `dir`, on a free port, on the etcd at `etcd_endpoint`.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn in_dir(dir: &Path, etcd_endpoint: &str) -> Result<Self, ServerError> {
        Ok(Self {
            dir: dir.to_owned(),
            port: free_port().map_err(ServerError::Port)?,
            etcd_endpoint: etcd_endpoint.to_owned(),
            extra_args: Vec::new(),
        })
    }

    /// What clients connect to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The administrator's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("kube-apiserver.log")
    }

    /// Writes keys, certificates, token and kubeconfig; those that are there are kept, the
    /// kubeconfig is written anew because the port may differ.
    ///
    /// # Errors
    /// When a file cannot be written or `openssl` fails.
    pub async fn prepare(&self) -> Result<(), ServerError> {
        let credentials = Credentials::in_dir(&self.dir);
        credentials.prepare().await?;
        credentials.write_admin_kubeconfig(&self.endpoint(), &self.kubeconfig())
    }

    /// A kubeconfig file for `user` in `groups`, by a client certificate.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub async fn kubeconfig_for(
        &self,
        user: &str,
        groups: &[&str],
    ) -> Result<PathBuf, ServerError> {
        Credentials::in_dir(&self.dir).mint_kubeconfig(&self.endpoint(), user, groups).await
    }

    pub(super) fn kubeconfig_through(&self, endpoint: &str) -> Result<PathBuf, ServerError> {
        let kubeconfig = self.dir.join("proxied.kubeconfig");
        Credentials::in_dir(&self.dir).write_admin_kubeconfig(endpoint, &kubeconfig)?;
        Ok(kubeconfig)
    }

    /// The process to start, guarded or detached, after [`KubeOptions::prepare`].
    #[must_use]
    pub fn launch(&self, programs: &KubePrograms) -> Launch {
        let file = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let flags = [
            ("etcd-servers", self.etcd_endpoint.clone()),
            ("bind-address", "127.0.0.1".to_owned()),
            // A machine without a default route has no address of its own to advertise.
            ("advertise-address", "127.0.0.1".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
            ("secure-port", self.port.to_string()),
            ("cert-dir", file("certs")),
            ("tls-cert-file", file("server.crt")),
            ("tls-private-key-file", file("server.key")),
            ("client-ca-file", file("ca.crt")),
            ("token-auth-file", file("tokens.csv")),
            ("authorization-mode", "RBAC".to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            ("service-account-key-file", file("sa.key")),
            ("service-account-signing-key-file", file("sa.key")),
            ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
        ];
        Launch::new(&programs.apiserver, self.log())
            .args(flags.map(|(flag, value)| format!("--{flag}={value}")))
            .args(&self.extra_args)
    }

    /// Does `/readyz` answer ok? Asked of the socket first: that costs no process.
    pub async fn is_ready(&self, programs: &KubePrograms) -> bool {
        if TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            return false;
        }
        let ask = ["get", "--raw", "/readyz", "--request-timeout=2s"];
        let args = self.kubectl_args(&self.kubeconfig(), &ask);
        run_tool(&programs.kubectl, &args, None).await.is_ok_and(|body| body.trim() == "ok")
    }

    /// Arguments of kubectl with its cache beside the server's files: it must neither read nor
    /// leave anything in the user's home.
    pub(super) fn kubectl_args(&self, kubeconfig: &Path, args: &[&str]) -> Vec<String> {
        let cache = self.dir.join("kubectl-cache");
        let own = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--cache-dir={}", cache.display()),
        ];
        own.into_iter().chain(args.iter().map(|&arg| arg.to_owned())).collect()
    }
}
