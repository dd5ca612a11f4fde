//! The checker on plans that are broken on purpose, one rule at a time. Pure.

use super::*;
use crate::placement::{Budget, Costs, Policy, StepCause};
use config_schemas::Epoch;
use jiff::Timestamp;
use std::time::Duration;

const NOW: i64 = 1_800_000_000;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(NOW + secs).unwrap()
}

fn owner(node: &str) -> Owner {
    Owner { node: NodeName::new(node).unwrap(), incarnation: "1".to_owned() }
}

fn member(node: &str, mode: NodeMode, health: Health) -> Member {
    Member { owner: owner(node), mode, weight: 1.0, health }
}

fn own(node: &str, epoch: u64) -> PartitionRecord {
    PartitionRecord::Own { owner: owner(node), epoch: Epoch(epoch) }
}

fn mov(from: &str, epoch: u64, to: &str) -> PartitionRecord {
    let (owner, to) = (owner(from), owner(to));
    PartitionRecord::Mov { owner, epoch: Epoch(epoch), to, since: at(0), deadline: at(10) }
}

fn parked(epoch: u64) -> PartitionRecord {
    PartitionRecord::Parked { epoch: Epoch(epoch), reason: String::new() }
}

/// Nodes `a`, `b` and `c` (ready), `slow`, `leaving`; partitions 0 to 4 owned by `a`, 5 by a dead
/// node, 6 parked, 7 on the move from `b` to `c`, 8 with nobody, 9 by `slow`, 10 by `leaving`.
struct Case {
    nodes: Vec<Member>,
    partitions: BTreeMap<PartitionId, Placed>,
    policy: Policy,
}

impl Case {
    fn new() -> Case {
        let ready = |node| member(node, NodeMode::Ready, Health::Well);
        let mut records: Vec<PartitionRecord> = (0..5).map(|_| own("a", 3)).collect();
        records.extend([own("dead", 3), parked(3), mov("b", 3, "c"), own("a", 0)]);
        records.extend([own("slow", 3), own("leaving", 3)]);
        let mut partitions: BTreeMap<PartitionId, Placed> =
            (0..).map(PartitionId).zip(records.into_iter().map(Placed::Recorded)).collect();
        partitions.insert(PartitionId(8), Placed::Nowhere { epoch: Epoch(3) });
        Case {
            nodes: vec![
                ready("a"),
                ready("b"),
                ready("c"),
                member("slow", NodeMode::Ready, Health::Slow),
                member("leaving", NodeMode::Draining, Health::Well),
            ],
            partitions,
            policy: Policy {
                pins: BTreeMap::new(),
                paused: false,
                moves: 5,
                drain: Duration::from_secs(10),
                hold: None,
                resting: BTreeMap::new(),
                cooling: BTreeSet::new(),
                aim: Aim::Load,
                running: false,
                tolerance: 0.15,
                left: Budget { partitions: 2, cost: 2.0 },
                poison: BTreeSet::from([PartitionId(5)]),
                spread: BTreeSet::new(),
                freed: BTreeSet::from([PartitionId(6)]),
                hot: BTreeMap::new(),
            },
        }
    }

    /// What the checker says to these records, beside those that mend 5 and 8.
    fn said(&self, records: &[(u32, PartitionRecord)]) -> Vec<&'static str> {
        let mends = [(5, own("b", 4)), (8, own("b", 4))];
        let untouched = |(id, _): &&(u32, PartitionRecord)| records.iter().all(|(o, _)| o != id);
        let step = |(id, record): &(u32, PartitionRecord)| Step {
            partition: PartitionId(*id),
            cause: StepCause::Balance,
            record: record.clone(),
        };
        let steps: Vec<Step> =
            records.iter().chain(mends.iter().filter(untouched)).map(step).collect();
        let costs = Costs::of_known(11, |_| Some(1.0));
        let scene = Scene {
            nodes: &self.nodes,
            partitions: &self.partitions,
            costs: &costs,
            policy: &self.policy,
            now: at(0),
        };
        check(&scene, &steps).into_iter().map(|violation| violation.what).collect()
    }

    fn check(&self, records: &[(u32, PartitionRecord)], expected: &[&str]) {
        assert_eq!(self.said(records), expected, "{records:?}");
    }
}

fn case(change: impl FnOnce(&mut Policy)) -> Case {
    let mut case = Case::new();
    change(&mut case.policy);
    case
}

#[test]
fn what_a_plan_may_do_passes() {
    let check = |records: &[(u32, PartitionRecord)]| Case::new().check(records, &[]);
    check(&[]);
    check(&[(0, mov("a", 3, "b"))]);
    check(&[(5, own("c", 4))]);
    check(&[(5, parked(3))]);
    check(&[(6, own("b", 4))]);
    check(&[(7, own("b", 3))]);
    check(&[(9, mov("slow", 3, "b"))]);
    check(&[(10, mov("leaving", 3, "b"))]);
    check(&[(0, mov("a", 3, "b")), (1, mov("a", 3, "c"))]);
}

