//! The agent's figures. In: what parts tell, and handles to read at each scrape. Out: a registry.

mod plane;

use std::collections::BTreeMap;
use std::sync::Arc;

use config_schemas::documents::{Ack, Outcome};
use config_schemas::layers::Effective;
use config_schemas::{LOAD_WINDOW, SlowCode};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};
use store::{FollowStatus, SessionStatus};
use tokio::sync::watch;

use crate::load::fold::Figures;

pub use plane::PlaneMetrics;

/// Figures of the road.
#[derive(Debug, Clone)]
pub struct RoadMetrics {
    /// Changes of what runs.
    pub changes: IntCounter,
    /// From the store's message to the last worker's switch.
    pub effect_seconds: Histogram,
    generation: IntGauge,
    revision: IntGauge,
    refused: IntGaugeVec,
    rejected: IntGaugeVec,
    setting: GaugeVec,
    hash: IntGaugeVec,
    edits: IntCounterVec,
}

/// A metric is registered twice or misnamed: a mistake of ours, found by any test that starts.
#[derive(Debug, thiserror::Error)]
#[error("registering metrics")]
pub struct MetricsError(#[from] prometheus::Error);

/// Upper bounds of effect times: tens of microseconds on a quiet machine, seconds when stuck.
const EFFECT_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

impl RoadMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<RoadMetrics, MetricsError> {
        let effect = HistogramOpts::new(
            "treasurehunt_agent_effect_seconds",
            "From the store's message about an edit to the moment the last worker runs by it.",
        );
        let metrics = RoadMetrics {
            changes: IntCounter::new(
                "treasurehunt_agent_config_changes_total",
                "Changes of the effective configuration.",
            )?,
            effect_seconds: Histogram::with_opts(effect.buckets(EFFECT_BUCKETS.to_vec()))?,
            generation: IntGauge::new(
                "treasurehunt_agent_config_generation",
                "Generation of the resource that this node has acked.",
            )?,
            revision: IntGauge::new(
                "treasurehunt_agent_config_revision",
                "Revision of the store up to which every edit is in effect or refused.",
            )?,
            refused: IntGaugeVec::new(
                Opts::new("treasurehunt_agent_refused_edits", "Edits refused now, by reason."),
                &["code"],
            )?,
            rejected: IntGaugeVec::new(
                Opts::new(
                    "treasurehunt_agent_rejected_section",
                    "1 for a section whose newest settings could not be taken over; what ran before \
                     runs.",
                ),
                &["section"],
            )?,
            setting: GaugeVec::new(
                Opts::new(
                    "treasurehunt_agent_setting",
                    "Effective value of each numeric setting, in base units.",
                ),
                &["field"],
            )?,
            edits: IntCounterVec::new(
                Opts::new(
                    "treasurehunt_agent_edits_total",
                    "Live edits seen, by what became of them; superseded ones were followed by a \
                     newer one before they could be taken over.",
                ),
                &["result"],
            )?,
            hash: IntGaugeVec::new(
                Opts::new(
                    "treasurehunt_agent_config_hash_info",
                    "1 for the hash of the effective configuration.",
                ),
                &["hash"],
            )?,
        };
        registry.register(Box::new(metrics.changes.clone()))?;
        registry.register(Box::new(metrics.effect_seconds.clone()))?;
        registry.register(Box::new(metrics.generation.clone()))?;
        registry.register(Box::new(metrics.revision.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        registry.register(Box::new(metrics.setting.clone()))?;
        registry.register(Box::new(metrics.hash.clone()))?;
        registry.register(Box::new(metrics.edits.clone()))?;
        Ok(metrics)
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
}

/// How fresh the view of the store is, read at each scrape.
pub struct Freshness {
    status: watch::Receiver<FollowStatus>,
    staleness: Gauge,
    counts: IntGaugeVec,
}

impl Freshness {
    /// Registers the figures of a follower.
    pub fn register(
        registry: &Registry,
        status: watch::Receiver<FollowStatus>,
    ) -> Result<(), MetricsError> {
        let freshness = Freshness {
            status,
            staleness: Gauge::new(
                "treasurehunt_agent_watch_staleness_seconds",
                "Age of the last proof that everything up to some revision is known.",
            )?,
            counts: IntGaugeVec::new(
                Opts::new(
                    "treasurehunt_agent_watch_total",
                    "What happened to the watch since start; audit_repairs should stay 0.",
                ),
                &["what"],
            )?,
        };
        registry.register(Box::new(freshness))?;
        Ok(())
    }
}

impl Collector for Freshness {
    fn desc(&self) -> Vec<&Desc> {
        [self.staleness.desc(), self.counts.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = *self.status.borrow();
        let age = status.proven_at.map_or(f64::INFINITY, |at| at.elapsed().as_secs_f64());
        self.staleness.set(age);
        let counts = status.counts;
        for (what, count) in [
            ("events", counts.events),
            ("reconnects", counts.reconnects),
            ("relists", counts.relists),
            ("compactions", counts.compactions),
            ("losses", counts.losses),
            ("audits", counts.audits),
            ("audit_repairs", counts.audit_repairs),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.counts.with_label_values(&[what]).set(count);
        }
        [self.staleness.collect(), self.counts.collect()].concat()
    }
}

/// What the node's lease and its keys went through, read at each scrape.
pub struct SessionMetrics {
    status: watch::Receiver<SessionStatus>,
    counts: IntGaugeVec,
}

impl SessionMetrics {
    /// Registers the figures of a session.
    pub fn register(
        registry: &Registry,
        status: watch::Receiver<SessionStatus>,
    ) -> Result<(), MetricsError> {
        let counts = IntGaugeVec::new(
            Opts::new(
                "treasurehunt_agent_lease_total",
                "What happened to the node's lease and its keys since start; put_back counts keys \
                 that somebody had changed or deleted by hand.",
            ),
            &["what"],
        )?;
        registry.register(Box::new(SessionMetrics { status, counts }))?;
        Ok(())
    }
}

impl Collector for SessionMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.counts.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = self.status.borrow().clone();
        for (what, count) in [
            ("grants", status.grants),
            ("renewals", status.renewals),
            ("failures", status.failures),
            ("lost", status.lost),
            ("put_back", status.put_back),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.counts.with_label_values(&[what]).set(count);
        }
        self.counts.collect()
    }
}

/// What the node carries, read at each scrape.
pub struct LoadMetrics {
    figures: watch::Receiver<Arc<Figures>>,
    cost: GaugeVec,
    node: GaugeVec,
    slow: IntGaugeVec,
}

impl LoadMetrics {
    /// Registers the figures of a reporter. One series for each partition served, at most 4,096.
    pub fn register(
        registry: &Registry,
        figures: watch::Receiver<Arc<Figures>>,
    ) -> Result<(), MetricsError> {
        let gauge = |name, help, label| GaugeVec::new(Opts::new(name, help), &[label]);
        let load = LoadMetrics {
            figures,
            cost: gauge(
                "treasurehunt_agent_partition_cost",
                "Busy seconds per second of each partition served, shed events included.",
                "partition",
            )?,
            node: gauge(
                "treasurehunt_agent_load",
                "What the node carried in the last window: weight and cost in seconds of a core \
                 per second, utilisation (cost by weight), latency_p99_seconds, queued events, \
                 rate and shed in events per second, cpu in cores.",
                "what",
            )?,
            slow: IntGaugeVec::new(
                Opts::new(
                    "treasurehunt_agent_slow",
                    "1 for the measure by which the node holds itself to be slow.",
                ),
                &["code"],
            )?,
        };
        registry.register(Box::new(load))?;
        Ok(())
    }
}

impl Collector for LoadMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.cost.desc(), self.node.desc(), self.slow.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let figures = self.figures.borrow().clone();
        let load = &figures.load;
        self.cost.reset();
        for (partition, cost) in &figures.costs {
            self.cost.with_label_values(&[&partition.to_string()]).set(*cost);
        }
        for (what, value) in [
            ("weight", load.weight),
            ("cost", load.total()),
            ("utilisation", load.utilisation()),
            ("latency_p99_seconds", load.latency_p99_ms / 1e3),
            ("queued", load.queued as f64),
            ("rate", load.rate),
            ("shed", load.shed as f64 / LOAD_WINDOW.as_secs_f64()),
            ("cpu", load.cpu),
        ] {
            self.node.with_label_values(&[what]).set(value);
        }
        let slow = load.slow.as_ref().map(|slow| slow.code);
        for code in SlowCode::ALL {
            self.slow.with_label_values(&[code.as_str()]).set(i64::from(slow == Some(code)));
        }
        [self.cost.collect(), self.node.collect(), self.slow.collect()].concat()
    }
}
