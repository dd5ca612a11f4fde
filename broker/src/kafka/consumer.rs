//! One consumer client on one topic, and the thread that serves it: each of its partitions has one
//! reader, and a queue of its own. In: partitions to fetch from an offset on. Out: records in their
//! buffers. I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config_schemas::TopicRole;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset as Place, TopicPartitionList};

use super::believe::{self, Mark};
use super::bell::{Bell, Sleeper, bell};
use super::buffer::{Buffer, Fetched, Flow, Raw, Wish};
use super::callbacks::{ConsumerCallbacks, Counts, Places};
use super::connection::Property;
use super::lane::Lane;
use super::proof::{Expected, Pulse, config};
use super::trouble::KafkaTrouble;

/// How long nobody looks after a consumer that is told of nothing; so late it is paused, or ends.
const IDLE: Duration = Duration::from_millis(100);
/// News that are heard before partitions are looked after.
const ROUND_MAX: usize = 1_024;
/// How long a question about offsets may take.
const QUESTION: Duration = Duration::from_secs(10);
/// And how long one broker may take, which may be dead.
const ATTEMPT: Duration = Duration::from_secs(2);
/// So long a topic that a broker does not know may still be there: one that has just come back knows
/// nothing.
const UNKNOWN_GRACE: Duration = Duration::from_secs(5);
/// Before it is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// So long a failed fetch is told of. Whoever misses records meets it again before that; nobody else
/// would ever hear that it is over.
const REFUSED_AGE: Duration = Duration::from_secs(30);

/// For whom a partition is read. Each kind has places of its own: who serves a partition never
/// waits for those who look on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Who serves the partition, or is about to.
    Owner,
    /// Anybody else.
    Follower,
}

/// A consumer of one topic.
pub(crate) struct KafkaConsumer {
    /// Before the client in here, which must outlive their queues.
    lanes: Mutex<HashMap<i32, Lane>>,
    consumer: Arc<BaseConsumer<ConsumerCallbacks>>,
    topic: Arc<str>,
    kind: TopicRole,
    pub(crate) whose: Whose,
    pulse: Arc<Pulse>,
    bell: Bell,
    counted: Counts,
    /// Of each partition, as last counted.
    places: Mutex<BTreeMap<i32, Places>>,
    /// The last fetch that failed since a record came, and when.
    refused: Mutex<Option<(KafkaTrouble, Instant)>>,
    retired: AtomicBool,
}

