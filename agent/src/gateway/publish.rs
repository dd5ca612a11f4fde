//! The gateway itself: takes requests in, answers each of their events, and lends the ports what
//! they need. In: events of producers, and of other partitions' outboxes. Out: answers. I/O.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use config_schemas::{HuntName, PartitionId};
use events::{Event, EventId, ParseContext, Problem, Vocabulary, partition_of};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::admissible;
use super::admission::{Admission, Admitted};
use super::answer::{Answer, Refusal};
use super::bounds::{
    BODIES_BYTES_MAX, BUSY_RETRY, EVENT_BYTES, PAGES_AT_ONCE, PEER_BATCHES_MAX, PEER_BYTES_MAX,
    READERS_MAX, STREAMS_MAX,
};
use super::carry::{Cargo, Carrier};
use super::metrics::GatewayMetrics;
use super::sorted::{Parsed, Sorted};
use crate::config::live::Live;
use crate::hotkeys::HotKeys;
use crate::partitions::outbox::Forward;
use crate::partitions::plane::Plane;
use crate::traced;

/// The gateway of a node. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    plane: Plane,
    live: Live,
    vocabulary: Vocabulary,
    carrier: Carrier,
    requests: Admission,
    peer_batches: Semaphore,
    bodies: Arc<Semaphore>,
    peer_bytes: Arc<Semaphore>,
    pages: Semaphore,
    streams: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    metrics: GatewayMetrics,
}

impl Gateway {
    /// The gateway in front of `plane`, which notes in `hot` what it sees.
    pub fn new(plane: Plane, hot: HotKeys, metrics: GatewayMetrics) -> Gateway {
        Gateway(Arc::new(Inner {
            live: plane.live(),
            vocabulary: plane.vocabulary(),
            carrier: Carrier::new(plane.clone(), hot, metrics.clone()),
            requests: Admission::new(),
            peer_batches: Semaphore::new(PEER_BATCHES_MAX),
            bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
            peer_bytes: Arc::new(Semaphore::new(PEER_BYTES_MAX)),
            pages: Semaphore::new(PAGES_AT_ONCE),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            metrics,
            plane,
        }))
    }

    /// Delivers events of producers, in their order within each partition. Out: one answer for
    /// each, in the order given. No partition's trouble is another's.
    pub(crate) async fn publish(&self, admitted: &Admitted, parsed: Vec<Parsed>) -> Vec<Answer> {
        let arrived = Instant::now();
        let config = self.0.live.snapshot().config.clone();
        let now = telemetry::clock::now_millis();
        let mut sorted = Sorted::new(parsed.into_iter().map(|parsed| {
            let event = parsed?;
            let problems = admissible::problems(&event, &config, now);
            if problems.is_empty() { Ok(event) } else { Err((Some(event.id.into()), problems)) }
        }));
        let cargo = Cargo::Producers(admitted);
        let results = self.0.carrier.carry(sorted.take_events(), cargo).await;
        let answers = sorted.answered(results);
        self.count(&answers);
        traced::answered(self.0.plane.metrics().meters.traces(), arrived, &answers);
        answers
    }

    /// Room for one more request of so many bytes; `None` means that the producer is to come back.
    pub(crate) fn admit(&self, bytes: usize) -> Option<Admitted> {
        self.0.requests.admit(bytes)
    }

    /// The answers to events that were not even looked at.
    pub(crate) fn busy(&self, ids: impl Iterator<Item = Option<String>>) -> Vec<Answer> {
        let refusal = Refusal::Overloaded { retry_after: BUSY_RETRY };
        let answers: Vec<_> = ids.map(|id| Answer { id, result: Err(refusal.clone()) }).collect();
        self.count(&answers);
        answers
    }

    /// Room for so many events of producers beside the bytes that they were read from, for as long as
    /// the permit is kept.
    pub(crate) fn room_of(&self, events: usize) -> Option<OwnedSemaphorePermit> {
        self.draw(&self.0.bodies, events)
    }

