//! Brings events to whoever serves their partitions: this node or another, held while that changes.
//! In: events. Out: one result for each. No partition's trouble is another's. I/O.

use std::time::Duration;

use config_schemas::PartitionId;
use events::{Event, Vocabulary};
use futures::StreamExt as _;
use tokio::time::Instant;

use super::admission::Admitted;
use super::answer::{Refusal, too_large};
use super::bounds::{BUSY_RETRY, GROUPS_AT_ONCE, LOG_RETRY, UNKNOWN_RETRY};
use super::delivery::{Attempt, Away, Delivery, Held, Limits};
use super::group::groups;
use super::metrics::GatewayMetrics;
use super::peers::client::{Batch, BatchResults, Peers};
use crate::config::live::Live;
use crate::hotkeys::{Extent, HotKeys, count_spread};
use crate::partitions::answer::{Accepted, NotTaken, Source};
use crate::partitions::plane::Plane;
use crate::partitions::routes::Route;

/// Whose events are carried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cargo<'a> {
    /// A producer's, and its request's place.
    Producers(&'a Admitted),
    /// Those of a partition's outbox.
    Outboxes,
}

impl Cargo<'_> {
    fn source(self) -> Source {
        match self {
            Cargo::Producers(_) => Source::Producer,
            Cargo::Outboxes => Source::Outbox,
        }
    }

    /// Whether it may be held: the place of a request goes to others.
    fn hold(self) -> bool {
        match self {
            Cargo::Producers(admitted) => admitted.hold(),
            Cargo::Outboxes => false,
        }
    }
}

/// Carries events for a gateway.
pub(crate) struct Carrier {
    plane: Plane,
    live: Live,
    vocabulary: Vocabulary,
    peers: Peers,
    held: Held,
    hot: HotKeys,
    metrics: GatewayMetrics,
}

impl Carrier {
    pub(crate) fn new(plane: Plane, hot: HotKeys, metrics: GatewayMetrics) -> Carrier {
        Carrier {
            live: plane.live(),
            vocabulary: plane.vocabulary(),
            peers: Peers::default(),
            held: Held::new(plane.metrics().held.clone(), metrics.held.clone()),
            hot,
            metrics,
            plane,
        }
    }

    pub(crate) fn hot(&self) -> &HotKeys {
        &self.hot
    }

    /// Into how many partitions the hunt is cut; `None` while that is unknown.
    pub(crate) fn partitions(&self) -> Option<u32> {
        Some(self.plane.routes().borrow().cut()).filter(|count| *count > 0)
    }

    /// One result for each event, in the order given.
    pub(crate) async fn carry(
        &self,
        events: Vec<Event>,
        cargo: Cargo<'_>,
    ) -> Vec<Result<Accepted, Refusal>> {
        let unserved = Err(Refusal::NoOwner { retry_after: UNKNOWN_RETRY });
        let mut results = vec![unserved; events.len()];
        let (mut events, mut places) = (events, (0..results.len()).collect::<Vec<_>>());
        while let Some(cut) = self.partitions() {
            let mut moved = (Vec::new(), Vec::new());
            for (at, event, result) in self.carry_by(cut, events, cargo).await {
                if matches!(result, Err(Refusal::NoOwner { .. })) {
                    moved.0.push(event);
                    moved.1.push(places[at]);
                }
                results[places[at]] = result;
            }
            // once more for each cut that came into force meanwhile
            if moved.0.is_empty() || self.partitions() == Some(cut) {
                break;
            }
            (events, places) = moved;
        }
        results
    }

    /// Each event with its place among them and its result, in the order of their places.
    async fn carry_by(
        &self,
        cut: u32,
        events: Vec<Event>,
        cargo: Cargo<'_>,
    ) -> Vec<(usize, Event, Result<Accepted, Refusal>)> {
        let homes = self.place(&events, cut);
        let deliveries = groups(events, &homes).into_iter().map(|group| async move {
            let results = self.carry_group((group.partition, cut), &group.events, cargo).await;
            (group, results)
        });
        let mut carried = Vec::with_capacity(homes.len());
        let mut done = futures::stream::iter(deliveries).buffer_unordered(GROUPS_AT_ONCE);
        while let Some((group, results)) = done.next().await {
            let places = group.places.into_iter().zip(group.events).zip(results);
            carried.extend(places.map(|((place, event), result)| (place, event, result)));
        }
        carried.sort_unstable_by_key(|(place, ..)| *place);
        carried
    }

