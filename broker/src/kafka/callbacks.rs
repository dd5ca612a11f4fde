//! What a consumer client tells of itself between records. In: librdkafka's callbacks and statistics.
//! Out: its pulse, and where its partitions stand. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Statistics};
use serde::Deserialize;

use super::proof::Pulse;
use super::trouble::KafkaTrouble;

/// What a consumer of one topic is told beside records.
pub(super) struct ConsumerCallbacks {
    pub(super) pulse: Arc<Pulse>,
    pub(super) topic: Arc<str>,
    pub(super) counted: Counts,
    /// Told something that is no answer to the one who polled.
    pub(super) told: AtomicBool,
}

/// Of each partition; taken by the thread that polls.
pub(super) type Counts = Arc<Mutex<Option<BTreeMap<i32, Places>>>>;

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
pub(super) struct Places {
    /// Records fetched and not polled yet.
    pub(super) fetchq_cnt: i64,
    /// The end that was told last.
    eof_offset: i64,
    /// The first place whose record cannot be read yet.
    pub(super) ls_offset: i64,
}

impl Places {
    /// The end that was told, if nothing before it waits to be polled or to be committed.
    pub(super) fn settled_end(&self) -> Option<u64> {
        let settled = self.fetchq_cnt == 0 && self.eof_offset == self.ls_offset;
        u64::try_from(self.eof_offset).ok().filter(|_| settled)
    }
}

impl ClientContext for ConsumerCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.told.store(true, Ordering::Relaxed);
        tracing::debug!(?level, facility, message, "consumer");
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, statistics: &[u8]) {
        self.told.store(true, Ordering::Relaxed);
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
