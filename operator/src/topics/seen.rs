//! What a cluster says of itself and of a hunt's topics, at one look. In: what `admin` was told.
//! Out: typed, with the questions that plans ask of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use config_schemas::PartitionId;

/// A broker's number, as the cluster gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The topic.
    pub topic: String,
    /// Kafka's number of the partition, which is ours too.
    pub partition: PartitionId,
}

impl Spot {
    /// That partition of that topic.
    pub fn new(topic: &str, partition: PartitionId) -> Spot {
        Spot { topic: topic.to_owned(), partition }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A cluster at one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The cluster's own id.
    pub cluster: String,
    /// Brokers that serve, with the rack that each says it stands in.
    pub brokers: BTreeMap<BrokerId, Option<String>>,
    /// The hunt's topics that are there.
    pub topics: BTreeMap<String, SeenTopic>,
    /// Reassignments of the hunt's partitions that are under way.
    pub moving: BTreeMap<Spot, Moving>,
    /// What lies on the disks; nothing when the cluster did not say.
    pub sizes: Sizes,
}

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenTopic {
    /// By number, from 0, without gaps.
    pub partitions: Vec<SeenPartition>,
    /// Settings that were made for this very topic, and not inherited.
    pub configs: BTreeMap<String, String>,
    /// The value in effect of each setting, whoever made it.
    pub effective: BTreeMap<String, String>,
}

/// A partition that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenPartition {
    /// Who has it; the first is to lead.
    pub replicas: Vec<BrokerId>,
    /// Who leads it; nobody when all that could are away.
    pub leader: Option<BrokerId>,
    /// Who has all of it.
    pub in_sync: BTreeSet<BrokerId>,
}

/// A reassignment under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moving {
    /// Who gets it.
    pub adding: Vec<BrokerId>,
    /// Who is to lose it then.
    pub removing: Vec<BrokerId>,
}

/// Bytes on disks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Of the hunt's partitions, the largest replica.
    pub partitions: BTreeMap<Spot, u64>,
    /// Of all that a broker holds, other topics too.
    pub brokers: BTreeMap<BrokerId, u64>,
}

impl Seen {
    /// Where a broker stands. One that names no rack, or is away, stands in one of its own.
    pub fn rack(&self, broker: BrokerId) -> Rack<'_> {
        match self.brokers.get(&broker) {
            Some(Some(rack)) => Rack::Named(rack),
            _ => Rack::Own(broker),
        }
    }

    /// Racks of these brokers.
    pub fn racks<'a>(
        &'a self,
        brokers: impl IntoIterator<Item = &'a BrokerId>,
    ) -> BTreeSet<Rack<'a>> {
        brokers.into_iter().map(|broker| self.rack(*broker)).collect()
    }

    /// Whether the broker serves.
    pub fn serves(&self, broker: BrokerId) -> bool {
        self.brokers.contains_key(&broker)
    }

    /// Brokers that are away, and that partitions move to.
    pub fn awaited(&self) -> BTreeSet<BrokerId> {
        let adding = self.moving.values().flat_map(|moving| &moving.adding);
        adding.filter(|broker| !self.serves(**broker)).copied().collect()
    }

    /// Partitions of a topic; none where there is no such topic.
    pub fn count(&self, topic: &str) -> u32 {
        self.topics.get(topic).map_or(0, SeenTopic::count)
    }

    /// The partition, if it is there.
    pub fn partition(&self, spot: &Spot) -> Option<&SeenPartition> {
        let index = usize::try_from(spot.partition.0).ok()?;
        self.topics.get(&spot.topic)?.partitions.get(index)
    }
}

/// Where a broker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rack<'a> {
    /// With others of that name.
    Named(&'a str),
    /// Alone, as far as anybody knows.
    Own(BrokerId),
}

impl SeenTopic {
    /// Its partitions with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (PartitionId, &SeenPartition)> {
        (0..).map(PartitionId).zip(&self.partitions)
    }

    /// How many partitions.
    pub fn count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }
}

impl SeenPartition {
    /// Who is to lead it.
    pub fn preferred(&self) -> Option<BrokerId> {
        self.replicas.first().copied()
    }
}
