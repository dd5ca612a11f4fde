//! Traces of what an event or an edit leads to, for a collector of OpenTelemetry; off unless asked
//! for, and then of a part of all events. In: stages that are over. Out: spans, in a bounded queue that
//! [`export`] empties. Whoever tells of a stage never waits: what finds no room is counted and left out.

#[cfg(test)]
mod collector_tests;
mod export;
mod flags;
mod ids;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span, status};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock;
use crate::metrics::Exemplars;
use ids::Ids;

pub use export::{Exporter, TraceError, exporter};
pub use flags::TraceFlags;
pub use ids::{SpanId, TraceId};

/// Spans that wait for the collector: some seconds of the traces of a busy node, 2 MB at most.
const SPANS_WAITING_MAX: usize = 4_096;

/// Where stages are told of. Cheap to clone, and off by default: then every question is one look at
/// an empty option.
#[derive(Clone, Default)]
pub struct Traces(Option<On>);

#[derive(Clone)]
struct On {
    ids: Ids,
    shared: Arc<Shared>,
}

struct Shared {
    /// The part of all events that is followed, 0 to 1.
    part: f64,
    spans: mpsc::Sender<Span>,
    exemplars: Exemplars,
}

/// What became of spans, in the whole process as its processor time is.
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) no_room: AtomicU64,
    pub(crate) refused: AtomicU64,
}

pub(crate) static COUNTS: Counts =
    Counts { sent: AtomicU64::new(0), no_room: AtomicU64::new(0), refused: AtomicU64::new(0) };

/// An event or an edit that is followed.
#[derive(Clone)]
pub struct Trace {
    on: On,
    /// The trace that it belongs to.
    pub id: TraceId,
    /// What its spans hang on.
    parent: SpanId,
    /// Whose spans they are, within the trace.
    of: String,
}

/// What a stage is, as OpenTelemetry tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers somebody else's request.
    Serves,
    /// Works on what came out of a log.
    Consumes,
    /// Anything else.
    Works,
}

/// A stage that is over.
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    /// Which one.
    pub name: &'static str,
    /// What it is.
    pub role: Role,
    /// When it began and ended.
    pub within: (Instant, Instant),
    /// What there is to know about it; no secrets, and nothing long.
    pub about: &'a [(&'static str, &'a dyn std::fmt::Display)],
    /// Why it failed, if it did.
    pub failed: Option<&'a str>,
}

impl Traces {
    /// The same for events and edits of that hunt.
    #[must_use]
    pub fn of_hunt(&self, hunt: &impl std::fmt::Display) -> Traces {
        let on = |on: &On| On { ids: Ids::of_hunt(&hunt.to_string()), shared: on.shared.clone() };
        Traces(self.0.as_ref().map(on))
    }

    /// Whether anything is followed.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The event of that id, if it is followed.
    pub fn event(&self, id: &str) -> Option<Trace> {
        let on = self.0.as_ref()?;
        let trace = on.ids.event_trace(id);
        trace.is_in(on.shared.part).then(|| {
            let parent = match ids::cause(id) {
                None => on.ids.span(trace, PUBLISH, id),
                Some(cause) => on.ids.span(trace, OUTCOME, cause),
            };
            Trace { on: on.clone(), id: trace, parent, of: id.to_owned() }
        })
    }

    /// What was written at that revision; `by` is who follows it. All edits are followed: people
    /// make them.
    pub fn edit(&self, revision: u64, by: &str) -> Option<Trace> {
        let on = self.0.as_ref()?;
        let id = on.ids.edit_trace(revision);
        let parent = on.ids.span(id, EDIT, "");
        Some(Trace { on: on.clone(), id, parent, of: by.to_owned() })
    }

    /// Where the last trace of each class of a histogram is kept.
    pub fn exemplars(&self) -> Option<&Exemplars> {
        self.0.as_ref().map(|on| &on.shared.exemplars)
    }
}

/// Traces of which every span is kept for whoever asks, and none sent: for tests of who tells.
pub fn kept(part: f64) -> (Traces, mpsc::Receiver<Span>) {
    let (spans, kept) = mpsc::channel(SPANS_WAITING_MAX);
    let shared = Shared { part, spans, exemplars: Exemplars::default() };
    (Traces(Some(On { ids: Ids::of_hunt(""), shared: Arc::new(shared) })), kept)
}

/// The root of an event's trace: from its request's arrival to the answer.
pub const PUBLISH: &str = "publish";
/// What came of an event, which those that it caused hang on.
pub const OUTCOME: &str = "outcome";
/// The root of an edit's trace: from the store's word to the last node that runs by it.
pub const EDIT: &str = "edit";

impl Trace {
    /// Tells of a stage, below the root or what caused this event.
    pub fn tell(&self, stage: &Stage<'_>) {
        let id = match stage.name {
            EDIT => self.on.ids.span(self.id, EDIT, ""),
            name => self.on.ids.span(self.id, name, &self.of),
        };
        let parent = if id == self.parent { SpanId(0) } else { self.parent };
        self.put(stage, id, parent);
    }

    /// Tells of a part of another stage of the same one.
    pub fn tell_part(&self, of: &str, stage: &Stage<'_>) {
        let id = self.on.ids.span(self.id, stage.name, &self.of);
        self.put(stage, id, self.on.ids.span(self.id, of, &self.of));
    }

    fn put(&self, stage: &Stage<'_>, id: SpanId, parent: SpanId) {
        let shared = &self.on.shared;
        let Ok(place) = shared.spans.try_reserve() else {
            COUNTS.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        };
        place.send(self.span(stage, id, parent));
    }

    fn span(&self, stage: &Stage<'_>, id: SpanId, parent: SpanId) -> Span {
        let (now, wall) = (Instant::now(), clock::now_nanos());
        let at = |instant: Instant| {
            let ago = now.saturating_duration_since(instant).as_nanos();
            wall.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
        };
        let kind = match stage.role {
            Role::Serves => span::SpanKind::Server,
            Role::Consumes => span::SpanKind::Consumer,
            Role::Works => span::SpanKind::Internal,
        };
        let failed = stage
            .failed
            .map(|why| Status { message: why.to_owned(), code: status::StatusCode::Error.into() });
        Span {
            trace_id: self.id.0.to_be_bytes().to_vec(),
            span_id: id.0.to_be_bytes().to_vec(),
            parent_span_id: match parent.0 {
                0 => Vec::new(),
                id => id.to_be_bytes().to_vec(),
            },
            name: stage.name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: at(stage.within.0),
            end_time_unix_nano: at(stage.within.1),
            attributes: stage.about.iter().map(|(key, value)| said(key, value)).collect(),
            status: failed,
            ..Span::default()
        }
    }
}

fn said(key: &str, value: &dyn std::fmt::Display) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_string());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.are_on() { "Traces(on)" } else { "Traces(off)" })
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trace({} of {})", self.id, self.of)
    }
}
