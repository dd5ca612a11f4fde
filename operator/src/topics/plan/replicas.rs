//! Who is to have each partition: as many replicas as wanted, on as many racks as there are, evenly.
//! A few partitions at a time, with a rest after they began; who leads a partition keeps it; and nobody is taken away whose going
//! would leave fewer in sync than an append asks for. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::seen::{BrokerId, Seen, SeenPartition, SeenTopic, Spot};
use super::super::wanted::{IN_SYNC_MIN, TopicWanted, TopicsWanted};
use super::balance::balance;
use super::loads::Loads;
use super::{MOVES_MAX, Memory, Plan, Progress, Trouble, What};

/// A move to a broker that is away for so long is given up, so that others go on: longer than a
/// broker takes to start, also one that reads its log again after it was killed.
pub(super) const AWAITED_MAX: Duration = Duration::from_secs(300);

/// Partitions to be reassigned now, each with its replicas to be.
pub(super) type Moves = BTreeMap<Spot, Vec<BrokerId>>;

/// The moves that begin now. Tells how far they are, and what stands in the way.
pub(super) fn moves<'a>(
    wanted: &TopicsWanted,
    (seen, memory): (&'a Seen, &'a Memory),
    now: Instant,
    loads: Loads<'a>,
    plan: &mut Plan,
) -> Moves {
    let moves = Moves::new();
    let mut draft =
        Draft { seen, memory, now, loads, moves, rests: memory.rests(now), held: false };
    for topic in &wanted.topics {
        if let Some(found) = seen.topics.get(&topic.name) {
            draft.resize(topic, found, plan);
        }
    }
    if seen.moving.is_empty() && draft.moves.is_empty() && !draft.held {
        for topic in &wanted.topics {
            draft.spread(topic, plan);
        }
    } else {
        told_as_spreading(wanted, seen, plan);
    }
    draft.moves
}

/// Moves that wait for a broker that has been away for long: they take the place of others.
pub(super) fn hopeless(seen: &Seen, memory: &Memory, now: Instant) -> BTreeSet<Spot> {
    let is_gone = |broker: &BrokerId| {
        let since = memory.since_awaited(*broker);
        since.is_some_and(|since| now.saturating_duration_since(since) >= AWAITED_MAX)
    };
    let waiting = seen.moving.iter().filter(|(_, moving)| moving.adding.iter().any(is_gone));
    let spots = waiting.map(|(spot, _)| spot.clone());
    spots.filter(|spot| memory.may_try(&What::Cancel(spot.clone()), "", now)).collect()
}

struct Draft<'a> {
    seen: &'a Seen,
    memory: &'a Memory,
    now: Instant,
    loads: Loads<'a>,
    moves: Moves,
    /// Some have begun just now.
    rests: bool,
    /// Others would begin, but for that.
    held: bool,
}

