//! What the placement planner decides, by tables and by properties. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::NodeMode::{self, Draining, Ready};
use config_schemas::documents::{Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::placement::{Budget, Costs, Health, Member, Placed, Policy, Step, check};

type Map = BTreeMap<PartitionId, Placed>;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + secs).unwrap()
}

fn owner(node: &str, life: u32) -> Owner {
    Owner { node: NodeName::new(node).unwrap(), incarnation: life.to_string() }
}

fn member(node: &str, mode: NodeMode) -> Member {
    alive(owner(node, 1), mode)
}

fn alive(owner: Owner, mode: NodeMode) -> Member {
    Member { owner, mode, weight: 1.0, health: Health::Well }
}

/// Plans by number; every plan has to please its checker.
fn steps_of(nodes: &[Member], partitions: &Map, policy: &Policy, now: Timestamp) -> Vec<Step> {
    let costs = Costs::equal();
    let scene = Scene { nodes, partitions, costs: &costs, policy, now };
    let plan = plan_placement(scene);
    assert_eq!(check(&scene, &plan.steps), []);
    plan.steps
}

fn policy() -> Policy {
    Policy {
        pins: BTreeMap::new(),
        paused: false,
        moves: 8,
        drain: Duration::from_secs(10),
        hold: None,
        resting: BTreeMap::new(),
        cooling: BTreeSet::new(),
        aim: Aim::Count,
        running: false,
        tolerance: 0.15,
        left: Budget::ENDLESS,
        poison: BTreeSet::new(),
        spread: BTreeSet::new(),
        freed: BTreeSet::new(),
        hot: BTreeMap::new(),
    }
}

fn nowhere(count: u32) -> Map {
    (0..count).map(|id| (PartitionId(id), Placed::Nowhere { epoch: Epoch(0) })).collect()
}

fn apply(map: &mut Map, steps: &[Step]) {
    for step in steps {
        map.insert(step.partition, Placed::Recorded(step.record.clone()));
    }
}

/// Every live owner hands over what is to move.
fn flip(map: &mut Map, nodes: &[Member]) {
    for placed in map.values_mut() {
        if let Placed::Recorded(PartitionRecord::Mov { owner, epoch, to, .. }) = placed
            && nodes.iter().any(|node| node.owner == *owner)
        {
            let record = PartitionRecord::Own { owner: to.clone(), epoch: epoch.next() };
            *placed = Placed::Recorded(record);
        }
    }
}

/// Plans and hands over until nothing is left to do; also counts the moves.
fn settle(map: &mut Map, nodes: &[Member], policy: &Policy) -> usize {
    let mut moved = 0;
    for _ in 0..10_000 {
        let steps = steps_of(nodes, map, policy, at(0));
        if steps.is_empty() && moving(map) == 0 {
            return moved;
        }
        moved += steps.len();
        apply(map, &steps);
        assert_eq!(steps_of(nodes, map, policy, at(0)), [], "planning twice changes nothing");
        flip(map, nodes);
    }
    panic!("placement does not come to rest");
}

fn moving(map: &Map) -> usize {
    map.values()
        .filter(|placed| matches!(placed, Placed::Recorded(PartitionRecord::Mov { .. })))
        .count()
}

fn owner_of(placed: &Placed) -> Option<&Owner> {
    match placed {
        Placed::Recorded(record) => record.owner(),
        Placed::Nowhere { .. } => None,
    }
}

