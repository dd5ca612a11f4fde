//! Spans as a collector gets them, over gRPC, and what becomes of them when none is there.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::{EDIT, OUTCOME, PUBLISH, Role, Stage, TraceFlags, Traces, exporter};
use crate::tasks::Tasks;

/// Far above what anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(30);

struct Collector(mpsc::Sender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.0.send(span).await.map_err(|_| Status::unavailable("nobody listens"))?;
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector(tasks: &Tasks) -> (String, mpsc::Receiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, spans) = mpsc::channel(1_024);
    let server =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    let stop = tasks.stopping();
    tasks.spawn("collector", async move {
        let incoming = TcpListenerStream::new(listener);
        server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await.unwrap();
    });
    (url, spans)
}

fn traces(url: String, part: f64, tasks: &Tasks) -> Traces {
    let flags = TraceFlags { otlp_endpoint: Some(url), otlp_events: part };
    let (traces, exporter) = exporter(&flags, "test", "one").unwrap();
    tasks.spawn("traces", exporter.unwrap().run(tasks.stopping()));
    traces.of_hunt(&"default/harbour")
}

fn stage(name: &'static str) -> Stage<'static> {
    let now = Instant::now();
    Stage { name, role: Role::Works, within: (now, now), about: &[], failed: None }
}

async fn next(spans: &mut mpsc::Receiver<Span>) -> Span {
    tokio::time::timeout(PATIENCE, spans.recv()).await.expect("a span comes").unwrap()
}

#[tokio::test]
async fn an_event_and_what_it_caused_are_one_tree_wherever_they_are_told_of() {
    let tasks = Tasks::default();
    let (url, mut spans) = collector(&tasks).await;
    // two nodes, which know nothing of each other
    let (one, other) = (traces(url.clone(), 1.0, &tasks), traces(url, 1.0, &tasks));
    one.event("e1").unwrap().tell(&stage(PUBLISH));
    let publish = next(&mut spans).await;
    other.event("e1").unwrap().tell(&stage(OUTCOME));
    let outcome = next(&mut spans).await;
    one.event("e1~0").unwrap().tell(&stage(OUTCOME));
    let caused = next(&mut spans).await;
    assert!(publish.parent_span_id.is_empty());
    assert_eq!(outcome.parent_span_id, publish.span_id);
    assert_eq!(caused.parent_span_id, outcome.span_id);
    assert!([&outcome, &caused].iter().all(|span| span.trace_id == publish.trace_id));
    tasks.finish().await;
}

#[tokio::test]
async fn an_edit_hangs_together_over_operator_and_nodes() {
    let tasks = Tasks::default();
    let (url, mut spans) = collector(&tasks).await;
    let traces = traces(url, 0.0, &tasks);
    assert!(traces.event("e1").is_none(), "no event is followed");
    traces.edit(7, "").unwrap().tell(&stage(EDIT));
    let edit = next(&mut spans).await;
    let node = traces.edit(7, "n1").unwrap();
    node.tell(&Stage { about: &[("node", &"n1")], ..stage("effect") });
    let effect = next(&mut spans).await;
    node.tell_part("effect", &stage("switch"));
    let part = next(&mut spans).await;
    assert!(edit.parent_span_id.is_empty());
    assert_eq!((effect.parent_span_id, part.parent_span_id), (edit.span_id, effect.span_id));
    assert_eq!((&effect.attributes[0].key, &*effect.name), (&"node".to_owned(), "effect"));
    tasks.finish().await;
}

/// More than the queue holds is told at once, to a collector that is not there and to one that takes
/// connections and never answers: nobody waits, and the process ends in order.
#[tokio::test]
async fn a_collector_that_is_away_or_silent_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&silent, &gone].map(|at| format!("http://{}", at.local_addr().unwrap()));
    drop(gone);
    for url in urls {
        let tasks = Tasks::default();
        let traces = traces(url, 1.0, &tasks);
        for event in 0..20_000 {
            traces.event(&event.to_string()).unwrap().tell(&stage(PUBLISH));
        }
        let ended = Arc::new(tasks);
        tokio::time::timeout(PATIENCE, ended.finish()).await.expect("it ends");
    }
}

#[tokio::test]
async fn nothing_is_traced_unless_it_is_asked_for() {
    let (traces, exporter) = exporter(&TraceFlags::off(), "test", "one").unwrap();
    assert!(exporter.is_none() && !traces.are_on() && traces.event("e1").is_none());
    let https = TraceFlags { otlp_endpoint: Some("https://a:1".to_owned()), otlp_events: 1.0 };
    assert!(refusal(&https).contains("plain http"));
}

fn refusal(flags: &TraceFlags) -> String {
    exporter(flags, "test", "one").err().map(|error| error.to_string()).unwrap_or_default()
}
