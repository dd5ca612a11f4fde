//! All that a broker of a hunt needs to know: where it is, what it is called there, how it is used.
//! In: values of the resource and its Secrets. Out: what clients are told, and what is expected of
//! the cluster. Pure.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::TopicRole;

use super::connection::{Connection, Property};
use super::proof::Expected;
use super::settings::ClientSettings;
use super::trouble::KafkaTrouble;
use crate::error::Error;
use crate::traits::LogKind;

/// The topics that we read ourselves, the first of [`TopicRole::ALL`].
pub(crate) const READ: [TopicRole; 3] =
    [TopicRole::Events, TopicRole::Outcomes, TopicRole::Snapshots];

/// How long a broker waits for records that readers want who are there for a moment. It answers one
/// request of a client after the other, so that who comes next waits for the one before; and as long
/// as nobody reads there, nothing is asked.
const BRIEF_WAIT: Duration = Duration::from_millis(10);

/// Where a hunt's events and outcomes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// What comes in.
    pub events: String,
    /// What became of it; never compacted, and kept as long as there is no snapshot.
    pub outcomes: String,
    /// What was made of the outcomes; compacted.
    pub snapshots: String,
    /// Events that could not be played, for people.
    pub dead: String,
    /// So many partitions each of the topics must have, at least.
    pub partitions: u32,
    /// The cluster's id; that of whoever answers first when `None`.
    pub cluster: Option<String>,
    /// How this process is called there.
    pub client_id: String,
    /// Where the cluster is.
    pub connection: Connection,
    /// How it is used.
    pub settings: ClientSettings,
}

impl KafkaOptions {
    /// Whether anything in it cannot be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problems = [self.connection.problems(), self.settings.problems()].concat();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Error::Kafka(KafkaTrouble::Settings(problems))),
        }
    }

    pub(crate) fn topics(&self) -> Topics {
        Topics::new([&self.events, &self.outcomes, &self.snapshots, &self.dead])
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected {
            cluster: self.cluster.clone(),
            topics: TopicRole::ALL.map(|topic| self.topics().name(topic).to_string()).to_vec(),
            partitions: self.partitions,
            within: self.settings.session.proof,
        }
    }

    pub(crate) fn producer_properties(&self) -> Vec<Property> {
        self.settings.producer_properties(&self.connection, &self.client_id)
    }

    pub(crate) fn consumer_properties(&self) -> Vec<Property> {
        let wait = self.settings.consumer.fetch_wait;
        self.settings.consumer_properties(&self.connection, &self.client_id, wait)
    }

    /// Of a consumer whose readers come and go.
    pub(crate) fn brief_consumer_properties(&self) -> Vec<Property> {
        let wait = self.settings.consumer.fetch_wait.min(BRIEF_WAIT);
        self.settings.consumer_properties(&self.connection, &self.client_id, wait)
    }

    /// Of what is fetched ahead for a reader, as much is kept outside of the client.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.settings.consumer.buffer_bytes() as usize
    }
}

/// The names of a hunt's topics, in the order of [`TopicRole::ALL`].
#[derive(Debug, Clone)]
pub(crate) struct Topics([Arc<str>; TopicRole::ALL.len()]);

impl Topics {
    pub(super) fn new(names: [&str; TopicRole::ALL.len()]) -> Topics {
        Topics(names.map(Arc::from))
    }

    pub(crate) fn name(&self, topic: TopicRole) -> &Arc<str> {
        &self.0[topic as usize]
    }
}

impl From<LogKind> for TopicRole {
    fn from(log: LogKind) -> TopicRole {
        match log {
            LogKind::Events => TopicRole::Events,
            LogKind::Outcomes => TopicRole::Outcomes,
        }
    }
}
