//! All consumers of one topic: as few as the most readers of one partition, replaced while they are
//! used. In: readers, new settings. Out: cursors. I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config_schemas::{PartitionId, TopicRole};
use tokio::sync::{Semaphore, watch};

use super::buffer::{Buffer, Fetched};
use super::connection::Property;
use super::consumer::{KafkaConsumer, Whose};
use super::options::KafkaOptions;
use super::proof::Expected;
use super::trouble::KafkaTrouble;
use crate::error::Error;

/// Most readers of one partition in this process for its owner: its worker, its snapshots, a load
/// for a move, a take-over, a look for a new owner, and each twice while it moves its place.
const OWNERS_MAX: usize = 8;
/// And for whoever follows it. There are as many clients as both together at most; each costs about
/// five threads.
const FOLLOWERS_MAX: usize = 8;
/// Questions and assignments that wait for a broker at once, each on a thread.
const BLOCKING_MAX: usize = 16;
/// How often a reader asks for a place before it is told that there is none.
const OPEN_MAX: usize = 64;
/// How soon a place that is about to be free is asked for again.
const LEAVING: Duration = Duration::from_millis(5);

/// The consumers of one topic. Owners and followers have clients of their own.
pub(crate) struct Consumers {
    topic: Arc<str>,
    kind: TopicRole,
    state: Mutex<State>,
    /// Which generation is the newest; readers of older ones move over.
    generation: watch::Sender<u64>,
    blocking: Semaphore,
}

struct State {
    consumers: Vec<Arc<KafkaConsumer>>,
    options: KafkaOptions,
}

impl Whose {
    fn places_max(self) -> usize {
        match self {
            Whose::Owner => OWNERS_MAX,
            Whose::Follower => FOLLOWERS_MAX,
        }
    }
}

/// A partition that is fetched for one reader.
pub(crate) struct Fetch {
    fetched: Fetched,
    pub(crate) generation: u64,
    /// Ends with its last fetch once it is retired.
    _consumer: Arc<KafkaConsumer>,
}

impl Fetch {
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.fetched.0
    }
}