    /// The same for those of another node's batch.
    pub(crate) fn room_of_batch(&self, events: usize) -> Option<OwnedSemaphorePermit> {
        self.draw(&self.0.peer_bytes, events)
    }

    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> Arc<Semaphore> {
        self.0.requests.held_bytes()
    }

    /// Counts a request that was refused before its events were read.
    pub(crate) fn count_unread(&self, reason: &str) {
        self.0.plane.metrics().refused.with_label_values(&[reason]).inc();
    }

    /// Counts a request that breaks a rule of form as a whole.
    pub(crate) fn count_mistake(&self, problem: &Problem) {
        self.count_unread("invalid");
        self.0.metrics.count_mistake(std::slice::from_ref(problem));
    }

    /// The keys that are hot at this gateway.
    pub fn hot(&self) -> &HotKeys {
        self.0.carrier.hot()
    }

    /// The gateway's figures.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.0.metrics
    }

    /// Lends what parsing needs: the vocabulary, the time, fresh ids.
    pub(crate) fn parse<T>(&self, parse: impl FnOnce(&mut ParseContext<'_>) -> T) -> T {
        let mut new_id = fresh_id;
        parse(&mut ParseContext {
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
        self.0.carrier.partitions()
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
    pub(crate) fn admit_batch(&self) -> Option<SemaphorePermit<'_>> {
        self.0.peer_batches.try_acquire().ok()
    }

    /// Turns to read a page of outcomes.
    pub(crate) fn pages(&self) -> &Semaphore {
        &self.0.pages
    }

    /// Room for request bodies, in bytes.
    pub(crate) fn bodies(&self) -> Arc<Semaphore> {
        self.0.bodies.clone()
    }

    /// Room for batches from other nodes, in bytes.
    pub(crate) fn peer_bytes(&self) -> Arc<Semaphore> {
        self.0.peer_bytes.clone()
    }

    /// Room for one more stream of events, for as long as the permit is kept.
    pub(crate) fn admit_stream(&self) -> Option<OwnedSemaphorePermit> {
        self.0.streams.clone().try_acquire_owned().ok()
    }

    fn draw(&self, room: &Arc<Semaphore>, events: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(events.saturating_mul(EVENT_BYTES)).unwrap_or(u32::MAX);
        let drawn = room.clone().try_acquire_many_owned(bytes).ok();
        if drawn.is_none() {
            self.0.metrics.shed.with_label_values(&["bytes"]).inc();
        }
        drawn
    }

    fn count(&self, answers: &[Answer]) {
        for refusal in answers.iter().filter_map(|answer| answer.result.as_ref().err()) {
            let reason = refusal.code().to_ascii_lowercase();
            self.0.plane.metrics().refused.with_label_values(&[reason.as_str()]).inc();
            if refusal.retry_after().is_none() {
                self.0.metrics.count_mistake(refusal.problems());
            }
        }
    }
}

impl Forward for Gateway {
    fn destination(&self, event: &Event) -> Option<PartitionId> {
        let key = self.0.vocabulary.key(event)?;
        Some(partition_of(key, self.partitions()?))
    }

    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        Box::pin(async move {
            let results = self.0.carrier.carry(events, Cargo::Outboxes).await;
            for refusal in results.iter().filter_map(|result| result.as_ref().err()) {
                if let Refusal::TooLarge { problem } = refusal {
                    tracing::error!(%problem, "a forwarded event is larger than the log takes");
                }
                if let Refusal::Invalid { problems } = refusal {
                    tracing::error!(?problems, "another node refuses a forwarded event");
                }
            }
            results.iter().map(Result::is_ok).collect()
        })
    }
}

fn fresh_id() -> EventId {
    let id = uuid::Uuid::new_v4().to_string();
    EventId::new(id).expect("a UUID is 36 safe characters")
}
