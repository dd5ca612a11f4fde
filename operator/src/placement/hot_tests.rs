//! Hot keys in the planner: what dominates is found and held steady, has its node for itself, moves
//! nothing at constant load, and is let go when it cools. Pure.

use config_schemas::documents::Owner;
use config_schemas::hot::HotReport;
use config_schemas::{Epoch, Load};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::placement::{Placed, Plan, Rounds, Setup, Step};

const PARTITIONS: u32 = 64;
/// The hot key's.
const HOT: PartitionId = PartitionId(5);

fn owner(node: usize) -> Owner {
    Owner { node: NodeName::new(format!("n{node}")).unwrap(), incarnation: "1".to_owned() }
}

/// Nodes of these weights, whose reports say what partitions cost and which key is hot.
struct World {
    rounds: Rounds,
    setup: Setup,
    weights: Vec<f64>,
    placed: BTreeMap<PartitionId, Placed>,
    costs: Vec<f64>,
    /// What the hot key takes of its partition.
    key: f64,
    now: Timestamp,
    noise: u64,
    /// Up to so much more or less is measured.
    noise_max: f64,
}

impl World {
    /// Even partitions that fill a half of everything; then one key takes `key` of a mean node.
    fn new(weights: &[f64], key: f64) -> World {
        let room: f64 = weights.iter().sum();
        let each = 0.5 * room / f64::from(PARTITIONS);
        let mut world = World {
            rounds: Rounds::default(),
            setup: Setup { budget: 0.1, ..Setup::usual() },
            weights: weights.to_vec(),
            placed: (0..PARTITIONS)
                .map(|id| (PartitionId(id), Placed::Nowhere { epoch: Epoch(0) }))
                .collect(),
            costs: vec![each; PARTITIONS as usize],
            key: 0.0,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            noise: 1,
            noise_max: 0.1,
        };
        (0..10).for_each(|_| drop(world.round()));
        world.heat(key * 0.5 * room / weights.len() as f64);
        world
    }

    fn heat(&mut self, cost: f64) {
        let place = HOT.0 as usize;
        self.costs[place] += cost - self.key;
        self.key = cost;
    }

    /// Everything that one round brings; what moved.
    fn round(&mut self) -> Vec<Step> {
        self.now += SignedDuration::from_secs(10);
        for node in 0..self.weights.len() {
            self.report(node);
        }
        let mut moved = Vec::new();
        loop {
            let plan = self.plan();
            assert!(moved.len() < 200, "it does not come to rest");
            if plan.steps.is_empty() {
                return moved;
            }
            plan.steps.iter().for_each(|step| self.land(step));
            moved.extend(plan.steps);
        }
    }

    fn rounds(&mut self, count: usize) -> Vec<Step> {
        (0..count).flat_map(|_| self.round()).collect()
    }

    fn report(&mut self, node: usize) {
        let own = self.placed.iter().filter(|(_, placed)| owner_of(placed) == Some(owner(node)));
        let ids: Vec<PartitionId> = own.map(|(id, _)| *id).collect();
        let costs = ids.into_iter().map(|id| (id, self.measured(self.costs[id.0 as usize])));
        let costs = costs.collect();
        let mut load = Load::at_rest("1", 0, self.weights[node]).with_costs(&costs);
        (load.next_ms, load.rate) = (Some(5000), 1000.0 * load.total());
        if self.key > 0.0 {
            // Every gateway sees its part of the key.
            let rate = self.measured(1000.0 * self.key) / self.weights.len() as f64;
            load.hot = vec![HotReport { key: "abc".to_owned(), partition: HOT, rate }];
        }
        self.rounds.report(&owner(node).node, Some(load), self.now);
    }

    /// With noise, the same in every run.
    fn measured(&mut self, cost: f64) -> f64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let noise = 2.0 * (self.noise >> 33) as f64 / f64::from(u32::MAX >> 1) - 1.0;
        cost * (1.0 + self.noise_max * noise)
    }

    fn plan(&mut self) -> Plan {
        let World { rounds, setup, placed, now, .. } = self;
        rounds.approved_plan((0..self.weights.len()).map(owner), placed, setup, *now)
    }

    fn land(&mut self, step: &Step) {
        let record = step.landed();
        if matches!(self.placed[&step.partition], Placed::Recorded(_)) {
            self.rounds.changed(step.partition, self.now);
        }
        self.placed.insert(step.partition, Placed::Recorded(record));
    }

    fn home(&self) -> Owner {
        owner_of(&self.placed[&HOT]).unwrap()
    }

    /// What else is where the hot partition is.
    fn neighbours(&self) -> usize {
        let home = self.home();
        self.placed.values().filter(|placed| owner_of(placed).as_ref() == Some(&home)).count() - 1
    }

    /// True utilisation of the nodes but the hot one: the most over the mean.
    fn spread(&self) -> f64 {
        let home = self.home();
        let others = (0..self.weights.len()).filter(|node| owner(*node) != home);
        let filled: Vec<f64> = others
            .map(|node| {
                let own = self.placed.iter().filter(|(_, p)| owner_of(p) == Some(owner(node)));
                own.map(|(id, _)| self.costs[id.0 as usize]).sum::<f64>() / self.weights[node]
            })
            .collect();
        let mean = filled.iter().sum::<f64>() / filled.len() as f64;
        filled.into_iter().fold(0.0, f64::max) / mean
    }

    fn told(&self) -> Option<Hot> {
        self.rounds.hot().remove(&HOT)
    }
}

