//! What placement remembers between two looks at a hunt, and what it makes of it for the next
//! plan. Most of it follows from the keys as they change, so that an operator that stands by
//! knows the same as the one that leads; one that has just started begins with no cooldowns, no
//! strikes and no deaths, balancing not begun, and the costs of the reports that it finds. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::hot::LOADED_FROM;
use config_schemas::{Load, NodeName, PartitionId};
use jiff::{SignedDuration, Timestamp};

use super::hot::{Ground, Hots};
use super::poison::{Deaths, Lost};
use super::setup::{Seen, Setup};
use super::{Aim, Budget, Costs, Health, Hot, Loads, Member, Placed, Policy, Step, StepCause};

/// A partition that changed hands does not move for load again for so many rounds.
const COOL_ROUNDS: i32 = 6;
/// A move that was called off is not ordered again for this many times the time it had; twice as
/// long after each further one.
const REST_DRAINS: i32 = 2;
/// It rests at most so long.
const REST_MAX: SignedDuration = SignedDuration::from_hours(1);
/// A node of which so many moves were called off within this time is suspect.
const STRIKES: usize = 3;
const STRIKES_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// More than this share of the nodes slow at once has a cause that moves do not mend.
const SLOW_SHARE_MAX_PERCENT: usize = 30;
/// Balance goes by load from [`LOADED_FROM`] on, and by number again below this mean utilisation.
const LOADED_UNTIL: f64 = 0.20;
/// On few nodes a round may move this part of one node's fair share, if that is more than the
/// budget: one that joins has its share within three or four rounds.
const SHARE_OF_A_NODE: f64 = 0.25;
/// When partitions changed hands is remembered so long.
const CHANGES_KEPT: SignedDuration = SignedDuration::from_mins(10);

/// What placement remembers of one hunt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds {
    loads: Loads,
    /// When partitions changed hands.
    changed: BTreeMap<PartitionId, Timestamp>,
    /// Nodes that were draining when last seen.
    leaving: BTreeSet<NodeName>,
    round: Option<Round>,
    running: bool,
    rests: BTreeMap<PartitionId, Rest>,
    strikes: BTreeMap<NodeName, Vec<(PartitionId, Timestamp)>>,
    /// Nodes that were slow: they take nothing until then.
    recovering: BTreeMap<NodeName, Timestamp>,
    deaths: Deaths,
    hots: Hots,
}

/// One round: figures stay as they are at its beginning.
#[derive(Debug, Clone, PartialEq)]
struct Round {
    started: Timestamp,
    ends: Timestamp,
    aim: Aim,
    costs: Costs,
    /// A plan was made in it.
    planned: bool,
}

/// How often a partition's move was called off, and until when it is left in peace.
#[derive(Debug, Clone, PartialEq)]
struct Rest {
    /// The order that was called off last, so that looking twice counts it once.
    ordered: Timestamp,
    times: u32,
    until: Timestamp,
}

impl Rounds {
    /// A node's record was seen, or that it is gone.
    pub fn node(&mut self, node: &NodeName, mode: Option<NodeMode>) {
        match mode {
            Some(NodeMode::Draining) => {
                self.leaving.insert(node.clone());
            }
            Some(NodeMode::Ready) => {
                self.leaving.remove(node);
            }
            // A new life of it may be better at handing over.
            None => {
                self.strikes.remove(node);
            }
        }
    }

    /// A node's report was seen, or that it is gone.
    pub fn report(&mut self, node: &NodeName, load: Option<Load>, now: Timestamp) {
        self.loads.report(node, load, now);
    }

    /// A partition came into a new epoch.
    pub fn changed(&mut self, partition: PartitionId, now: Timestamp) {
        self.changed.insert(partition, now);
        self.rests.remove(&partition);
    }

    /// When the next round begins, if there is anything to balance then.
    pub fn next(&self) -> Option<Timestamp> {
        self.round.as_ref().map(|round| round.ends).filter(|_| self.loads.is_active())
    }

