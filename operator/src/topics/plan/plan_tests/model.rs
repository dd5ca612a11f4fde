//! A cluster on paper that takes steps as Kafka does, and holds each one to what it must not do.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::seen::{BrokerId, Moving, Seen, SeenPartition, SeenTopic, Spot};
use super::super::super::wanted::{IN_SYNC_MIN, TopicWanted};
use super::super::{Change, MOVES_MAX, Memory, Refusal, Step, What, said};
use tokio::time::Instant;

/// A cluster on paper.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) seen: Seen,
    /// Keys that it refuses.
    pub(super) refuses: BTreeSet<String>,
    /// Where moving partitions go.
    targets: BTreeMap<Spot, Vec<BrokerId>>,
}

pub(super) fn replicas(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

pub(super) fn topic(name: &str, count: u32, copies: u16, configs: &[(&str, &str)]) -> TopicWanted {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    TopicWanted {
        name: name.to_owned(),
        partitions: count,
        replicas: copies,
        configs: configs.iter().map(own).collect(),
        formerly: BTreeMap::new(),
    }
}

impl Model {
    pub(super) fn new(brokers: &[(i32, &str)]) -> Model {
        let rack = |rack: &str| (!rack.is_empty()).then(|| rack.to_owned());
        let brokers = brokers.iter().map(|(id, name)| (BrokerId(*id), rack(name))).collect();
        let seen = Seen { cluster: "c".to_owned(), brokers, ..Seen::default() };
        Model { seen, refuses: BTreeSet::new(), targets: BTreeMap::new() }
    }

    /// A topic with these replicas, all in sync, each partition led by its first.
    pub(super) fn put(&mut self, name: &str, partitions: &[&[i32]]) {
        let all = partitions.iter().map(|ids| partition(replicas(ids))).collect();
        let topic = self.seen.topics.entry(name.to_owned()).or_default();
        topic.partitions = all;
    }

    pub(super) fn part(&mut self, topic: &str, index: usize) -> &mut SeenPartition {
        &mut self.seen.topics.get_mut(topic).unwrap().partitions[index]
    }

    pub(super) fn set(&mut self, topic: &str, key: &str, value: &str) {
        let found = self.seen.topics.get_mut(topic).unwrap();
        found.configs.insert(key.to_owned(), value.to_owned());
        found.effective.insert(key.to_owned(), value.to_owned());
    }

    pub(super) fn inherit(&mut self, topic: &str, key: &str, value: &str) {
        let found = self.seen.topics.get_mut(topic).unwrap();
        found.effective.insert(key.to_owned(), value.to_owned());
    }

    /// Takes a step, or refuses it, and tells the memory so.
    pub(super) fn take(&mut self, step: &Step, memory: &mut Memory, now: Instant) {
        match step {
            Step::Create { topic, replicas, configs } => {
                let what = What::Create(topic.clone());
                if configs.keys().any(|key| self.refuses.contains(key)) {
                    memory.refused(what, refusal(format!("{configs:?}")), now);
                    memory.go_singly(topic, now);
                    return;
                }
                self.create(topic, replicas, configs);
                memory.taken(what, format!("{configs:?}"), now);
            }
            Step::Raise { topic, from, to } => self.raise(topic, *from, *to),
            Step::Configure { topic, changes } => self.configure(topic, changes, memory, now),
            Step::Move(moves) => {
                for (spot, to) in moves {
                    self.begin(spot, to);
                    memory.taken(What::Move(spot.clone()), said(to), now);
                }
                assert!(self.seen.moving.len() <= MOVES_MAX, "{:?}", self.seen.moving);
            }
            Step::Cancel(spots) => {
                for spot in spots {
                    self.cancel(spot);
                    memory.taken(What::Cancel(spot.clone()), String::new(), now);
                }
            }
            Step::Elect(spots) => spots.iter().for_each(|spot| self.elect(spot)),
        }
    }

    fn create(&mut self, name: &str, all: &[Vec<BrokerId>], configs: &BTreeMap<String, String>) {
        assert!(!self.seen.topics.contains_key(name), "{name} is there");
        all.iter().for_each(|replicas| self.may_have(replicas));
        let partitions = all.iter().map(|replicas| partition(replicas.clone())).collect();
        let topic = SeenTopic { partitions, configs: configs.clone(), effective: configs.clone() };
        self.seen.topics.insert(name.to_owned(), topic);
    }

    /// All partitions are empty, and the cluster says so.
    pub(super) fn measure(&mut self) {
        let spots = self.seen.topics.iter().flat_map(|(name, topic)| {
            topic.numbered().map(|(id, _)| (Spot::new(name, id), 0)).collect::<Vec<_>>()
        });
        self.seen.sizes.partitions = spots.collect();
    }

    /// Kafka places by itself, here all on the first brokers.
    fn raise(&mut self, name: &str, from: u32, to: u32) {
        let brokers: Vec<BrokerId> = self.seen.brokers.keys().copied().collect();
        let found = self.seen.topics.get_mut(name).unwrap();
        assert!(found.count() == from && from < to, "{name} from {from} to {to}");
        let copies = found.partitions[0].replicas.len().min(brokers.len());
        let added = (from..to).map(|_| partition(brokers[..copies].to_vec()));
        found.partitions.extend(added);
        if !self.seen.sizes.partitions.is_empty() {
            self.measure();
        }
    }

    fn configure(&mut self, name: &str, changes: &[Change], memory: &mut Memory, now: Instant) {
        let what = |change: &Change| What::Config(name.to_owned(), change.key.clone());
        let tried = |change: &Change| change.to.clone().unwrap_or_default();
        if changes.iter().any(|change| self.refuses.contains(&change.key)) {
            match changes {
                [change] => memory.refused(what(change), refusal(tried(change)), now),
                _ => memory.go_singly(name, now),
            }
            return;
        }
        let found = self.seen.topics.get_mut(name).unwrap();
        for change in changes {
            assert_eq!(found.configs.get(&change.key), change.was.as_ref());
            match &change.to {
                Some(value) => {
                    if change.key == IN_SYNC_MIN {
                        let before = asked(found);
                        let asked: usize = value.parse().unwrap();
                        let fewest = found.partitions.iter().map(|p| p.in_sync.len()).min();
                        assert!(asked <= before || Some(asked) <= fewest, "{name} would stop");
                    }
                    found.configs.insert(change.key.clone(), value.clone());
                    found.effective.insert(change.key.clone(), value.clone());
                }
                None => {
                    found.configs.remove(&change.key);
                    found.effective.remove(&change.key);
                }
            }
            memory.taken(what(change), tried(change), now);
        }
    }

    fn begin(&mut self, spot: &Spot, to: &[BrokerId]) {
        self.may_have(to);
        assert!(!self.seen.moving.contains_key(spot), "{spot} moves already");
        let racks = |of: &[BrokerId]| self.seen.racks(of).len();
        let before = self.seen.partition(spot).unwrap().clone();
        let asked = asked(&self.seen.topics[&spot.topic]);
        let kept = to.iter().filter(|r| before.in_sync.contains(r)).count();
        let leads = before.leader.is_some_and(|leader| to.contains(&leader));
        if to.len() < before.replicas.len() {
            assert!(kept >= asked.min(before.in_sync.len()), "{spot}: {before:?} to {to:?}");
        } else {
            assert!(racks(to) >= racks(&before.replicas), "{spot}: {before:?} to {to:?}");
        }
        assert!(
            leads || before.replicas.len() == 1,
            "{spot} loses its leader: {before:?} to {to:?}"
        );
        let adding: Vec<_> = to.iter().copied().filter(|r| !before.replicas.contains(r)).collect();
        let removing = before.replicas.iter().copied().filter(|r| !to.contains(r)).collect();
        let found = self.part(&spot.topic, usize::try_from(spot.partition.0).unwrap());
        found.replicas.extend(&adding);
        self.seen.moving.insert(spot.clone(), Moving { adding, removing });
        self.targets.insert(spot.clone(), to.to_vec());
    }

    fn cancel(&mut self, spot: &Spot) {
        self.targets.remove(spot);
        let moving = self.seen.moving.remove(spot).unwrap();
        let found = self.part(&spot.topic, usize::try_from(spot.partition.0).unwrap());
        found.replicas.retain(|replica| !moving.adding.contains(replica));
    }

    /// Time passes: what moves arrives, but not on brokers that are away.
    pub(super) fn arrive(&mut self) {
        for (spot, to) in std::mem::take(&mut self.targets) {
            if !to.iter().all(|broker| self.seen.serves(*broker)) {
                self.targets.insert(spot, to);
                continue;
            }
            self.seen.moving.remove(&spot);
            let found = self.part(&spot.topic, usize::try_from(spot.partition.0).unwrap());
            found.leader =
                found.leader.filter(|leader| to.contains(leader)).or(to.first().copied());
            found.in_sync = to.iter().copied().collect();
            found.replicas = to;
        }
    }

    fn elect(&mut self, spot: &Spot) {
        let found = self.part(&spot.topic, usize::try_from(spot.partition.0).unwrap());
        let first = found.preferred().unwrap();
        assert!(found.in_sync.contains(&first), "{spot}: {first} is behind");
        found.leader = Some(first);
    }

    /// Kafka takes brokers that serve, each once.
    fn may_have(&self, replicas: &[BrokerId]) {
        let apart: BTreeSet<&BrokerId> = replicas.iter().collect();
        assert!(!replicas.is_empty() && apart.len() == replicas.len(), "{replicas:?}");
        assert!(replicas.iter().all(|broker| self.seen.serves(*broker)), "{replicas:?}");
    }
}

fn asked(topic: &SeenTopic) -> usize {
    topic.effective.get(IN_SYNC_MIN).map_or(1, |text| text.parse().unwrap())
}

fn partition(replicas: Vec<BrokerId>) -> SeenPartition {
    let in_sync = replicas.iter().copied().collect();
    SeenPartition { leader: replicas.first().copied(), in_sync, replicas }
}

fn refusal(tried: String) -> Refusal {
    Refusal { tried, of_setting: true, why: "no".to_owned() }
}
