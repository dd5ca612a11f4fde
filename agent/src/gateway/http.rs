//! The gateway over HTTP: `POST /v1/events` and `GET /v1/outcomes`. In: requests. Out: JSON, one
//! line for each event or outcome. The forms are pure, the rest is I/O.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use config_schemas::{Offset, PartitionId};
use events::{Cursor, Flaw, OutcomeRecord, Problem, parse_body};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Sum, millis, sum};
use super::body::{self, BodyError};
use super::bounds::{BUSY_RETRY, RETRY_AFTER_MS};
use super::layers::{Limits, Shed};
use super::outcomes::{OutcomesError, PAGE_RECORDS_MAX, Page, Placed, Wanted, page};
use super::publish::Gateway;
use crate::config::road::chain;

/// Says where the next page of outcomes begins.
pub const NEXT_CURSOR: &str = "x-next-cursor";
/// Records of a page if the reader does not say.
const PAGE_RECORDS: usize = 1000;
/// Longest wait for outcomes to come: shorter than what proxies cut off.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Ports {
    gateway: Gateway,
    stop: CancellationToken,
}

/// The routes, behind the limits of the port. Waits for outcomes end at `stop`.
pub fn routes(gateway: Gateway, stop: CancellationToken) -> Router {
    let routes = Router::new()
        .route("/v1/events", post(publish))
        .route("/v1/outcomes", get(outcomes))
        .with_state(Ports { gateway: gateway.clone(), stop });
    Limits::new(shed, gateway.metrics().shed.clone()).around(routes)
}

async fn publish(State(Ports { gateway, .. }): State<Ports>, body: Body) -> Response {
    let bodies = gateway.bodies();
    let body = match body::collect(body, &bodies).await {
        Ok(body) => body,
        Err(error) => {
            match unread(&error) {
                Some(problem) => gateway.count_mistake(&problem),
                None => gateway.count_unread("overloaded"),
            }
            return refused_body(&error);
        }
    };
    let Some(admitted) = gateway.admit(body.bytes.len()) else {
        gateway.count_unread("overloaded");
        return refused_body(&BodyError::Busy);
    };
    let body::Bytes { bytes, room: _of_its_events } = body;
    let parsed = gateway.parse(|context| parse_body(&bytes, context));
    drop(bytes);
    match parsed {
        Ok(parsed) => {
            let Some(_room) = gateway.room_of(parsed.len()) else {
                gateway.count_unread("overloaded");
                return refused_body(&BodyError::Busy);
            };
            let parsed = parsed.into_iter().map(|event| event.map_err(|why| (None, why)));
            answered(&gateway.publish(&admitted, parsed.collect()).await)
        }
        Err(problem) => {
            gateway.count_mistake(&problem);
            malformed(&problem)
        }
    }
}

/// One line for each event, and a status for them all.
fn answered(answers: &[Answer]) -> Response {
    let lines = answers.iter().map(|answer| format!("{}\n", answer.json())).collect::<String>();
    let lines = ([(header::CONTENT_TYPE, "application/x-ndjson")], lines);
    match sum(answers) {
        Sum::Accepted => (StatusCode::OK, lines).into_response(),
        Sum::Mixed => (StatusCode::MULTI_STATUS, lines).into_response(),
        Sum::Invalid => (StatusCode::BAD_REQUEST, lines).into_response(),
        Sum::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, lines).into_response(),
        Sum::Overloaded { retry_after } => {
            (StatusCode::TOO_MANY_REQUESTS, retry(retry_after), lines).into_response()
        }
        Sum::Unavailable { retry_after } => {
            (StatusCode::SERVICE_UNAVAILABLE, retry(retry_after), lines).into_response()
        }
    }
}

/// `Retry-After` counts whole seconds; who can tells milliseconds from the other.
fn retry(after: Duration) -> [(HeaderName, String); 2] {
    let seconds = after.as_millis().div_ceil(1000).max(1);
    [
        (header::RETRY_AFTER, seconds.to_string()),
        (HeaderName::from_static(RETRY_AFTER_MS), millis(after).to_string()),
    ]
}

fn refused_body(error: &BodyError) -> Response {
    let status = match error {
        BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken => StatusCode::BAD_REQUEST,
        BodyError::Busy => return busy(),
    };
    let problems: Vec<_> = unread(error).into_iter().collect();
    (status, failure(json!({"code": "INVALID", "problems": problems}))).into_response()
}

/// What is wrong with a body that could not be read; nothing if there was no room for it.
fn unread(error: &BodyError) -> Option<Problem> {
    let flaw = match error {
        BodyError::Busy => return None,
        BodyError::TooLarge => Flaw::TooLarge,
        BodyError::Slow | BodyError::Broken => Flaw::Malformed,
    };
    Some(Problem::new("body", error, "at most 4 MiB, sent without long pauses").of(flaw))
}