    /// When to look at a report that has just arrived: at once if it is the first.
    pub fn report_due(&self) -> Option<Timestamp> {
        self.round.as_ref().map(|round| round.ends)
    }

    /// The nodes as the plan needs them.
    pub fn members(
        &mut self,
        nodes: impl Iterator<Item = (Owner, NodeMode)>,
        setup: &Setup,
        now: Timestamp,
    ) -> Vec<Member> {
        let mut members: Vec<Member> = nodes
            .map(|(owner, mode)| Member {
                health: self.loads.health(&owner, now),
                weight: self.loads.weight(&owner).unwrap_or(0.0),
                owner,
                mode,
            })
            .collect();
        let usual = usual_weight(&members);
        for member in members.iter_mut().filter(|member| member.weight <= 0.0) {
            member.weight = usual;
        }
        self.excuse(&mut members);
        self.doubt(&mut members, setup, now);
        members
    }

    /// When many are slow at once none is: the cause is not theirs.
    fn excuse(&self, members: &mut [Member]) {
        let slow = members.iter().filter(|member| member.health == Health::Slow).count();
        if slow > 1 && slow * 100 > members.len() * SLOW_SHARE_MAX_PERCENT {
            members
                .iter_mut()
                .for_each(|member| member.health = member.health.min(Health::Doubtful));
        }
    }

    /// Who was slow a moment ago, or hands nothing over, gets nothing yet.
    fn doubt(&mut self, members: &mut [Member], setup: &Setup, now: Timestamp) {
        let until = after(now, rounds(setup, COOL_ROUNDS));
        self.recovering.retain(|_, until| *until > now);
        for member in members.iter_mut() {
            let node = &member.owner.node;
            if member.health == Health::Slow {
                self.recovering.insert(node.clone(), until);
            } else if self.recovering.contains_key(node) || self.is_suspect(node, now) {
                member.health = member.health.max(Health::Doubtful);
            }
        }
    }

    fn is_suspect(&self, node: &NodeName, now: Timestamp) -> bool {
        let recent = |(_, at): &&(PartitionId, Timestamp)| now.duration_since(*at) < STRIKES_WITHIN;
        self.strikes.get(node).is_some_and(|all| all.iter().filter(recent).count() >= STRIKES)
    }

    /// Nodes that hand nothing over.
    pub fn suspects(&self, now: Timestamp) -> Vec<NodeName> {
        self.strikes.keys().filter(|node| self.is_suspect(node, now)).cloned().collect()
    }

    /// Begins the next round when its time has come.
    pub fn turn(
        &mut self,
        members: &[Member],
        placed: &BTreeMap<PartitionId, Placed>,
        setup: &Setup,
        now: Timestamp,
    ) {
        if self.loads.is_empty() {
            self.round = None;
            return;
        }
        if let Some(round) = &mut self.round {
            // A live edit of the length holds at once.
            round.ends = after(round.started, rounds(setup, 1));
        }
        let goes_on = |round: &Round| (round.started..round.ends).contains(&now);
        if self.round.as_ref().is_some_and(goes_on) {
            return;
        }
        self.changed
            .retain(|_, at| now.duration_since(*at) < CHANGES_KEPT.max(rounds(setup, COOL_ROUNDS)));
        let owned = placed.iter().filter_map(|(id, placed)| match placed {
            Placed::Recorded(record) => Some((*id, record.owner()?, self.changed.get(id).copied())),
            Placed::Nowhere { .. } => None,
        });
        self.loads.believe(owned, now);
        let costs = self.loads.costs(u32::try_from(placed.len()).unwrap_or(u32::MAX));
        let aim = self.aim(members, &costs, now);
        // Where there is little load, no key matters.
        let sums = if aim == Aim::Load { self.loads.hot(&costs, now) } else { Vec::new() };
        let ground = Ground::of(members, placed, &costs, &sums);
        self.hots.turn(&ground, now, after(now, rounds(setup, COOL_ROUNDS)));
        let ends = after(now, rounds(setup, 1));
        self.round = Some(Round { started: now, ends, aim, costs, planned: false });
    }

