//! How etcd is doing as this node sees it, read at each scrape: how fresh the view is, what the lease
//! went through. In: what follower and session tell. Out: a registry.

use prometheus::Registry;
use store::{FollowStatus, SessionStatus};
use telemetry::catalogue::agent as catalogue;
use telemetry::metrics::watch::Watch;
use tokio::sync::watch;

use super::MetricsError;

/// How fresh the view of the store is.
pub struct Freshness;

impl Freshness {
    /// Registers the figures of a follower.
    pub fn register(
        registry: &Registry,
        status: watch::Receiver<FollowStatus>,
    ) -> Result<(), MetricsError> {
        telemetry::metrics::watch::register(registry, move || {
            let FollowStatus { proven_at, counts, .. } = *status.borrow();
            Watch {
                staleness: proven_at.map(|at| at.elapsed()),
                changes: counts.events,
                audits: counts.audits,
                reconnects: counts.reconnects,
                relists: counts.relists,
                compactions: counts.compactions,
                losses: counts.losses,
                audit_repairs: counts.audit_repairs,
            }
        })?;
        Ok(())
    }
}

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
