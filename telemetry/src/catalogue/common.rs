//! Figures that agent and operator both have: how fresh their view of etcd is, and what the process
//! takes. Pure.

use super::{Counter, Gauge, Label, Metric, Unit, counter, gauge};

const INCIDENT: Label =
    Label::one_of("kind", &["reconnects", "relists", "compactions", "losses", "audit_repairs"]);

const SPAN_RESULT: Label = Label::one_of("result", &["sent", "refused", "no_room"]);

table! {
    WATCH_STALENESS: Gauge<0> = gauge(
        "treasurehunt_watch_staleness_seconds",
        Unit::Seconds,
        "Age of the last proof that everything in etcd up to some revision is known. It climbs while \
         etcd is silent.",
    );
    WATCH_CHANGES: Counter<0> = counter(
        "treasurehunt_watch_changes_total",
        Unit::Count,
        "Changes of keys that the watch of etcd has brought.",
    );
    WATCH_INCIDENTS: Counter<1> = counter(
        "treasurehunt_watch_incidents_total",
        Unit::Count,
        "What befell the watch of etcd: streams made anew, whole lists read, revisions compacted away, \
         events lost, and repairs after an audit, which should stay 0.",
    ).by(&[INCIDENT]);
    WATCH_AUDITS: Counter<0> = counter(
        "treasurehunt_watch_audits_total",
        Unit::Count,
        "Times that the whole view was compared with etcd.",
    );
    PROCESS_CPU: Counter<0> = counter(
        "process_cpu_seconds_total",
        Unit::Seconds,
        "User and system time of the process.",
    );
    PROCESS_MEMORY: Gauge<0> = gauge(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Memory of the process that is in RAM.",
    );
    PROCESS_START: Gauge<0> = gauge(
        "process_start_time_seconds",
        Unit::Time,
        "When the process began to serve its metrics.",
    );
    TRACE_SPANS: Counter<1> = counter(
        "treasurehunt_trace_spans_total",
        Unit::Count,
        "Stages of traces: sent to the collector, refused by it or lost on the way, or left out for \
         want of room while it did not answer.",
    ).by(&[SPAN_RESULT]);
}
