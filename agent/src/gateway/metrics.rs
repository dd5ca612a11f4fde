//! The gateway's figures: what was refused and why, connections, hot keys. In: what its parts
//! count. Out: a registry. No I/O.

use events::Problem;
use prometheus::{IntCounter, IntGauge, Registry};
use telemetry::catalogue::agent as catalogue;
use telemetry::metrics::Counters;

use crate::metrics::MetricsError;

/// Figures of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    /// Mistakes of producers, by kind: one for each event, the first that was found.
    pub mistakes: Counters<1>,
    /// Events of hot keys that went to another partition than their key's.
    pub spread: IntCounter,
    /// Events that were held, or should have been, by how that ended.
    pub held: Counters<1>,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Connections that the agent ended or did not take, by reason.
    pub closed: Counters<1>,
    /// Requests that were refused or given up before they were answered, by reason.
    pub shed: Counters<1>,
}

impl GatewayMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<GatewayMetrics, MetricsError> {
        Ok(GatewayMetrics {
            mistakes: catalogue::EVENTS_MISTAKEN.register(registry)?,
            spread: catalogue::EVENTS_SPREAD.register(registry)?,
            held: catalogue::HOLDS_ENDED.register(registry)?,
            connections: catalogue::CONNECTIONS.register(registry)?,
            closed: catalogue::CONNECTIONS_CLOSED.register(registry)?,
            shed: catalogue::REQUESTS_SHED.register(registry)?,
        })
    }

    /// Counts what is wrong with one event or request.
    pub(crate) fn count_mistake(&self, problems: &[Problem]) {
        if let Some(problem) = problems.first() {
            self.mistakes.with_label_values(&[problem.flaw.as_str()]).inc();
        }
    }
}