    fn aim(&self, members: &[Member], costs: &Costs, now: Timestamp) -> Aim {
        let ready = || members.iter().filter(|member| member.mode == NodeMode::Ready);
        let known = ready().filter(|member| self.loads.is_known(&member.owner, now)).count();
        if known * 2 < ready().count() {
            return Aim::Nothing;
        }
        let room: f64 = ready().map(|member| member.weight).sum();
        let was_loaded = self.round.as_ref().is_some_and(|round| round.aim == Aim::Load);
        let from = if was_loaded { LOADED_UNTIL } else { LOADED_FROM };
        if costs.total() >= from * room { Aim::Load } else { Aim::Idle }
    }

    /// What each partition costs in this round.
    pub fn costs(&self) -> Costs {
        self.round.as_ref().map_or_else(Costs::equal, |round| round.costs.clone())
    }

    /// Partitions that one ordered key fills.
    pub fn hot(&self) -> BTreeMap<PartitionId, Hot> {
        self.hots.all()
    }

    /// What the next plan goes by. `gone` says since when nodes are gone.
    pub fn policy(
        &mut self,
        members: &[Member],
        placed: &BTreeMap<PartitionId, Placed>,
        setup: &Setup,
        seen: &Seen<'_>,
    ) -> Policy {
        let now = seen.now;
        self.rests.retain(|_, rest| rest.until.checked_add(REST_MAX).is_ok_and(|end| end > now));
        self.strikes
            .retain(|_, all| all.iter().any(|(_, at)| now.duration_since(*at) < STRIKES_WITHIN));
        seen.freed.iter().for_each(|id| self.deaths.forget(*id));
        let living = living(members);
        self.deaths.survived(|owner| living.get(&owner.node) == Some(&owner));
        let lost = self.lost(&living, placed, seen);
        self.deaths.note(&lost, setup.lease, now);
        let cool = rounds(setup, COOL_ROUNDS);
        let cooling = self.changed.iter().filter(|(_, at)| now.duration_since(**at) < cool);
        Policy {
            pins: setup.pins.clone(),
            paused: setup.paused,
            moves: setup.moves,
            drain: setup.drain,
            hold: seen.hold,
            resting: self.rests.iter().map(|(id, rest)| (*id, rest.until)).collect(),
            cooling: cooling.map(|(id, _)| *id).collect(),
            aim: self.round.as_ref().map_or(Aim::Count, |round| round.aim),
            running: self.running,
            tolerance: setup.tolerance,
            left: self.left(members, placed, setup),
            poison: self.deaths.poison(&lost, placed.len(), now),
            spread: self.deaths.spread(now),
            freed: seen.freed.clone(),
            hot: self.hot(),
        }
    }

