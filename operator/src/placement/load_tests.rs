//! What the planner decides by load: properties of any plan on any hunt, and whole hunts through
//! the rounds as they run. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Epoch, LOAD_WINDOW, Load, NodeName};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::placement::{
    Budget, Costs, Health, Hot, Member, Placed, Plan, Policy, Rounds, Seen, Setup, Step, check,
};

const PARTITIONS: u32 = 48;

fn owner(node: usize, life: u32) -> Owner {
    let node = NodeName::new(format!("n{node}")).unwrap();
    Owner { node, incarnation: life.to_string() }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Any hunt: nodes of any kind, records of any state, any policy.
#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<Member>,
    partitions: BTreeMap<PartitionId, Placed>,
    costs: Vec<f64>,
    policy: Policy,
}

impl Case {
    fn plan(&self) -> Plan {
        let known = |id: PartitionId| self.costs.get(id.0 as usize).copied();
        let costs = Costs::of_known(PARTITIONS, known);
        let scene = Scene {
            nodes: &self.nodes,
            partitions: &self.partitions,
            costs: &costs,
            policy: &self.policy,
            now: now(),
        };
        let plan = plan_placement(scene);
        assert_eq!(check(&scene, &plan.steps), [], "the checker knows better");
        plan
    }

    /// The steps are committed; what they spent is gone.
    fn land(&mut self, plan: &Plan) {
        let known = |id: PartitionId| self.costs.get(id.0 as usize).copied();
        let costs = Costs::of_known(PARTITIONS, known);
        self.policy.running |= plan.running;
        for step in &plan.steps {
            if matches!(step.record, PartitionRecord::Mov { .. }) {
                self.policy.left.spend(costs.of(step.partition));
            } else {
                self.policy.cooling.insert(step.partition);
                self.policy.resting.insert(step.partition, Timestamp::MAX);
            }
            self.partitions.insert(step.partition, Placed::Recorded(step.record.clone()));
        }
    }
}

fn any_member(node: usize) -> impl Strategy<Value = Option<Member>> {
    let kind = (0_u8..10, 1_u32..3, 0_u8..8, prop::sample::select(vec![0.5, 1.0, 2.0, 4.0]));
    kind.prop_map(move |(there, life, kind, weight)| {
        let mode = if kind == 0 { NodeMode::Draining } else { NodeMode::Ready };
        let health = match kind {
            1 => Health::Slow,
            2 => Health::Doubtful,
            _ => Health::Well,
        };
        (there > 1).then(|| Member { owner: owner(node, life), mode, weight, health })
    })
}

fn any_placed() -> impl Strategy<Value = Placed> {
    let parts = (0_u8..12, 0_usize..7, 0_usize..7, 1_u32..3, 1_u64..9, -5_i64..20);
    parts.prop_map(|(kind, at, to, life, epoch, left)| {
        let epoch = Epoch(epoch);
        let (from, deadline) = (owner(at, life), now() + SignedDuration::from_secs(left));
        Placed::Recorded(match kind {
            0 => return Placed::Nowhere { epoch },
            1 => PartitionRecord::Parked { epoch, reason: String::new() },
            2 | 3 if at != to => {
                let to = owner(to, life);
                PartitionRecord::Mov { owner: from, epoch, to, since: now(), deadline }
            }
            _ => PartitionRecord::Own { owner: from, epoch },
        })
    })
}

fn any_hot() -> impl Strategy<Value = Hot> {
    any::<bool>().prop_map(|apart| Hot {
        key: String::new(),
        cost: 1.0,
        apart,
        node: None,
        of_node: 1.0,
        of_mean: 1.0,
    })
}

