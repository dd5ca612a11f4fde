//! Figures of the clients of Kafka: changes, and what they cost. In: how each went. Out: a registry.

use std::time::Duration;

use prometheus::{Histogram, Registry};
use telemetry::catalogue::agent as catalogue;
use telemetry::metrics::Counters;

use super::MetricsError;

/// Figures of the clients.
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    changes: Counters<1>,
    seconds: Histogram,
    stall: Histogram,
}

impl ClientMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<ClientMetrics, MetricsError> {
        Ok(ClientMetrics {
            changes: catalogue::CLIENT_CHANGES.register(registry)?,
            seconds: catalogue::CLIENT_PROOF.register(registry)?,
            stall: catalogue::CLIENT_STALL.register(registry)?,
        })
    }

    /// A change was tried and took so long; records waited for `stall` of it, if a producer was
    /// swapped.
    pub(crate) fn changed(&self, made: bool, took: Duration, stall: Option<Duration>) {
        self.changes.with_label_values(&[if made { "made" } else { "failed" }]).inc();
        self.seconds.observe(took.as_secs_f64());
        if let Some(stall) = stall {
            self.stall.observe(stall.as_secs_f64());
        }
    }
}
