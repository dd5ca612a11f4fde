//! Whole hunts, round by round through the rounds as they run: reports, plans that the checker
//! approves, moves that land. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{Owner, PartitionRecord};
use config_schemas::{Epoch, LOAD_WINDOW, Load};
use jiff::{SignedDuration, Timestamp};

use super::load_tests::{now, owner};
use super::*;
use crate::placement::{Placed, Rounds, Setup, Step};

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
        let owners = nodes.iter().map(|node| owner(*node, 1));
        rounds.approved_plan(owners, placed, setup, *now).steps
    }

    fn land(&mut self, step: &Step) {
        let record = step.landed();
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
