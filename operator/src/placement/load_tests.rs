//! What the planner decides by load: properties of any plan on any hunt. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::placement::{Budget, Costs, Health, Hot, Member, Placed, Plan, Policy, check};

const PARTITIONS: u32 = 48;

pub(super) fn owner(node: usize, life: u32) -> Owner {
    let node = NodeName::new(format!("n{node}")).unwrap();
    Owner { node, incarnation: life.to_string() }
}

pub(super) fn now() -> Timestamp {
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
