//! Batches that are decided and on their way to the disk. In: answers of the log. Out: what is
//! durable. No I/O of its own.

use std::collections::VecDeque;

use broker::AnySubmitted;
use config_schemas::Offset;
use events::Event;

use tokio::sync::oneshot;

use crate::config::live::Version;
use crate::traced::Decided;

/// A batch between its decision and the disk.
pub(crate) struct Flight {
    pub(crate) answer: AnySubmitted,
    /// When it is durable, every event before this has its outcome.
    pub(crate) next: Offset,
    /// The configuration that it was decided under.
    pub(crate) version: Version,
    pub(crate) outcomes: u64,
    /// May go out when it is durable.
    pub(crate) forwards: Vec<Event>,
    /// Those of its outcomes whose events are followed.
    pub(crate) decided: Vec<Decided>,
    /// Whoever has a copy of the state after it, and wants to know its place.
    pub(crate) copies: Vec<oneshot::Sender<Offset>>,
}

/// Waits until the oldest batch is durable, and leaves it there; for ever when there is none. Out:
/// its places, which are told once.
pub(crate) async fn landing(flights: &mut VecDeque<Flight>) -> Result<Vec<Offset>, broker::Error> {
    match flights.front_mut() {
        Some(flight) => (&mut flight.answer).await,
        None => std::future::pending().await,
    }
}