    fn place(&self, events: &[Event], partitions: u32) -> Vec<PartitionId> {
        let routes = self.plane.routes().borrow().clone();
        let routing = &self.live.snapshot().config.routing;
        let extent = Extent { partitions, nodes: || routes.nodes() };
        let places = self.hot.place(events, &self.vocabulary, &extent, routing, Instant::now());
        count_spread(events, &places, (&self.vocabulary, partitions), &self.metrics.spread);
        places
    }

    /// Delivers the events of one partition in pieces that its queue can hold. After a piece that
    /// was refused none follows: a later event must not overtake an earlier one. A piece with an
    /// event that no log takes is delivered by halves until that event is alone.
    async fn carry_group(
        &self,
        home: (PartitionId, u32),
        events: &[Event],
        cargo: Cargo<'_>,
    ) -> BatchResults {
        let count = events.len();
        let queue = usize::try_from(self.live.snapshot().config.buffers.events);
        let piece = queue.unwrap_or(usize::MAX).max(1);
        let mut results = Vec::with_capacity(count);
        let mut pieces: Vec<&[Event]> = events.chunks(piece).rev().collect();
        while let Some(piece) = pieces.pop() {
            match self.carry_piece(home, piece, cargo).await {
                Ok(handed) => results.extend(handed),
                Err(Refusal::TooLarge { .. }) if piece.len() > 1 => {
                    let (first, second) = piece.split_at(piece.len() / 2);
                    pieces.extend([second, first]);
                }
                Err(refusal @ Refusal::TooLarge { .. }) => results.push(Err(refusal)),
                Err(refusal) => {
                    results.resize(count, Err(refusal));
                    break;
                }
            }
        }
        results
    }

    async fn carry_piece(
        &self,
        (partition, cut): (PartitionId, u32),
        events: &[Event],
        cargo: Cargo<'_>,
    ) -> Result<BatchResults, Refusal> {
        let delivery = Delivery {
            partition,
            events: events.len() as u64,
            cut,
            routes: self.plane.routes(),
            held: &self.held,
            limits: || self.limits(cargo),
            hold: || cargo.hold(),
        };
        let attempt = |route| self.attempt(partition, route, events.to_vec(), cargo.source());
        delivery.deliver(attempt).await
    }

    /// An outbox sends again by itself, so nothing of it is held.
    fn limits(&self, cargo: Cargo<'_>) -> Limits {
        let routing = &self.live.snapshot().config.routing;
        match cargo {
            Cargo::Producers(_) => Limits { hold: routing.hold, held: routing.held },
            Cargo::Outboxes => Limits { hold: Duration::ZERO, held: 0 },
        }
    }

    async fn attempt(
        &self,
        partition: PartitionId,
        route: Route,
        events: Vec<Event>,
        source: Source,
    ) -> Attempt<BatchResults> {
        if route.mine {
            return local(self.plane.append(partition, events, source).await);
        }
        let count = events.len() as u64;
        let batch = Batch {
            hunt: self.plane.hunt().clone(),
            partition,
            events,
            timeout: self.live.snapshot().config.routing.forward,
        };
        let routes = self.plane.routes().borrow().clone();
        let attempt = self.peers.send(&route, &routes, batch).await;
        if matches!(attempt, Attempt::Over(Ok(_))) {
            self.plane.metrics().forwarded.inc_by(count);
        }
        attempt
    }
}

/// What this node's own answer means. It knows no newer records than the gateway, which reads the
/// same routes.
fn local(appended: Result<Vec<Accepted>, NotTaken>) -> Attempt<BatchResults> {
    match appended {
        Ok(accepted) => Attempt::Over(Ok(accepted.into_iter().map(Ok).collect())),
        Err(NotTaken::NotMine { .. }) => Attempt::Away(Away::default()),
        Err(NotTaken::Fenced { .. }) => Attempt::Away(Away { ambiguous: true, knows: None }),
        Err(not_taken) => Attempt::Over(Err(refusal(not_taken))),
    }
}

/// What a producer is told.
pub(crate) fn refusal(not_taken: NotTaken) -> Refusal {
    match not_taken {
        NotTaken::NotMine { .. } => Refusal::NoOwner { retry_after: BUSY_RETRY },
        NotTaken::Fenced { .. } => Refusal::LogUnavailable { retry_after: BUSY_RETRY },
        NotTaken::TooLarge { bytes } => too_large(format_args!("{bytes} bytes")),
        NotTaken::Full { retry_after } => Refusal::Overloaded { retry_after },
        NotTaken::Log { why } => {
            tracing::debug!(%why, "events were not made durable");
            Refusal::LogUnavailable { retry_after: LOG_RETRY }
        }
    }
}
