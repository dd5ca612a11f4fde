//! How much each broker carries of each topic, and where a new replica lies best: on a rack that
//! the partition has none on yet, then where the topic has least, then where all topics together
//! have least, then where least lies on the disk. Pure.

use std::collections::BTreeMap;

use super::super::seen::{BrokerId, Seen};

/// Leaders and replicas on one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Load {
    leaders: usize,
    replicas: usize,
}

/// What brokers carry, and what a plan adds to it.
#[derive(Debug)]
pub(super) struct Loads<'a> {
    seen: &'a Seen,
    of_topic: BTreeMap<String, BTreeMap<BrokerId, Load>>,
    of_all: BTreeMap<BrokerId, Load>,
    /// How often a broker is the first to follow another: who falls heir to it when that one dies.
    heirs: BTreeMap<(String, BrokerId, BrokerId), usize>,
}

impl<'a> Loads<'a> {
    /// As it was seen.
    pub(super) fn of(seen: &'a Seen) -> Loads<'a> {
        let mut loads = Loads {
            seen,
            of_topic: BTreeMap::new(),
            of_all: BTreeMap::new(),
            heirs: BTreeMap::new(),
        };
        for (name, topic) in &seen.topics {
            for partition in &topic.partitions {
                loads.add(name, &partition.replicas, 0);
            }
        }
        loads
    }

    /// Replicas for a new partition, the first to lead it; as many as there are brokers for.
    pub(super) fn place(&mut self, topic: &str, replicas: u16) -> Vec<BrokerId> {
        let leader = self.seen.brokers.keys().copied().min_by_key(|broker| {
            let (own, all) = (self.own(topic, *broker), self.all(*broker));
            (own.leaders, all.leaders, own.replicas, self.bytes(*broker), *broker)
        });
        let mut chosen: Vec<BrokerId> = leader.into_iter().collect();
        self.add(topic, &chosen, 0);
        self.grow(topic, &mut chosen, usize::from(replicas));
        chosen
    }

    /// Adds followers until there are so many replicas, or no broker is left.
    pub(super) fn grow(&mut self, topic: &str, replicas: &mut Vec<BrokerId>, wanted: usize) {
        while replicas.len() < wanted {
            let free = self.seen.brokers.keys().filter(|broker| !replicas.contains(broker));
            let best = free.copied().min_by_key(|broker| {
                let (own, all) = (self.own(topic, *broker), self.all(*broker));
                let rack = self.seen.rack(*broker);
                let taken = replicas.iter().filter(|other| self.seen.rack(**other) == rack).count();
                let heir = self.heir(topic, replicas.first(), *broker);
                (taken, own.replicas, heir, all.replicas, self.bytes(*broker), *broker)
            });
            let Some(best) = best else { return };
            replicas.push(best);
            self.add(topic, replicas, replicas.len() - 1);
        }
    }

    /// Replicas of the topic that a broker has.
    pub(super) fn replicas(&self, topic: &str, broker: BrokerId) -> usize {
        self.own(topic, broker).replicas
    }

    /// The replica of the topic is taken off the broker.
    pub(super) fn take(&mut self, topic: &str, broker: BrokerId) {
        let own = self.of_topic.entry(topic.to_owned()).or_default().entry(broker).or_default();
        own.replicas = own.replicas.saturating_sub(1);
        let all = self.of_all.entry(broker).or_default();
        all.replicas = all.replicas.saturating_sub(1);
    }

    /// Counts a partition's replicas from the one at `from` on; the first of all leads.
    fn add(&mut self, topic: &str, replicas: &[BrokerId], from: usize) {
        let own = self.of_topic.entry(topic.to_owned()).or_default();
        for (index, broker) in replicas.iter().enumerate().skip(from) {
            for load in [own.entry(*broker).or_default(), self.of_all.entry(*broker).or_default()] {
                load.replicas += 1;
                load.leaders += usize::from(index == 0);
            }
        }
        if let (true, [leader, heir, ..]) = (from <= 1, replicas) {
            *self.heirs.entry((topic.to_owned(), *leader, *heir)).or_default() += 1;
        }
    }

    fn heir(&self, topic: &str, leader: Option<&BrokerId>, heir: BrokerId) -> usize {
        let pair = leader.map(|leader| (topic.to_owned(), *leader, heir));
        pair.and_then(|pair| self.heirs.get(&pair).copied()).unwrap_or_default()
    }

    fn own(&self, topic: &str, broker: BrokerId) -> Load {
        let own = self.of_topic.get(topic).and_then(|brokers| brokers.get(&broker));
        own.copied().unwrap_or_default()
    }

    fn all(&self, broker: BrokerId) -> Load {
        self.of_all.get(&broker).copied().unwrap_or_default()
    }

    fn bytes(&self, broker: BrokerId) -> u64 {
        self.seen.sizes.brokers.get(&broker).copied().unwrap_or_default()
    }
}