prop_compose! {
    fn any_policy()(
        pins in prop::collection::btree_map(0..PARTITIONS, 0_usize..7, 0..4),
        sets in prop::collection::vec(prop::collection::btree_set((0..PARTITIONS).prop_map(PartitionId), 0..6), 5),
        (paused, running, held) in (prop::bool::weighted(0.1), any::<bool>(), prop::bool::weighted(0.1)),
        moves in 1_usize..9,
        aim in prop::sample::select(vec![Aim::Count, Aim::Idle, Aim::Load, Aim::Load, Aim::Nothing]),
        (partitions, cost) in (0_usize..12, 0.0..10.0),
        hot in prop::collection::btree_map((0..PARTITIONS).prop_map(PartitionId), any_hot(), 0..4),
    ) -> Policy {
        let soon = now() + SignedDuration::from_secs(5);
        Policy {
            pins: pins.into_iter().map(|(id, node)| (PartitionId(id), owner(node, 1).node)).collect(),
            paused,
            moves,
            drain: Duration::from_secs(10),
            hold: held.then_some(soon),
            resting: sets[0].iter().map(|id| (*id, soon)).collect(),
            cooling: sets[1].clone(),
            aim,
            running,
            tolerance: 0.15,
            left: Budget { partitions, cost },
            poison: sets[2].clone(),
            spread: sets[3].clone(),
            freed: &sets[4] - &sets[2],
            hot,
        }
    }
}

prop_compose! {
    fn any_case()(
        nodes in (0..7).map(any_member).collect::<Vec<_>>(),
        placed in prop::collection::vec(any_placed(), PARTITIONS as usize),
        costs in prop::collection::vec(0.0..2.0_f64, PARTITIONS as usize),
        policy in any_policy(),
    ) -> Case {
        Case {
            nodes: nodes.into_iter().flatten().collect(),
            partitions: (0..).map(PartitionId).zip(placed).collect(),
            costs: costs.into_iter().map(|cost: f64| cost.powi(3)).collect(),
            policy,
        }
    }
}

/// Plans after which a hunt that nothing happens to is at rest.
const PLANS_MAX: usize = 3;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// One owner each or in flight, budgets, pause, rests, the brake: the checker's rules hold for
    /// whatever is planned. Planned again on what was planned, it comes to an end at once: what a
    /// plan frees may be used by the next, but nothing is ever sent anywhere twice.
    #[test]
    fn any_plan_pleases_the_checker_and_planning_again_soon_changes_nothing(case in any_case()) {
        let mut sent = BTreeSet::new();
        let mut landed = case;
        for _ in 0..PLANS_MAX {
            let plan = landed.plan();
            for step in &plan.steps {
                let sends = matches!(step.record, PartitionRecord::Mov { .. });
                prop_assert!(!sends || sent.insert(step.partition), "twice: {:?}", step);
            }
            landed.land(&plan);
        }
        prop_assert_eq!(landed.plan().steps, []);
    }

    /// Where no node is well, slow ones are as good as any, to the planner and to its checker.
    #[test]
    fn plans_hold_where_no_node_is_well(mut case in any_case()) {
        for (number, node) in case.nodes.iter_mut().enumerate() {
            node.health = if number % 2 == 0 { Health::Slow } else { Health::Doubtful };
        }
        case.plan();
    }

    /// While paused a loss moves what was lost and what must leave, and nothing else.
    #[test]
    fn a_loss_moves_only_what_was_lost(mut case in any_case()) {
        case.policy.paused = true;
        let serves = |record: &PartitionRecord| record.owner().is_some_and(|owner| {
            let mut ready = case.nodes.iter().filter(|node| node.mode == NodeMode::Ready);
            ready.any(|node| node.owner == *owner)
        });
        for step in case.plan().steps {
            if let Placed::Recorded(record @ PartitionRecord::Own { .. }) = &case.partitions[&step.partition] {
                prop_assert!(!serves(record), "{:?}", step);
            }
        }
    }
}

/// A hunt whose nodes report each round what their partitions cost.
struct World {
    rounds: Rounds,
    setup: Setup,
    placed: BTreeMap<PartitionId, Placed>,
    costs: Vec<f64>,
    averages: Vec<f64>,
    now: Timestamp,
    noise: u64,
    /// Seconds of work of an event, where events are so few that their number scatters.
    each: Option<f64>,
}

