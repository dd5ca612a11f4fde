//! Figures of the road: what runs here, what became of edits, and how long they took. In: what the
//! road tells. Out: a registry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config_schemas::documents::{Ack, Outcome};
use config_schemas::layers::{Claim, Effective, Layer};
use config_schemas::{NodeName, Revision};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};
use telemetry::catalogue::agent as catalogue;
use telemetry::metrics::{Counters, Gauges, Histograms, Wholes};
use telemetry::traces::{Role, Stage, Traces};
use tokio::time::Instant;

use super::MetricsError;

/// Figures of the road.
#[derive(Debug, Clone)]
pub struct RoadMetrics {
    /// Changes of what runs.
    pub changes: IntCounter,
    /// From the store's message to the last worker's switch.
    effect_seconds: Histogram,
    stages: Histograms<1>,
    /// Since when the oldest edit waits that is not in effect yet.
    pending: Arc<Mutex<Option<Instant>>>,
    generation: IntGauge,
    revision: IntGauge,
    applied: Gauge,
    refused: Wholes<1>,
    shadowed: IntGauge,
    rejected: Wholes<1>,
    setting: Gauges<1>,
    hash: Wholes<1>,
    edits: Counters<1>,
    traces: Traces,
    /// Who tells.
    node: String,
}

/// The stage that all others are parts of.
const EFFECT: &str = "effect";

/// A stage, and when it began and ended.
pub(crate) type Passed = (&'static str, (Instant, Instant));

impl RoadMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<RoadMetrics, MetricsError> {
        let pending: Arc<Mutex<Option<Instant>>> = Arc::default();
        let read = pending.clone();
        catalogue::EFFECT_PENDING.read(registry, move || {
            let since = *read.lock().unwrap_or_else(PoisonError::into_inner);
            since.map_or(0.0, |since| since.elapsed().as_secs_f64())
        })?;
        Ok(RoadMetrics {
            changes: catalogue::CONFIG_CHANGES.register(registry)?,
            effect_seconds: catalogue::EFFECT.register(registry)?,
            stages: catalogue::EFFECT_STAGES.register(registry)?,
            pending,
            generation: catalogue::CONFIG_GENERATION.register(registry)?,
            revision: catalogue::CONFIG_REVISION.register(registry)?,
            applied: catalogue::CONFIG_APPLIED.register(registry)?,
            refused: catalogue::REFUSED_EDITS.register(registry)?,
            shadowed: catalogue::SHADOWED_EDITS.register(registry)?,
            rejected: catalogue::REJECTED_SECTION.register(registry)?,
            setting: catalogue::SETTING.register(registry)?,
            hash: catalogue::CONFIG_HASH.register(registry)?,
            edits: catalogue::EDITS.register(registry)?,
            traces: Traces::default(),
            node: String::new(),
        })
    }

    /// The same for `node`, which tells of its edits at `traces`.
    #[must_use]
    pub fn following(self, traces: Traces, node: &NodeName) -> RoadMetrics {
        RoadMetrics { traces, node: node.to_string(), ..self }
    }

    /// Accounts for each edit of `news`: the newest of a key by what became of it, those before
    /// it as superseded.
    pub(crate) fn count_edits(
        &self,
        news: &BTreeMap<String, u64>,
        effective: &Effective,
        rolled_back: bool,
    ) {
        for (rest, writes) in news {
            let key = format!("override/{rest}");
            let result = if effective.refused.iter().any(|refusal| refusal.key == key) {
                "refused"
            } else if effective.held.contains_key(rest)
                || (rest == config_schemas::generation::ROLLBACK && rolled_back)
            {
                "applied"
            } else {
                // Deleted, or another node's: the layer below holds.
                "none_here"
            };
            self.edits.with_label_values(&[result]).inc();
            self.edits.with_label_values(&["superseded"]).inc_by(writes.saturating_sub(1));
        }
    }

    /// A stage on the way of edits is over that took so long.
    pub(crate) fn stage(&self, stage: &str, took: Duration) {
        self.stages.with_label_values(&[stage]).observe(took.as_secs_f64());
    }

    /// Everything up to `revision` is in effect; the newest of it arrived then, and went through these
    /// stages.
    pub(crate) fn effect(&self, revision: Option<Revision>, arrived: Instant, stages: &[Passed]) {
        let now = Instant::now();
        let took = (now - arrived).as_secs_f64();
        self.effect_seconds.observe(took);
        let revision = revision.map_or(0, Revision::get);
        let Some(trace) = self.traces.edit(revision, &self.node) else { return };
        if let Some(exemplars) = self.traces.exemplars() {
            exemplars.keep(catalogue::EFFECT.metric(), &[], took, trace.id);
        }
        let about: [(_, &dyn std::fmt::Display); 2] =
            [("node", &self.node), ("revision", &revision)];
        let stage =
            |name, within| Stage { name, role: Role::Works, within, about: &about, failed: None };
        trace.tell(&stage(EFFECT, (arrived, now)));
        for (name, within) in stages {
            trace.tell_part(EFFECT, &stage(name, *within));
        }
    }

    /// An edit waits; the oldest counts, until all are in effect or refused.
    pub(crate) fn waits(&self, since: Instant) {
        self.pending().get_or_insert(since);
    }

    /// None waits any more.
    pub(crate) fn waits_no_more(&self) {
        *self.pending() = None;
    }

    /// The configuration that is acked has just become another one.
    pub(crate) fn applied(&self) {
        self.applied.set(telemetry::clock::now_millis() as f64 / 1e3);
    }

    /// Shows what was acked and what runs.
    pub(crate) fn show(&self, ack: &Ack, effective: &Effective) {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.generation.set(ack.generation.map_or(0, |generation| signed(generation.0)));
        self.revision.set(ack.revision.map_or(0, |revision| signed(revision.get())));
        self.hash.reset();
        self.hash.with_label_values(&[ack.hash.as_str()]).set(1);
        let mut codes: BTreeMap<&str, i64> = BTreeMap::new();
        for refusal in &effective.refused {
            *codes.entry(refusal.code.as_str()).or_default() += 1;
        }
        self.refused.reset();
        for (code, count) in codes {
            self.refused.with_label_values(&[code]).set(count);
        }
        self.shadowed.set(shadowed(effective));
        self.rejected.reset();
        for (section, outcome) in &ack.sections {
            if matches!(outcome, Outcome::Rejected { .. }) {
                self.rejected.with_label_values(&[section.as_str()]).set(1);
            }
        }
        for (path, value) in &effective.values {
            if let Some(number) = value.as_number() {
                self.setting.with_label_values(&[&path.to_string()]).set(number);
            }
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Live edits that another live edit of the same field wins over.
fn shadowed(effective: &Effective) -> i64 {
    let is_edit = |claim: &&Claim| matches!(claim.layer, Layer::Hunt | Layer::Node);
    let edits = effective.claims.values().map(|claims| claims.iter().filter(is_edit).count());
    i64::try_from(edits.map(|edits| edits.saturating_sub(1)).sum::<usize>()).unwrap_or(i64::MAX)
}
