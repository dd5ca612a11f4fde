//! The data plane's figures: events, outcomes, and where the time of events and moves goes. In: what
//! seats, intakes and workers tell. Out: a registry.

use std::time::Duration;

use prometheus::{IntCounter, IntGauge, Registry};
use telemetry::catalogue::agent as catalogue;
use telemetry::metrics::{Counters, Histograms};

use super::MetricsError;
use crate::load::meter::Meters;

/// Figures of the data plane.
#[derive(Debug, Clone)]
pub struct PlaneMetrics {
    /// Partitions served.
    pub served: IntGauge,
    /// Events made durable.
    pub accepted: IntCounter,
    /// Outcomes made durable.
    pub outcomes: IntCounter,
    /// Records of the event log that are no events, or on which the machine fails.
    pub poison: IntCounter,
    /// Events refused at the gateway, by reason.
    pub refused: Counters<1>,
    /// Events passed on to other nodes.
    pub forwarded: IntCounter,
    /// Events held for a partition that is between two owners.
    pub held: IntGauge,
    /// Where the time of moves goes, by stage. While `warm` lasts the old owner still serves; from
    /// `drain` on nobody does until `load` is over at the new one.
    pub moves: Histograms<1>,
    /// What each partition costs, how far behind its log it is, and where the time of its events
    /// goes.
    pub meters: Meters,
}

impl PlaneMetrics {
    /// Registers them.
    pub fn register(registry: &Registry, meters: Meters) -> Result<PlaneMetrics, MetricsError> {
        catalogue::EVENT_STAGES.read(registry, meters.stages())?;
        let of = meters.clone();
        // one series for each partition that is served now, and none for those served before
        catalogue::PARTITION_LAG.read(registry, move || {
            of.lags().into_iter().map(|(id, lag)| ([id.to_string()], lag as f64)).collect()
        })?;
        Ok(PlaneMetrics {
            served: catalogue::PARTITIONS_SERVED.register(registry)?,
            accepted: catalogue::EVENTS_ACCEPTED.register(registry)?,
            outcomes: catalogue::OUTCOMES.register(registry)?,
            poison: catalogue::DEAD_LETTERS.register(registry)?,
            refused: catalogue::EVENTS_REFUSED.register(registry)?,
            forwarded: catalogue::EVENTS_FORWARDED.register(registry)?,
            held: catalogue::EVENTS_HELD.register(registry)?,
            moves: catalogue::MOVES.register(registry)?,
            meters,
        })
    }

    /// A stage of a move is over that took so long.
    pub(crate) fn moved(&self, stage: &str, took: Duration) {
        self.moves.with_label_values(&[stage]).observe(took.as_secs_f64());
    }
}