impl Consumers {
    /// With a first consumer that has proven itself.
    pub(crate) async fn connect(
        topic: Arc<str>,
        kind: TopicRole,
        options: KafkaOptions,
        expected: Expected,
    ) -> Result<Consumers, KafkaTrouble> {
        let properties = properties(&options, kind, Whose::Owner);
        let consumer = proven(&topic, kind, properties, expected).await?.used();
        let consumer = consumer.ok_or(KafkaTrouble::Late { act: "proving a client" })?;
        let state = Mutex::new(State { consumers: vec![consumer], options });
        let blocking = Semaphore::new(BLOCKING_MAX);
        Ok(Consumers { topic, kind, state, generation: watch::Sender::new(0), blocking })
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The newest generation.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// What ails the first of them that anything ails.
    pub(crate) fn trouble(&self) -> Option<KafkaTrouble> {
        self.state().consumers.iter().find_map(|consumer| consumer.trouble())
    }

    /// A consumer that could be the first of the next generation.
    pub(crate) async fn prove(
        &self,
        options: &KafkaOptions,
        expected: Expected,
    ) -> Result<ProvenConsumer, KafkaTrouble> {
        let properties = properties(options, self.kind, Whose::Owner);
        proven(&self.topic, self.kind, properties, expected).await
    }

    /// New readers use consumers of these options, and those that are there move over as soon as
    /// the next one has something for them.
    pub(crate) fn swap(&self, next: ProvenConsumer, options: KafkaOptions) {
        let Some(consumer) = next.used() else { return };
        let old = {
            let mut state = self.state();
            state.options = options;
            std::mem::replace(&mut state.consumers, vec![consumer])
        };
        old.iter().for_each(|consumer| consumer.retire());
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The first offset of the partition, and the one after its last.
    pub(crate) async fn bounds(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        self.bounds_of(&self.topic, partition).await
    }

    /// The same of another topic.
    pub(crate) async fn bounds_of(
        &self,
        topic: &Arc<str>,
        partition: PartitionId,
    ) -> Result<(u64, u64), Error> {
        let topic = Arc::clone(topic);
        let consumer = self.state().consumers.first().cloned();
        let partition = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let consumer = consumer.ok_or(Error::Closed)?;
        self.blocking(move || consumer.bounds(&topic, partition)).await
    }

    /// How far the partition reached when one of them counted last.
    pub(crate) fn counted_end(&self, partition: PartitionId) -> Option<u64> {
        let partition = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let state = self.state();
        state.consumers.iter().filter_map(|consumer| consumer.counted_end(partition)).max()
    }

    /// Fetches a partition from an offset on that is there, or comes next.
    pub(crate) async fn open(
        &self,
        partition: PartitionId,
        from: u64,
        whose: Whose,
    ) -> Result<Fetch, Error> {
        let number = i32::try_from(partition.0).unwrap_or(i32::MAX);
        for _ in 0..OPEN_MAX {
            let generation = *self.generation.borrow();
            let permit = self.blocking.acquire().await.map_err(|_| Error::Closed)?;
            if let Some((consumer, fetched)) = self.reserve((number, from), whose)? {
                let assigning = Arc::clone(&consumer);
                // it goes on when nobody waits for it any more, and only then gives the place back
                let assigned = tokio::task::spawn_blocking(move || {
                    assigning.assign(number, from).map(|()| fetched)
                });
                let fetched = assigned.await.map_err(|_| Error::Closed)?.map_err(Error::Kafka)?;
                return Ok(Fetch { fetched, generation, _consumer: consumer });
            }
            drop(permit);
            tokio::time::sleep(LEAVING).await;
        }
        Err(self.busy(partition.0))
    }

    /// A place at a consumer that does not fetch that partition yet; `None` while one is about to
    /// let go of it.
    fn reserve(
        &self,
        (partition, from): (i32, u64),
        whose: Whose,
    ) -> Result<Option<(Arc<KafkaConsumer>, Fetched)>, Error> {
        let mut state = self.state();
        let bytes = state.options.buffer_bytes();
        let reserve = |consumer: &Arc<KafkaConsumer>| {
            let fetched = consumer.reserve((partition, from), bytes)?;
            Some((Arc::clone(consumer), fetched))
        };
        let theirs = || state.consumers.iter().filter(|consumer| consumer.whose == whose);
        if let Some(reserved) = theirs().find_map(reserve) {
            return Ok(Some(reserved));
        }
        if theirs().any(|consumer| consumer.reads(partition) == Some(true)) {
            return Ok(None);
        }
        if theirs().count() >= whose.places_max() {
            return Err(self.busy(partition.unsigned_abs()));
        }
        let properties = properties(&state.options, self.kind, whose);
        let consumer = KafkaConsumer::make(properties, &self.topic, (self.kind, whose))
            .map_err(Error::Kafka)?;
        let reserved = reserve(&consumer);
        state.consumers.push(consumer);
        Ok(reserved)
    }

    fn busy(&self, partition: u32) -> Error {
        Error::Kafka(KafkaTrouble::Busy { topic: self.topic.to_string(), partition })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, KafkaTrouble> + Send + 'static,
    ) -> Result<T, Error> {
        let _permit = self.blocking.acquire().await.map_err(|_| Error::Closed)?;
        let joined = tokio::task::spawn_blocking(work).await;
        joined.map_err(|_| Error::Closed)?.map_err(Error::Kafka)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        self.state().consumers.iter().for_each(|consumer| consumer.retire());
    }
}

/// A consumer that may be used; unless it is, it retires.
pub(crate) struct ProvenConsumer(Option<Arc<KafkaConsumer>>);

impl ProvenConsumer {
    fn used(mut self) -> Option<Arc<KafkaConsumer>> {
        self.0.take()
    }
}

impl Drop for ProvenConsumer {
    fn drop(&mut self) {
        if let Some(consumer) = &self.0 {
            consumer.retire();
        }
    }
}

/// Of a client that is read from as those do. Owners follow their events all the time; outcomes and
/// snapshots they read only to take over, to load, and to write snapshots.
fn properties(options: &KafkaOptions, kind: TopicRole, whose: Whose) -> Vec<Property> {
    match (kind, whose) {
        (TopicRole::Events, _) | (_, Whose::Follower) => options.consumer_properties(),
        _ => options.brief_consumer_properties(),
    }
}

/// A new consumer of owners that has shown what it can.
async fn proven(
    topic: &Arc<str>,
    kind: TopicRole,
    properties: Vec<Property>,
    expected: Expected,
) -> Result<ProvenConsumer, KafkaTrouble> {
    let topic = Arc::clone(topic);
    let joined = tokio::task::spawn_blocking(move || {
        let made = KafkaConsumer::make(properties, &topic, (kind, Whose::Owner))?;
        let on_trial = ProvenConsumer(Some(made));
        if let Some(consumer) = &on_trial.0 {
            consumer.prove(&expected)?;
        }
        Ok(on_trial)
    });
    joined.await.map_err(|_| KafkaTrouble::Late { act: "proving a client" })?
}