fn counts(map: &Map) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for owner in map.values().filter_map(owner_of) {
        *counts.entry(owner.node.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn new_partitions_are_spread_evenly_in_epoch_one() {
    let nodes = [member("a", Ready), member("b", Ready), member("c", Ready)];
    let mut map = nowhere(16);
    let steps = steps_of(&nodes, &map, &policy(), at(0));
    assert!(steps.iter().all(|step| step.cause == StepCause::First));
    assert!(steps.iter().all(|step| step.record.epoch() == Epoch(1)));
    apply(&mut map, &steps);
    let mut even: Vec<_> = counts(&map).into_values().collect();
    even.sort_unstable();
    assert_eq!(even, [5, 5, 6]);
}

#[test]
fn nothing_is_planned_without_a_ready_node() {
    assert_eq!(steps_of(&[], &nowhere(4), &policy(), at(0)), []);
    assert_eq!(steps_of(&[member("a", Draining)], &nowhere(4), &policy(), at(0)), []);
}

#[test]
fn a_dead_node_loses_only_its_own_and_the_epoch_rises() {
    let nodes = [member("a", Ready), member("b", Ready), member("c", Ready)];
    let mut map = nowhere(9);
    settle(&mut map, &nodes, &policy());
    let before = map.clone();
    let steps = steps_of(&nodes[..2], &map, &policy(), at(0));
    assert_eq!(steps.len(), 3);
    for step in &steps {
        assert_eq!(step.cause, StepCause::Forced);
        assert_eq!(owner_of(&before[&step.partition]).unwrap().node.as_str(), "c");
        assert_eq!(step.record.epoch(), Epoch(2));
    }
}

#[test]
fn a_node_that_comes_back_gets_its_own_again() {
    let mut nodes = [member("a", Ready), member("b", Ready)];
    let mut map = nowhere(8);
    settle(&mut map, &nodes, &policy());
    nodes[0].owner = owner("a", 2);
    let steps = steps_of(&nodes, &map, &policy(), at(0));
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|step| step.record.owner() == Some(&owner("a", 2))));
}

#[test]
fn a_draining_node_hands_over_even_while_paused_and_over_budget() {
    let mut nodes = [member("a", Ready), member("b", Ready)];
    let mut map = nowhere(16);
    settle(&mut map, &nodes, &policy());
    nodes[0].mode = Draining;
    let policy = Policy { paused: true, moves: 1, ..policy() };
    let steps = steps_of(&nodes, &map, &policy, at(0));
    assert_eq!(steps.len(), 8);
    assert!(steps.iter().all(|step| step.cause == StepCause::Drain));
    settle(&mut map, &nodes, &policy);
    assert_eq!(counts(&map), BTreeMap::from([("b".to_owned(), 16)]));
}

#[test]
fn moves_for_balance_keep_to_the_budget_and_stop_while_paused() {
    let mut map = nowhere(16);
    settle(&mut map, &[member("a", Ready)], &policy());
    let nodes = [member("a", Ready), member("b", Ready)];
    let paused = Policy { paused: true, ..policy() };
    assert_eq!(steps_of(&nodes, &map, &paused, at(0)), []);
    let few = Policy { moves: 3, ..policy() };
    let steps = steps_of(&nodes, &map, &few, at(0));
    assert_eq!(steps.len(), 3);
    apply(&mut map, &steps);
    assert_eq!(steps_of(&nodes, &map, &few, at(1)), [], "those under way count");
}

#[test]
fn a_pin_is_honoured_while_its_node_is_ready() {
    let nodes = [member("a", Ready), member("b", Ready)];
    let pin = |node: &str| BTreeMap::from([(PartitionId(3), NodeName::new(node).unwrap())]);
    let mut map = nowhere(8);
    settle(&mut map, &nodes, &Policy { pins: pin("b"), ..policy() });
    assert_eq!(owner_of(&map[&PartitionId(3)]).unwrap().node.as_str(), "b");
    let moved = settle(&mut map, &nodes, &Policy { pins: pin("a"), ..policy() });
    assert_eq!(owner_of(&map[&PartitionId(3)]).unwrap().node.as_str(), "a");
    assert!(moved <= 2, "the pin, and one back for balance");
    assert_eq!(settle(&mut map, &nodes, &Policy { pins: pin("elsewhere"), ..policy() }), 0);
}

fn on_the_move(map: &Map) -> Map {
    let mut map = map.clone();
    let record = PartitionRecord::Mov {
        owner: owner("a", 1),
        epoch: Epoch(4),
        to: owner("b", 1),
        since: at(0),
        deadline: at(10),
    };
    map.insert(PartitionId(0), Placed::Recorded(record));
    map
}

