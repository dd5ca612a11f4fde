//! Real connections on loopback: crowds that only sit there, and those that send or take slowly,
//! keep nobody from being served.

use std::net::SocketAddr;

use axum::routing::get;
use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::super::descriptors;
use super::super::layers::Limits;
use super::super::metrics::GatewayMetrics;
use super::*;

/// Far above what anything here takes; a test that hangs ends.
const LONG: Duration = Duration::from_secs(60);

struct Served {
    address: SocketAddr,
    metrics: GatewayMetrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn with(max: usize, patience: Patience, router: Router) -> Served {
        let metrics = GatewayMetrics::register(&Registry::new()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(max, metrics.clone());
        let port = Port { listener, speech: Speech::Http, connections };
        let router = Limits::new(super::super::http::shed, metrics.shed.clone()).around(router);
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve_with(port, router, stop.clone(), patience));
        Served { address, metrics, stop, task }
    }

    async fn new(max: usize) -> Served {
        let router = Router::new().route("/", get(|| async { "hello" }));
        Served::with(max, Speech::Http.patience(), router).await
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// A connection that has been answered once and stays open.
    async fn answered(&self) -> TcpStream {
        let mut stream = self.connect().await;
        assert!(ask(&mut stream).await.contains("hello"));
        stream
    }

    fn closed(&self, reason: &str) -> u64 {
        self.metrics.closed.with_label_values(&[reason]).get()
    }

    async fn end(self) {
        self.stop.cancel();
        within(self.task).await.unwrap();
        assert_eq!(self.metrics.connections.get(), 0);
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it hangs")
}

/// The answer to one request; empty when the connection was closed instead.
async fn ask(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let asking = async {
        if stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_err() {
            return;
        }
        while !answer.ends_with(b"hello") {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    within(asking).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the peer closes.
async fn until_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
}

/// Both ends of each are in this process, so the limit of open files may allow fewer than the ten
/// thousand that are asked for.
#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_from_being_served() {
    // All but a few hundred, which the other tests of this process need.
    let limit = descriptors::raised().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    let crowd = (limit.saturating_sub(800) / 2).min(10_000);
    assert!(crowd >= 256, "the limit of open files is too low to try this");
    // None of them is to be ended for its idleness: the crowd has to be there all the time.
    let patience = Patience { head: 60 * LONG, idle: 60 * LONG, sweep: LONG };
    let router = Router::new().route("/", get(|| async { "hello" }));
    let served = Served::with(crowd + 16, patience, router).await;
    let mut idle = Vec::new();
    for number in 0..crowd {
        // Some never say anything, some say half a word, some have had an answer.
        let mut stream = served.connect().await;
        match number % 100 {
            0 => assert!(ask(&mut stream).await.contains("hello")),
            1..50 => stream.write_all(b"GET / HT").await.unwrap(),
            _ => {}
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        served.answered().await;
    }
    assert_eq!((served.closed("refused"), served.closed("room")), (0, 0));
    let open = usize::try_from(served.metrics.connections.get()).unwrap();
    assert!(open >= crowd, "{open} of {crowd} are open");
    drop(idle);
    served.end().await;
}

#[tokio::test]
async fn a_crowd_above_the_bound_makes_room_for_who_asks() {
    let served = Served::new(128).await;
    let mut idle = Vec::new();
    for _ in 0..512 {
        idle.push(served.connect().await);
    }
    let mut asking = served.answered().await;
    assert!(served.metrics.connections.get() <= 128);
    assert!(served.closed("room") >= 512 - 128, "{}", served.closed("room"));
    assert_eq!(served.closed("refused"), 0);
    // The first of the crowd had to go, and hears of it.
    until_closed(&mut idle[0]).await;
    assert!(ask(&mut asking).await.contains("hello"), "who asked last stays");
    served.end().await;
}

#[tokio::test]
async fn heads_that_do_not_end_and_silence_are_ended_in_time() {
    let short = Duration::from_millis(50);
    let patience = Patience { head: short, idle: 4 * short, sweep: short };
    let router = Router::new().route("/", get(|| async { "hello" }));
    let served = Served::with(64, patience, router).await;
    let mut silent = served.connect().await;
    let mut dripping = served.connect().await;
    dripping.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut done = served.answered().await;
    for stream in [&mut silent, &mut dripping, &mut done] {
        until_closed(stream).await;
    }
    assert!(served.closed("idle") >= 1);
    served.end().await;
}

#[tokio::test]
async fn when_every_connection_works_a_new_one_is_not_taken() {
    let go = CancellationToken::new();
    let wait = go.clone();
    let long = move || {
        let wait = wait.clone();
        async move { wait.cancelled().await }
    };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/long", get(long));
    let served = Served::with(4, Speech::Http.patience(), router).await;
    let mut working = Vec::new();
    for _ in 0..4 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        working.push(stream);
    }
    let mut refused = served.connect().await;
    until_closed(&mut refused).await;
    assert_eq!((served.closed("refused"), served.closed("room")), (1, 0));
    drop(working);
    // Who went away looks like who only has no more to say: the place is free with the answer.
    go.cancel();
    let again = async {
        loop {
            let mut stream = served.connect().await;
            if ask(&mut stream).await.contains("hello") {
                return;
            }
        }
    };
    within(again).await;
    served.end().await;
}

#[tokio::test]
async fn who_has_said_all_and_closes_that_half_is_answered_all_the_same() {
    let go = CancellationToken::new();
    let wait = go.clone();
    let (began, mut begin) = tokio::sync::mpsc::channel(1);
    let answer = move |body: String| {
        let (began, wait) = (began.clone(), wait.clone());
        async move {
            began.send(()).await.unwrap();
            wait.cancelled().await;
            body
        }
    };
    let router = Router::new().route("/", axum::routing::post(answer));
    let served = Served::with(8, Speech::Http.patience(), router).await;
    let mut stream = served.connect().await;
    let request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    within(begin.recv()).await.unwrap();
    // Its end has come before the answer.
    let early = tokio::time::timeout(Duration::from_millis(50), stream.readable()).await;
    assert!(early.is_err(), "closed before it was answered");
    go.cancel();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_end_and_closes_the_rest() {
    let (began, mut begin) = tokio::sync::mpsc::channel(1);
    let go = CancellationToken::new();
    let wait = go.clone();
    let answer = move || {
        let (began, wait) = (began.clone(), wait.clone());
        async move {
            began.send(()).await.unwrap();
            wait.cancelled().await;
            "hello"
        }
    };
    let router = Router::new().route("/", get(answer));
    let served = Served::with(8, Speech::Http.patience(), router).await;
    let mut idle = served.connect().await;
    let mut working = served.connect().await;
    let asked = tokio::spawn(async move { ask(&mut working).await });
    begin.recv().await.unwrap();
    served.stop.cancel();
    until_closed(&mut idle).await;
    let refused = within(TcpStream::connect(served.address)).await;
    assert!(refused.is_err(), "nothing new is taken");
    go.cancel();
    let answer = within(asked).await.unwrap();
    assert!(answer.contains("hello") && answer.contains("connection: close"), "{answer}");
    served.end().await;
}
