//! Plain HTTP to the binaries under test, over kept connections. In: address and path. Out: status
//! and body. I/O.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value as Json;
use tokio::time::timeout;

/// A view or a metric is there at once; a frozen process must not hold the test.
const VIEW_LIMIT: Duration = Duration::from_secs(2);
/// An event may wait for a partition that is between two owners, and for another node.
const PUBLISH_LIMIT: Duration = Duration::from_secs(6);

/// A client; clones share connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for Http {
    fn default() -> Self {
        Http { client: Client::builder(TokioExecutor::new()).build_http() }
    }
}

impl Http {
    /// The body of `GET`, when it is answered with 200.
    pub async fn text(&self, port: u16, path: &str) -> Result<String> {
        let (status, body) = self.send("GET", port, path, String::new(), VIEW_LIMIT).await?;
        ensure!(status == 200, "{path}: {status} {body}");
        Ok(body)
    }

    /// The same as JSON.
    pub async fn json(&self, port: u16, path: &str) -> Result<Json> {
        serde_json::from_str(&self.text(port, path).await?).context("not JSON")
    }

    /// The status of `GET`, whatever it is.
    pub async fn status(&self, port: u16, path: &str) -> Result<u16> {
        Ok(self.send("GET", port, path, String::new(), VIEW_LIMIT).await?.0)
    }

    /// Status and body of `POST`.
    pub async fn post(&self, port: u16, path: &str, body: String) -> Result<(u16, String)> {
        self.send("POST", port, path, body, PUBLISH_LIMIT).await
    }

    async fn send(
        &self,
        method: &str,
        port: u16,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<(u16, String)> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{port}{path}"))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::from(body))?;
        let exchange = async {
            let answer = self.client.request(request).await.context("no answer")?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.context("a cut answer")?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        timeout(limit, exchange).await.with_context(|| format!("{path}: no answer in time"))?
    }
}

/// The value of one series in a metrics text, by its full name with labels.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
}
