//! Batches that are decided and on their way to the disk, and how fast they get there. In: answers
//! of the log. Out: what is durable, events per second. No I/O of its own.

use std::collections::VecDeque;

use broker::EmbeddedSubmitted;
use config_schemas::Offset;
use events::Event;
use tokio::time::Instant;

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

/// The speed since the worker last had nothing on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    from: Offset,
    since: Instant,
}

impl Pace {
    /// From that event on, and from now.
    pub(crate) fn new(from: Offset) -> Pace {
        Pace { from, since: Instant::now() }
    }

    /// Events per second, now that everything before `to` has its outcome.
    pub(crate) fn speed(&self, to: Offset) -> u64 {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        to.0.saturating_sub(self.from.0).saturating_mul(1_000_000) / micros
    }
}