impl World {
    /// So many partitions of uneven cost, which fill the nodes to a half.
    fn new(partitions: u32, room: f64) -> World {
        let raw: Vec<f64> = (0..partitions).map(|id| 1.0 + f64::from(id * 7919 % 13)).collect();
        let scale = 0.5 * room / raw.iter().sum::<f64>();
        let costs: Vec<f64> = raw.into_iter().map(|cost| cost * scale).collect();
        World {
            rounds: Rounds::default(),
            setup: Setup::usual(),
            placed: (0..partitions)
                .map(|id| (PartitionId(id), Placed::Nowhere { epoch: Epoch(0) }))
                .collect(),
            averages: costs.clone(),
            costs,
            now: now(),
            noise: 1,
            each: None,
        }
    }

    /// Between 0 and 1, the same in every run.
    fn chance(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.noise >> 33) as f64 / f64::from(u32::MAX >> 1)
    }

    /// Up to a tenth more or less, or as many events as come in a window (Knuth's way to sample
    /// Poisson's law).
    fn measured(&mut self, cost: f64) -> f64 {
        let Some(each) = self.each else { return cost * (0.9 + 0.2 * self.chance()) };
        let window = LOAD_WINDOW.as_secs_f64();
        let (none, mut product, mut events) = ((-cost * window / each).exp(), self.chance(), 0);
        while product > none {
            product *= self.chance();
            events += 1;
        }
        f64::from(events) * each / window
    }

    /// Everything that one round brings on these nodes, `slow` one of them; what moved.
    fn round(&mut self, nodes: &[usize], slow: Option<usize>) -> Vec<Step> {
        self.now += SignedDuration::from_secs(10);
        for id in 0..self.costs.len() {
            let measured = self.measured(self.costs[id]);
            self.averages[id] = (self.averages[id] + measured) / 2.0;
        }
        for node in nodes {
            self.report(*node, slow == Some(*node));
        }
        let mut moved = Vec::new();
        loop {
            let steps = self.plan(nodes);
            if steps.is_empty() {
                return moved;
            }
            steps.iter().for_each(|step| self.land(step));
            moved.extend(steps);
        }
    }

    fn report(&mut self, node: usize, slow: bool) {
        let own =
            self.placed.iter().filter(|(_, placed)| owner_of(placed) == Some(&owner(node, 1)));
        let costs = own.map(|(id, _)| (*id, self.averages[id.0 as usize])).collect();
        let mut load = Load::at_rest("1", 0, 1.0).with_costs(&costs);
        load.next_ms = Some(5000);
        load.rate = self.each.map_or(0.0, |each| load.utilisation() / each);
        if slow {
            let (code, reason) = (config_schemas::SlowCode::Late, String::new());
            load.slow = Some(config_schemas::Slow { code, reason });
        }
        self.rounds.report(&owner(node, 1).node, Some(load), self.now);
    }

    fn plan(&mut self, nodes: &[usize]) -> Vec<Step> {
        let World { rounds, setup, placed, now, .. } = self;
        let ready = nodes.iter().map(|node| (owner(*node, 1), NodeMode::Ready));
        let members = rounds.members(ready, setup, *now);
        rounds.turn(&members, placed, setup, *now);
        let (gone, freed) = (BTreeMap::new(), BTreeSet::new());
        let seen = Seen { hold: None, gone: &gone, freed: &freed, now: *now };
        let policy = rounds.policy(&members, placed, setup, &seen);
        let costs = rounds.costs();
        let scene = Scene {
            nodes: &members,
            partitions: placed,
            costs: &costs,
            policy: &policy,
            now: *now,
        };
        let plan = plan_placement(scene);
        assert_eq!(check(&scene, &plan.steps), []);
        rounds.planned(&plan.steps, plan.running, placed, setup, *now);
        plan.steps
    }

    fn land(&mut self, step: &Step) {
        let record = match &step.record {
            PartitionRecord::Mov { to, epoch, .. } => {
                PartitionRecord::Own { owner: to.clone(), epoch: epoch.next() }
            }
            other => other.clone(),
        };
        if matches!(self.placed[&step.partition], Placed::Recorded(_)) {
            self.rounds.changed(step.partition, self.now);
        }
        self.placed.insert(step.partition, Placed::Recorded(record));
    }

    /// True utilisation of each node over the mean.
    fn filled(&self, nodes: &[usize]) -> Vec<f64> {
        let mean = self.costs.iter().sum::<f64>() / nodes.len() as f64;
        let load = |node: &usize| {
            let own = self.placed.iter().filter(|(_, p)| owner_of(p) == Some(&owner(*node, 1)));
            own.map(|(id, _)| self.costs[id.0 as usize]).sum::<f64>() / mean
        };
        nodes.iter().map(load).collect()
    }
}

