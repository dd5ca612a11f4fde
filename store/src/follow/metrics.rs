//! How fresh a view of etcd is, read at each scrape. In: what a follower says of itself. Out: figures.
//! No I/O.

use prometheus::{Error, Registry};
use telemetry::catalogue::common;
use tokio::sync::watch;

use super::FollowStatus;

impl FollowStatus {
    /// Registers the figures of the follower that tells this status.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(
        registry: &Registry,
        status: watch::Receiver<FollowStatus>,
    ) -> Result<(), Error> {
        let of = status.clone();
        common::WATCH_STALENESS.read(registry, move || of.borrow().staleness())?;
        let of = status.clone();
        common::WATCH_CHANGES.read(registry, move || of.borrow().counts.events as f64)?;
        let of = status.clone();
        common::WATCH_AUDITS.read(registry, move || of.borrow().counts.audits as f64)?;
        common::WATCH_INCIDENTS.read(registry, move || {
            let counts = status.borrow().counts;
            let incidents = [
                ("reconnects", counts.reconnects),
                ("relists", counts.relists),
                ("compactions", counts.compactions),
                ("losses", counts.losses),
                ("audit_repairs", counts.audit_repairs),
            ];
            incidents.map(|(kind, count)| ([kind.to_owned()], count as f64)).to_vec()
        })
    }

    /// Seconds since everything up to some revision was proven known; endless before the first proof.
    fn staleness(&self) -> f64 {
        self.proven_at.map_or(f64::INFINITY, |at| at.elapsed().as_secs_f64())
    }
}
