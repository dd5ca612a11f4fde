//! An authority of our own and certificates that it signed, made by `openssl`. Comes in: a folder.
//! Goes out: files in it, readable by their owner only. I/O.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// An authority and what it signed, in one folder.
#[derive(Debug, Clone)]
pub struct Certificates {
    dir: PathBuf,
}

/// Which end of a connection a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// A server on 127.0.0.1.
    Server,
    /// A client.
    Client,
}

/// A certificate and its key, as files (PEM).
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// In that folder; nothing is made yet.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The authority's certificate (PEM).
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Makes the authority.
    ///
    /// # Errors
    /// When the folder cannot be written, or there is no `openssl`.
    pub async fn make_authority(&self) -> Result<(), ServerError> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|source| ServerError::File { path: self.dir.clone(), source })?;
        write_private(&self.dir.join("openssl.cnf"), OPENSSL_CONFIG)?;
        let mut authority = vec!["req", "-x509", "-extensions", "authority", "-days", DAYS];
        authority.extend(NEW_KEY);
        authority.extend(["-subj", "/CN=treasurehunt-authority", "-config", "openssl.cnf"]);
        authority.extend(["-keyout", "ca.key", "-out", "ca.crt"]);
        self.openssl(&authority).await.map(drop)
    }

    /// A new key and a certificate for it, as `name.key` and `name.crt`; the subject as openssl
    /// writes it (`/CN=ana`).
    ///
    /// # Errors
    /// When there is no authority yet, or openssl refuses the subject.
    pub async fn sign(
        &self,
        name: &str,
        subject: &str,
        usage: Usage,
    ) -> Result<Certificate, ServerError> {
        self.sign_for(name, subject, usage, DAYS).await
    }

    /// The same, but over since yesterday.
    ///
    /// # Errors
    /// As [`Certificates::sign`].
    pub async fn sign_expired(
        &self,
        name: &str,
        subject: &str,
        usage: Usage,
    ) -> Result<Certificate, ServerError> {
        self.sign_for(name, subject, usage, "-1").await
    }

    async fn sign_for(
        &self,
        name: &str,
        subject: &str,
        usage: Usage,
        days: &str,
    ) -> Result<Certificate, ServerError> {
        let section = match usage {
            Usage::Server => "server",
            Usage::Client => "client",
        };
        let file = |kind: &str| format!("{name}.{kind}");
        let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
        let mut ask = vec!["req", "-new", "-utf8", "-subj", subject, "-config", "openssl.cnf"];
        ask.extend(NEW_KEY);
        ask.extend(["-keyout", &key, "-out", &request]);
        self.openssl(&ask).await?;
        let serial = format!("0x01{}", self.openssl(&["rand", "-hex", "12"]).await?.trim());
        let mut sign = vec!["x509", "-req", "-in", &request, "-days", days];
        sign.extend(["-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", &serial]);
        sign.extend(["-extfile", "openssl.cnf", "-extensions", section, "-out", &certificate]);
        self.openssl(&sign).await?;
        Ok(Certificate { certificate: self.dir.join(certificate), key: self.dir.join(key) })
    }

    /// openssl has no flag for a folder, and its file arguments are relative to the current one,
    /// which is not ours to change: so the shell's `cd` stands before it.
    pub(crate) async fn openssl(&self, args: &[&str]) -> Result<String, ServerError> {
        let dir = self.dir.to_string_lossy();
        let enter = "umask 077; cd \"$0\" && exec openssl \"$@\"";
        let args: Vec<&str> = ["-c", enter, &dir].iter().chain(args).copied().collect();
        run_tool(Path::new("sh"), &args, None).await
    }
}

pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| ServerError::File { path: path.to_owned(), source })
}
