//! A plan in the making: where each partition is, moves under way and planned ones counted as
//! done, and what each node carries then. The strategies read and change it. Pure.

use std::collections::HashMap;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName, PartitionId};
use jiff::{SignedDuration, Timestamp};

use super::{Aim, Budget, Health, Member, Placed, Scene, Step, StepCause};

/// Why nobody can have a partition whose epoch is the last.
const LAST_EPOCH: &str = "its epoch, written by hand, is the last that there is, so nobody can \
    take it over; to have it served again, delete this record and restart the operator";

/// A live node and what it carries.
pub(super) struct Place<'a> {
    pub(super) member: &'a Member,
    pub(super) ready: bool,
    /// Partitions may be given to it.
    pub(super) takes: bool,
    /// It is kept for one hot partition: others go there only for want of any other.
    pub(super) home: bool,
    pub(super) count: usize,
    pub(super) cost: f64,
    /// Partitions that it is handing over or taking over.
    pub(super) in_flight: usize,
    /// What it is to end with when balance goes by number.
    pub(super) share: usize,
}

impl Place<'_> {
    pub(super) fn utilisation(&self) -> f64 {
        self.cost / self.member.weight
    }

    /// What it would be with so much more or less.
    pub(super) fn with(&self, cost: f64) -> f64 {
        (self.cost + cost) / self.member.weight
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= self.share
    }
}

/// A partition with a live owner.
pub(super) struct Spot {
    pub(super) id: PartitionId,
    /// Index of the place where it is or will be.
    pub(super) at: usize,
    pub(super) epoch: Epoch,
    /// Already on the move, or its next record is already planned.
    pub(super) settled: bool,
    /// Stays for balance's sake: others make room for it.
    pub(super) fixed: bool,
    pub(super) cost: f64,
}

/// A partition that needs an owner at once.
pub(super) struct Ownerless {
    pub(super) id: PartitionId,
    pub(super) epoch: Epoch,
    pub(super) cause: StepCause,
    /// Where it had better go: the destination of its move, or its node's new life.
    pub(super) rather: Option<NodeName>,
    pub(super) cost: f64,
}

pub(super) struct Draft<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) places: Vec<Place<'a>>,
    pub(super) spots: Vec<Spot>,
    pub(super) ownerless: Vec<Ownerless>,
    pub(super) steps: Vec<Step>,
    pub(super) left: Budget,
    by_name: HashMap<&'a NodeName, usize>,
}

impl<'a> Draft<'a> {
    /// Looks at every partition once.
    pub(super) fn new(scene: Scene<'a>) -> Draft<'a> {
        let mut members: Vec<&Member> = scene.nodes.iter().collect();
        // By name, so that the plan does not depend on chance.
        members.sort_by_key(|member| &member.owner.node);
        let any_well =
            members.iter().any(|m| m.mode == NodeMode::Ready && m.health == Health::Well);
        let place = |member: &&'a Member| {
            let ready = member.mode == NodeMode::Ready;
            let takes = ready && (member.health == Health::Well || !any_well);
            Place { member, ready, takes, home: false, count: 0, cost: 0.0, in_flight: 0, share: 0 }
        };
        let mut draft = Draft {
            scene,
            places: members.iter().map(place).collect(),
            spots: Vec::with_capacity(scene.partitions.len()),
            ownerless: Vec::new(),
            steps: Vec::new(),
            left: scene.policy.left,
            by_name: members.iter().enumerate().map(|(i, m)| (&m.owner.node, i)).collect(),
        };
        for (id, placed) in scene.partitions {
            draft.look(*id, placed);
        }
        draft
    }

    fn look(&mut self, id: PartitionId, placed: &Placed) {
        match placed {
            Placed::Nowhere { epoch } => self.want(id, *epoch, StepCause::First, None),
            Placed::Recorded(PartitionRecord::Parked { epoch, .. }) => {
                if epoch.is_last() {
                    return;
                }
                if self.scene.policy.freed.contains(&id) || self.pin(id).is_some() {
                    self.want(id, *epoch, StepCause::Freed, None);
                }
            }
            Placed::Recorded(PartitionRecord::Own { owner, epoch }) => match self.living(owner) {
                Some(at) => self.settle(id, at, *epoch, false),
                None => self.lost(id, *epoch, owner.node.clone()),
            },
            Placed::Recorded(PartitionRecord::Mov { owner, epoch, to, deadline, .. }) => {
                let arrives = self.living(to).filter(|at| self.places[*at].ready);
                match (self.living(owner), arrives) {
                    (None, Some(_)) => self.lost(id, *epoch, to.node.clone()),
                    (None, None) => self.lost(id, *epoch, owner.node.clone()),
                    (Some(from), None) => {
                        self.call_off(id, from, *epoch, StepCause::NoDestination);
                    }
                    (Some(from), Some(_)) if *deadline <= self.scene.now => {
                        self.call_off(id, from, *epoch, StepCause::Overdue);
                    }
                    (Some(from), Some(at)) => {
                        self.places[from].in_flight += 1;
                        self.places[at].in_flight += 1;
                        self.settle(id, at, *epoch, true);
                    }
                }
            }
        }
    }

    /// The place of that very life of the node, if it lives.
    fn living(&self, owner: &Owner) -> Option<usize> {
        let at = *self.by_name.get(&owner.node)?;
        (self.places[at].member.owner == *owner).then_some(at)
    }

    /// The ready place of that name.
    pub(super) fn ready(&self, node: &NodeName) -> Option<usize> {
        self.by_name.get(node).copied().filter(|at| self.places[*at].ready)
    }