    fn lost<'a>(
        &self,
        living: &BTreeMap<&NodeName, &Owner>,
        placed: &'a BTreeMap<PartitionId, Placed>,
        seen: &Seen<'_>,
    ) -> Vec<Lost<'a>> {
        let of = |(id, placed): (&PartitionId, &'a Placed)| {
            let Placed::Recorded(record) = placed else { return None };
            let owner = record.owner().filter(|o| living.get(&o.node) != Some(o))?;
            let died = seen.gone.get(&owner.node).copied().unwrap_or(seen.now);
            let tenure = self.changed.get(id).map(|since| died.duration_since(*since));
            Some(Lost {
                partition: *id,
                owner,
                tenure: tenure.map(|tenure| Duration::try_from(tenure).unwrap_or_default()),
                excused: seen.hold.is_some() || self.leaving.contains(&owner.node),
            })
        };
        placed.iter().filter_map(of).collect()
    }

    /// What is left of this round's budget. What moved is read off the partitions themselves: a
    /// plan that did not land has spent nothing, and a new leader knows what the old one moved.
    fn left(
        &self,
        members: &[Member],
        placed: &BTreeMap<PartitionId, Placed>,
        setup: &Setup,
    ) -> Budget {
        let Some(round) = &self.round else { return Budget::ENDLESS };
        let moved = |(id, placed): &(&PartitionId, &Placed)| {
            let ordered = match placed {
                Placed::Recorded(PartitionRecord::Mov { since, .. }) => Some(*since),
                Placed::Recorded(_) | Placed::Nowhere { .. } => None,
            };
            ordered.max(self.changed.get(id).copied()) >= Some(round.started)
        };
        let spent: Vec<f64> =
            placed.iter().filter(moved).map(|(id, _)| round.costs.of(*id)).collect();
        let total: f64 = placed.keys().map(|id| round.costs.of(*id)).sum();
        let nodes = members.iter().filter(|m| m.mode == NodeMode::Ready).count().max(1);
        let of_a_node = SHARE_OF_A_NODE / nodes as f64;
        let partitions = placed.len() as f64 * of_a_node.max(setup.budget / 2.0);
        Budget {
            partitions: (partitions.ceil() as usize).saturating_sub(spent.len()),
            cost: total * of_a_node.max(setup.budget) - spent.iter().sum::<f64>(),
        }
    }

    /// Takes in what was planned.
    pub fn planned(
        &mut self,
        steps: &[Step],
        running: bool,
        placed: &BTreeMap<PartitionId, Placed>,
        setup: &Setup,
        now: Timestamp,
    ) {
        // Only new figures end it: that a plan's own moves even things out is a guess so far.
        let before = match &mut self.round {
            Some(round) => std::mem::replace(&mut round.planned, true) && self.running,
            None => false,
        };
        self.running = running || before;
        let drain = SignedDuration::try_from(setup.drain).unwrap_or(SignedDuration::MAX);
        for step in steps.iter().filter(|step| step.cause == StepCause::Overdue) {
            let Some(Placed::Recorded(PartitionRecord::Mov { owner, since, .. })) =
                placed.get(&step.partition)
            else {
                continue;
            };
            let rest = self.rests.entry(step.partition).or_insert(Rest {
                ordered: Timestamp::MIN,
                times: 0,
                until: now,
            });
            if rest.ordered == *since {
                continue;
            }
            let factor = REST_DRAINS.saturating_mul(1 << rest.times.min(10));
            let pause = drain.checked_mul(factor).unwrap_or(REST_MAX).min(REST_MAX);
            *rest = Rest { ordered: *since, times: rest.times + 1, until: after(now, pause) };
            let strikes = self.strikes.entry(owner.node.clone()).or_default();
            strikes.push((step.partition, now));
            strikes.drain(..strikes.len().saturating_sub(STRIKES));
        }
    }

    /// When a partition that rests may move again, or a node that was slow may have some again:
    /// a hunt at rest brings no other reason to look.
    pub fn next_rested(&self, now: Timestamp) -> Option<Timestamp> {
        let rests = self.rests.values().map(|rest| rest.until);
        rests.chain(self.recovering.values().copied()).filter(|until| *until > now).min()
    }
}

/// Which life of each node lives.
fn living(members: &[Member]) -> BTreeMap<&NodeName, &Owner> {
    members.iter().map(|member| (&member.owner.node, &member.owner)).collect()
}

/// The middle one of those that are known, or 1.
fn usual_weight(members: &[Member]) -> f64 {
    let mut known: Vec<f64> = members.iter().map(|m| m.weight).filter(|w| *w > 0.0).collect();
    known.sort_unstable_by(f64::total_cmp);
    known.get(known.len() / 2).copied().unwrap_or(1.0)
}

fn rounds(setup: &Setup, count: i32) -> SignedDuration {
    let round = SignedDuration::try_from(setup.round).unwrap_or(SignedDuration::MAX);
    round.checked_mul(count).unwrap_or(SignedDuration::MAX)
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
