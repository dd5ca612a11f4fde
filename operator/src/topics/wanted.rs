//! What a hunt wants of a Kafka cluster: its topics, each with partitions, replicas and settings.
//! In: the effective configuration. Out: typed, in Kafka's own words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many replicas must have a record before it is acknowledged.
pub const IN_SYNC_MIN: &str = "min.insync.replicas";

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKind {
    /// What players do.
    Events,
    /// What came of it; the state of every partition.
    Outcomes,
    /// States, so that few outcomes have to be read again. The last one of each key is enough.
    Snapshots,
    /// Events that no worker could take.
    Dead,
}

impl TopicKind {
    /// All, in the order in which they are made: nothing is taken in before its outcome has a place.
    pub const ALL: [TopicKind; 4] =
        [TopicKind::Outcomes, TopicKind::Snapshots, TopicKind::Dead, TopicKind::Events];

    /// The last part of the topic's name where the resource names none.
    pub fn suffix(self) -> &'static str {
        match self {
            TopicKind::Events => "events",
            TopicKind::Outcomes => "outcomes",
            TopicKind::Snapshots => "snapshots",
            TopicKind::Dead => "dead",
        }
    }
}

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

/// The settings that every topic of a hunt has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// Replicas that must have a record before it is acknowledged.
    pub in_sync_min: u16,
    /// How long records are kept at least.
    pub retention: Duration,
    /// Bytes of a partition that are kept at least; all when `None`.
    pub retention_bytes: Option<u64>,
}

impl TopicWanted {
    /// A topic of that kind. `more` are settings by Kafka's names, which do not win over ours:
    /// what a topic is for decides how it is cleaned up.
    pub fn of(
        kind: TopicKind,
        name: String,
        (partitions, replicas): (u32, u16),
        durability: &Durability,
        more: &BTreeMap<String, String>,
    ) -> TopicWanted {
        let mut configs = more.clone();
        configs.insert(IN_SYNC_MIN.to_owned(), durability.in_sync_min.min(replicas).to_string());
        let policy = if kind == TopicKind::Snapshots { "compact" } else { "delete" };
        configs.insert("cleanup.policy".to_owned(), policy.to_owned());
        if kind != TopicKind::Snapshots {
            let kept = durability.retention.as_millis().to_string();
            configs.insert("retention.ms".to_owned(), kept);
            let bytes = durability.retention_bytes.map_or("-1".to_owned(), |b| b.to_string());
            configs.insert("retention.bytes".to_owned(), bytes);
        }
        TopicWanted { name, partitions, replicas, configs, formerly: BTreeMap::new() }
    }

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
    /// The topics' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| topic.name.as_str())
    }
}
