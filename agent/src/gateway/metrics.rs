//! The gateway's figures: what was refused and why, connections, hot keys. In: what its parts
//! count. Out: a registry. No I/O.

use events::Problem;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::metrics::MetricsError;

/// Figures of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    /// Mistakes of producers, by kind: one for each event, the first that was found.
    pub mistakes: IntCounterVec,
    /// Events of hot keys that went to another partition than their key's.
    pub spread: IntCounter,
    /// Events that were held, or should have been, by how that ended.
    pub held: IntCounterVec,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Connections that the agent ended or did not take, by reason.
    pub closed: IntCounterVec,
    /// Requests that were refused or given up before they were answered, by reason.
    pub shed: IntCounterVec,
}

impl GatewayMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<GatewayMetrics, MetricsError> {
        let metrics = GatewayMetrics {
            mistakes: IntCounterVec::new(
                Opts::new(
                    "treasurehunt_agent_events_mistaken_total",
                    "Events and requests that break a rule of form, by the first mistake found.",
                ),
                &["mistake"],
            )?,
            spread: IntCounter::new(
                "treasurehunt_agent_events_spread_total",
                "Events of hot keys that went to another partition than their key's own.",
            )?,
            held: IntCounterVec::new(
                Opts::new(
                    "treasurehunt_agent_events_held_total",
                    "Events whose partition was between two owners: delivered after a while, \
                     expired, or refused for want of room to hold them.",
                ),
                &["ended"],
            )?,
            connections: IntGauge::new(
                "treasurehunt_agent_connections",
                "Connections of clients and of other nodes that are open.",
            )?,
            closed: IntCounterVec::new(
                Opts::new(
                    "treasurehunt_agent_connections_closed_total",
                    "Connections ended by the agent: idle, made room for others, or not taken.",
                ),
                &["reason"],
            )?,
            shed: IntCounterVec::new(
                Opts::new(
                    "treasurehunt_agent_requests_shed_total",
                    "Requests refused for want of room, or given up for want of time.",
                ),
                &["reason"],
            )?,
        };
        registry.register(Box::new(metrics.mistakes.clone()))?;
        registry.register(Box::new(metrics.spread.clone()))?;
        registry.register(Box::new(metrics.held.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.closed.clone()))?;
        registry.register(Box::new(metrics.shed.clone()))?;
        Ok(metrics)
    }

    /// Counts what is wrong with one event or request.
    pub(crate) fn count_mistake(&self, problems: &[Problem]) {
        if let Some(problem) = problems.first() {
            self.mistakes.with_label_values(&[problem.flaw.as_str()]).inc();
        }
    }
}
