//! Judges a plan before it is committed, by rules of its own: it shares types with the planner but
//! none of its code, so that one mistake is not made twice. In: the scene and the steps. Out:
//! what is wrong with them; nothing, or the plan must not land. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{NodeName, PartitionId};

use super::{Aim, Health, Member, Placed, Scene, Step};

/// Something that a plan must never do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// To which partition, where it is about one.
    pub partition: Option<PartitionId>,
    /// What.
    pub what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(id) => write!(f, "partition {id}: {}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// What is wrong with the steps.
pub fn check(scene: &Scene<'_>, steps: &[Step]) -> Vec<Violation> {
    let mut judge = Judge {
        scene,
        nodes: scene.nodes.iter().map(|node| (&node.owner.node, node)).collect(),
        found: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    for step in steps {
        let id = step.partition;
        if !seen.insert(id) {
            judge.wrong(id, "two next records in one plan");
        }
        match scene.partitions.get(&id) {
            Some(before) => judge.step(id, before, &step.record),
            None => judge.wrong(id, "is no partition of the hunt"),
        }
    }
    judge.all_owned(steps);
    judge.voluntary(steps);
    judge.found
}

struct Judge<'a> {
    scene: &'a Scene<'a>,
    nodes: HashMap<&'a NodeName, &'a Member>,
    found: Vec<Violation>,
}

impl<'a> Judge<'a> {
    fn wrong(&mut self, id: PartitionId, what: &'static str) {
        self.found.push(Violation { partition: Some(id), what });
    }

    fn require(&mut self, id: PartitionId, holds: bool, what: &'static str) {
        if !holds {
            self.wrong(id, what);
        }
    }

    fn member(&self, owner: &Owner) -> Option<&'a Member> {
        self.nodes.get(&owner.node).copied().filter(|member| member.owner == *owner)
    }

    fn is_pin(&self, id: PartitionId, to: &Owner) -> bool {
        self.scene.policy.pins.get(&id) == Some(&to.node)
    }

    fn is_held(&self) -> bool {
        self.scene.policy.hold.is_some_and(|until| until > self.scene.now)
    }

    fn step(&mut self, id: PartitionId, before: &Placed, after: &PartitionRecord) {
        let was = match before {
            Placed::Recorded(record) => Some(record),
            Placed::Nowhere { .. } => None,
        };
        let old_epoch = match before {
            Placed::Recorded(record) => record.epoch(),
            Placed::Nowhere { epoch } => *epoch,
        };
        let old_owner = was.and_then(PartitionRecord::owner);
        let lives = old_owner.is_some_and(|owner| self.member(owner).is_some());
        match after {
            PartitionRecord::Own { owner, epoch } if lives => {
                let same = old_owner == Some(owner) && *epoch == old_epoch;
                let moved = matches!(was, Some(PartitionRecord::Mov { .. }));
                self.require(id, same && moved, "is taken from a live owner");
            }
            PartitionRecord::Own { owner, epoch } => {
                let new = *epoch == old_epoch.next() && *epoch > old_epoch;
                self.require(id, new, "a new owner in no new epoch");
                let dead = old_owner.is_some();
                self.require(id, !(dead && self.is_held()), "is forced while the brake holds");
                if matches!(was, Some(PartitionRecord::Parked { .. })) {
                    let freed = self.scene.policy.freed.contains(&id);
                    self.require(id, freed || self.is_pin(id, owner), "is unparked without a word");
                }
                self.destination(id, owner);
            }
            PartitionRecord::Mov { owner, epoch, to, since, deadline } => {
                let serves = matches!(was, Some(PartitionRecord::Own { .. })) && lives;
                self.require(id, serves, "is ordered off somebody who does not serve it");
                self.require(id, old_owner == Some(owner), "is ordered off another than its owner");
                self.require(id, *epoch == old_epoch, "the order changes the epoch");
                self.require(id, owner.node != to.node, "is moved to where it is");
                let timely = *since == self.scene.now && deadline > since;
                self.require(id, timely, "a deadline that cannot be kept");
                self.destination(id, to);
            }
            PartitionRecord::Parked { epoch, .. } => {
                // There is no epoch after it that anybody could have.
                let last = old_epoch.is_last();
                let ownerless = (old_owner.is_some() || last) && !lives;
                self.require(id, ownerless, "is parked under its owner");
                self.require(id, *epoch == old_epoch, "is parked in another epoch");
                self.require(id, last || !self.is_held(), "is parked while the brake holds");
                let poison = last || self.scene.policy.poison.contains(&id);
                self.require(id, poison, "is parked without a reason");
            }
        }
    }

    fn destination(&mut self, id: PartitionId, to: &Owner) {
        let ready = |member: &&Member| member.mode == NodeMode::Ready;
        let member = self.member(to).filter(ready);
        self.require(id, member.is_some(), "goes to a node that takes none");
        let any_well = self.nodes.values().any(|m| ready(m) && m.health == Health::Well);
        let well = member.is_none_or(|member| member.health == Health::Well);
        let pin = self.is_pin(id, to);
        self.require(id, well || !any_well || pin, "goes to a node that is not well");
    }

    /// Nobody is left without an owner while there is a node to have it.
    fn all_owned(&mut self, steps: &[Step]) {
        if !self.nodes.values().any(|member| member.mode == NodeMode::Ready) {
            return;
        }
        let next: BTreeMap<PartitionId, &PartitionRecord> =
            steps.iter().map(|step| (step.partition, &step.record)).collect();
        for (id, before) in self.scene.partitions {
            let was = match before {
                Placed::Recorded(record) => Some(record),
                Placed::Nowhere { .. } => None,
            };
            let held = self.is_held() && was.is_some_and(|record| record.owner().is_some());
            let owned = match next.get(id).copied().or(was) {
                Some(PartitionRecord::Parked { .. }) => true,
                Some(record) => record.owner().is_some_and(|owner| self.member(owner).is_some()),
                None => false,
            };
            self.require(*id, owned || held, "is left without an owner");
        }
    }

    /// Moves that nothing forces keep to pause, budget, rest and the number at the same time.
    fn voluntary(&mut self, steps: &[Step]) {
        let policy = self.scene.policy;
        let (mut ends, mut budgeted): (BTreeSet<&NodeName>, Vec<f64>) = Default::default();
        let is_well = |m: &Member| m.mode == NodeMode::Ready && m.health == Health::Well;
        let any_well = self.scene.nodes.iter().any(is_well);
        for step in steps {
            let PartitionRecord::Mov { owner, to, .. } = &step.record else { continue };
            let Some(from) = self.member(owner).filter(|from| from.mode == NodeMode::Ready) else {
                continue;
            };
            let id = step.partition;
            self.require(id, !policy.paused, "moves although placement is paused");
            let rests = policy.resting.get(&id).is_some_and(|until| *until > self.scene.now);
            self.require(id, !rests, "moves although it is to rest");
            ends.extend([&owner.node, &to.node]);
            if self.is_pin(id, to) {
                continue;
            }
            // Where no node is well, slow ones are as good as any.
            let slow = from.health == Health::Slow && any_well;
            self.require(id, slow || policy.aim != Aim::Nothing, "moves although nothing is known");
            if slow || policy.aim == Aim::Load {
                self.require(id, !policy.cooling.contains(&id), "moves again too soon");
                budgeted.push(self.scene.costs.of(id));
            }
        }
        self.budget(&budgeted);
        if ends.is_empty() {
            return;
        }
        let in_flight = self.in_flight(steps);
        let busy = ends.iter().any(|node| in_flight.get(*node) > Some(&policy.moves));
        if busy {
            let what = "too many partitions of one node on the move";
            self.found.push(Violation { partition: None, what });
        }
    }

    /// The last move may go over the cost, because it was begun below it.
    fn budget(&mut self, costs: &[f64]) {
        let Some((_, before_last)) = costs.split_last() else { return };
        let left = self.scene.policy.left;
        if costs.len() > left.partitions || before_last.iter().sum::<f64>() > left.cost {
            let what = "moves more than the round's budget";
            self.found.push(Violation { partition: None, what });
        }
    }

    fn in_flight(&self, steps: &[Step]) -> BTreeMap<&NodeName, usize> {
        let mut records: BTreeMap<PartitionId, &PartitionRecord> = BTreeMap::new();
        for (id, placed) in self.scene.partitions {
            if let Placed::Recorded(record) = placed {
                records.insert(*id, record);
            }
        }
        records.extend(steps.iter().map(|step| (step.partition, &step.record)));
        let mut count = BTreeMap::new();
        for record in records.values() {
            // What a dead node was to hand over waits for the brake, not for a hand-over.
            if let PartitionRecord::Mov { owner, to, .. } = record
                && self.member(owner).is_some()
            {
                let nodes = [owner, to].into_iter().filter_map(|end| self.member(end));
                nodes.for_each(|member| *count.entry(&member.owner.node).or_default() += 1);
            }
        }
        count
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