impl KafkaConsumer {
    /// Makes a consumer. It has shown nothing yet.
    pub(crate) fn make(
        properties: Vec<Property>,
        topic: &Arc<str>,
        role: (TopicRole, Whose),
    ) -> Result<Arc<KafkaConsumer>, KafkaTrouble> {
        let (consumer, sleeper) = KafkaConsumer::unserved(properties, topic, role)?;
        let served = Arc::clone(&consumer);
        let spawned = thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || serve(&served, &sleeper));
        spawned.map_err(|error| KafkaTrouble::NoClient { why: error.to_string() })?;
        Ok(consumer)
    }

    /// Without its thread; and what wakes that.
    fn unserved(
        properties: Vec<Property>,
        topic: &Arc<str>,
        (kind, whose): (TopicRole, Whose),
    ) -> Result<(Arc<KafkaConsumer>, Sleeper), KafkaTrouble> {
        let (pulse, counted) = (Arc::<Pulse>::default(), Counts::default());
        let context = ConsumerCallbacks {
            pulse: Arc::clone(&pulse),
            topic: Arc::clone(topic),
            counted: Arc::clone(&counted),
            told: AtomicBool::new(false),
        };
        let mut consumer = BaseConsumer::from_config_and_context(&config(properties), context)
            .map_err(|error| KafkaTrouble::of_making(&error))?;
        let (bell, sleeper) = bell();
        let rung = bell.clone();
        consumer.set_nonempty_callback(move || rung.ring());
        let consumer = Arc::new(KafkaConsumer {
            lanes: Mutex::default(),
            consumer: Arc::new(consumer),
            topic: Arc::clone(topic),
            kind,
            whose,
            pulse,
            bell,
            counted,
            places: Mutex::default(),
            refused: Mutex::default(),
            retired: AtomicBool::new(false),
        });
        Ok((consumer, sleeper))
    }

    /// Blocking.
    pub(crate) fn prove(&self, expected: &Expected) -> Result<String, KafkaTrouble> {
        expected.prove(self.consumer.client(), &self.pulse)
    }

    /// Whether somebody reads that partition here; then, whether that reader has gone and it will
    /// soon be free.
    pub(crate) fn reads(&self, partition: i32) -> Option<bool> {
        self.lanes().get(&partition).map(|lane| lane.buffer.wish_is_to_leave())
    }

    /// The first offset that is there of a topic's partition, and the one after the last. Blocking,
    /// also while a broker waits for records that this consumer wants: it answers one request after
    /// the other.
    pub(crate) fn bounds(&self, topic: &str, partition: i32) -> Result<(u64, u64), KafkaTrouble> {
        let began = Instant::now();
        let positive = |offset: i64| u64::try_from(offset).unwrap_or(0);
        loop {
            let asked = self.consumer.fetch_watermarks(topic, partition, ATTEMPT);
            let error = match asked {
                Ok((low, high)) => return Ok((positive(low), positive(high))),
                Err(error) => error,
            };
            let is_unknown = matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition
                )
            );
            if is_unknown && began.elapsed() >= UNKNOWN_GRACE {
                return Err(KafkaTrouble::TopicMissing { topic: topic.to_owned() });
            }
            if began.elapsed() >= QUESTION {
                let late = KafkaTrouble::Late { act: "where does it end" };
                return Err(self.pulse.trouble().unwrap_or(late));
            }
            tracing::debug!(topic, partition, %error, "asking again for its ends");
            // The leader it knows may be gone, or the partition was added of late: it would notice only
            // after minutes, unless all are asked for.
            thread::sleep(AGAIN);
            drop(self.consumer.fetch_metadata(Some(topic), ATTEMPT));
        }
    }

    /// Keeps a partition for one reader, who has it [fetched](Self::assign) next; `None` if another
    /// one reads it here.
    pub(crate) fn reserve(
        &self,
        (partition, from): (i32, u64),
        bytes_max: usize,
    ) -> Option<Fetched> {
        let mut lanes = self.lanes();
        if self.retired.load(Ordering::Relaxed) || lanes.contains_key(&partition) {
            return None;
        }
        let buffer = Arc::new(Buffer::new(bytes_max, from, self.bell.clone()));
        lanes.insert(partition, Lane::new(Arc::clone(&buffer)));
        Some(Fetched(buffer))
    }

    /// Begins to fetch a partition that is kept for its reader. Blocking.
    pub(crate) fn assign(&self, partition: i32, from: u64) -> Result<(), KafkaTrouble> {
        let place = Place::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        let (at, lane) = ((&*self.topic, partition), self.lanes().get(&partition).cloned());
        // The client may take its time for it, and whoever asks for a place does not wait for that.
        let split = lane.and_then(|lane| lane.split(&self.consumer, at, self.bell.clone()));
        let Some(split) = split else {
            return Err(KafkaTrouble::NoClient { why: format!("no queue for {partition}") });
        };
        self.lanes().insert(partition, split);
        self.bell.ring();
        let assigned =
            self.list(partition, place).and_then(|it| self.consumer.incremental_assign(&it));
        assigned.map_err(|error| KafkaTrouble::NoClient { why: error.to_string() })
    }

    /// How far the partition reached when that was counted last, if it is fetched here.
    pub(crate) fn counted_end(&self, partition: i32) -> Option<u64> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&partition).and_then(|places| u64::try_from(places.ls_offset).ok())
    }

    /// What ails it.
    pub(crate) fn trouble(&self) -> Option<KafkaTrouble> {
        let refused = self.refused().clone();
        let refused = refused.filter(|(_, since)| since.elapsed() < REFUSED_AGE);
        self.pulse.trouble().or(refused.map(|(trouble, _)| trouble))
    }

    /// Ends, on its own thread, when its last reader has left.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    fn list(&self, partition: i32, place: Place) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition, place)?;
        Ok(list)
    }

    /// What the client has for everybody. Whether there may be more.
    fn hear(&self) -> bool {
        for _ in 0..ROUND_MAX {
            match self.consumer.poll(Duration::ZERO) {
                // what was told takes the place of an answer
                None if self.consumer.context().told.swap(false, Ordering::Relaxed) => {}
                None => return false,
                // of a partition that lost its queue: what comes behind it must not be taken
                Some(Ok(message)) => {
                    let partition = message.partition();
                    tracing::warn!(topic = &*self.topic, partition, "a record out of line");
                    if let Some(lane) = self.lanes().get(&partition) {
                        lane.buffer.note(Flow::Lost);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                // it is not said of which partition, so each reader looks where it stands
                Some(Err(error)) => {
                    let buffers: Vec<_> =
                        self.lanes().values().map(|lane| Arc::clone(&lane.buffer)).collect();
                    buffers.iter().for_each(|buffer| self.fail(&error, buffer));
                }
            }
        }
        true
    }

    /// Hands over what came for each partition, as far as its reader has room. Whether there may be
    /// more of which nobody will tell.
    fn fill(&self) -> bool {
        let lanes: Vec<Lane> = self.lanes().values().filter(|lane| lane.stirs()).cloned().collect();
        let filled = lanes.iter().map(|lane| {
            let failed = |error| self.fail(&error, &lane.buffer);
            let taken = || {
                self.pulse.end();
                *self.refused() = None;
            };
            lane.fill(|message| self.raw(message), failed, taken)
        });
        filled.fold(false, |more, filled| more | filled)
    }

    /// No record, but news of a partition, or of one that is not named.
    fn fail(&self, error: &KafkaError, buffer: &Buffer) {
        match error {
            KafkaError::PartitionEOF(_) => {
                self.pulse.end();
                buffer.note(Flow::AtEnd);
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => buffer.note(Flow::Lost),
            error => {
                tracing::debug!(topic = &*self.topic, %error, "consumer");
                let Some(trouble) = KafkaTrouble::of_fetch(error, &self.topic) else { return };
                buffer.fail(trouble.clone());
                *self.refused() = Some((trouble, Instant::now()));
            }
        }
    }

    fn raw(&self, message: &BorrowedMessage<'_>) -> Raw {
        let mark = match self.kind {
            TopicRole::Snapshots | TopicRole::DeadLetters => None,
            TopicRole::Events | TopicRole::Outcomes => message.headers().and_then(|headers| {
                let ours = headers.iter().find(|header| header.key == believe::HEADER);
                ours.and_then(|header| Mark::parse(header.value?))
            }),
        };
        let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        Raw { offset: u64::try_from(message.offset()).unwrap_or(0), payload, mark }
    }

    /// By the thread that polls, which has dispatched all that was polled before the count: where
    /// nothing was waiting to be polled, everything before the end that was told has been put.
    fn pass_on_ends(&self) {
        let Some(places) = self.counted.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        for (partition, lane) in self.lanes().iter() {
            if let Some(end) = places.get(partition).and_then(Places::settled_end) {
                lane.buffer.note_counted_end(end);
            }
        }
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Pauses, goes on, lets go. By the thread that polls, so that nothing of a partition that was
    /// let go can come afterwards and be taken for its next reader's.
    fn look_after(&self) {
        let now = Instant::now();
        let wish = |(partition, lane): (&i32, &Lane)| (*partition, lane.buffer.wish(now));
        let something = |(_, wish): &(i32, Wish)| *wish != Wish::Nothing;
        let wishes: Vec<(i32, Wish)> = self.lanes().iter().map(wish).filter(something).collect();
        for (partition, wish) in wishes {
            let done = self.list(partition, Place::Invalid).and_then(|list| match wish {
                Wish::Nothing => Ok(()),
                Wish::Pause => self.consumer.pause(&list),
                Wish::Resume => self.consumer.resume(&list),
                // a pause would outlive it, and hold for whoever reads the partition here next
                Wish::Leave => self
                    .consumer
                    .resume(&list)
                    .and_then(|()| self.consumer.incremental_unassign(&list)),
            });
            if let Err(error) = done {
                tracing::warn!(topic = &*self.topic, partition, ?wish, %error, "consumer");
            }
            match wish {
                Wish::Nothing | Wish::Resume => {}
                Wish::Pause => {
                    let lane = self.lanes().get(&partition).cloned();
                    lane.iter().for_each(Lane::clear);
                }
                Wish::Leave => {
                    let ended = self.lanes().get_mut(&partition).map(Lane::end);
                    ended.iter().for_each(Lane::clear);
                    // Before the place is free: the end of a queue ends what rings for it, and would
                    // end what rings for the next reader of the same partition.
                    drop(ended);
                    self.lanes().remove(&partition);
                }
            }
        }
    }

    fn refused(&self) -> MutexGuard<'_, Option<(KafkaTrouble, Instant)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<i32, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a consumer until it is retired and has no reader; ending it may take a tenth of a second,
/// for which nobody waits.
fn serve(consumer: &Arc<KafkaConsumer>, sleeper: &Sleeper) {
    loop {
        let more = consumer.hear() | consumer.fill();
        consumer.look_after();
        consumer.pass_on_ends();
        if consumer.retired.load(Ordering::Relaxed)
            && Arc::strong_count(consumer) == 1
            && consumer.lanes().is_empty()
        {
            return;
        }
        if !more {
            sleeper.sleep(IDLE);
        }
    }
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
