//! The way in for events and out for outcomes, on every node alike: events go to whoever serves
//! their partition, this node or another, and are held while that changes. In: events. Out: one
//! answer for each. I/O.

pub mod answer;
mod body;
mod group;
pub mod grpc;
mod hand;
mod hold;
pub mod http;
pub(crate) mod listen;
mod outcomes;
mod peers;
mod sorted;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use config_schemas::{HuntName, PartitionId};
use events::{
    BATCH_EVENTS_MAX, BODY_BYTES_MAX, Event, EventId, HuntGame, Intake, Machine as _, Vocabulary,
};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::config::live::Live;
use crate::partitions::outbox::Forward;
use crate::partitions::plane::{Accepted, NotTaken, Plane, Source};
use crate::partitions::routes::Route;
use answer::{Answer, Refusal};
use group::{groups, too_large};
use hold::{Attempt, Away, Delivery, Held, Limits};
use peers::{Hand, Handed, Peers};
use sorted::{Parsed, Sorted};

/// Partitions that one request is delivered to at the same time.
const GROUPS_AT_ONCE: usize = 64;
/// Requests with events that are worked on at the same time, over HTTP and gRPC together.
const REQUESTS_MAX: usize = 1024;
/// Batches from other nodes that are worked on at the same time.
const HANDS_MAX: usize = 1024;
/// Bytes of request bodies that are in memory at the same time, over HTTP.
const BODIES_BYTES_MAX: usize = 64 << 20;
/// Readers of outcomes that are followed at the same time.
const READERS_MAX: usize = 1024;
/// Told to producers when too many requests are under way.
pub(crate) const BUSY_RETRY: Duration = Duration::from_millis(50);
/// Told to producers before the hunt is known: an agent that starts reads its keys first.
const UNKNOWN_RETRY: Duration = Duration::from_millis(500);
/// Told to producers when the log fails: a full disk or a dying one does not mend in milliseconds.
const LOG_RETRY: Duration = Duration::from_millis(500);
/// Most that a stamp (an id and a time of arrival) adds to an event on its way to another node.
const STAMP_BYTES_MAX: usize = 96;
/// Largest batch that nodes hand on: a whole request and its stamps.
pub(crate) const HAND_BYTES_MAX: usize = BODY_BYTES_MAX + BATCH_EVENTS_MAX * STAMP_BYTES_MAX;

/// gRPC metadata of treasurehunt.v1.
pub(crate) const RETRY_AFTER_MS: &str = "retry-after-ms";
pub(crate) const OWNER_EPOCH: &str = "owner-epoch";
pub(crate) const MAP_REVISION: &str = "map-revision";

/// The gateway of a node. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    plane: Plane,
    live: Live,
    vocabulary: Vocabulary,
    peers: Peers,
    held: Held,
    requests: Semaphore,
    hands: Semaphore,
    bodies: Semaphore,
    readers: Arc<Semaphore>,
}

impl Gateway {
    /// The gateway in front of `plane`.
    pub fn new(plane: Plane) -> Gateway {
        Gateway(Arc::new(Inner {
            live: plane.live(),
            vocabulary: HuntGame::vocabulary(),
            peers: Peers::default(),
            held: Held::new(plane.metrics().held.clone()),
            requests: Semaphore::new(REQUESTS_MAX),
            hands: Semaphore::new(HANDS_MAX),
            bodies: Semaphore::new(BODIES_BYTES_MAX),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            plane,
        }))
    }

    /// Delivers events of producers, in their order within each partition. Out: one answer for
    /// each, in the order given. No partition's trouble is another's.
    pub async fn publish(&self, events: Vec<Event>) -> Vec<Answer> {
        self.publish_parsed(events.into_iter().map(Ok).collect()).await
    }