#[test]
fn a_move_ends_in_every_case() {
    let check = |nodes: &[Member], now: i64, cause, to: &str, epoch| {
        let steps = steps_of(nodes, &on_the_move(&nowhere(1)), &policy(), at(now));
        let found: Vec<_> = steps
            .iter()
            .map(|step| {
                (step.cause, step.record.owner().unwrap().node.as_str(), step.record.epoch())
            })
            .collect();
        assert_eq!(found, [(cause, to, Epoch(epoch))], "{nodes:?}");
        assert!(matches!(steps[0].record, PartitionRecord::Own { .. }));
    };
    let (a, b, c) = (member("a", Ready), member("b", Ready), member("c", Ready));
    check(&[a.clone(), c.clone()], 1, StepCause::NoDestination, "a", 4);
    check(&[a.clone(), member("b", Draining)], 1, StepCause::NoDestination, "a", 4);
    check(&[a.clone(), b.clone()], 10, StepCause::Overdue, "a", 4);
    check(&[b.clone(), c.clone()], 1, StepCause::Forced, "b", 5);
    check(std::slice::from_ref(&c), 1, StepCause::Forced, "c", 5);
    let none = steps_of(&[a, b], &on_the_move(&nowhere(1)), &policy(), at(9));
    assert_eq!(none, []);
}

#[test]
fn a_partition_rests_after_its_move_was_called_off() {
    let mut map = nowhere(2);
    settle(&mut map, &[member("a", Ready)], &policy());
    let nodes = [member("a", Ready), member("b", Ready)];
    let both = [(PartitionId(0), at(20)), (PartitionId(1), at(20))];
    let resting = Policy { resting: BTreeMap::from(both), ..policy() };
    assert_eq!(steps_of(&nodes, &map, &resting, at(19)), []);
    assert_eq!(steps_of(&nodes, &map, &resting, at(20)).len(), 1);
}

#[test]
fn the_brake_holds_forced_moves_only() {
    let nodes = [member("a", Ready)];
    let mut map = nowhere(2);
    let lost = PartitionRecord::Own { owner: owner("gone", 1), epoch: Epoch(3) };
    map.insert(PartitionId(0), Placed::Recorded(lost));
    let held = Policy { hold: Some(at(5)), ..policy() };
    let causes = |now| -> Vec<_> {
        steps_of(&nodes, &map, &held, at(now)).iter().map(|step| step.cause).collect()
    };
    assert_eq!(causes(4), [StepCause::First]);
    assert_eq!(causes(5), [StepCause::Forced, StepCause::First]);
}

fn any_nodes() -> impl Strategy<Value = Vec<Member>> {
    let one = |index: usize| {
        (any::<bool>(), 1_u32..3, 0_u8..5).prop_map(move |(there, life, mode)| {
            let name = format!("n{index}");
            let mode = if mode == 0 { Draining } else { Ready };
            there.then(|| alive(owner(&name, life), mode))
        })
    };
    (0..7).map(one).collect::<Vec<_>>().prop_map(|all| all.into_iter().flatten().collect())
}

