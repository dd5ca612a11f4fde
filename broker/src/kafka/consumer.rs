//! One consumer client on one topic, and the thread that serves it: each of its partitions has one
//! reader. In: partitions to fetch from an offset on. Out: records in their buffers. I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config_schemas::TopicRole;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, Offset as Place, Statistics, TopicPartitionList};
use serde::Deserialize;

use super::believe::{self, Mark};
use super::buffer::{Buffer, Fetched, Flow, Raw, Whose, Wish};
use super::connection::Property;
use super::proof::{Expected, Pulse, config};
use super::trouble::KafkaTrouble;

/// How long one look for records waits; so late a reader that has made room is fetched for again.
const POLL: Duration = Duration::from_millis(10);
/// Records that are taken before buffers are looked after.
const ROUND_MAX: usize = 1_024;
/// How long a question about offsets may take.
const QUESTION: Duration = Duration::from_secs(10);
/// And how long one broker may take, which may be dead.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Before it is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// So long a failed fetch is told of. Whoever misses records meets it again before that; nobody else
/// would ever hear that it is over.
const REFUSED_AGE: Duration = Duration::from_secs(30);

/// A consumer of one topic.
pub(crate) struct KafkaConsumer {
    consumer: BaseConsumer<ConsumerCallbacks>,
    topic: Arc<str>,
    kind: TopicRole,
    pulse: Arc<Pulse>,
    buffers: Mutex<HashMap<i32, Arc<Buffer>>>,
    counted: Arc<Mutex<Option<BTreeMap<i32, Places>>>>,
    /// Of each partition, as last counted.
    places: Mutex<BTreeMap<i32, Places>>,
    /// The last fetch that failed since a record came, and when.
    refused: Mutex<Option<(KafkaTrouble, Instant)>>,
    retired: AtomicBool,
}

struct ConsumerCallbacks {
    pulse: Arc<Pulse>,
    topic: Arc<str>,
    /// Of each partition; taken by the thread that polls.
    counted: Arc<Mutex<Option<BTreeMap<i32, Places>>>>,
}

/// Of the statistics, what we ask for.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    topics: HashMap<String, CountedTopic>,
}

#[derive(Deserialize)]
struct CountedTopic {
    #[serde(default)]
    partitions: HashMap<String, Places>,
}

/// Where a partition stands; negative where that is not known.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Places {
    /// Records fetched and not polled yet.
    fetchq_cnt: i64,
    /// The end that was told last.
    eof_offset: i64,
    /// The first place whose record cannot be read yet.
    ls_offset: i64,
}

impl ClientContext for ConsumerCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "consumer");
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, statistics: &[u8]) {
        self.pulse.counted(statistics);
        let Ok(mut counted) = serde_json::from_slice::<Counted>(statistics) else { return };
        let Some(topic) = counted.topics.remove(&*self.topic) else { return };
        let numbered = topic.partitions.into_iter();
        let numbered = numbered.filter_map(|(number, places)| Some((number.parse().ok()?, places)));
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(numbered.collect());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(trouble) = KafkaTrouble::of_client(&error, reason) {
            tracing::debug!(%error, reason, "consumer");
            self.pulse.begin(trouble);
        }
    }
}

impl ConsumerContext for ConsumerCallbacks {}

