//! Evens out what brokers carry of one topic, first who leads, then who has replicas. A partition
//! weighs what lies on its disks. Each move makes the sum of squares of the loads smaller, so it
//! ends; where it costs bytes, only a gap of a quarter of the mean is worth it. Pure.

use std::collections::BTreeMap;

use super::super::seen::{BrokerId, Seen, SeenPartition, SeenTopic, Spot};
use super::replicas::Moves;

/// Every partition weighs this besides its bytes: empty ones are counted, and a few bytes more on
/// one side are no reason to move anything.
const WEIGHT: u64 = 64 << 20;
/// A smaller partition is moved for a gap of more than two partitions.
const CHEAP_BYTES: u64 = 1 << 20;
/// What is left as it is, as a part of the mean load.
const TOLERATED: u64 = 4;

/// At most `room` moves.
pub(super) fn balance(seen: &Seen, name: &str, topic: &SeenTopic, room: usize) -> Moves {
    let mut draft = Draft {
        seen,
        parts: topic.numbered().map(|(id, p)| Part::of(seen, Spot::new(name, id), p)).collect(),
        moves: Moves::new(),
    };
    while draft.moves.len() < room && (draft.lead_elsewhere() || draft.lie_elsewhere()) {}
    draft.moves
}

struct Draft<'a> {
    seen: &'a Seen,
    parts: Vec<Part<'a>>,
    moves: Moves,
}

/// A partition as this plan would have it.
struct Part<'a> {
    spot: Spot,
    found: &'a SeenPartition,
    replicas: Vec<BrokerId>,
    weight: u64,
    is_cheap: bool,
    is_planned: bool,
}

/// What a change costs.
#[derive(Debug, Clone, Copy)]
enum Cost {
    /// Another leader.
    Election,
    /// Another replica.
    Copy,
}

impl<'a> Part<'a> {
    fn of(seen: &Seen, spot: Spot, found: &'a SeenPartition) -> Part<'a> {
        let bytes = seen.sizes.partitions.get(&spot).copied();
        Part {
            spot,
            found,
            replicas: found.replicas.clone(),
            weight: WEIGHT + bytes.unwrap_or_default(),
            is_cheap: bytes.is_some_and(|bytes| bytes < CHEAP_BYTES),
            is_planned: false,
        }
    }

    /// How wide a gap must be for the partition to cross it.
    fn threshold(&self, mean: u64, cost: Cost) -> u64 {
        let tolerated = match (self.is_cheap, cost) {
            (true, Cost::Election) => 0,
            (true, Cost::Copy) => WEIGHT,
            (false, _) => mean / TOLERATED,
        };
        self.weight + tolerated
    }
}

impl Draft<'_> {
    /// Puts another replica first where that evens out who leads; nothing is copied.
    fn lead_elsewhere(&mut self) -> bool {
        let loads = self.loads(|replicas| replicas.get(..1).unwrap_or_default());
        self.best(&loads, Cost::Election, |part, from, to| {
            let first = part.replicas.first() == Some(&from) && part.found.in_sync.contains(&to);
            let place = part.replicas.iter().position(|replica| *replica == to)?;
            let mut replicas = part.replicas.clone();
            replicas.swap(0, place);
            first.then_some(replicas)
        })
    }

    /// Puts a replica on another broker where that evens out who has how much.
    fn lie_elsewhere(&mut self) -> bool {
        let seen = self.seen;
        let loads = self.loads(|replicas| replicas);
        self.best(&loads, Cost::Copy, |part, from, to| {
            let place = part.replicas.iter().position(|replica| *replica == from)?;
            let leads = part.found.leader == Some(from) || place == 0;
            if part.replicas.contains(&to) || (leads && part.replicas.len() > 1) {
                return None;
            }
            let mut replicas = part.replicas.clone();
            replicas[place] = to;
            (seen.racks(&replicas).len() >= seen.racks(&part.replicas).len()).then_some(replicas)
        })
    }

    fn loads(&self, counted: fn(&[BrokerId]) -> &[BrokerId]) -> BTreeMap<BrokerId, u64> {
        let mut loads: BTreeMap<BrokerId, u64> =
            self.seen.brokers.keys().map(|broker| (*broker, 0)).collect();
        for part in &self.parts {
            for broker in counted(&part.replicas) {
                if let Some(load) = loads.get_mut(broker) {
                    *load += part.weight;
                }
            }
        }
        loads
    }

    /// Over the widest gap that a partition can cross, the one that levels it most.
    fn best(
        &mut self,
        loads: &BTreeMap<BrokerId, u64>,
        cost: Cost,
        changed: impl Fn(&Part<'_>, BrokerId, BrokerId) -> Option<Vec<BrokerId>>,
    ) -> bool {
        let count = u64::try_from(loads.len().max(1)).unwrap_or(1);
        let mean = loads.values().sum::<u64>() / count;
        let mut gaps: Vec<(u64, BrokerId, BrokerId)> = Vec::new();
        for (from, high) in loads {
            let lower = loads.iter().filter(|(_, low)| *low < high);
            gaps.extend(lower.map(|(to, low)| (high - low, *from, *to)));
        }
        gaps.sort_by(|a, b| b.cmp(a));
        for (gap, from, to) in gaps.into_iter().take_while(|(gap, ..)| *gap > WEIGHT) {
            let fits = |part: &&mut Part<'_>| !part.is_planned && gap > part.threshold(mean, cost);
            let crossing = self.parts.iter_mut().filter(fits).filter_map(|part| {
                let replicas = changed(part, from, to)?;
                Some((gap.abs_diff(2 * part.weight), part.spot.clone(), replicas, part))
            });
            let least = crossing.min_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            if let Some((_, spot, replicas, part)) = least {
                part.is_planned = true;
                part.replicas.clone_from(&replicas);
                self.moves.insert(spot, replicas);
                return true;
            }
        }
        false
    }
}
