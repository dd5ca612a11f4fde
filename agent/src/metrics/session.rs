//! What the node's lease went through, read at each scrape. In: what the session tells. Out: a
//! registry.

use prometheus::Registry;
use store::SessionStatus;
use telemetry::catalogue::agent as catalogue;
use tokio::sync::watch;

use super::MetricsError;

/// What the node's lease and its keys went through.
pub struct SessionMetrics;

impl SessionMetrics {
    /// Registers the figures of a session.
    pub fn register(
        registry: &Registry,
        status: watch::Receiver<SessionStatus>,
    ) -> Result<(), MetricsError> {
        catalogue::LEASE.read(registry, move || {
            let status = status.borrow();
            let counts = [
                ("grants", status.grants),
                ("renewals", status.renewals),
                ("failures", status.failures),
                ("lost", status.lost),
                ("put_back", status.put_back),
            ];
            counts.map(|(what, count)| ([what.to_owned()], count as f64)).to_vec()
        })?;
        Ok(())
    }
}
