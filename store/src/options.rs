//! How to reach etcd: endpoints, TLS files, user. Reads certificate files; everything else is
//! pure. A password never shows in `Debug`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::error::StoreError;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one call may take. Shorter than the shortest useful lease.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2 pings: etcd closes connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// What one stream may have unread before etcd holds back. One slow follower costs this much.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection may have unread: so much that a slow follower cannot stop
/// its neighbours on the same connection.
const CONNECTION_WINDOW: u32 = 256 << 20;

/// The certificate files of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed etcd's certificate (PEM).
    pub ca: PathBuf,
    /// Our certificate and key (PEM), for etcd with client certificates.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in etcd's certificate, where it is not the endpoint's host.
    pub domain: Option<String>,
}

/// An etcd user. Its password does not show in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How to reach etcd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// `http://host:port` or `https://host:port`; a bare `host:port` takes its scheme from `tls`.
    pub endpoints: Vec<String>,
    /// TLS, where the endpoints speak it.
    pub tls: Option<TlsFiles>,
    /// The user, where etcd has authentication with passwords. With client certificates the
    /// common name is the user and nothing is needed here.
    pub user: Option<User>,
    /// Calls and streams share one connection, which halves what a client costs etcd. For clients
    /// that read little: a big answer holds a watch's events up for as long as it takes.
    pub one_connection: bool,
}

impl StoreOptions {
    /// Endpoints without TLS or user.
    pub fn plain<I: IntoIterator<Item = S>, S: Into<String>>(endpoints: I) -> Self {
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        Self { endpoints, ..Self::default() }
    }

    /// The endpoints as tonic wants them, with all limits set.
    pub(crate) fn resolve(&self) -> Result<Vec<Endpoint>, StoreError> {
        if self.endpoints.is_empty() {
            return Err(bad("no endpoint is given".into(), None));
        }
        let tls = self.tls.as_ref().map(read_tls).transpose()?;
        self.endpoints.iter().map(|url| endpoint(url, tls.as_ref())).collect()
    }
}

fn bad(what: String, source: Option<crate::error::Cause>) -> StoreError {
    StoreError::Options { what, source }
}

fn endpoint(url: &str, tls: Option<&ClientTlsConfig>) -> Result<Endpoint, StoreError> {
    let url = match (url.contains("://"), tls) {
        (true, _) => url.to_owned(),
        (false, Some(_)) => format!("https://{url}"),
        (false, None) => format!("http://{url}"),
    };
    let wrong = |e: tonic::transport::Error| bad(format!("endpoint {url}"), Some(Arc::new(e)));
    let endpoint = Endpoint::from_shared(url.clone())
        .map_err(wrong)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    match (url.starts_with("https://"), tls) {
        (true, Some(tls)) => endpoint.tls_config(tls.clone()).map_err(wrong),
        (true, None) => Err(bad(format!("endpoint {url} needs TLS files"), None)),
        (false, Some(_)) => Err(bad(format!("endpoint {url} has TLS files but no https"), None)),
        (false, None) => Ok(endpoint),
    }
}

fn read_tls(files: &TlsFiles) -> Result<ClientTlsConfig, StoreError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|e| bad(format!("file {}", path.display()), Some(Arc::new(e))))
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&files.ca)?));
    if let Some((certificate, key)) = &files.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(domain) = &files.domain {
        tls = tls.domain_name(domain);
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_show() {
        let user = User { name: "ana".into(), password: "canary-4711".into() };
        let options = StoreOptions { user: Some(user), ..StoreOptions::plain(["a:1"]) };
        let shown = format!("{options:?} {options:#?}");
        assert!(shown.contains("ana"));
        assert!(!shown.contains("canary"));
    }

    #[test]
    fn options_that_cannot_work_are_told_at_once() {
        let tls = TlsFiles { ca: "/nowhere/ca.pem".into(), identity: None, domain: None };
        let plain = StoreOptions::plain(["https://a:1"]);
        for (options, said) in [
            (StoreOptions::default(), "no endpoint"),
            (StoreOptions { tls: Some(tls), ..plain.clone() }, "/nowhere/ca.pem"),
            (plain, "needs TLS files"),
            (StoreOptions::plain(["http://"]), "http://"),
        ] {
            let error = options.resolve().expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