    pub(crate) async fn publish_parsed(&self, parsed: Vec<Parsed>) -> Vec<Answer> {
        let bound = self.0.live.snapshot().config.buffers.event;
        let mut sorted = Sorted::new(parsed.into_iter().map(|parsed| {
            let event = parsed?;
            match too_large(&event, bound) {
                Some(problem) => Err((Some(event.id.into()), vec![problem])),
                None => Ok(event),
            }
        }));
        let results = self.deliver(sorted.take_events(), Source::Producer).await;
        let answers = sorted.answered(results);
        self.count(&answers);
        answers
    }

    /// Room for one more request; `None` means that the producer is to come back.
    pub(crate) fn admit(&self) -> Option<SemaphorePermit<'_>> {
        self.0.requests.try_acquire().ok()
    }

    /// The answers to events that were not even looked at.
    pub(crate) fn busy(&self, ids: impl Iterator<Item = Option<String>>) -> Vec<Answer> {
        let refusal = Refusal::Overloaded { retry_after: BUSY_RETRY };
        let answers: Vec<_> = ids.map(|id| Answer { id, result: Err(refusal.clone()) }).collect();
        self.count(&answers);
        answers
    }

    /// Counts a request that was refused before its events were read.
    pub(crate) fn count_unread(&self, reason: &str) {
        self.0.plane.metrics().refused.with_label_values(&[reason]).inc();
    }

    /// Lends what parsing needs: the vocabulary, the time, fresh ids.
    pub(crate) fn intake<T>(&self, parse: impl FnOnce(&mut Intake<'_>) -> T) -> T {
        let mut new_id = fresh_id;
        parse(&mut Intake {
            vocabulary: &self.0.vocabulary,
            now_millis: telemetry::clock::now_millis(),
            new_id: &mut new_id,
        })
    }

    /// Whether `hunt` is served here; the empty name is the only hunt that is.
    pub(crate) fn serves(&self, hunt: &str) -> bool {
        let ours = self.0.plane.hunt();
        hunt.is_empty() || hunt.parse::<HuntName>().is_ok_and(|hunt| hunt == *ours)
    }

    /// Into how many partitions the hunt is cut; `None` while that is unknown.
    pub(crate) fn partitions(&self) -> Option<u32> {
        let count = self.0.plane.routes().borrow().partitions.len();
        u32::try_from(count).ok().filter(|count| *count > 0)
    }

    pub(crate) fn plane(&self) -> &Plane {
        &self.0.plane
    }

    /// Room for one more reader of outcomes, for as long as the permit is kept.
    pub(crate) fn admit_reader(&self) -> Option<OwnedSemaphorePermit> {
        self.0.readers.clone().try_acquire_owned().ok()
    }

    /// Room for one more batch from another node. Apart from [`Gateway::admit`], since requests
    /// that wait for each other's nodes would use up all there is.
    pub(crate) fn admit_hand(&self) -> Option<SemaphorePermit<'_>> {
        self.0.hands.try_acquire().ok()
    }

    /// Room for request bodies, in bytes.
    pub(crate) fn bodies(&self) -> &Semaphore {
        &self.0.bodies
    }

    fn count(&self, answers: &[Answer]) {
        for refusal in answers.iter().filter_map(|answer| answer.result.as_ref().err()) {
            let reason = refusal.code().to_ascii_lowercase();
            self.0.plane.metrics().refused.with_label_values(&[reason.as_str()]).inc();
        }
    }

    /// One result for each event, in the order given.
    async fn deliver(&self, events: Vec<Event>, source: Source) -> Vec<Result<Accepted, Refusal>> {
        let count = events.len();
        let unserved = vec![Err(Refusal::NoOwner { retry_after: UNKNOWN_RETRY }); count];
        let Some(partitions) = self.partitions() else { return unserved };
        let grouped = groups(events, &self.0.vocabulary, partitions);
        let deliveries = grouped.into_iter().map(|group| async move {
            let results = self.deliver_group(group.partition, group.events, source).await;
            (group.places, results)
        });
        let mut results = unserved;
        let mut done = futures::stream::iter(deliveries).buffer_unordered(GROUPS_AT_ONCE);
        while let Some((places, group)) = done.next().await {
            for (place, result) in places.into_iter().zip(group) {
                results[place] = result;
            }
        }
        results
    }

    /// Delivers the events of one partition in pieces that its queue can hold. After a piece that
    /// was refused none follows: a later event must not overtake an earlier one.
    async fn deliver_group(
        &self,
        partition: PartitionId,
        events: Vec<Event>,
        source: Source,
    ) -> Handed {
        let count = events.len();
        let queue = usize::try_from(self.0.live.snapshot().config.buffers.events);
        let piece = queue.unwrap_or(usize::MAX).max(1);
        let mut results = Vec::with_capacity(count);
        for piece in events.chunks(piece) {
            match self.deliver_piece(partition, piece, source).await {
                Ok(handed) => results.extend(handed),
                Err(refusal) => {
                    results.resize(count, Err(refusal));
                    break;
                }
            }
        }
        results
    }

    async fn deliver_piece(
        &self,
        partition: PartitionId,
        events: &[Event],
        source: Source,
    ) -> Result<Handed, Refusal> {
        let delivery = Delivery {
            partition,
            events: events.len() as u64,
            routes: self.0.plane.routes(),
            held: &self.0.held,
            limits: || self.limits(source),
        };
        delivery.deliver(|route| self.attempt(partition, route, events.to_vec(), source)).await
    }

    /// An outbox sends again by itself, so nothing of it is held.
    fn limits(&self, source: Source) -> Limits {
        let routing = &self.0.live.snapshot().config.routing;
        match source {
            Source::Producer => Limits { hold: routing.hold, held: routing.held },
            Source::Outbox => Limits { hold: Duration::ZERO, held: 0 },
        }
    }

    async fn attempt(
        &self,
        partition: PartitionId,
        route: Route,
        events: Vec<Event>,
        source: Source,
    ) -> Attempt<Handed> {
        if route.mine {
            return local(self.0.plane.append(partition, events, source).await);
        }
        let count = events.len() as u64;
        let hand = Hand {
            hunt: self.0.plane.hunt().clone(),
            partition,
            events,
            timeout: self.0.live.snapshot().config.routing.forward,
        };
        let routes = self.0.plane.routes().borrow().clone();
        let attempt = self.0.peers.hand(&route, &routes, hand).await;
        if matches!(attempt, Attempt::Over(Ok(_))) {
            self.0.plane.metrics().forwarded.inc_by(count);
        }
        attempt
    }
}

