//! The HTTP port of a binary: its own routes, beside `/metrics`, `/healthz` and `/readyz`. In: a
//! listener, a registry, a readiness check. Out: answers until told to stop. I/O.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Exemplars, OPENMETRICS_FORMAT, openmetrics};
use crate::traces::Traces;

/// Says whether the binary can do its work. Both texts are for a person: what is to be known
/// although it can, empty if nothing, and why it cannot.
pub type Readiness = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The admin port could not be served.
#[derive(Debug, thiserror::Error)]
#[error("serving the admin port")]
pub struct AdminError(#[source] std::io::Error);

/// The routes that every binary has. Where `traces` are on, figures lead to them.
pub fn routes(registry: Registry, traces: &Traces, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state((registry, traces.exemplars().cloned())))
}

/// Serves `router` until `stop`, then ends the connections in order.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(AdminError)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness() {
        Ok(note) if note.is_empty() => "ok\n".into_response(),
        Ok(note) => format!("ok: {note}\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

/// Plain text, or OpenMetrics where there are exemplars to show and whoever asks can read them.
async fn metrics(
    State((registry, exemplars)): State<(Registry, Option<Exemplars>)>,
    headers: HeaderMap,
) -> Response {
    let accepts = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.contains("application/openmetrics-text"))
    };
    let families = registry.gather();
    if let Some(exemplars) = exemplars
        && headers.get_all(header::ACCEPT).iter().any(accepts)
    {
        let text = openmetrics(&families, &exemplars);
        return ([(header::CONTENT_TYPE, OPENMETRICS_FORMAT)], text).into_response();
    }
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
