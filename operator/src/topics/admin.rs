//! A client of one cluster's administration: connects, looks, and carries steps out. In: a
//! connection, names, steps. Out: what the cluster said, typed. Every call is bounded in time; an
//! unanswered write is never repeated here: the next look tells what became of it. I/O.

mod act;
mod look;

use std::time::Duration;

use broker::kafka::{Connection, Login, Mechanism, Tls};
use krafka::Kafka;
use krafka::admin::AdminClient;
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::time::timeout;

pub use act::{Answer, Answers};

/// How we are called in the brokers' logs.
const CLIENT_ID: &str = "treasurehunt-operator";
/// Longest wait for one broker to take a connection.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for one answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a whole call, with tries at other brokers.
const CALL_WITHIN: Duration = Duration::from_secs(8);
/// Longest wait for the first broker that answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest words of a cluster that are passed on.
const WHY_CHARS_MAX: usize = 300;

/// Why a cluster could not be asked, or said no.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdminError {
    /// Nobody answers there, or not in time.
    #[error("no broker can be reached: {why}")]
    Unreachable {
        /// What was tried last.
        why: String,
    },
    /// The user or the password is wrong.
    #[error("the cluster refuses the user or the password: {why}")]
    Login {
        /// What the cluster said.
        why: String,
    },
    /// A certificate is not to be trusted, or ours is refused.
    #[error("no trust between operator and brokers: {why}")]
    Certificate {
        /// What the client said.
        why: String,
    },
    /// The cluster does not want to.
    #[error("the cluster refuses: {why}")]
    Refused {
        /// It is about a setting.
        of_setting: bool,
        /// In its own words.
        why: String,
    },
    /// The cluster answers that it cannot do so now: it elects, throttles, lacks replicas.
    #[error("the cluster cannot do so now: {why}")]
    Busy {
        /// In its own words.
        why: String,
    },
    /// The client cannot be made of what it was told.
    #[error("no client can be made: {why}")]
    NoClient {
        /// What is wrong.
        why: String,
    },
}

impl AdminError {
    /// Whether the client is of no use any more.
    pub fn ends_client(&self) -> bool {
        match self {
            AdminError::Unreachable { .. }
            | AdminError::Login { .. }
            | AdminError::Certificate { .. }
            | AdminError::NoClient { .. } => true,
            AdminError::Refused { .. } | AdminError::Busy { .. } => false,
        }
    }
}

/// A client of one cluster.
#[derive(Debug)]
pub struct Admin {
    client: AdminClient,
}

impl Admin {
    /// Connects to the first broker of the list that answers.
    pub async fn connect(connection: &Connection) -> Result<Admin, AdminError> {
        if let Some(why) = connection.problems().into_iter().next() {
            return Err(AdminError::NoClient { why });
        }
        let builder = Kafka::builder(connection.bootstrap.as_str())
            .client_id(CLIENT_ID)
            .connect_timeout(DIAL_WITHIN)
            .request_timeout(REQUEST_WITHIN);
        let builder = match security(connection) {
            Some(security) => builder.security(security),
            None => builder,
        };
        let kafka = timeout(CONNECT_WITHIN, builder.connect()).await.map_err(|_| {
            let why = format!("no answer within {} s", CONNECT_WITHIN.as_secs());
            AdminError::Unreachable { why }
        })?;
        let client = kafka.map_err(of)?.admin().default_api_timeout(CALL_WITHIN);
        Ok(Admin { client })
    }
}

fn security(connection: &Connection) -> Option<AuthConfig> {
    let login = connection.login.as_ref().map(|Login { mechanism, user, password }| {
        let make = match mechanism {
            Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256,
            Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512,
            Mechanism::Plain => AuthConfig::sasl_plain,
        };
        make(user.clone(), password.reveal().to_owned())
    });
    match &connection.tls {
        Some(tls) => Some(login.unwrap_or_else(AuthConfig::plaintext).with_tls(trust(tls))),
        None => login,
    }
}

fn trust(tls: &Tls) -> TlsConfig {
    let config = match &tls.authority {
        Some(pem) => TlsConfig::new().with_ca_cert_pem(pem.clone()),
        None => TlsConfig::new().with_native_roots(),
    };
    match &tls.identity {
        Some(identity) => config.with_client_cert_pem(
            identity.certificate.clone(),
            identity.key.reveal().as_bytes().to_vec(),
        ),
        None => config,
    }
}

/// What an error of the client means, by who has to mend it.
fn of(error: KrafkaError) -> AdminError {
    let why = cut(&error);
    match &error {
        KrafkaError::Auth { message, .. } if message.contains("TLS") => {
            AdminError::Certificate { why }
        }
        KrafkaError::Auth { .. } => AdminError::Login { why },
        KrafkaError::Broker { code: ErrorCode::SaslAuthenticationFailed, .. } => {
            AdminError::Login { why }
        }
        KrafkaError::Config { .. } => AdminError::NoClient { why },
        KrafkaError::Broker { code, message } => {
            let of_setting = *code == ErrorCode::InvalidConfig;
            let why = format!("{code:?}: {message}").chars().take(WHY_CHARS_MAX).collect();
            if code.is_retriable() {
                AdminError::Busy { why }
            } else {
                AdminError::Refused { of_setting, why }
            }
        }
        _ => AdminError::Unreachable { why },
    }
}

/// The error with its causes, in one line that is not too long.
fn cut(error: &KrafkaError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().take(WHY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_is_there_and_its_client_is_kept() {
        let check = |code, expected: fn(&AdminError) -> bool| {
            let error = of(KrafkaError::broker(code, "as said"));
            assert!(expected(&error) && !error.ends_client(), "{code:?}: {error:?}");
            assert!(error.to_string().contains("as said"), "{error}");
        };
        let busy = |error: &AdminError| matches!(error, AdminError::Busy { .. });
        for code in [
            ErrorCode::NotController,
            ErrorCode::NotEnoughReplicas,
            ErrorCode::ThrottlingQuotaExceeded,
            ErrorCode::PreferredLeaderNotAvailable,
        ] {
            check(code, busy);
        }
        let refused = |error: &AdminError| matches!(error, AdminError::Refused { .. });
        check(ErrorCode::InvalidReplicationFactor, refused);
        let silent = of(KrafkaError::Timeout { operation: "elect".to_owned() });
        assert!(matches!(silent, AdminError::Unreachable { .. }) && silent.ends_client());
    }
}