fn owner_of(placed: &Placed) -> Option<&Owner> {
    match placed {
        Placed::Recorded(record) => record.owner(),
        Placed::Nowhere { .. } => None,
    }
}

fn settled(nodes: &[usize]) -> World {
    let mut world = World::new(256, nodes.len() as f64);
    for _ in 0..40 {
        world.round(nodes, None);
    }
    world
}

#[test]
fn at_constant_load_with_a_tenth_of_noise_nothing_moves() {
    let nodes: Vec<usize> = (0..8).collect();
    let mut world = settled(&nodes);
    for _ in 0..100 {
        assert_eq!(world.round(&nodes, None), []);
    }
    let most = world.filled(&nodes).into_iter().fold(0.0, f64::max);
    assert!(most <= 1.15, "{most}");
}

/// Each of 64 nodes has some forty events a second: the fullest of equal ones seems to be a tenth
/// over the mean in every round, and another one each time.
#[test]
fn where_events_are_few_their_chance_moves_next_to_nothing() {
    let nodes: Vec<usize> = (0..64).collect();
    let mut world = World { each: Some(0.013), ..World::new(1_024, 64.0) };
    let mut moved = 0;
    for round in 0..80 {
        let steps = world.round(&nodes, None);
        moved += if round < 40 { 0 } else { steps.len() };
    }
    assert!(moved <= 40, "{moved} of 1,024 partitions moved in forty rounds");
    let most = world.filled(&nodes).into_iter().fold(0.0, f64::max);
    assert!(most <= 1.3, "{most}");
}

#[test]
fn a_node_that_joins_has_its_share_soon_and_little_else_moves() {
    let mut nodes: Vec<usize> = (0..8).collect();
    let mut world = settled(&nodes);
    nodes.push(8);
    let mut cost = 0.0;
    for round in 0..20 {
        for step in world.round(&nodes, None) {
            cost += world.costs[step.partition.0 as usize];
        }
        let filled = world.filled(&nodes)[8];
        assert!(round < 3 || filled >= 0.75, "{filled} after {} rounds", round + 1);
    }
    let share = world.costs.iter().sum::<f64>() / 9.0;
    assert!(cost <= 2.0 * share, "{cost} moved, {share} is fair");
}

#[test]
fn a_lost_node_is_spread_over_the_others_at_once_and_evenly() {
    let nodes: Vec<usize> = (0..8).collect();
    let mut world = settled(&nodes);
    let lost = world.placed.values().filter(|p| owner_of(p) == Some(&owner(0, 1))).count();
    let moved = world.round(&nodes[1..], None);
    let forced = moved.iter().filter(|step| step.cause == StepCause::Forced).count();
    assert_eq!(forced, lost);
    let most = world.filled(&nodes[1..]).into_iter().fold(0.0, f64::max);
    assert!(most <= 1.25, "{most}");
}

#[test]
fn a_slow_node_loses_partitions_within_the_budget_until_it_is_well() {
    let nodes: Vec<usize> = (0..8).collect();
    let mut world = settled(&nodes);
    let before = world.filled(&nodes)[3];
    let first = world.round(&nodes, Some(3));
    assert!(!first.is_empty() && first.iter().all(|step| step.cause == StepCause::Slow));
    for _ in 0..5 {
        world.round(&nodes, Some(3));
    }
    let after = world.filled(&nodes)[3];
    assert!(after < before / 2.0, "{before} to {after}");
    let takes = |steps: Vec<Step>| {
        steps.iter().any(|step| match &step.record {
            PartitionRecord::Mov { to, .. } => *to == owner(3, 1),
            _ => false,
        })
    };
    assert!(!(0..5).any(|_| takes(world.round(&nodes, None))), "it has to prove itself first");
    assert!((0..20).any(|_| takes(world.round(&nodes, None))));
}
