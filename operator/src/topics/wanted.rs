//! What a hunt wants of a Kafka cluster: its topics, each with partitions, replicas and settings.
//! In: the effective configuration. Out: typed, in Kafka's own words. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::{Config, HuntName, TopicRole};

/// How many replicas must have a record before it is acknowledged.
pub const IN_SYNC_MIN: &str = "min.insync.replicas";

/// A topic as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWanted {
    /// Its name in the cluster.
    pub name: String,
    /// Partitions, at least 1.
    pub partitions: u32,
    /// Replicas of each partition, at least 1.
    pub replicas: u16,
    /// Settings that the hunt names, by Kafka's names. Others are left as they are.
    pub configs: BTreeMap<String, String>,
    /// What settings were by earlier generations of the hunt: a setting that is no longer named,
    /// and still is as we set it, is taken away.
    pub formerly: BTreeMap<String, BTreeSet<String>>,
}

impl TopicWanted {
    /// How many in-sync replicas the hunt asks for.
    pub fn in_sync_min(&self) -> usize {
        self.configs.get(IN_SYNC_MIN).and_then(|text| text.parse().ok()).unwrap_or(1)
    }
}

/// All topics of a hunt, in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicsWanted {
    /// Each name once.
    pub topics: Vec<TopicWanted>,
}

impl TopicsWanted {
    /// What that configuration asks for, where `partitions` is the hunt's number of them. Topics are
    /// made in this order: nothing is taken in before its outcome has a place.
    pub fn of(hunt: &HuntName, config: &Config, partitions: u32) -> TopicsWanted {
        let order =
            [TopicRole::Outcomes, TopicRole::Snapshots, TopicRole::DeadLetters, TopicRole::Events];
        let topic = |role| TopicWanted {
            name: config.topics.name(role, hunt),
            partitions,
            replicas: u16::try_from(config.topics.replicationFactor).unwrap_or(u16::MAX),
            configs: configs(role, config),
            formerly: BTreeMap::new(),
        };
        TopicsWanted { topics: order.map(topic).into() }
    }

    /// Remembers what an earlier generation of the same hunt named.
    pub fn after(&mut self, hunt: &HuntName, earlier: &Config) {
        let before = TopicsWanted::of(hunt, earlier, 0);
        for topic in &mut self.topics {
            let Some(before) = before.topics.iter().find(|b| b.name == topic.name) else {
                continue;
            };
            for (key, value) in &before.configs {
                topic.formerly.entry(key.clone()).or_default().insert(value.clone());
            }
        }
    }

    /// The topics' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| topic.name.as_str())
    }
}

/// A topic's settings by Kafka's names. What a topic is for decides how it is cleaned up, and a
/// replica that lags behind never leads: it would take acknowledged records back.
fn configs(role: TopicRole, config: &Config) -> BTreeMap<String, String> {
    let topics = &config.topics;
    let extra = topics.configs.iter().filter(|entry| entry.topic == role);
    let mut configs: BTreeMap<String, String> =
        extra.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    let mut set = |key: &str, value: String| configs.insert(key.to_owned(), value);
    set(IN_SYNC_MIN, topics.minInSync.to_string());
    set("max.message.bytes", topics.message.to_string());
    set("unclean.leader.election.enable", "false".to_owned());
    let kept = match role {
        TopicRole::Events => Some((topics.eventsRetention, topics.eventsBytes)),
        TopicRole::Outcomes => Some((topics.outcomesRetention, 0)),
        TopicRole::DeadLetters => Some((topics.deadLettersRetention, topics.deadLettersBytes)),
        TopicRole::Snapshots => None,
    };
    match kept {
        Some((time, bytes)) => {
            set("cleanup.policy", "delete".to_owned());
            set("retention.ms", unless_zero(time.as_millis()));
            set("retention.bytes", unless_zero(u128::from(bytes)));
        }
        None => {
            set("cleanup.policy", "compact".to_owned());
        }
    }
    configs
}

/// Kafka's word for no bound is -1, ours is 0.
fn unless_zero(bound: u128) -> String {
    if bound == 0 { "-1".to_owned() } else { bound.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_cleaned_up_as_its_role_wants_it() {
        let hunt = HuntName::new("play", "harbour").unwrap();
        let mut config = Config::default();
        config.topics.configs.push("events:segment.ms=60000".parse().unwrap());
        let wanted = TopicsWanted::of(&hunt, &config, 16);
        let check = |name: &str, key: &str, value: Option<&str>| {
            let topic = wanted.topics.iter().find(|topic| topic.name == name).unwrap();
            assert_eq!(topic.configs.get(key).map(String::as_str), value, "{name} {key}");
            assert_eq!((topic.partitions, topic.replicas, topic.in_sync_min()), (16, 3, 2));
        };
        check("play.harbour.events", "retention.ms", Some("604800000"));
        check("play.harbour.events", "retention.bytes", Some("-1"));
        check("play.harbour.events", "segment.ms", Some("60000"));
        check("play.harbour.outcomes", "segment.ms", None);
        check("play.harbour.outcomes", "cleanup.policy", Some("delete"));
        check("play.harbour.outcomes", "retention.ms", Some("-1"));
        check("play.harbour.snapshots", "cleanup.policy", Some("compact"));
        check("play.harbour.snapshots", "retention.ms", None);
        check("play.harbour.dead", "retention.bytes", Some("67108864"));
        check("play.harbour.dead", "unclean.leader.election.enable", Some("false"));
    }

    #[test]
    fn what_earlier_generations_named_is_known_as_theirs() {
        let hunt = HuntName::new("play", "harbour").unwrap();
        let mut earlier = Config::default();
        earlier.topics.configs.push("events:segment.ms=60000".parse().unwrap());
        let mut wanted = TopicsWanted::of(&hunt, &Config::default(), 16);
        wanted.after(&hunt, &earlier);
        let events = wanted.topics.iter().find(|topic| topic.name.ends_with("events")).unwrap();
        assert!(events.formerly["segment.ms"].contains("60000"));
        assert!(!events.configs.contains_key("segment.ms"));
    }
}
