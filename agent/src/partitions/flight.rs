//! Batches that are decided and on their way to the disk. In: answers of the log. Out: what is
//! durable. No I/O of its own.

use std::collections::VecDeque;

use broker::EmbeddedSubmitted;
use config_schemas::Offset;
use events::Event;

use crate::config::live::Version;

/// A batch between its decision and the disk.
pub(crate) struct Flight {
    pub(crate) answer: EmbeddedSubmitted,
    /// When it is durable, every event before this has its outcome.
    pub(crate) next: Offset,
    /// The configuration that it was decided under.
    pub(crate) version: Version,
    pub(crate) outcomes: u64,
    /// May go out when it is durable.
    pub(crate) forwards: Vec<Event>,
}

/// Waits until the oldest batch is durable, and leaves it there; for ever when there is none.
pub(crate) async fn landing(flights: &mut VecDeque<Flight>) -> Result<(), broker::Error> {
    match flights.front_mut() {
        Some(flight) => (&mut flight.answer).await.map(drop),
        None => std::future::pending().await,
    }
}
