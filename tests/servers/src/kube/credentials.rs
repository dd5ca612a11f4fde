//! Keys, certificates, the token and kubeconfig files of one API server, made by `openssl`.
//! Comes in: a folder. Goes out: files in it, readable by their owner only. I/O.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::certificates::{Certificates, Usage, write_private};
use crate::poll::ServerError;

pub(super) struct Credentials {
    dir: PathBuf,
    certificates: Certificates,
}

impl Credentials {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), certificates: Certificates::in_dir(dir) }
    }

    /// Makes what is missing, the server's certificate last: with it everything is there.
    pub(super) async fn prepare(&self) -> Result<(), ServerError> {
        if self.path("server.crt").is_file() {
            return Ok(());
        }
        self.certificates.make_authority().await?;
        // This form (`EC PRIVATE KEY`) is the only one from which the API server reads both halves.
        let service_accounts = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
        self.certificates.openssl(&[&service_accounts[..], &["-out", "sa.key"]].concat()).await?;
        let token = self.certificates.openssl(&["rand", "-hex", "32"]).await?;
        let line = format!("{},admin,admin,\"system:masters\"\n", token.trim());
        write_private(&self.path("tokens.csv"), &line)?;
        self.certificates.sign("server", "/CN=kube-apiserver", Usage::Server).await.map(drop)
    }

    pub(super) fn write_admin_kubeconfig(
        &self,
        endpoint: &str,
        to: &Path,
    ) -> Result<(), ServerError> {
        let tokens = read(&self.path("tokens.csv"))?;
        let token = tokens.split(',').next().unwrap_or_default();
        write_private(to, &self.kubeconfig(endpoint, "admin", &format!("token: {token}")))
    }

    /// A kubeconfig with a client certificate: the name is the user, the organisations its groups.
    pub(super) async fn mint_kubeconfig(
        &self,
        endpoint: &str,
        user: &str,
        groups: &[&str],
    ) -> Result<PathBuf, ServerError> {
        let parts = groups.iter().map(|group| ("O", *group)).chain([("CN", user)]);
        let subject: String =
            parts.map(|(kind, value)| format!("/{kind}={}", escaped(value))).collect();
        // User names hold colons and slashes, so the files are named after a hash of the subject.
        let digest = Sha256::digest(subject.as_bytes());
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("user-{hex}");
        self.certificates.sign(&name, &subject, Usage::Client).await?;
        let file = |kind: &str| self.path(&format!("{name}.{kind}")).display().to_string();
        let proof =
            format!("client-certificate: {:?}\n    client-key: {:?}", file("crt"), file("key"));
        let kubeconfig = self.path(&format!("{name}.kubeconfig"));
        write_private(&kubeconfig, &self.kubeconfig(endpoint, user, &proof))?;
        Ok(kubeconfig)
    }

    fn kubeconfig(&self, endpoint: &str, user: &str, proof: &str) -> String {
        let authority = self.path("ca.crt").display().to_string();
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: treasurehunt
  cluster:
    server: {endpoint}
    certificate-authority: {authority:?}
users:
- name: {user:?}
  user:
    {proof}
contexts:
- name: treasurehunt
  context:
    cluster: treasurehunt
    user: {user:?}
current-context: treasurehunt
"
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A value inside openssl's `/type=value` notation.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('/', "\\/")
}

fn read(path: &Path) -> Result<String, ServerError> {
    std::fs::read_to_string(path)
        .map_err(|source| ServerError::File { path: path.to_owned(), source })
}
