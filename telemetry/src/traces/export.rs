//! Brings spans to the collector: in batches, one at a time, each within a limit. In: the queue. Out:
//! OTLP over gRPC. A collector that is away costs what waits for it, and nobody's time. I/O.

use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{COUNTS, TraceFlags, Traces, kept, said};

/// Spans that are sent at once: well below the 4 MB that receivers take.
const BATCH_SPANS_MAX: usize = 512;
/// How long spans are gathered: people look at traces seconds later.
const GATHER: Duration = Duration::from_millis(500);
/// Longest wait for a connection, and for an answer to a batch.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a batch was not taken: the queue fills meanwhile, and what finds no room is left out.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time for what is left when the process stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// The flags name no collector that could be asked.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It is no address.
    #[error("{url} is no address of a collector")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// Another protocol.
    #[error("{url} is not reached by plain http; a collector near this process is asked for")]
    Scheme {
        /// What was given.
        url: String,
    },
}

/// The end of the queue that sends.
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    client: TraceServiceClient<Channel>,
    resource: Resource,
}

/// What `flags` ask for: where stages are told of, and what sends them, if anything does. `service` is
/// the binary, `who` its name among its like. Must run inside a tokio runtime.
pub fn exporter(
    flags: &TraceFlags,
    service: &'static str,
    who: &str,
) -> Result<(Traces, Option<Exporter>), TraceError> {
    let Some(url) = &flags.otlp_endpoint else { return Ok((Traces::default(), None)) };
    if !url.starts_with("http://") {
        return Err(TraceError::Scheme { url: url.clone() });
    }
    let endpoint = Endpoint::from_shared(url.clone())
        .map_err(|source| TraceError::Address { url: url.clone(), source })?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT);
    let (traces, spans) = kept(flags.otlp_events);
    let attributes = [("service.name", service), ("service.instance.id", who)];
    let resource = Resource {
        attributes: attributes.iter().map(|(key, value)| said(key, value)).collect(),
        ..Resource::default()
    };
    let client = TraceServiceClient::new(endpoint.connect_lazy());
    Ok((traces, Some(Exporter { spans, client, resource })))
}

impl Exporter {
    /// Sends until `stop`, then once more what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                received = self.spans.recv_many(&mut batch, BATCH_SPANS_MAX) => {
                    if received == 0 {
                        return;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.gather(&mut batch) => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.deliver(std::mem::take(&mut batch)) => {}
            }
        }
        self.spans.close();
        self.spans.recv_many(&mut batch, BATCH_SPANS_MAX).await;
        // what does not reach it by then nobody waits for
        let _ = tokio::time::timeout(LAST_TIMEOUT, self.send(batch)).await;
    }

    /// Sends, and rests if that was for nothing.
    async fn deliver(&mut self, batch: Vec<Span>) {
        if !self.send(batch).await {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Returns when the batch is full.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH_SPANS_MAX {
            let room = BATCH_SPANS_MAX - batch.len();
            if self.spans.recv_many(batch, room).await == 0 {
                return;
            }
        }
    }

    /// Whether the collector has taken the batch.
    async fn send(&mut self, spans: Vec<Span>) -> bool {
        let count = spans.len() as u64;
        if count == 0 {
            return true;
        }
        let scope = InstrumentationScope { name: "treasurehunt".to_owned(), ..Default::default() };
        let spans = ScopeSpans { scope: Some(scope), spans, ..Default::default() };
        let resource = Some(self.resource.clone());
        let spans = ResourceSpans { resource, scope_spans: vec![spans], ..Default::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![spans] };
        let answer = self.client.export(request).await;
        let refused = match &answer {
            Ok(answer) => {
                answer.get_ref().partial_success.as_ref().map_or(0, |partly| {
                    u64::try_from(partly.rejected_spans).unwrap_or(0).min(count)
                })
            }
            Err(status) => {
                tracing::warn!(spans = count, error = %status.message(), "the collector takes no traces");
                count
            }
        };
        COUNTS.refused.fetch_add(refused, Ordering::Relaxed);
        COUNTS.sent.fetch_add(count - refused, Ordering::Relaxed);
        answer.is_ok()
    }
}
