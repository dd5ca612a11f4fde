//! The agent's figures. In: what parts tell, and handles to read at each scrape. Out: a registry.
//! What each is called and says stands in the catalogue.

#[cfg(test)]
mod catalogue_tests;
mod clients;
mod disk;
mod load;
mod plane;
mod road;
mod session;

pub use clients::ClientMetrics;
pub use load::LoadMetrics;
pub use plane::PlaneMetrics;
pub(crate) use road::Passed;
pub use road::RoadMetrics;
pub use session::SessionMetrics;

pub(crate) use disk::register_disk;

/// A metric is registered twice or misnamed: a mistake of ours, found by any test that starts.
#[derive(Debug, thiserror::Error)]
#[error("registering metrics")]
pub struct MetricsError(#[from] prometheus::Error);
