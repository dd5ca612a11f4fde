//! Keys, certificates, the token and kubeconfig files of one API server, made by `openssl`.
//! Comes in: a folder. Goes out: files in it, readable by their owner only. I/O.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::poll::{ServerError, run_tool};

/// openssl reads this instead of the machine's own configuration, so that certificates are the
/// same everywhere; version 3 extensions are what rustls insists on.
const OPENSSL_CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = treasurehunt
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc
[client]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth
";
/// Ten years: nobody renews a development certificate.
const DAYS: &str = "3650";
/// P-256: made in milliseconds, known to every client.
const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

pub(super) struct Credentials {
    dir: PathBuf,
}

impl Credentials {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes what is missing, the server's certificate last: with it everything is there.
    pub(super) async fn prepare(&self) -> Result<(), ServerError> {
        if self.path("server.crt").is_file() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.dir)
            .map_err(|source| ServerError::File { path: self.dir.clone(), source })?;
        write_private(&self.path("openssl.cnf"), OPENSSL_CONFIG)?;
        let mut authority = vec!["req", "-x509", "-extensions", "authority", "-days", DAYS];
        authority.extend(NEW_KEY);
        authority.extend(["-subj", "/CN=treasurehunt-authority", "-config", "openssl.cnf"]);
        authority.extend(["-keyout", "ca.key", "-out", "ca.crt"]);
        self.openssl(&authority).await?;
        // This form (`EC PRIVATE KEY`) is the only one from which the API server reads both halves.
        let service_accounts = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
        self.openssl(&[&service_accounts[..], &["-out", "sa.key"]].concat()).await?;
        let token = self.openssl(&["rand", "-hex", "32"]).await?;
        let line = format!("{},admin,admin,\"system:masters\"\n", token.trim());
        write_private(&self.path("tokens.csv"), &line)?;
        self.sign("server", "/CN=kube-apiserver", "server").await
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
        self.sign(&name, &subject, "client").await?;
        let file = |kind: &str| self.path(&format!("{name}.{kind}")).display().to_string();
        let proof =
            format!("client-certificate: {:?}\n    client-key: {:?}", file("crt"), file("key"));
        let kubeconfig = self.path(&format!("{name}.kubeconfig"));
        write_private(&kubeconfig, &self.kubeconfig(endpoint, user, &proof))?;
        Ok(kubeconfig)
    }

    /// A new key and a certificate for it, signed by our authority.
    async fn sign(&self, name: &str, subject: &str, usage: &str) -> Result<(), ServerError> {
        let file = |kind: &str| format!("{name}.{kind}");
        let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
        let mut ask = vec!["req", "-new", "-utf8", "-subj", subject, "-config", "openssl.cnf"];
        ask.extend(NEW_KEY);
        ask.extend(["-keyout", &key, "-out", &request]);
        self.openssl(&ask).await?;
        let serial = format!("0x01{}", self.openssl(&["rand", "-hex", "12"]).await?.trim());
        let mut sign = vec!["x509", "-req", "-in", &request, "-days", DAYS];
        sign.extend(["-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", &serial]);
        sign.extend(["-extfile", "openssl.cnf", "-extensions", usage, "-out", &certificate]);
        self.openssl(&sign).await.map(drop)
    }

    /// openssl has no flag for a folder, and its file arguments are relative to the current one,
    /// which is not ours to change: so the shell's `cd` stands before it.
    async fn openssl(&self, args: &[&str]) -> Result<String, ServerError> {
        let dir = self.dir.to_string_lossy();
        let enter = "umask 077; cd \"$0\" && exec openssl \"$@\"";
        let args: Vec<&str> = ["-c", enter, &dir].iter().chain(args).copied().collect();
        run_tool(Path::new("sh"), &args, None).await
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

fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| ServerError::File { path: path.to_owned(), source })
}
