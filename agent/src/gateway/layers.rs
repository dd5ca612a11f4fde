//! The tower layers that every request passes, over HTTP and gRPC alike: how many are under way
//! (the rest is shed at once), and how long one may take. In: requests. Out: answers, or that there
//! is no room or no time. I/O.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use telemetry::metrics::Counters;
use tokio::sync::Semaphore;

use super::bounds::{HELD_REQUESTS_MAX, READERS_MAX, REQUESTS_MAX, STREAMS_MAX};

/// Requests of one port whose answer has not ended, streams included: what each holds in memory is
/// bounded elsewhere, this bounds their number.
pub(crate) const UNDER_WAY_MAX: usize = 8192;
// Streams, which stay, leave room for short requests.
const _: () = assert!(UNDER_WAY_MAX > STREAMS_MAX + READERS_MAX + REQUESTS_MAX + HELD_REQUESTS_MAX);
/// Longest time until an answer begins: above the longest hold and forward that can be set.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Deadline of a gRPC caller, by the protocol: up to eight digits and a unit.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Why a request was not answered by its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// Too many are under way.
    Busy,
    /// It took too long; what it did is not known.
    Late,
}

/// The limits of one port.
#[derive(Clone)]
pub(crate) struct Limits {
    under_way: Arc<Semaphore>,
    answer: Duration,
    shed: fn(Shed) -> Response,
    counter: Counters<1>,
}

impl Limits {
    /// `shed` says it in the port's own terms.
    pub(crate) fn new(shed: fn(Shed) -> Response, counter: Counters<1>) -> Limits {
        let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        Limits { under_way, answer: ANSWER_TIMEOUT, shed, counter }
    }

    /// The same with other bounds.
    #[cfg(test)]
    pub(crate) fn with(self, under_way: usize, answer: Duration) -> Limits {
        Limits { under_way: Arc::new(Semaphore::new(under_way)), answer, ..self }
    }

    /// `router` behind these limits.
    pub(crate) fn around(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, limit))
    }

    fn refuse(&self, shed: Shed) -> Response {
        let reason = if shed == Shed::Busy { "busy" } else { "late" };
        self.counter.with_label_values(&[reason]).inc();
        (self.shed)(shed)
    }
}

async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Ok(room) = limits.under_way.clone().try_acquire_owned() else {
        return limits.refuse(Shed::Busy);
    };
    let time =
        grpc_timeout(request.headers()).map_or(limits.answer, |asked| asked.min(limits.answer));
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => response.map(|body| held(body, room)),
        Err(_) => limits.refuse(Shed::Late),
    }
}

/// `body`, which keeps `guard` until it has ended.
pub(crate) fn held(body: Body, guard: impl Send + Unpin + 'static) -> Body {
    Body::new(Held { body, _until_the_end: guard })
}

struct Held<G> {
    body: Body,
    _until_the_end: G,
}

impl<G: Unpin> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use axum::routing::get;
    use prometheus::Registry;
    use telemetry::catalogue::agent::REQUESTS_SHED;
    use tower::ServiceExt as _;

    fn limits(under_way: usize) -> Limits {
        let counter = REQUESTS_SHED.register(&Registry::new()).unwrap();
        let shed = |shed| match shed {
            Shed::Busy => Response::builder().status(429).body(Body::empty()).unwrap(),
            Shed::Late => Response::builder().status(504).body(Body::empty()).unwrap(),
        };
        Limits::new(shed, counter).with(under_way, Duration::from_secs(2))
    }

    async fn ask(router: &Router, path: &str, timeout: &str) -> Response {
        let request = Request::get(path).header(GRPC_TIMEOUT, timeout).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_takes_room_until_it_has_ended() {
        let limits = limits(2);
        let router = Router::new().route("/", get(|| async { "answer" }));
        let router = limits.clone().around(router);
        let (one, two) = (ask(&router, "/", "").await, ask(&router, "/", "").await);
        assert_eq!(ask(&router, "/", "").await.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(one);
        assert_eq!(ask(&router, "/", "").await.status(), StatusCode::OK);
        assert_eq!(two.body().size_hint().exact(), Some(6), "no chunks where the length is known");
        assert_eq!(to_bytes(two.into_body(), 100).await.unwrap(), "answer");
        assert_eq!(limits.under_way.available_permits(), 2);
        assert_eq!(limits.counter.with_label_values(&["busy"]).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_given_up_and_its_room_returns() {
        let limits = limits(1);
        let never = || async { std::future::pending::<&str>().await };
        let router = limits.clone().around(Router::new().route("/", get(never)));
        for (timeout, millis) in [("", 2000), ("50m", 50), ("9H", 2000)] {
            let before = tokio::time::Instant::now();
            assert_eq!(ask(&router, "/", timeout).await.status(), StatusCode::GATEWAY_TIMEOUT);
            // The clock is paused: this is the deadline itself, not how fast it was kept.
            assert_eq!(before.elapsed().as_millis(), millis, "{timeout}");
        }
        assert_eq!(limits.under_way.available_permits(), 1);
    }

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        let check = |text: &str, expected: Option<Duration>| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
            assert_eq!(grpc_timeout(&headers), expected, "{text}");
        };
        check("2S", Some(Duration::from_secs(2)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        check("150m", Some(Duration::from_millis(150)));
        check("7u", Some(Duration::from_micros(7)));
        check("7n", Some(Duration::from_nanos(7)));
        for text in ["", "S", "5", "5x", "-5S", "+5S", "123456789S", "5\u{e9}"] {
            check(text, None);
        }
    }
}
