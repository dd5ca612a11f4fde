//! Where a cluster is and who we are to it: addresses, TLS, user and password, all of them values
//! in memory. In: what the resource and its Secrets say. Out: typed, and never printed. Pure.

use std::fmt;
use std::str::FromStr;

use config_schemas::{ADDRESSES_MAX, is_address};

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for whoever shows it to a cluster.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A cluster's bootstrap addresses: `host:port`, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap(String);

/// Why a text is no list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not host:port")]
pub struct NoAddress(String);

impl FromStr for Bootstrap {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Bootstrap, NoAddress> {
        let addresses: Vec<&str> = text.split(',').map(str::trim).collect();
        if addresses.len() > ADDRESSES_MAX {
            return Err(NoAddress(format!("{} addresses", addresses.len())));
        }
        match addresses.iter().find(|address| !is_address(address)) {
            Some(wrong) => Err(NoAddress((*wrong).to_owned())),
            None => Ok(Bootstrap(addresses.join(","))),
        }
    }
}

impl Bootstrap {
    /// `host:port`, separated by commas.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a user is known to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself is never sent.
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
    /// The password is sent; only inside TLS.
    Plain,
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// How.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// By what.
    pub password: Secret,
}

/// The client's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM.
    pub certificate: String,
    /// PEM, without a password of its own.
    pub key: Secret,
}

/// Encryption. Certificates are always checked, names too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM of who must have signed the brokers' certificates; the system's authorities when `None`.
    pub authority: Option<String>,
    /// Shown to the brokers.
    pub identity: Option<Identity>,
}

/// How to get to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Where.
    pub bootstrap: Bootstrap,
    /// Plain text when `None`.
    pub tls: Option<Tls>,
    /// Nobody in particular when `None`.
    pub login: Option<Login>,
}

/// Of a property by librdkafka's name.
pub(crate) type Property = (&'static str, String);

impl Connection {
    /// Without TLS, as nobody.
    pub fn plain(bootstrap: Bootstrap) -> Connection {
        Connection { bootstrap, tls: None, login: None }
    }

    /// What is wrong with it; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let (None, Some(Login { mechanism: Mechanism::Plain, .. })) = (&self.tls, &self.login) {
            problems.push("mechanism PLAIN sends the password, so it needs TLS".to_owned());
        }
        let login = self.login.iter().flat_map(|it| [it.user.as_str(), it.password.reveal()]);
        if login.clone().any(|text| text.is_empty() || text.contains('\0')) {
            problems.push("user and password must not be empty, nor hold a zero byte".to_owned());
        }
        let pems = self.tls.iter().flat_map(|tls| {
            let identity = tls.identity.iter();
            let identity = identity.flat_map(|it| [it.certificate.as_str(), it.key.reveal()]);
            tls.authority.as_deref().into_iter().chain(identity)
        });
        if pems.clone().any(|pem| !pem.contains("-----BEGIN ") || pem.contains('\0')) {
            problems.push("certificates and keys must be PEM".to_owned());
        }
        problems
    }

    pub(crate) fn properties(&self) -> Vec<Property> {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        let mut all = vec![
            ("bootstrap.servers", self.bootstrap.as_str().to_owned()),
            ("security.protocol", protocol.to_owned()),
        ];
        if let Some(tls) = &self.tls {
            all.push(("ssl.endpoint.identification.algorithm", "https".to_owned()));
            all.extend(tls.authority.clone().map(|pem| ("ssl.ca.pem", pem)));
            if let Some(Identity { certificate, key }) = &tls.identity {
                all.push(("ssl.certificate.pem", certificate.clone()));
                all.push(("ssl.key.pem", key.reveal().to_owned()));
            }
        }
        if let Some(Login { mechanism, user, password }) = &self.login {
            let mechanism = match mechanism {
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
                Mechanism::Plain => "PLAIN",
            };
            all.push(("sasl.mechanism", mechanism.to_owned()));
            all.push(("sasl.username", user.clone()));
            all.push(("sasl.password", password.reveal().to_owned()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_anything_else_is_named() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let parsed = text.parse::<Bootstrap>();
            let parsed =
                parsed.as_ref().map(Bootstrap::as_str).map_err(|NoAddress(wrong)| wrong.as_str());
            assert_eq!(parsed, expected, "{text}");
        };
        check("a:1, b.c-d_e:65535", Ok("a:1,b.c-d_e:65535"));
        check("[::1]:9092", Ok("[::1]:9092"));
        check("ssl://a:1", Err("ssl://a:1"));
        check("a", Err("a"));
        check("a:0", Err("a:0"));
        check("a:1,", Err(""));
        check("a:1,::1:2", Err("::1:2"));
    }

    #[test]
    fn secrets_are_never_printed() {
        let identity = Identity { certificate: "-----BEGIN x".to_owned(), key: Secret::new("k3y") };
        let login = Login {
            mechanism: Mechanism::Plain,
            user: "ana".to_owned(),
            password: Secret::new("pa55"),
        };
        let tls = Tls { authority: None, identity: Some(identity) };
        let bootstrap = "a:1".parse().unwrap();
        let connection = Connection { bootstrap, tls: Some(tls), login: Some(login) };
        let printed = format!("{connection:?} {connection:#?}");
        assert!(printed.contains("ana") && !printed.contains("pa55") && !printed.contains("k3y"));
        assert_eq!(connection.problems(), ["certificates and keys must be PEM"]);
        let plain = Connection { tls: None, ..connection };
        assert_eq!(plain.problems().len(), 1, "{:?}", plain.problems());
    }
}
