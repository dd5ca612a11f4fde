//! The placement planner: even by count over ready nodes, with the fewest moves. In: live nodes,
//! partitions as they stand, policy, time. Out: next records. Every partition is looked at
//! once, moves that are under way count as done, so that planning twice changes nothing. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName, PartitionId};
use jiff::{SignedDuration, Timestamp};

use super::{Member, Placed, Policy, Step, StepCause};

/// Plans the next record of every partition that needs one.
pub fn plan_placement(
    nodes: &[Member],
    partitions: &BTreeMap<PartitionId, Placed>,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Step> {
    let mut planner = Planner::new(nodes, policy, now);
    for (id, placed) in partitions {
        planner.look(*id, placed);
    }
    planner.share_out();
    planner.place_ownerless();
    planner.drain();
    if !policy.paused {
        planner.pins();
        planner.balance();
    }
    planner.steps
}

/// Where a partition is, counting moves under way as done.
#[derive(Debug, Clone)]
struct Home {
    owner: Owner,
    epoch: Epoch,
    /// Already on the move, or its next record is already planned.
    settled: bool,
}

/// A partition that needs an owner at once.
struct Ownerless {
    id: PartitionId,
    epoch: Epoch,
    cause: StepCause,
    /// Where it had better go: the destination of its move, or its node's new life.
    rather: Option<NodeName>,
}

struct Planner<'a> {
    live: BTreeMap<&'a NodeName, &'a Member>,
    policy: &'a Policy,
    now: Timestamp,
    homes: BTreeMap<PartitionId, Home>,
    /// Partitions per ready node, moves counted as done.
    counts: BTreeMap<NodeName, usize>,
    /// What each ready node is to end with: the larger share for those that have most already.
    shares: BTreeMap<NodeName, usize>,
    ownerless: Vec<Ownerless>,
    /// Moves that are under way for balance or a pin.
    moving: usize,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn new(nodes: &'a [Member], policy: &'a Policy, now: Timestamp) -> Planner<'a> {
        let ready = nodes.iter().filter(|node| node.mode == NodeMode::Ready);
        Planner {
            live: nodes.iter().map(|node| (&node.owner.node, node)).collect(),
            policy,
            now,
            homes: BTreeMap::new(),
            counts: ready.map(|node| (node.owner.node.clone(), 0)).collect(),
            shares: BTreeMap::new(),
            ownerless: Vec::new(),
            moving: 0,
            steps: Vec::new(),
        }
    }

    fn lives(&self, owner: &Owner) -> bool {
        self.live.get(&owner.node).is_some_and(|member| member.owner == *owner)
    }

    fn is_ready(&self, node: &NodeName) -> bool {
        self.counts.contains_key(node)
    }

    fn look(&mut self, id: PartitionId, placed: &Placed) {
        match placed {
            Placed::Nowhere { epoch } => {
                let cause = StepCause::First;
                self.ownerless.push(Ownerless { id, epoch: *epoch, cause, rather: None });
            }
            Placed::Recorded(PartitionRecord::Parked { .. }) => {}
            Placed::Recorded(PartitionRecord::Own { owner, epoch }) => {
                if self.lives(owner) {
                    self.settle(id, owner, *epoch, false);
                } else {
                    self.lost(id, *epoch, owner.node.clone());
                }
            }
            Placed::Recorded(PartitionRecord::Mov { owner, epoch, to, deadline, .. }) => {
                let arrives = self.lives(to) && self.is_ready(&to.node);
                if !self.lives(owner) {
                    let rather = if arrives { &to.node } else { &owner.node };
                    self.lost(id, *epoch, rather.clone());
                } else if !arrives {
                    self.call_off(id, owner, *epoch, StepCause::NoDestination);
                } else if *deadline <= self.now {
                    self.call_off(id, owner, *epoch, StepCause::Overdue);
                } else {
                    self.moving += 1;
                    self.settle(id, to, *epoch, true);
                }
            }
        }
    }

    /// Notes where the partition is.
    fn settle(&mut self, id: PartitionId, owner: &Owner, epoch: Epoch, settled: bool) {
        if let Some(count) = self.counts.get_mut(&owner.node) {
            *count += 1;
        }
        self.homes.insert(id, Home { owner: owner.clone(), epoch, settled });
    }

    fn lost(&mut self, id: PartitionId, epoch: Epoch, rather: NodeName) {
        if self.policy.hold.is_none_or(|until| until <= self.now) {
            let cause = StepCause::Forced;
            self.ownerless.push(Ownerless { id, epoch, cause, rather: Some(rather) });
        }
    }

    /// Back to the owner, who never gave it up: the epoch stays.
    fn call_off(&mut self, id: PartitionId, owner: &Owner, epoch: Epoch, cause: StepCause) {
        self.settle(id, owner, epoch, true);
        let record = PartitionRecord::Own { owner: owner.clone(), epoch };
        self.steps.push(Step { partition: id, cause, record });
    }

    /// Equal shares leave a remainder, which goes to those that have most: they need not give it.
    fn share_out(&mut self) {
        let Some(nodes) = std::num::NonZeroUsize::new(self.counts.len()) else { return };
        let all = self.homes.len() + self.ownerless.len();
        let (share, larger) = (all / nodes, all % nodes);
        let mut fullest_first: Vec<_> = self.counts.iter().collect();
        fullest_first.sort_by_key(|(node, count)| (std::cmp::Reverse(**count), *node));
        let shares = fullest_first
            .iter()
            .enumerate()
            .map(|(place, (node, _))| ((*node).clone(), share + usize::from(place < larger)));
        self.shares = shares.collect();
    }

    fn place_ownerless(&mut self) {
        let mut waiting = std::mem::take(&mut self.ownerless);
        // Wishes first: what is placed by count only can go around them.
        waiting.sort_by_key(|partition| !self.pinned(partition.id));
        for Ownerless { id, epoch, cause, rather } in waiting {
            let pin = self.policy.pins.get(&id).filter(|node| self.is_ready(node)).cloned();
            let rather = rather.filter(|node| self.is_ready(node) && !self.is_full(node));
            let Some(node) = pin.or(rather).or_else(|| self.least(None)) else { return };
            let owner = self.live[&node].owner.clone();
            self.settle(id, &owner, epoch.next(), true);
            let record = PartitionRecord::Own { owner, epoch: epoch.next() };
            self.steps.push(Step { partition: id, cause, record });
        }
    }

    /// Draining nodes lose theirs, whatever the budget.
    fn drain(&mut self) {
        let leaving: Vec<PartitionId> = self
            .homes
            .iter()
            .filter(|(_, home)| !home.settled && !self.is_ready(&home.owner.node))
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            let pin = self.policy.pins.get(&id).filter(|node| self.is_ready(node)).cloned();
            let Some(node) = pin.or_else(|| self.least(None)) else { return };
            self.order(id, &node, StepCause::Drain);
        }
    }

    fn pins(&mut self) {
        for (id, node) in &self.policy.pins {
            let Some(home) = self.homes.get(id) else { continue };
            let movable = !home.settled && !self.rests(*id) && home.owner.node != *node;
            if movable && self.is_ready(node) && self.moving < self.policy.moves {
                self.moving += 1;
                self.order(*id, node, StepCause::Pin);
            }
        }
    }

    /// From the fullest node that can give to the emptiest, until none is two apart.
    fn balance(&mut self) {
        let mut movable: BTreeMap<NodeName, Vec<PartitionId>> = BTreeMap::new();
        for (id, home) in &self.homes {
            if !home.settled && !self.rests(*id) && !self.pinned(*id) {
                movable.entry(home.owner.node.clone()).or_default().push(*id);
            }
        }
        while self.moving < self.policy.moves {
            let givers = movable.iter().filter(|(_, ids)| !ids.is_empty());
            let counted = givers.filter_map(|(node, _)| Some((*self.counts.get(node)?, node)));
            // Of equally full nodes the first by name, so that the plan does not depend on chance.
            let fullest = counted.max_by(|(a, x), (b, y)| a.cmp(b).then(y.cmp(x)));
            let Some((most, from)) = fullest.map(|(count, node)| (count, node.clone())) else {
                return;
            };
            let Some(to) = self.least(Some(&from)) else { return };
            if most < self.counts[&to] + 2 {
                return;
            }
            let Some(id) = movable.get_mut(&from).and_then(Vec::pop) else { return };
            self.moving += 1;
            self.order(id, &to, StepCause::Balance);
        }
    }

    /// Orders the live owner of a partition to hand it over.
    fn order(&mut self, id: PartitionId, node: &NodeName, cause: StepCause) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        let to = self.live[node].owner.clone();
        let drain = SignedDuration::try_from(self.policy.drain).unwrap_or(SignedDuration::MAX);
        let record = PartitionRecord::Mov {
            owner: home.owner.clone(),
            epoch: home.epoch,
            to: to.clone(),
            since: self.now,
            deadline: self.now.checked_add(drain).unwrap_or(Timestamp::MAX),
        };
        let from = std::mem::replace(&mut home.owner, to);
        home.settled = true;
        self.counts.entry(from.node).and_modify(|count| *count -= 1);
        self.counts.entry(node.clone()).and_modify(|count| *count += 1);
        self.steps.push(Step { partition: id, cause, record });
    }

    /// The ready node with the fewest partitions, of equals one that lacks some, then the first
    /// by name.
    fn least(&self, but: Option<&NodeName>) -> Option<NodeName> {
        let others = self.counts.iter().filter(|(node, _)| Some(*node) != but);
        let least = others.min_by_key(|(node, count)| (self.is_full(node), **count, *node));
        least.map(|(node, _)| node.clone())
    }

    fn is_full(&self, node: &NodeName) -> bool {
        self.counts.get(node) >= self.shares.get(node)
    }

    fn pinned(&self, id: PartitionId) -> bool {
        self.policy.pins.get(&id).is_some_and(|node| self.is_ready(node))
    }

    fn rests(&self, id: PartitionId) -> bool {
        self.policy.resting.get(&id).is_some_and(|until| *until > self.now)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
