//! The topics of a hunt in Kafka: which there are, how they are called, and the extra configuration
//! that a person gives one of them. In: the section `topics`. Out: names and typed entries. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::names::HuntName;
use crate::settings::Topics;

/// Longest name that Kafka takes.
pub(crate) const TOPIC_LEN_MAX: usize = 249;
/// Matches a topic's name, or nothing; `.` and `..` are no names.
pub(crate) const TOPIC_PATTERN: &str = "^([._a-zA-Z0-9-]*[_a-zA-Z0-9-][._a-zA-Z0-9-]*)?$";
/// Matches `TOPIC:KEY=VALUE`.
pub(crate) const TOPIC_CONFIG_PATTERN: &str =
    "^(events|outcomes|snapshots|deadLetters):[a-z][a-z0-9]*([.][a-z0-9]+)+=[!-~]{1,128}$";
const VALUE_LEN_MAX: usize = 128;

/// What a topic of a hunt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRole {
    /// What comes in.
    Events,
    /// What became of it.
    Outcomes,
    /// States, so that not every outcome has to be replayed.
    Snapshots,
    /// Events that could not be played.
    DeadLetters,
}

impl TopicRole {
    /// Every topic of a hunt.
    pub const ALL: [TopicRole; 4] =
        [TopicRole::Events, TopicRole::Outcomes, TopicRole::Snapshots, TopicRole::DeadLetters];

    /// As in the section `topics`.
    pub fn as_str(self) -> &'static str {
        match self {
            TopicRole::Events => "events",
            TopicRole::Outcomes => "outcomes",
            TopicRole::Snapshots => "snapshots",
            TopicRole::DeadLetters => "deadLetters",
        }
    }

    /// The last part of a name that nobody gave.
    fn suffix(self) -> &'static str {
        match self {
            TopicRole::DeadLetters => "dead",
            other => other.as_str(),
        }
    }
}

/// Configuration keys that other settings decide, or that would break a promise: replicas that lag
/// behind may not lead, and nothing is cleaned up but as its role wants it.
pub const RESERVED_KEYS: [&str; 8] = [
    "cleanup.policy",
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "max.message.bytes",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
    "unclean.leader.election.enable",
];

/// One configuration entry of one topic, written `events:segment.bytes=67108864`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Of which topic.
    pub topic: TopicRole,
    /// By Kafka's name; never one of [`RESERVED_KEYS`] in a configuration that is accepted.
    pub key: String,
    /// As Kafka reads it; whether it can be, Kafka says.
    pub value: String,
}

impl FromStr for TopicConfig {
    type Err = ();

    fn from_str(text: &str) -> Result<TopicConfig, ()> {
        let (topic, entry) = text.split_once(':').ok_or(())?;
        let (key, value) = entry.split_once('=').ok_or(())?;
        let topic = TopicRole::ALL.into_iter().find(|role| role.as_str() == topic).ok_or(())?;
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let is_key = key.contains('.')
            && key.split('.').all(part)
            && key.starts_with(|c: char| c.is_ascii_lowercase());
        let is_value = (1..=VALUE_LEN_MAX).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_graphic());
        let entry = TopicConfig { topic, key: key.to_owned(), value: value.to_owned() };
        (is_key && is_value).then_some(entry).ok_or(())
    }
}

impl fmt::Display for TopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}={}", self.topic.as_str(), self.key, self.value)
    }
}

impl Topics {
    /// How the hunt's topic is called: as the resource says, or after the hunt.
    pub fn name(&self, role: TopicRole, hunt: &HuntName) -> String {
        match self.given(role) {
            "" => format!("{}.{}.{}", hunt.namespace, hunt.name, role.suffix()),
            given => given.to_owned(),
        }
    }

    /// The name that the resource gives; empty when it gives none.
    fn given(&self, role: TopicRole) -> &str {
        match role {
            TopicRole::Events => &self.events,
            TopicRole::Outcomes => &self.outcomes,
            TopicRole::Snapshots => &self.snapshots,
            TopicRole::DeadLetters => &self.deadLetters,
        }
    }

    /// Whether every name that is given is given once.
    pub(crate) fn are_apart(&self) -> bool {
        let given =
            || TopicRole::ALL.iter().map(|role| self.given(*role)).filter(|name| !name.is_empty());
        given().collect::<BTreeSet<_>>().len() == given().count()
    }

    /// Whether no entry is about what other settings decide.
    pub(crate) fn leave_reserved(&self) -> bool {
        !self.configs.iter().any(|entry| RESERVED_KEYS.contains(&entry.key.as_str()))
    }

    /// Whether each key of a topic is given once.
    pub(crate) fn say_once(&self) -> bool {
        let keys: BTreeSet<_> =
            self.configs.iter().map(|entry| (entry.topic, entry.key.as_str())).collect();
        keys.len() == self.configs.len()
    }
}

/// Whether the text is a topic's name, or empty.
pub(crate) fn is_topic(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= TOPIC_LEN_MAX
        && text.bytes().all(inner)
        && (text.is_empty() || text.bytes().any(|b| b != b'.'))
}

/// Whether the text is an entry of a topic's configuration.
pub(crate) fn is_topic_config(text: &str) -> bool {
    text.parse::<TopicConfig>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Config;

    #[test]
    fn an_entry_names_topic_key_and_value() {
        for good in ["events:segment.bytes=67108864", "deadLetters:compression.type=zstd"] {
            assert_eq!(good.parse::<TopicConfig>().map(|entry| entry.to_string()), Ok(good.into()));
        }
        for wrong in [
            "segment.bytes=1",
            "events:segment.bytes",
            "events:segment.bytes=",
            "all:segment.bytes=1",
            "events:=1",
            "events:Segment.bytes=1",
            "events:a..b=1",
            "events:a.=1",
            "events:1.a=1",
            "events:segment.bytes=1 2",
            "events:preallocate=true\n",
            "",
        ] {
            assert!(!is_topic_config(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_topic_is_called_as_given_or_after_its_hunt() {
        let mut topics = Config::default().topics;
        let hunt = HuntName::new("play", "harbour").unwrap();
        let names = |topics: &Topics| TopicRole::ALL.map(|role| topics.name(role, &hunt));
        assert_eq!(
            names(&topics),
            [
                "play.harbour.events",
                "play.harbour.outcomes",
                "play.harbour.snapshots",
                "play.harbour.dead"
            ]
        );
        topics.outcomes = "results".to_owned();
        assert_eq!(names(&topics)[1], "results");
        assert!(topics.are_apart());
        topics.events = "results".to_owned();
        assert!(!topics.are_apart());
    }

    #[test]
    fn a_topic_s_name_is_what_kafka_takes() {
        for good in ["", "a", "A_b-c.d", &"a".repeat(249)] {
            assert!(is_topic(good), "{good}");
        }
        for wrong in [".", "..", "a b", "a/b", "ä", &"a".repeat(250)] {
            assert!(!is_topic(wrong), "{wrong}");
        }
    }
}
