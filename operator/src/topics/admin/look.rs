//! Asks a cluster how it stands: brokers, topics, settings, reassignments, sizes. I/O, only reads.

use std::collections::BTreeMap;

use config_schemas::PartitionId;
use krafka::admin::{
    ConfigEntry, ConfigResource, DescribeClusterOptions, DescribeConfigsOptions,
    DescribeLogDirsOptions, DescribeTopicsOptions, ListPartitionReassignmentsOptions,
    TopicDescription, TopicPartition,
};
use krafka::error::{ErrorCode, KrafkaError};

use super::super::seen::{BrokerId, Moving, Seen, SeenPartition, SeenTopic, Sizes, Spot};
use super::{Admin, AdminError, of};

/// The source of a setting that was made for the topic itself, as Kafka numbers it.
const SOURCE_TOPIC: i8 = 1;

impl Admin {
    /// The cluster with these topics, without sizes. `Seen::cluster` comes first: nothing else is
    /// asked of a cluster that is not `bound`.
    pub async fn look(&self, names: &[&str], bound: Option<&str>) -> Result<Seen, AdminError> {
        let mut seen = self.brokers().await?;
        if bound.is_some_and(|bound| bound != seen.cluster) {
            return Ok(seen);
        }
        seen.topics = self.topics(names).await?;
        if !seen.topics.is_empty() {
            self.settings(&mut seen).await?;
            seen.moving = self.moving(&seen).await?;
        }
        Ok(seen)
    }

    async fn brokers(&self) -> Result<Seen, AdminError> {
        let found = self.client.describe_cluster(DescribeClusterOptions::default()).await;
        let found = found.map_err(of)?;
        let serving = found.brokers.into_iter().filter(|broker| !broker.is_fenced);
        let brokers = serving.map(|broker| (BrokerId(broker.id), broker.rack)).collect();
        Ok(Seen { cluster: found.cluster_id, brokers, ..Seen::default() })
    }

    async fn topics(&self, names: &[&str]) -> Result<BTreeMap<String, SeenTopic>, AdminError> {
        let found = self.client.describe_topics(names, DescribeTopicsOptions::default()).await;
        let mut topics = BTreeMap::new();
        for (name, described) in found.map_err(of)? {
            match described {
                Ok(described) => {
                    topics.insert(name, topic(&described));
                }
                Err(KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. }) => {}
                Err(error) => return Err(of(error)),
            }
        }
        Ok(topics)
    }

    async fn settings(&self, seen: &mut Seen) -> Result<(), AdminError> {
        let resources: Vec<ConfigResource> =
            seen.topics.keys().map(ConfigResource::topic).collect();
        let found =
            self.client.describe_configs(resources, DescribeConfigsOptions::default()).await;
        for (resource, entries) in found.map_err(of)? {
            let entries = match entries {
                Ok(entries) => entries,
                // It was taken away between two questions.
                Err(KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. }) => {
                    seen.topics.remove(&resource.name);
                    continue;
                }
                Err(error) => return Err(of(error)),
            };
            if let Some(topic) = seen.topics.get_mut(&resource.name) {
                entries.into_iter().for_each(|entry| setting(topic, entry));
            }
        }
        Ok(())
    }

    async fn moving(&self, seen: &Seen) -> Result<BTreeMap<Spot, Moving>, AdminError> {
        let options = ListPartitionReassignmentsOptions::default().partitions(all(seen));
        let found = self.client.list_partition_reassignments(options).await.map_err(of)?;
        let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect();
        let moving = found.into_iter().filter_map(|(at, moving)| {
            let (adding, removing) = (ids(moving.adding_replicas), ids(moving.removing_replicas));
            Some((spot(&at)?, Moving { adding, removing }))
        });
        Ok(moving.collect())
    }

    /// What lies on the disks. Nothing when we may not know: then partitions are counted.
    pub async fn sizes(&self, seen: &Seen) -> Sizes {
        let brokers: Vec<i32> = seen.brokers.keys().map(|broker| broker.0).collect();
        let options = DescribeLogDirsOptions::default().partitions(all(seen));
        let Ok(found) = self.client.describe_log_dirs(brokers, options).await else {
            return Sizes::default();
        };
        let mut sizes = Sizes::default();
        for (broker, dirs) in found {
            for dir in dirs.into_iter().flatten().filter_map(|(_, dir)| dir.ok()) {
                let used = dir.total_bytes.zip(dir.usable_bytes).map(|(all, free)| all - free);
                let used = used.and_then(|used| u64::try_from(used).ok()).unwrap_or_default();
                *sizes.brokers.entry(BrokerId(broker)).or_default() += used;
                for (at, replica) in dir.replicas {
                    let (Some(spot), Ok(size)) = (spot(&at), u64::try_from(replica.size)) else {
                        continue;
                    };
                    let most = sizes.partitions.entry(spot).or_default();
                    *most = size.max(*most);
                }
            }
        }
        sizes
    }
}

fn topic(described: &TopicDescription) -> SeenTopic {
    let partition = |found: &krafka::admin::PartitionDescription| SeenPartition {
        replicas: found.replicas.iter().copied().map(BrokerId).collect(),
        leader: found.leader.map(BrokerId),
        in_sync: found.isr.iter().copied().map(BrokerId).collect(),
    };
    let partitions = described.partitions.iter().map(partition).collect();
    SeenTopic { partitions, ..SeenTopic::default() }
}

fn setting(topic: &mut SeenTopic, entry: ConfigEntry) {
    let Some(value) = entry.value else { return };
    if entry.config_source == SOURCE_TOPIC {
        topic.configs.insert(entry.name.clone(), value.clone());
    }
    topic.effective.insert(entry.name, value);
}

fn all(seen: &Seen) -> Vec<TopicPartition> {
    let of_topic = |(name, topic): (&String, &SeenTopic)| {
        let ids: Vec<i32> = topic.numbered().filter_map(|(id, _)| number(id)).collect();
        let name = name.clone();
        ids.into_iter().map(move |id| TopicPartition::new(name.clone(), id)).collect::<Vec<_>>()
    };
    seen.topics.iter().flat_map(of_topic).collect()
}

/// Kafka's numbers are signed, and never below zero.
pub(super) fn number(id: PartitionId) -> Option<i32> {
    i32::try_from(id.0).ok()
}

pub(super) fn spot(at: &TopicPartition) -> Option<Spot> {
    Some(Spot::new(&at.topic, PartitionId(u32::try_from(at.partition).ok()?)))
}
