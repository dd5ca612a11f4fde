//! What a client has to show before it is used: that it reaches the right cluster, and that the
//! topics are there. In: a fresh client, what is expected. Out: the cluster's id, or what is wrong.
//! I/O, blocking, at most as long as told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};
use serde::Deserialize;
use tokio::sync::watch;

use super::connection::Property;
use super::trouble::KafkaTrouble;

/// How long one question may take before the client's own words are listened to again.
const QUESTION: Duration = Duration::from_millis(250);
/// How long a topic that is not there may still come: brokers hear of a new one at different times.
const TOPIC_GRACE: Duration = Duration::from_secs(1);

/// Of the statistics, what we ask for.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Connected>,
    eos: Option<Idempotence>,
}

#[derive(Deserialize)]
struct Connected {
    state: String,
    /// How long answers were held back since the last count.
    #[serde(default)]
    throttle: Window,
}

/// Milliseconds.
#[derive(Deserialize, Default)]
struct Window {
    max: u64,
}

#[derive(Deserialize)]
struct Idempotence {
    idemp_state: String,
}

/// What a client says of itself while it runs.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    trouble: Mutex<Option<KafkaTrouble>>,
    /// For so many milliseconds at most a broker held an answer back lately.
    throttled: AtomicU64,
    has_id: watch::Sender<bool>,
}

impl Pulse {
    /// The last trouble that has not ended. That a quota holds requests back is told when there is
    /// nothing worse.
    pub(crate) fn trouble(&self) -> Option<KafkaTrouble> {
        let throttled = match self.throttled.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(KafkaTrouble::Throttled { by: Duration::from_millis(millis) }),
        };
        self.held().or(throttled)
    }

    fn held(&self) -> Option<KafkaTrouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the trouble that says most: that no broker is left follows from any other.
    pub(crate) fn begin(&self, new: KafkaTrouble) {
        let mut held = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|held| !held.is_final() || new.is_final()) {
            *held = Some(new);
        }
    }

    /// Something went well.
    pub(crate) fn end(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the client counts, now and then. A client that is idle has nothing that could go well,
    /// so a connection that stands ends its trouble too.
    pub(crate) fn counted(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let throttled = statistics.brokers.values().map(|broker| broker.throttle.max).max();
        self.throttled.store(throttled.unwrap_or(0), Ordering::Relaxed);
        if self.held().is_some() && statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.end();
        }
        if statistics.eos.is_some_and(|eos| eos.idemp_state == "Assigned") {
            self.has_id.send_replace(true);
        }
    }

    /// Whether the producer has its id.
    pub(crate) fn has_id(&self) -> &watch::Sender<bool> {
        &self.has_id
    }
}

/// What is expected of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Its id; any when `None`.
    pub(crate) cluster: Option<String>,
    pub(crate) topics: Vec<String>,
    /// In each topic, at least.
    pub(crate) partitions: u32,
    pub(crate) within: Duration,
}

/// The client's configuration, ready to be used.
pub(crate) fn config(properties: Vec<Property>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name, value);
    }
    // What it logs we say in our own words.
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Warning);
    config
}

impl Expected {
    /// Asks until all is as expected or cannot become so in time. Somebody must poll the client.
    pub(crate) fn prove<C: ClientContext>(
        &self,
        client: &Client<C>,
        pulse: &Pulse,
    ) -> Result<String, KafkaTrouble> {
        let began = Instant::now();
        let cluster = self.cluster(client, pulse, began)?;
        if let Some(expected) = self.cluster.as_ref().filter(|expected| **expected != cluster) {
            let expected = expected.clone();
            return Err(KafkaTrouble::WrongCluster { expected, found: cluster });
        }
        for topic in &self.topics {
            self.topic(client, pulse, topic, began)?;
        }
        pulse.end();
        Ok(cluster)
    }

    fn cluster<C: ClientContext>(
        &self,
        client: &Client<C>,
        pulse: &Pulse,
        began: Instant,
    ) -> Result<String, KafkaTrouble> {
        let first = self.topics.first().map(String::as_str);
        loop {
            // whatever it says of the topic, it makes the client look for a broker
            let asked = client.fetch_metadata(first, QUESTION);
            if let Some(cluster) = client.fetch_cluster_id(QUESTION) {
                return Ok(cluster);
            }
            if let Some(trouble) = pulse.trouble().filter(KafkaTrouble::is_final) {
                return Err(trouble);
            }
            if began.elapsed() >= self.within {
                let why = asked.err().map_or_else(String::new, |error| error.to_string());
                return Err(pulse.trouble().unwrap_or(KafkaTrouble::Unreachable { why }));
            }
        }
    }

    fn topic<C: ClientContext>(
        &self,
        client: &Client<C>,
        pulse: &Pulse,
        topic: &str,
        began: Instant,
    ) -> Result<(), KafkaTrouble> {
        let asked_first = Instant::now();
        loop {
            let trouble = match self.look(client, topic) {
                Ok(None) => return Ok(()),
                Ok(Some(wrong)) if asked_first.elapsed() >= TOPIC_GRACE => return Err(wrong),
                Ok(Some(wrong)) => wrong,
                Err(error) => {
                    let why = error.to_string();
                    pulse.trouble().unwrap_or(KafkaTrouble::Unreachable { why })
                }
            };
            if trouble.is_final() || began.elapsed() >= self.within {
                return Err(trouble);
            }
            std::thread::sleep(QUESTION / 5);
        }
    }

    /// One look: what is wrong with the topic, or why nothing is known.
    fn look<C: ClientContext>(
        &self,
        client: &Client<C>,
        topic: &str,
    ) -> Result<Option<KafkaTrouble>, KafkaError> {
        let missing = || Some(KafkaTrouble::TopicMissing { topic: topic.to_owned() });
        let metadata = match client.fetch_metadata(Some(topic), QUESTION) {
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition,
            )) => return Ok(missing()),
            other => other?,
        };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(missing());
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(missing());
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let why = format!("the user may not see topic {topic}");
                return Ok(Some(KafkaTrouble::Authentication { why }));
            }
            Some(other) => return Err(KafkaError::MetadataFetch(other)),
        }
        let has = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        let (topic, needs) = (topic.to_owned(), self.partitions);
        Ok((has < needs).then_some(KafkaTrouble::TooFewPartitions { topic, has, needs }))
    }
}
