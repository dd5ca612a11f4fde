//! What can be wrong between us and a Kafka cluster, told apart by who has to mend it. In: error
//! codes and texts of librdkafka, which hold no secrets. Out: typed. Pure.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::Error;

/// Why a Kafka cluster did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaTrouble {
    /// Nobody answers there.
    #[error("no broker can be reached: {why}")]
    Unreachable {
        /// What the client said last.
        why: String,
    },
    /// The user or the password is wrong.
    #[error("the cluster refuses the user or the password: {why}")]
    Authentication {
        /// What the cluster said.
        why: String,
    },
    /// A certificate is not to be trusted, or ours is refused.
    #[error("no trust between client and brokers: {why}")]
    Certificate {
        /// What the client said.
        why: String,
    },
    /// Somebody answers, but another cluster.
    #[error("that is the cluster {found}, not {expected}")]
    WrongCluster {
        /// Whose topics we know.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// There is no such topic.
    #[error("there is no topic {topic}")]
    TopicMissing {
        /// Which.
        topic: String,
    },
    /// The topic has fewer partitions than the map.
    #[error("topic {topic} has {has} partitions, and needs {needs}")]
    TooFewPartitions {
        /// Which.
        topic: String,
        /// What the cluster says.
        has: u32,
        /// What the map says.
        needs: u32,
    },
    /// Settings that cannot be.
    #[error("settings that cannot be: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// The cluster gave the producer no id in time, without which it may not send in order.
    #[error("the cluster gave the producer no id in time")]
    NoProducerId,
    /// The client has not heard of the partition: it was added of late, or is not there.
    #[error("no such partition is known of in the hunt's topics")]
    PartitionUnknown,
    /// The cluster refused a record, or the client gave it up.
    #[error("not taken: {why}")]
    Refused {
        /// What was said.
        why: String,
    },
    /// Records before this one are gone from the topic, and nothing tells what they said.
    #[error("partition {partition} of topic {topic} begins at offset {first}")]
    Trimmed {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// The first that is there.
        first: u64,
    },
    /// The topic ends before what was there once: it was made anew, or cut.
    #[error(
        "partition {partition} of topic {topic} ends at offset {end}, and {wanted} was reached"
    )]
    Shrunk {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Where it ends now.
        end: u64,
        /// Where somebody had come.
        wanted: u64,
    },
    /// What was known of a place in the topic is not what stands there: another one has its name.
    /// What was known is forgotten by then.
    #[error("partition {partition} of topic {topic} is not the one that was known at offset {at}")]
    Another {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Where it differs.
        at: u64,
    },
    /// Records are there and cannot be had: they are damaged, say.
    #[error("topic {topic} cannot be read: {why}")]
    Unreadable {
        /// Which topic.
        topic: String,
        /// What was said.
        why: String,
    },
    /// Too many read the same partition at once.
    #[error("too many readers of partition {partition} of topic {topic}")]
    Busy {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
    },
    /// Everything arrives, later: the cluster's quota of this user or client is used up.
    #[error("a quota of the cluster holds requests back, by up to {by:?}")]
    Throttled {
        /// How long it held one back lately.
        by: Duration,
    },
    /// No answer in time.
    #[error("no answer in time to: {act}")]
    Late {
        /// What was asked.
        act: &'static str,
    },
    /// The machine gave us no thread, or a client could not be made.
    #[error("cannot make a client: {why}")]
    NoClient {
        /// What was said.
        why: String,
    },
}

impl KafkaTrouble {
    /// Whether the same call can succeed later without anybody changing settings or topics.
    pub fn retryable(&self) -> bool {
        match self {
            KafkaTrouble::Unreachable { .. }
            | KafkaTrouble::NoProducerId
            | KafkaTrouble::PartitionUnknown
            | KafkaTrouble::Refused { .. }
            | KafkaTrouble::Busy { .. }
            | KafkaTrouble::Throttled { .. }
            | KafkaTrouble::Another { .. }
            | KafkaTrouble::Late { .. }
            | KafkaTrouble::NoClient { .. } => true,
            KafkaTrouble::Authentication { .. }
            | KafkaTrouble::Certificate { .. }
            | KafkaTrouble::WrongCluster { .. }
            | KafkaTrouble::TopicMissing { .. }
            | KafkaTrouble::TooFewPartitions { .. }
            | KafkaTrouble::Settings(_)
            | KafkaTrouble::Trimmed { .. }
            | KafkaTrouble::Unreadable { .. }
            | KafkaTrouble::Shrunk { .. } => false,
        }
    }

    /// Whether waiting any longer for a proof is of no use.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, KafkaTrouble::Authentication { .. } | KafkaTrouble::Certificate { .. })
    }

    /// What an error of the whole client means; `None` for those that mend themselves.
    pub(crate) fn of_client(error: &KafkaError, reason: &str) -> Option<KafkaTrouble> {
        let why = reason.to_owned();
        match error.rdkafka_error_code()? {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                Some(KafkaTrouble::Authentication { why })
            }
            RDKafkaErrorCode::SSL => Some(KafkaTrouble::Certificate { why }),
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut => Some(KafkaTrouble::Unreachable { why }),
            _ => None,
        }
    }

    /// What it means that a topic was not fetched; `None` for what is told of the whole client.
    pub(crate) fn of_fetch(error: &KafkaError, topic: &str) -> Option<KafkaTrouble> {
        let (code, topic) = (error.rdkafka_error_code()?, topic.to_owned());
        match code {
            _ if KafkaTrouble::of_client(error, "").is_some() => None,
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                let why = format!("the user may not read topic {topic}");
                Some(KafkaTrouble::Authentication { why })
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => Some(KafkaTrouble::TopicMissing { topic }),
            other => Some(KafkaTrouble::Unreadable { topic, why: other.to_string() }),
        }
    }

    /// What it means that a client could not be made. Values are left out: they may be secrets.
    pub(crate) fn of_making(error: &KafkaError) -> KafkaTrouble {
        match error {
            KafkaError::ClientConfig(_, _, name, _) => {
                KafkaTrouble::Settings(vec![format!("{name} is not understood")])
            }
            KafkaError::ClientCreation(why) if why.contains("ssl") || why.contains("SSL") => {
                KafkaTrouble::Certificate { why: why.clone() }
            }
            other => KafkaTrouble::NoClient { why: other.to_string() },
        }
    }
}

/// What became of a record that was not acknowledged.
pub(crate) fn of_delivery(code: RDKafkaErrorCode, bytes: usize) -> Error {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge => Error::TooLarge { bytes },
        RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition => {
            Error::Kafka(KafkaTrouble::PartitionUnknown)
        }
        other => Error::Kafka(KafkaTrouble::Refused { why: other.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_refused_is_named_without_its_value() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.mechanism", "SCRAM-SHA-512").set("sasl.pass", "hunter2");
        let error = config.create_native_config().err().unwrap();
        let said = KafkaTrouble::of_making(&error).to_string();
        assert!(said.contains("sasl.pass") && !said.contains("hunter2"), "{said}");
    }
}
