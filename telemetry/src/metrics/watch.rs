//! How fresh a view of etcd is, read at each scrape. In: what whoever follows etcd says. Out: figures.
//! No I/O.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Error, Registry};

use crate::catalogue::common;

/// How a view of etcd stands, and what befell it since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    /// Age of the last proof that everything up to some revision is known; `None` before the first.
    pub staleness: Option<Duration>,
    /// Changes of keys.
    pub changes: u64,
    /// Comparisons with the whole.
    pub audits: u64,
    /// Streams made anew.
    pub reconnects: u64,
    /// Whole lists read.
    pub relists: u64,
    /// Revisions that were compacted away before they were seen.
    pub compactions: u64,
    /// Events that were lost.
    pub losses: u64,
    /// What an audit had to mend.
    pub audit_repairs: u64,
}

/// Registers the figures.
pub fn register(
    registry: &Registry,
    now: impl Fn() -> Watch + Send + Sync + 'static,
) -> Result<(), Error> {
    let now = Arc::new(now);
    let of = now.clone();
    common::WATCH_STALENESS
        .read(registry, move || of().staleness.map_or(f64::INFINITY, |age| age.as_secs_f64()))?;
    let of = now.clone();
    common::WATCH_CHANGES.read(registry, move || of().changes as f64)?;
    let of = now.clone();
    common::WATCH_AUDITS.read(registry, move || of().audits as f64)?;
    common::WATCH_INCIDENTS.read(registry, move || {
        let watch = now();
        let incidents = [
            ("reconnects", watch.reconnects),
            ("relists", watch.relists),
            ("compactions", watch.compactions),
            ("losses", watch.losses),
            ("audit_repairs", watch.audit_repairs),
        ];
        incidents.map(|(kind, count)| ([kind.to_owned()], count as f64)).to_vec()
    })
}