fn owner_of(placed: &Placed) -> Option<Owner> {
    match placed {
        Placed::Recorded(record) => record.owner().cloned(),
        Placed::Nowhere { .. } => None,
    }
}

#[test]
fn a_key_that_fills_a_node_has_it_for_itself_and_then_nothing_moves() {
    let mut world = World::new(&[1.0; 4], 2.0);
    let home = world.home();
    let moved = world.rounds(12);
    assert!(moved.iter().all(|step| step.partition != HOT), "its partition stays");
    assert!(moved.iter().any(|step| step.cause == StepCause::Hot));
    assert_eq!((world.home(), world.neighbours()), (home, 0));
    assert!(world.spread() <= 1.2, "the others are even: {}", world.spread());
    assert_eq!(world.rounds(60), [], "at constant load with a tenth of noise");
    let told = world.told().unwrap();
    assert!(told.apart && (told.of_mean - 1.3).abs() < 0.3, "{told:?}");
}

#[test]
fn a_lesser_hot_key_stays_and_its_neighbours_make_room() {
    let mut world = World::new(&[1.0; 4], 0.5);
    let home = world.home();
    let moved = world.rounds(12);
    assert!(moved.iter().all(|step| step.partition != HOT && step.cause == StepCause::Balance));
    assert_eq!(world.home(), home);
    assert!((1..12).contains(&world.neighbours()), "{}", world.neighbours());
    assert!(!world.told().unwrap().apart);
    assert_eq!(world.rounds(60), []);
}

#[test]
fn it_goes_to_a_much_bigger_node_once_and_stays_there() {
    let mut world = World::new(&[1.0, 1.0, 1.0, 4.0], 2.5);
    let moved = world.rounds(20);
    let hot: Vec<_> = moved.iter().filter(|step| step.partition == HOT).collect();
    assert!(hot.len() <= 1, "{hot:?}");
    assert_eq!(world.home(), owner(3));
    assert_eq!(world.rounds(60), []);
}

#[test]
fn a_key_that_cools_is_forgotten_and_its_node_filled_again() {
    let mut world = World::new(&[1.0; 4], 2.0);
    world.rounds(12);
    assert_eq!(world.neighbours(), 0);
    world.heat(0.0);
    world.rounds(40);
    assert_eq!(world.told(), None);
    assert!(world.neighbours() >= 8, "{}", world.neighbours());
    assert_eq!(world.rounds(30), []);
}

#[test]
fn a_key_under_a_tenth_of_a_mean_node_is_none_and_neither_is_one_in_a_crowd() {
    let mut light = World::new(&[1.0; 4], 0.08);
    light.rounds(5);
    assert_eq!(light.told(), None);
    let mut crowd = World::new(&[1.0; 4], 0.2);
    crowd.costs[HOT.0 as usize] += 1.0;
    crowd.rounds(5);
    assert_eq!(crowd.told(), None, "most of that partition is not that key");
}

#[test]
fn what_is_told_is_steady() {
    let mut world = World::new(&[1.0; 4], 2.0);
    world.rounds(12);
    let told =
        |world: &World| world.told().map(|hot| (hot.of_node.to_bits(), hot.of_mean.to_bits()));
    let before = told(&world);
    for _ in 0..50 {
        world.round();
        assert_eq!(told(&world), before, "noise is no news");
    }
    world.heat(world.key * 2.0);
    world.rounds(5);
    assert_ne!(told(&world), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the key takes and however big the nodes are: it comes to rest and stays there, and
    /// the key's partition does not travel.
    #[test]
    fn any_hot_key_comes_to_rest(
        weights in prop::collection::vec(prop::sample::select(vec![1.0, 2.0, 4.0]), 2..8),
        key in 0.1_f64..4.0,
    ) {
        let mut world = World::new(&weights, key);
        world.noise_max = 0.0;
        let moved = world.rounds(40);
        let travels = moved.iter().filter(|step| step.partition == HOT).count();
        prop_assert!(travels <= 2, "{} times", travels);
        prop_assert_eq!(world.rounds(20), []);
    }

    /// Where the key is just at a bound, noise may push it over once, but nothing goes to and fro.
    #[test]
    fn nothing_goes_to_and_fro_at_any_bound(
        weights in prop::collection::vec(prop::sample::select(vec![1.0, 2.0]), 2..6),
        key in 0.1_f64..4.0,
    ) {
        let mut world = World::new(&weights, key);
        let mut times = [0; PARTITIONS as usize];
        world.rounds(120).iter().for_each(|step| times[step.partition.0 as usize] += 1);
        prop_assert!(times.iter().all(|times| *times <= 3), "{:?}", times);
    }
}
