//! Asking agents over HTTP: one pooled client, bounded in time and size. In: addresses and bodies.
//! Out: status and bytes. I/O.
//!
//! The client is hyper-util's, which tonic brings along anyway: reqwest would be fourteen more
//! crates for requests to plain `http://host:port`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value as Json;

use crate::failure::{Code, Failure, chain};

/// Longest wait for an answer about an agent's state.
pub const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Longest answer that is read: pages of outcomes are a few megabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest wait for a connection on the same network.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A client that keeps its connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP's status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

impl Http {
    /// A client without connections yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a client is made once, on purpose")]
    pub fn new() -> Http {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        Http { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// `GET http://address/path`.
    pub async fn get(&self, address: &str, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::GET, address, path, Bytes::new(), ASK_WITHIN).await
    }

    /// The same, at most `within`.
    pub async fn get_within(
        &self,
        address: &str,
        path: &str,
        within: Duration,
    ) -> Result<Answer, Failure> {
        self.ask(Method::GET, address, path, Bytes::new(), within).await
    }

    /// `POST` of JSON (or JSON lines), at most `within`.
    pub async fn post(
        &self,
        address: &str,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, Failure> {
        self.ask(Method::POST, address, path, body, within).await
    }

    async fn ask(
        &self,
        method: Method,
        address: &str,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let url = format!("http://{address}{path}");
        let silent =
            |why: String| Failure::new(Code::Unreachable, format!("{url} does not answer: {why}"));
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::bad_input(format!("{url}: {error}")))?;
        let whole = async {
            let response = self.client.request(request).await.map_err(|e| silent(chain(&e)))?;
            let status = response.status();
            let limited = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = limited.collect().await.map_err(|error| silent(error.to_string()))?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        let late = |_| silent(format!("nothing within {} s", within.as_secs_f64()));
        tokio::time::timeout(within, whole).await.map_err(late)?
    }
}

impl Answer {
    /// The body as JSON; a failure when the status is no success or the body is no JSON.
    pub fn json(&self) -> Result<Json, Failure> {
        let text = String::from_utf8_lossy(&self.body);
        if !self.status.is_success() {
            let said = config_schemas::excerpt(text.trim());
            return Err(Failure::failed(format!("the agent answered {}: {said}", self.status)));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::caused("reading the agent's answer", &error))
    }
}
