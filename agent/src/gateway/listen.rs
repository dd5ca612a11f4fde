//! Serving connections, for both ports alike: a bound on their number, time limits for those who
//! send or take slowly, and an end in order. In: a listener and routes. Out: answers. I/O.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt as _, service_fn};

use super::connections::{Connections, FAREWELL, Slot};
use super::layers::held;
use super::steady::Steady;

/// Wait after an accept that failed for want of file descriptors or memory: nothing but a
/// connection that ends mends that.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Longest time for a client to send the head of a request, unless the port says otherwise.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest head of a request, and so what a slow sender can hold: our own are a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How often an HTTP/2 connection is proved, and how long the proof may take.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests under way on one HTTP/2 connection; the client keeps more to itself.
const STREAMS_MAX: u32 = 256;
/// What one HTTP/2 connection may send before it is read, over all its requests, and in one.
const CONNECTION_WINDOW: u32 = 1 << 20;
const STREAM_WINDOW: u32 = 256 << 10;
/// Longest wait for requests under way when told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What speaks over a port's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1 and HTTP/2, as the client begins.
    Http,
    /// HTTP/2 alone, as gRPC does.
    Grpc,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the head of a request.
    head: Duration,
    /// Without any request.
    idle: Duration,
    /// Idle connections are looked for this often.
    sweep: Duration,
}

impl Speech {
    /// gRPC clients keep an idle connection for the next call.
    fn patience(self) -> Patience {
        let idle = match self {
            Speech::Http => Duration::from_secs(30),
            Speech::Grpc => Duration::from_secs(300),
        };
        Patience { head: HEAD_TIMEOUT, idle, sweep: SWEEP }
    }

    fn builder(self, patience: Patience) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        if self == Speech::Grpc {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            // Who has said all may close that half and wait for the answer. Who went away looks the
            // same, so that such a request keeps its place until it is answered, as others do.
            .half_close(true)
            .header_read_timeout(patience.head)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW);
        builder
    }
}

/// A port.
pub struct Port {
    /// Where connections come in.
    pub listener: TcpListener,
    /// What is spoken.
    pub speech: Speech,
    /// Its connections; ports may share a bound.
    pub connections: Connections,
}

/// Serves `router` until `stop`: then nothing new is taken, clients are told to go (GOAWAY, or
/// `connection: close`), and requests under way have a bounded time to end.
pub async fn serve(port: Port, router: Router, stop: CancellationToken) {
    let patience = port.speech.patience();
    serve_with(port, router, stop, patience).await;
}

async fn serve_with(port: Port, router: Router, stop: CancellationToken, patience: Patience) {
    let tracker = TaskTracker::new();
    // Cancelled when those that did not end in time are cut.
    let cut = CancellationToken::new();
    let _cut_at_the_end = cut.clone().drop_guard();
    let terms =
        Arc::new(Terms { builder: port.speech.builder(patience), router, stop: stop.clone(), cut });
    let accepting = async {
        loop {
            let stream = accept(&port.listener).await;
            // Not taken: it closes as it is dropped.
            let Some(place) = port.connections.enter().await else { continue };
            tracker.spawn(attend(terms.clone(), stream, Arc::new(place)));
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
        () = sweep(&port.connections, patience) => {}
    }
    drop(port.listener);
    tracker.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), speech = ?port.speech, "requests did not end in time");
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it a small answer may wait for the client's acknowledgement.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn sweep(connections: &Connections, patience: Patience) {
    loop {
        tokio::time::sleep(patience.sweep).await;
        connections.end_idle(patience.idle);
    }
}

struct Terms {
    builder: Builder<TokioExecutor>,
    router: Router,
    stop: CancellationToken,
    cut: CancellationToken,
}

async fn attend(terms: Arc<Terms>, stream: TcpStream, place: Arc<Slot>) {
    let router = terms.router.clone();
    let at = place.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let busy = at.busy();
        let answering = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answering.await?.map(|body| held(body, busy))) }
    });
    let stream = TokioIo::new(Steady::new(stream));
    let mut connection =
        pin!(terms.builder.serve_connection(stream, TowerToHyperService::new(service)));
    let farewell = tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        () = terms.stop.cancelled() => DRAIN_TIMEOUT,
        () = place.end.cancelled() => FAREWELL,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log_end(ended),
        () = tokio::time::sleep(farewell) => {}
        () = terms.cut.cancelled() => {}
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