fn busy() -> Response {
    let error = json!({"code": "OVERLOADED", "retryAfterMs": millis(BUSY_RETRY)});
    (StatusCode::TOO_MANY_REQUESTS, retry(BUSY_RETRY), failure(error)).into_response()
}

/// What a request is told that did not get as far as its route, or not to the end of it.
pub(crate) fn shed(shed: Shed) -> Response {
    match shed {
        Shed::Busy => busy(),
        Shed::Late => {
            let error = json!({"code": "LOG_UNAVAILABLE", "retryAfterMs": millis(BUSY_RETRY)});
            (StatusCode::GATEWAY_TIMEOUT, retry(BUSY_RETRY), failure(error)).into_response()
        }
    }
}

fn malformed(problem: &Problem) -> Response {
    let error = json!({"code": "INVALID", "problems": [problem]});
    (StatusCode::BAD_REQUEST, failure(error)).into_response()
}

fn failure(error: Value) -> axum::Json<Value> {
    axum::Json(json!({ "error": error }))
}

/// What a reader of outcomes asks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A cursor as returned earlier; with `partition` a plain offset will do.
    #[serde(default)]
    from: String,
    partition: Option<u32>,
    limit: Option<usize>,
    /// Milliseconds.
    wait: Option<u64>,
}

async fn outcomes(
    State(Ports { gateway, stop }): State<Ports>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Query(asked) = match asked {
        Ok(asked) => asked,
        Err(rejection) => {
            let allowed = "from, partition, limit and wait (milliseconds)";
            return malformed(&Problem::new("query", rejection.body_text(), allowed));
        }
    };
    let Some(partitions) = gateway.partitions() else { return unreadable(&OutcomesError::Unknown) };
    let wanted = match wanted(&asked, partitions) {
        Ok(wanted) => wanted,
        Err(problem) => return malformed(&problem),
    };
    let Some(_admitted) = gateway.admit_reader() else { return refused_body(&BodyError::Busy) };
    let limit = asked.limit.unwrap_or(PAGE_RECORDS).clamp(1, PAGE_RECORDS_MAX);
    let wait = Duration::from_millis(asked.wait.unwrap_or(0)).min(WAIT_MAX);
    let reading = page(gateway.plane(), gateway.pages(), &wanted, (limit, wait));
    let read = match stop.run_until_cancelled(reading).await {
        Some(Ok(page)) => page,
        Some(Err(error)) => return unreadable(&error),
        None => Page { records: Vec::new(), next: wanted.from },
    };
    shown(&read, asked.partition.map(PartitionId), wants_one_document(&headers))
}

fn wanted(asked: &Asked, partitions: u32) -> Result<Wanted, Problem> {
    let partition = match asked.partition {
        Some(number) if number >= partitions => {
            let allowed = format!("0 to {}", partitions - 1);
            return Err(Problem::new("partition", number, allowed));
        }
        partition => partition.map(PartitionId),
    };
    let offset = asked.from.parse::<u64>().ok().map(Offset);
    let from = match (partition, offset) {
        (Some(partition), Some(offset)) => Cursor([(partition, offset)].into()),
        _ => asked.from.parse().map_err(|error| {
            Problem::new("from", error, "a cursor, or an offset together with a partition")
        })?,
    };
    let partitions = match partition {
        Some(partition) => vec![partition],
        None => (0..partitions).map(PartitionId).collect(),
    };
    Ok(Wanted { partitions, from })
}

/// JSON lines unless the reader asks for one document.
fn wants_one_document(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

#[derive(Serialize)]
struct Line<'a> {
    offset: Offset,
    #[serde(flatten)]
    record: &'a OutcomeRecord,
}

fn line(placed: &Placed) -> Value {
    let line = Line { offset: placed.offset, record: &placed.record };
    serde_json::to_value(line).unwrap_or_default()
}

/// The page, and where the next one begins: for one partition that is a plain offset.
fn shown(page: &Page, one: Option<PartitionId>, one_document: bool) -> Response {
    let next = match one {
        Some(partition) => json!(page.next.next(partition)),
        None => json!(page.next.to_string()),
    };
    let cursor = next.as_str().map_or_else(|| next.to_string(), str::to_owned);
    let headers = [(NEXT_CURSOR, cursor)];
    let lines = page.records.iter().map(line);
    if one_document {
        let document = json!({"outcomes": lines.collect::<Vec<_>>(), "next": next});
        return (headers, axum::Json(document)).into_response();
    }
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    (headers, [(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

fn unreadable(error: &OutcomesError) -> Response {
    let why = chain(error);
    let (status, code) = match error {
        OutcomesError::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "NO_OWNER"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "LOG_UNAVAILABLE"),
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error = %why, "outcomes cannot be read");
    }
    (status, retry(BUSY_RETRY), failure(json!({"code": code, "why": why}))).into_response()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
