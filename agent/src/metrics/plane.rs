//! The data plane's figures: events, outcomes, and where the time of moves goes. In: what seats,
//! intakes and workers tell. Out: a registry.

use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::MetricsError;
use crate::load::meter::Meters;

/// Upper bounds of a move's stages: a millisecond on a quiet machine, seconds when state is large.
const MOVE_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How far behind its log each partition is, read at each scrape: one series for each partition
/// that the node serves, and none for those that it served before.
struct Lag {
    meters: Meters,
    events: IntGaugeVec,
}

impl Lag {
    fn new(meters: Meters) -> Result<Lag, MetricsError> {
        let opts = Opts::new(
            "treasurehunt_agent_partition_lag_events",
            "Events in the log of a partition that this node serves which have no outcome yet, \
             whoever wrote them.",
        );
        Ok(Lag { meters, events: IntGaugeVec::new(opts, &["partition"])? })
    }
}

impl Collector for Lag {
    fn desc(&self) -> Vec<&Desc> {
        self.events.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.events.reset();
        for (partition, events) in self.meters.lags() {
            let events = i64::try_from(events).unwrap_or(i64::MAX);
            self.events.with_label_values(&[&partition.to_string()]).set(events);
        }
        self.events.collect()
    }
}

/// Figures of the data plane.
#[derive(Debug, Clone)]
pub struct PlaneMetrics {
    /// Partitions served.
    pub served: IntGauge,
    /// Events made durable.
    pub accepted: IntCounter,
    /// Outcomes made durable.
    pub outcomes: IntCounter,
    /// Records of the event log that are no events.
    pub poison: IntCounter,
    /// Events refused at the gateway, by reason.
    pub refused: IntCounterVec,
    /// Events passed on to other nodes.
    pub forwarded: IntCounter,
    /// Events held for a partition that is between two owners.
    pub held: IntGauge,
    /// Where the time of moves goes, by stage. While `warm` lasts the old owner still serves; from
    /// `drain` on nobody does until `load` is over at the new one.
    pub moves: HistogramVec,
    /// What each partition costs; shown by [`LoadMetrics`].
    pub meters: Meters,
}

impl PlaneMetrics {
    /// Registers them.
    pub fn register(registry: &Registry, meters: Meters) -> Result<PlaneMetrics, MetricsError> {
        let counter = |name, help| IntCounter::new(name, help);
        let metrics = PlaneMetrics {
            served: IntGauge::new(
                "treasurehunt_agent_partitions_served",
                "Partitions that this node serves.",
            )?,
            accepted: counter(
                "treasurehunt_agent_events_accepted_total",
                "Events made durable by this node.",
            )?,
            outcomes: counter(
                "treasurehunt_agent_outcomes_total",
                "Outcomes made durable by this node.",
            )?,
            poison: counter(
                "treasurehunt_agent_poison_total",
                "Records of the event log that are no events.",
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "treasurehunt_agent_events_refused_total",
                    "Events refused at the gateway, by reason.",
                ),
                &["reason"],
            )?,
            forwarded: counter(
                "treasurehunt_agent_events_forwarded_total",
                "Events passed on to the node that serves their partition.",
            )?,
            held: IntGauge::new(
                "treasurehunt_agent_events_held",
                "Events held for a partition that is between two owners.",
            )?,
            moves: HistogramVec::new(
                HistogramOpts::new(
                    "treasurehunt_agent_move_seconds",
                    "Stages of moves of partitions: warm (the next owner loads), drain (the last \
                     outcomes become durable), flip (etcd) at the old owner; claim (the log is \
                     taken) and load (its end is read) at the new one.",
                )
                .buckets(MOVE_BUCKETS.to_vec()),
                &["stage"],
            )?,
            meters,
        };
        registry.register(Box::new(metrics.served.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.outcomes.clone()))?;
        registry.register(Box::new(metrics.poison.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.forwarded.clone()))?;
        registry.register(Box::new(metrics.moves.clone()))?;
        registry.register(Box::new(metrics.held.clone()))?;
        registry.register(Box::new(Lag::new(metrics.meters.clone())?))?;
        Ok(metrics)
    }

    /// A stage of a move is over that took so long.
    pub(crate) fn moved(&self, stage: &str, took: Duration) {
        self.moves.with_label_values(&[stage]).observe(took.as_secs_f64());
    }
}