impl KafkaConsumer {
    /// Makes a consumer. It has shown nothing yet.
    pub(crate) fn make(
        properties: Vec<Property>,
        topic: &Arc<str>,
        kind: TopicRole,
    ) -> Result<Arc<KafkaConsumer>, KafkaTrouble> {
        let pulse = Arc::new(Pulse::default());
        let counted = Arc::default();
        let context = ConsumerCallbacks {
            pulse: Arc::clone(&pulse),
            topic: Arc::clone(topic),
            counted: Arc::clone(&counted),
        };
        let consumer = BaseConsumer::from_config_and_context(&config(properties), context)
            .map_err(|error| KafkaTrouble::of_making(&error))?;
        let (topic, buffers) = (Arc::clone(topic), Mutex::default());
        let (places, refused, retired) =
            (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let consumer = Arc::new(KafkaConsumer {
            consumer,
            topic,
            kind,
            pulse,
            buffers,
            counted,
            places,
            refused,
            retired,
        });
        let served = Arc::clone(&consumer);
        let spawned =
            thread::Builder::new().name("kafka-consumer".to_owned()).spawn(move || serve(&served));
        spawned.map_err(|error| KafkaTrouble::NoClient { why: error.to_string() })?;
        Ok(consumer)
    }

    /// Blocking.
    pub(crate) fn prove(&self, expected: &Expected) -> Result<String, KafkaTrouble> {
        expected.prove(self.consumer.client(), &self.pulse)
    }

    /// Who reads that partition here, and whether that reader has gone and it will soon be free.
    pub(crate) fn reads(&self, partition: i32) -> Option<(Whose, bool)> {
        self.buffers().get(&partition).map(|it| (it.whose, it.wish_is_to_leave()))
    }

    /// The first offset that is there, and the one after the last. Blocking.
    pub(crate) fn bounds(&self, partition: i32) -> Result<(u64, u64), KafkaTrouble> {
        let began = Instant::now();
        let positive = |offset: i64| u64::try_from(offset).unwrap_or(0);
        loop {
            let asked = self.consumer.fetch_watermarks(&self.topic, partition, ATTEMPT);
            let error = match asked {
                Ok((low, high)) => return Ok((positive(low), positive(high))),
                Err(error) => error,
            };
            if let Some(
                RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) = error.rdkafka_error_code()
            {
                return Err(KafkaTrouble::TopicMissing { topic: self.topic.to_string() });
            }
            if began.elapsed() >= QUESTION {
                let late = KafkaTrouble::Late { act: "where does it end" };
                return Err(self.pulse.trouble().unwrap_or(late));
            }
            tracing::debug!(topic = &*self.topic, partition, %error, "asking again for its ends");
            // The leader it knows may be gone, which it would notice only when it asks for all.
            thread::sleep(AGAIN);
            drop(self.consumer.fetch_metadata(Some(&self.topic), ATTEMPT));
        }
    }

    /// Keeps a partition for one reader, who has it [fetched](Self::assign) next; `None` if another
    /// one reads it here.
    pub(crate) fn reserve(
        &self,
        (partition, from): (i32, u64),
        bytes_max: usize,
        whose: Whose,
    ) -> Option<Fetched> {
        let mut buffers = self.buffers();
        if self.retired.load(Ordering::Relaxed) || buffers.contains_key(&partition) {
            return None;
        }
        let buffer = Arc::new(Buffer::new(bytes_max, whose, from));
        buffers.insert(partition, Arc::clone(&buffer));
        Some(Fetched(buffer))
    }

    /// Begins to fetch a partition that is kept for its reader. Blocking.
    pub(crate) fn assign(&self, partition: i32, from: u64) -> Result<(), KafkaTrouble> {
        let place = Place::Offset(i64::try_from(from).unwrap_or(i64::MAX));
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
    }

    fn list(&self, partition: i32, place: Place) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition, place)?;
        Ok(list)
    }

    /// One message, or one piece of news.
    fn dispatch(&self, polled: KafkaResult<BorrowedMessage<'_>>) {
        match polled {
            Ok(message) => {
                self.pulse.end();
                let buffer = self.buffers().get(&message.partition()).cloned();
                if buffer.is_some_and(|buffer| buffer.put(self.raw(&message))) {
                    *self.refused() = None;
                }
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                self.pulse.end();
                let buffer = self.buffers().get(&partition).cloned();
                if let Some(buffer) = buffer {
                    buffer.note(Flow::AtEnd);
                }
            }
            // It does not say which one, so each looks where it stands.
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            )) => self.buffers().values().for_each(|buffer| buffer.note(Flow::Lost)),
            Err(error) => self.fail(&error),
        }
    }

    /// Fetching failed; again, it is not said of which partition. Whoever misses nothing goes on.
    fn fail(&self, error: &KafkaError) {
        tracing::debug!(topic = &*self.topic, %error, "consumer");
        let Some(trouble) = KafkaTrouble::of_fetch(error, &self.topic) else { return };
        self.buffers().values().for_each(|buffer| buffer.fail(trouble.clone()));
        *self.refused() = Some((trouble, Instant::now()));
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
        for (partition, buffer) in self.buffers().iter() {
            let settled =
                |places: &&Places| places.fetchq_cnt == 0 && places.eof_offset == places.ls_offset;
            let known = places.get(partition).filter(settled);
            if let Some(end) = known.and_then(|places| u64::try_from(places.eof_offset).ok()) {
                buffer.note_counted_end(end);
            }
        }
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Pauses, goes on, lets go. By the thread that polls, so that nothing of a partition that was
    /// let go can come afterwards and be taken for its next reader's.
    fn look_after(&self) {
        let wishes: Vec<(i32, Wish)> =
            self.buffers().iter().map(|(partition, buffer)| (*partition, buffer.wish())).collect();
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
            if wish == Wish::Leave {
                self.buffers().remove(&partition);
            }
        }
    }

    fn refused(&self) -> MutexGuard<'_, Option<(KafkaTrouble, Instant)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffers(&self) -> MutexGuard<'_, HashMap<i32, Arc<Buffer>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a consumer until it is retired and has no reader; ending it may take a tenth of a second,
/// for which nobody waits.
fn serve(consumer: &Arc<KafkaConsumer>) {
    loop {
        if let Some(polled) = consumer.consumer.poll(POLL) {
            consumer.dispatch(polled);
            for _ in 0..ROUND_MAX {
                let Some(polled) = consumer.consumer.poll(Duration::ZERO) else { break };
                consumer.dispatch(polled);
            }
        }
        consumer.look_after();
        consumer.pass_on_ends();
        if consumer.retired.load(Ordering::Relaxed)
            && Arc::strong_count(consumer) == 1
            && consumer.buffers().is_empty()
        {
            return;
        }
    }
}