    /// Where a pin wants the partition, if that node is ready.
    pub(super) fn pin(&self, id: PartitionId) -> Option<usize> {
        self.scene.policy.pins.get(&id).and_then(|node| self.ready(node))
    }

    pub(super) fn rests(&self, id: PartitionId) -> bool {
        self.scene.policy.resting.get(&id).is_some_and(|until| *until > self.scene.now)
    }

    /// May move for load or off a slow node.
    pub(super) fn is_free(&self, spot: &Spot) -> bool {
        !spot.settled
            && !self.rests(spot.id)
            && !self.scene.policy.cooling.contains(&spot.id)
            && self.pin(spot.id).is_none()
    }

    /// Whether the node may have one more on the move.
    pub(super) fn may_move(&self, at: usize) -> bool {
        self.places[at].in_flight < self.scene.policy.moves
    }

    fn want(&mut self, id: PartitionId, epoch: Epoch, cause: StepCause, rather: Option<NodeName>) {
        if epoch.is_last() {
            let record = PartitionRecord::Parked { epoch, reason: LAST_EPOCH.to_owned() };
            self.steps.push(Step { partition: id, cause: StepCause::Poison, record });
            return;
        }
        let cost = self.scene.costs.of(id);
        self.ownerless.push(Ownerless { id, epoch, cause, rather, cost });
    }

    fn lost(&mut self, id: PartitionId, epoch: Epoch, rather: NodeName) {
        let policy = self.scene.policy;
        if policy.hold.is_some_and(|until| until > self.scene.now) {
            return;
        }
        if policy.poison.contains(&id) && self.pin(id).is_none() {
            let reason = format!(
                "its owners died one after the other soon after they took it; to have it served \
                 again, put {} or apply a new generation",
                self.pin_to_put(id)
            );
            let record = PartitionRecord::Parked { epoch, reason };
            self.steps.push(Step { partition: id, cause: StepCause::Poison, record });
            return;
        }
        let rather = Some(rather).filter(|_| !policy.spread.contains(&id));
        self.want(id, epoch, StepCause::Forced, rather);
    }

    /// The edit that has a parked partition served again, as a person writes it.
    fn pin_to_put(&self, id: PartitionId) -> String {
        let ready = self.places.iter().find(|place| place.ready);
        let node = ready.map_or("agent-1", |place| place.member.owner.node.as_str());
        format!("override/hunt/partitions/pins to [\"{id}={node}\"], beside the pins that it has,")
    }

    /// Back to the owner, who never gave it up: the epoch stays.
    fn call_off(&mut self, id: PartitionId, at: usize, epoch: Epoch, cause: StepCause) {
        self.settle(id, at, epoch, true);
        let owner = self.places[at].member.owner.clone();
        let record = PartitionRecord::Own { owner, epoch };
        self.steps.push(Step { partition: id, cause, record });
    }

    /// Notes where the partition is.
    fn settle(&mut self, id: PartitionId, at: usize, epoch: Epoch, settled: bool) {
        let cost = self.scene.costs.of(id);
        self.places[at].count += 1;
        self.places[at].cost += cost;
        let settled = settled || epoch.is_last();
        self.spots.push(Spot { id, at, epoch, settled, fixed: false, cost });
    }

    /// Gives a partition without owner to a node.
    pub(super) fn grant(&mut self, wanted: &Ownerless, at: usize) {
        let epoch = wanted.epoch.next();
        self.settle(wanted.id, at, epoch, true);
        let owner = self.places[at].member.owner.clone();
        let record = PartitionRecord::Own { owner, epoch };
        self.steps.push(Step { partition: wanted.id, cause: wanted.cause, record });
    }

    /// Orders the live owner of a partition to hand it over.
    pub(super) fn order(&mut self, spot: usize, to: usize, cause: StepCause) {
        let Spot { id, at, epoch, cost, .. } = self.spots[spot];
        let now = self.scene.now;
        let drain =
            SignedDuration::try_from(self.scene.policy.drain).unwrap_or(SignedDuration::MAX);
        let record = PartitionRecord::Mov {
            owner: self.places[at].member.owner.clone(),
            epoch,
            to: self.places[to].member.owner.clone(),
            since: now,
            deadline: now.checked_add(drain).unwrap_or(Timestamp::MAX),
        };
        self.places[at].count -= 1;
        self.places[at].cost -= cost;
        self.places[to].count += 1;
        self.places[to].cost += cost;
        self.places[at].in_flight += 1;
        self.places[to].in_flight += 1;
        self.spots[spot].at = to;
        self.spots[spot].settled = true;
        self.steps.push(Step { partition: id, cause, record });
    }

    /// The place that takes another partition of that cost best: by number the one with the
    /// fewest, of equals one that lacks some; by load the one that is then filled least.
    pub(super) fn best(&self, cost: f64) -> Option<usize> {
        let others = self.places.iter().enumerate().filter(|(_, place)| place.takes);
        let by_load = matches!(self.scene.policy.aim, Aim::Load | Aim::Nothing);
        let best = others.min_by(|(_, a), (_, b)| {
            let number = |place: &Place<'_>| (place.is_full(), place.count);
            let load = if by_load {
                a.home.cmp(&b.home).then(a.with(cost).total_cmp(&b.with(cost)))
            } else {
                number(a).cmp(&number(b))
            };
            load.then(a.count.cmp(&b.count)).then(a.member.owner.node.cmp(&b.member.owner.node))
        });
        best.map(|(at, _)| at)
    }
}