fn any_pins() -> impl Strategy<Value = BTreeMap<PartitionId, NodeName>> {
    let pin = (0_u32..40, 0_usize..7)
        .prop_map(|(id, node)| (PartitionId(id), NodeName::new(format!("n{node}")).unwrap()));
    prop::collection::btree_map(0_u32..40, pin, 0..4).prop_map(|map| map.into_values().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A history of fleets, each settled before the next: every partition has exactly one ready
    /// owner, counts are within one, epochs only rise, and no more moves than it takes.
    #[test]
    fn whatever_the_fleets_everything_is_owned_evenly_and_moves_are_few(
        fleets in prop::collection::vec(any_nodes(), 1..6),
        count in 1_u32..40,
    ) {
        let mut map = nowhere(count);
        for nodes in &fleets {
            let before = map.clone();
            let moved = settle(&mut map, nodes, &policy());
            let ready: Vec<_> = nodes.iter().filter(|node| node.mode == Ready).collect();
            for (id, placed) in &map {
                let (was, is) = (&before[id], placed);
                let epoch = |placed: &Placed| match placed {
                    Placed::Nowhere { epoch } => *epoch,
                    Placed::Recorded(record) => record.epoch(),
                };
                prop_assert!(epoch(is) >= epoch(was));
                prop_assert!(owner_of(was) == owner_of(is) || epoch(is) > epoch(was));
            }
            if ready.is_empty() {
                continue;
            }
            let held: Vec<usize> = ready
                .iter()
                .map(|node| map.values().filter(|p| owner_of(p) == Some(&node.owner)).count())
                .collect();
            let (most, least) = (held.iter().max().unwrap(), held.iter().min().unwrap());
            prop_assert_eq!(held.iter().sum::<usize>(), map.len());
            prop_assert!(most - least <= 1, "{:?}", held);
            let must = fewest_moves(&before, &ready, map.len());
            prop_assert!(moved <= must, "{} moves, {} suffice", moved, must);
        }
    }

    /// With pins: every pinned partition whose node is ready runs there, and it comes to rest.
    #[test]
    fn pins_are_honoured_whatever_else(nodes in any_nodes(), pins in any_pins(), count in 1_u32..40) {
        let policy = Policy { pins: pins.clone(), ..policy() };
        let mut map = nowhere(count);
        settle(&mut map, &nodes, &policy);
        for (id, node) in pins {
            let ready = nodes.iter().any(|m| m.owner.node == node && m.mode == Ready);
            if let Some(placed) = map.get(&id).filter(|_| ready) {
                prop_assert_eq!(&owner_of(placed).unwrap().node, &node);
            }
        }
    }
}

/// What has no ready owner must move, and of what is left each node can keep its fair share:
/// the larger share for as many nodes as there are larger shares.
fn fewest_moves(before: &Map, ready: &[&Member], all: usize) -> usize {
    let mut kept: Vec<usize> = ready
        .iter()
        .map(|node| before.values().filter(|p| owner_of(p) == Some(&node.owner)).count())
        .collect();
    kept.sort_unstable_by(|a, b| b.cmp(a));
    let (share, larger) = (all / ready.len(), all % ready.len());
    let stays: usize = kept
        .iter()
        .enumerate()
        .map(|(index, held)| (*held).min(share + usize::from(index < larger)))
        .sum();
    all - stays
}

#[test]
fn a_parked_partition_s_reason_is_what_to_put() {
    let dead = PartitionRecord::Own { owner: owner("dead", 1), epoch: Epoch(4) };
    let map = Map::from([(PartitionId(3), Placed::Recorded(dead))]);
    let policy = Policy { poison: BTreeSet::from([PartitionId(3)]), ..policy() };
    let steps = steps_of(&[member("a", NodeMode::Ready)], &map, &policy, at(0));
    let PartitionRecord::Parked { reason, .. } = &steps[0].record else { panic!("{steps:?}") };
    assert!(reason.contains(r#"put override/hunt/partitions/pins to ["3=a"]"#), "{reason}");
}

#[test]
fn a_partition_without_a_next_epoch_is_parked_once_and_for_all() {
    let dead = PartitionRecord::Own { owner: owner("dead", 1), epoch: Epoch::MAX };
    let lives = PartitionRecord::Own { owner: owner("a", 1), epoch: Epoch::MAX };
    let mut map = nowhere(3);
    map.insert(PartitionId(0), Placed::Recorded(dead));
    map.insert(PartitionId(1), Placed::Nowhere { epoch: Epoch::MAX });
    map.insert(PartitionId(2), Placed::Recorded(lives));
    let nodes = [member("a", NodeMode::Draining), member("b", NodeMode::Ready)];
    let pins = (0..3).map(|id| (PartitionId(id), nodes[1].owner.node.clone())).collect();
    let policy = Policy { pins, ..policy() };
    let steps = steps_of(&nodes, &map, &policy, at(0));
    let parked = |step: &Step| matches!(step.record, PartitionRecord::Parked { .. });
    assert!(steps.len() == 2 && steps.iter().all(parked), "{steps:?}");
    apply(&mut map, &steps);
    assert_eq!(steps_of(&nodes, &map, &policy, at(0)), []);
}