impl Forward for Gateway {
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        Box::pin(async move {
            let results = self.deliver(events, Source::Outbox).await;
            for refusal in results.iter().filter_map(|result| result.as_ref().err()) {
                if let Refusal::Invalid { problems } = refusal {
                    tracing::error!(?problems, "another node refuses a forwarded event");
                }
            }
            results.iter().map(Result::is_ok).collect()
        })
    }
}

/// What this node's own answer means. It knows no newer records than the gateway, which reads the
/// same routes.
fn local(appended: Result<Vec<Accepted>, NotTaken>) -> Attempt<Handed> {
    match appended {
        Ok(accepted) => Attempt::Over(Ok(accepted.into_iter().map(Ok).collect())),
        Err(NotTaken::NotMine { .. }) => Attempt::Away(Away::default()),
        Err(not_taken) => Attempt::Over(Err(refusal(not_taken))),
    }
}

/// What a producer is told.
pub(crate) fn refusal(not_taken: NotTaken) -> Refusal {
    match not_taken {
        NotTaken::NotMine { .. } => Refusal::NoOwner { retry_after: BUSY_RETRY },
        NotTaken::Full { retry_after } => Refusal::Overloaded { retry_after },
        NotTaken::Log { why } => {
            tracing::warn!(%why, "events were not made durable");
            Refusal::LogUnavailable { retry_after: LOG_RETRY }
        }
    }
}

fn fresh_id() -> EventId {
    let id = uuid::Uuid::new_v4().to_string();
    EventId::new(id).expect("a UUID is 36 safe characters")
}