#[test]
fn every_broken_plan_is_found() {
    let check =
        |records: &[(u32, PartitionRecord)], what: &str| Case::new().check(records, &[what]);
    check(&[(0, mov("a", 3, "b")), (0, mov("a", 3, "b"))], "two next records in one plan");
    check(&[(11, own("a", 1))], "is no partition of the hunt");
    check(&[(0, own("b", 4))], "is taken from a live owner");
    check(&[(0, own("a", 4))], "is taken from a live owner");
    check(&[(0, own("a", 3))], "is taken from a live owner");
    check(&[(7, own("c", 4))], "is taken from a live owner");
    check(&[(5, own("b", 3))], "a new owner in no new epoch");
    check(&[(5, own("b", 5))], "a new owner in no new epoch");
    check(&[(8, own("b", 1))], "a new owner in no new epoch");
    check(&[(7, mov("b", 3, "a"))], "is ordered off somebody who does not serve it");
    check(&[(0, mov("b", 3, "c"))], "is ordered off another than its owner");
    check(&[(0, mov("a", 4, "b"))], "the order changes the epoch");
    check(&[(0, mov("a", 3, "a"))], "is moved to where it is");
    check(&[(5, own("leaving", 4))], "goes to a node that takes none");
    check(&[(0, mov("a", 3, "leaving"))], "goes to a node that takes none");
    check(&[(5, own("slow", 4))], "goes to a node that is not well");
    check(&[(0, mov("a", 3, "slow"))], "goes to a node that is not well");
    check(&[(5, parked(4))], "is parked in another epoch");
    let twice = (0..3).map(|id| (id, mov("a", 3, "b"))).collect::<Vec<_>>();
    check(&twice, "moves more than the round's budget");
}

#[test]
fn a_node_that_is_not_there_gets_nothing_and_a_late_deadline_is_found() {
    let gone = [(5, own("dead", 4))];
    let said = ["goes to a node that takes none", "is left without an owner"];
    Case::new().check(&gone, &said);
    let PartitionRecord::Mov { owner, epoch, to, since, .. } = mov("a", 3, "b") else { return };
    let late = PartitionRecord::Mov { owner, epoch, to, since, deadline: at(0) };
    Case::new().check(&[(0, late)], &["a deadline that cannot be kept"]);
}

#[test]
fn policy_is_kept() {
    let move_0 = [(0, mov("a", 3, "b"))];
    case(|p| p.paused = true).check(&move_0, &["moves although placement is paused"]);
    case(|p| p.paused = true).check(&[(10, mov("leaving", 3, "b"))], &[]);
    case(|p| p.aim = Aim::Nothing).check(&move_0, &["moves although nothing is known"]);
    case(|p| p.aim = Aim::Nothing).check(&[(9, mov("slow", 3, "b"))], &[]);
    let rests = |p: &mut Policy| p.resting.extend([(PartitionId(0), at(5))]);
    case(rests).check(&move_0, &["moves although it is to rest"]);
    let cools = |p: &mut Policy| p.cooling.extend([PartitionId(0), PartitionId(9)]);
    case(cools).check(&move_0, &["moves again too soon"]);
    case(cools).check(&[(9, mov("slow", 3, "b"))], &["moves again too soon"]);
    let left = |partitions, cost| move |p: &mut Policy| p.left = Budget { partitions, cost };
    let what = "moves more than the round's budget";
    case(left(0, 9.0)).check(&move_0, &[what]);
    let two = [(0, mov("a", 3, "b")), (1, mov("a", 3, "c"))];
    case(left(9, 0.5)).check(&two, &[what]);
    case(left(9, 1.5)).check(&two, &[]);
    let count =
        |p: &mut Policy| (p.aim, p.left) = (Aim::Count, Budget { partitions: 0, cost: 0.0 });
    case(count).check(&two, &[]);
    let one_at_a_time = |p: &mut Policy| p.moves = 1;
    let what = "too many partitions of one node on the move";
    case(one_at_a_time).check(&move_0, &[what]);
    case(one_at_a_time).check(&[(10, mov("leaving", 3, "b"))], &[]);
}

#[test]
fn parking_and_forcing_need_their_reasons() {
    let live = |p: &mut Policy| p.poison.extend([PartitionId(0)]);
    case(live).check(&[(0, parked(3))], &["is parked under its owner"]);
    let not_poison = |p: &mut Policy| p.poison.clear();
    case(not_poison).check(&[(5, parked(3))], &["is parked without a reason"]);
    let not_freed = |p: &mut Policy| p.freed.clear();
    case(not_freed).check(&[(6, own("b", 4))], &["is unparked without a word"]);
    let pinned = |p: &mut Policy| {
        p.freed.clear();
        p.pins.insert(PartitionId(6), NodeName::new("b").unwrap());
    };
    case(pinned).check(&[(6, own("b", 4))], &[]);
    let held = |p: &mut Policy| p.hold = Some(at(5));
    case(held).check(&[], &["is forced while the brake holds"]);
    case(held).check(&[(5, parked(3))], &["is parked while the brake holds"]);
}

#[test]
fn nobody_is_left_without_an_owner_while_there_is_a_node() {
    let mut case = Case::new();
    let steps = [];
    let costs = Costs::equal();
    let scene = |case: &Case, nodes: &[Member]| {
        let scene = Scene {
            nodes,
            partitions: &case.partitions,
            costs: &costs,
            policy: &case.policy,
            now: at(0),
        };
        check(&scene, &steps).len()
    };
    assert_eq!(scene(&case, &case.nodes), 2, "those of the dead node and of nobody");
    assert_eq!(scene(&case, &[]), 0);
    case.policy.hold = Some(at(5));
    assert_eq!(scene(&case, &case.nodes), 1, "the brake holds the dead node's back");
}