impl Draft<'_> {
    fn has_room(&self) -> bool {
        self.seen.moving.len() + self.moves.len() < MOVES_MAX
    }

    /// Brings each partition to the wanted number of replicas, on as many racks as can be.
    fn resize(&mut self, topic: &TopicWanted, found: &SeenTopic, plan: &mut Plan) {
        let wanted = usize::from(topic.replicas);
        let brokers = self.seen.brokers.len();
        let (mut done, mut under_way) = (0, 0);
        for (id, partition) in found.numbered() {
            let spot = Spot::new(&topic.name, id);
            if self.seen.moving.contains_key(&spot) {
                under_way += 1;
                continue;
            }
            let short = partition.replicas.len() < wanted;
            done += usize::from(partition.replicas.len() == wanted);
            if !self.is_calm(partition) || (short && brokers < wanted) || !self.has_room() {
                continue;
            }
            if self.rests && partition.replicas.len() != wanted {
                self.held = true;
                continue;
            }
            let target = match partition.replicas.len().cmp(&wanted) {
                Ordering::Less => self.grown(topic, partition),
                Ordering::Greater => self.shrunk(topic, found, partition),
                Ordering::Equal => self.on_more_racks(topic, partition),
            };
            under_way += usize::from(self.begin(spot, partition, target));
        }
        let of = found.partitions.len();
        if brokers < wanted && done < of {
            let (topic, wanted) = (topic.name.clone(), topic.replicas);
            plan.troubles.push(Trouble::TooFewBrokers { topic, wanted, brokers });
        }
        if done + self.spreading(topic) < of {
            let (topic, wanted) = (topic.name.clone(), topic.replicas);
            plan.progress.push(Progress::Replicas { topic, wanted, done, of, under_way });
        }
    }

    /// Partitions of the topic that move and keep their number of replicas.
    fn spreading(&self, topic: &TopicWanted) -> usize {
        spreading(topic, self.seen)
    }

    /// Evens the load out that the brokers have of the topic.
    fn spread(&mut self, topic: &TopicWanted, plan: &mut Plan) {
        let Some(found) = self.seen.topics.get(&topic.name) else { return };
        let wanted = usize::from(topic.replicas);
        let settled = |p: &SeenPartition| p.replicas.len() == wanted && self.is_calm(p);
        if !found.partitions.iter().all(settled) {
            return;
        }
        let room = MOVES_MAX.saturating_sub(self.moves.len());
        for (spot, replicas) in balance(self.seen, &topic.name, found, room) {
            if self.memory.may_try(&What::Move(spot.clone()), &said(&replicas), self.now) {
                self.moves.insert(spot, replicas);
            }
        }
        let under_way = self.moves.keys().filter(|spot| spot.topic == topic.name).count();
        if under_way > 0 {
            plan.progress.push(Progress::Spreading { topic: topic.name.clone(), under_way });
        }
    }

    /// All who have the partition serve, and somebody leads it.
    fn is_calm(&self, partition: &SeenPartition) -> bool {
        partition.leader.is_some() && partition.replicas.iter().all(|r| self.seen.serves(*r))
    }

    fn begin(&mut self, spot: Spot, partition: &SeenPartition, target: Vec<BrokerId>) -> bool {
        let what = What::Move(spot.clone());
        let begins =
            target != partition.replicas && self.memory.may_try(&what, &said(&target), self.now);
        if begins {
            self.moves.insert(spot, target);
        }
        begins
    }

    fn grown(&mut self, topic: &TopicWanted, partition: &SeenPartition) -> Vec<BrokerId> {
        let mut replicas = partition.replicas.clone();
        self.loads.grow(&topic.name, &mut replicas, usize::from(topic.replicas));
        replicas
    }

    /// Without those that can be spared best, one after the other; the leader never.
    fn shrunk(
        &mut self,
        topic: &TopicWanted,
        found: &SeenTopic,
        partition: &SeenPartition,
    ) -> Vec<BrokerId> {
        let asked = found.effective.get(IN_SYNC_MIN).and_then(|text| text.parse().ok());
        let asked: usize = asked.unwrap_or(1).max(topic.in_sync_min());
        let mut replicas = partition.replicas.clone();
        while replicas.len() > usize::from(topic.replicas) {
            let spare = replicas.iter().copied().filter(|r| Some(*r) != partition.leader);
            let most = spare.max_by_key(|r| {
                let same_rack =
                    replicas.iter().filter(|o| self.seen.rack(**o) == self.seen.rack(*r));
                let behind = !partition.in_sync.contains(r);
                let preferred = partition.preferred() == Some(*r);
                (behind, !preferred, same_rack.count(), self.loads.replicas(&topic.name, *r), *r)
            });
            let Some(most) = most else { break };
            replicas.retain(|replica| *replica != most);
            self.loads.take(&topic.name, most);
        }
        let in_sync = replicas.iter().filter(|r| partition.in_sync.contains(r)).count();
        if in_sync < asked { partition.replicas.clone() } else { replicas }
    }

    /// With one that shares its rack replaced, where a rack has none yet.
    fn on_more_racks(&mut self, topic: &TopicWanted, partition: &SeenPartition) -> Vec<BrokerId> {
        let replicas = &partition.replicas;
        let has = self.seen.racks(replicas).len();
        let could = self.seen.racks(self.seen.brokers.keys()).len().min(replicas.len());
        if has >= could {
            return replicas.clone();
        }
        let shares = |r: &&BrokerId| {
            let rack = self.seen.rack(**r);
            replicas.iter().filter(|other| self.seen.rack(**other) == rack).count() > 1
        };
        let moved = replicas.iter().rev().filter(|r| Some(**r) != partition.leader).find(shares);
        let Some(moved) = moved.copied() else { return replicas.clone() };
        let mut others: Vec<BrokerId> = replicas.iter().copied().filter(|r| *r != moved).collect();
        self.loads.take(&topic.name, moved);
        self.loads.grow(&topic.name, &mut others, replicas.len());
        in_place(replicas, moved, &others)
    }
}

/// The same order with the newcomer where the other one was, so that who is to lead stays so.
fn in_place(replicas: &[BrokerId], moved: BrokerId, others: &[BrokerId]) -> Vec<BrokerId> {
    let newcomer = others.iter().find(|r| !replicas.contains(r)).copied().unwrap_or(moved);
    replicas.iter().map(|r| if *r == moved { newcomer } else { *r }).collect()
}

/// Partitions of the topic that move to other brokers and keep their number of replicas.
fn spreading(topic: &TopicWanted, seen: &Seen) -> usize {
    let of_topic = seen.moving.iter().filter(|(spot, _)| spot.topic == topic.name);
    let keeps = of_topic.filter(|(spot, moving)| {
        let all = seen.partition(spot).map_or(0, |partition| partition.replicas.len());
        let before = all.saturating_sub(moving.adding.len());
        before == usize::from(topic.replicas) && moving.adding.len() == moving.removing.len()
    });
    keeps.count()
}

fn told_as_spreading(wanted: &TopicsWanted, seen: &Seen, plan: &mut Plan) {
    for topic in &wanted.topics {
        let under_way = spreading(topic, seen);
        if under_way > 0 {
            plan.progress.push(Progress::Spreading { topic: topic.name.clone(), under_way });
        }
    }
}

/// Replicas as text, to tell one try from another.
pub(crate) fn said(replicas: &[BrokerId]) -> String {
    replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
