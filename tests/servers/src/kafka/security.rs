//! TLS and a user with a password for the clients of a cluster. Comes in: name and password. Goes
//! out: certificates and a client's properties beside the nodes, and the properties that make the
//! nodes ask for them. I/O only in `prepare`.

use std::path::{Path, PathBuf};

use crate::certificates::{Certificates, Usage, write_private};
use crate::poll::{ServerError, run_tool};

/// Who may connect: one user by SCRAM-SHA-512 inside TLS. More users come by `kafka-configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSecurity {
    /// The user's name.
    pub user: String,
    /// The user's password. It stands in files and on command lines here: for tests only.
    pub password: String,
}

/// Of a certificate that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// For years.
    Valid,
    /// Over since yesterday.
    Expired,
}

impl KafkaSecurity {
    /// The authority and what it signed, for a cluster in `dir`.
    pub(super) fn certificates(dir: &Path) -> Certificates {
        Certificates::in_dir(&dir.join("certificates"))
    }

    /// What a Java client in `dir`'s cluster is configured with.
    pub(super) fn client_properties(dir: &Path) -> PathBuf {
        dir.join("client.properties")
    }

    /// The file from which all nodes read key and certificate.
    pub(super) fn keystore(dir: &Path) -> PathBuf {
        dir.join("certificates/kafka.pem")
    }

    /// Makes authority and certificate unless they are there; writes the client's properties.
    pub(super) async fn prepare(&self, dir: &Path) -> Result<(), ServerError> {
        let certificates = Self::certificates(dir);
        if !Self::keystore(dir).exists() {
            certificates.make_authority().await?;
            Self::sign(dir, Validity::Valid).await?;
        }
        let authority = certificates.authority();
        let client = [
            "security.protocol=SASL_SSL".to_owned(),
            "sasl.mechanism=SCRAM-SHA-512".to_owned(),
            format!(
                "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
                 username=\"{}\" password=\"{}\";",
                self.user, self.password
            ),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={}", authority.display()),
        ];
        write_private(&Self::client_properties(dir), &(client.join("\n") + "\n"))
    }

    /// Makes a key and certificate, and the file from which the nodes read them, which is not told
    /// to them here; the certificate's text. Its subject is always the same: a node that runs
    /// refuses another one, and says so only in its log.
    pub(super) async fn sign(dir: &Path, validity: Validity) -> Result<String, ServerError> {
        let (certificates, subject) = (Self::certificates(dir), "/CN=kafka");
        let signed = match validity {
            Validity::Valid => certificates.sign("kafka", subject, Usage::Server).await?,
            Validity::Expired => certificates.sign_expired("kafka", subject, Usage::Server).await?,
        };
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|source| ServerError::File { path: path.to_owned(), source })
        };
        let (key, certificate) = (read(&signed.key)?, read(&signed.certificate)?);
        write_private(&Self::keystore(dir), &(key + &certificate))?;
        Ok(certificate)
    }

    /// What the nodes are told of the clients' listener. A client certificate is checked if there
    /// is one; who it is, is told by the password.
    pub(super) fn properties(&self, dir: &Path) -> Vec<(String, String)> {
        let authority = Self::certificates(dir).authority().display().to_string();
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let of_listener = [
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", Self::keystore(dir).display().to_string()),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", authority),
            ("ssl.client.auth", "requested".to_owned()),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
            ("scram-sha-512.sasl.jaas.config", login.to_owned()),
        ];
        let named =
            of_listener.map(|(name, value)| (format!("listener.name.client.{name}"), value));
        named.into()
    }

    /// What puts the user into a cluster that is formatted.
    pub(super) fn format_args(&self) -> [String; 2] {
        let user = format!("SCRAM-SHA-512=[name={},password={}]", self.user, self.password);
        ["--add-scram".to_owned(), user]
    }
}

/// Does the server at that port of 127.0.0.1 show that certificate?
pub(super) async fn serves(port: u16, certificate: &str) -> bool {
    let address = format!("127.0.0.1:{port}");
    let ask = ["s_client", "-connect", &address];
    let shown = run_tool(Path::new("openssl"), &ask, Some("")).await;
    shown.is_ok_and(|shown| shown.contains(certificate.trim()))
}
