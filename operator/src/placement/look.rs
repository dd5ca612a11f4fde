//! One look at one hunt's placement: from its keys and what is remembered to transactions, notes
//! and the time of the next look. Works without a resource, so also without its source. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::keys::Key;
use config_schemas::{Epoch, NodeName, PartitionId};
use jiff::Timestamp;
use store::Txn;

use super::{
    MOVES_PER_TXN, Member, Placed, Plan, Policy, Scene, Seen, Setup, Standing, Step, StepCause,
    Violation, check, hold_until, plan_placement, transactions,
};
use crate::evaluate::{Evaluation, live};
use crate::plan::Note;
use crate::state::{HuntView, Memory};

/// Notes of one look about one thing: a flood tells no more than the first few.
const NOTES_MAX: usize = 8;

/// What is to be done about placement, and how it stands.
#[derive(Debug, Default)]
pub struct Placing {
    /// Transactions, in order.
    pub txns: Vec<Txn>,
    /// The causes of the steps in them.
    pub causes: Vec<StepCause>,
    /// What to tell people once they are committed.
    pub notes: Vec<Note>,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
    /// How evenly the load lies; nothing while there is none.
    pub standing: Option<Standing>,
    /// Nodes that do not do well.
    pub unwell: Vec<NodeName>,
    /// What was wrong with the plan: then it is not in `txns`.
    pub violations: Vec<Violation>,
}

/// Partitions of a hunt, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Those that are to have an owner.
    pub placed: u32,
    /// Those that may have a record.
    pub known: u32,
}

/// Looks at a hunt.
pub fn place(
    view: &HuntView<'_>,
    judged: &Evaluation,
    memory: &mut Memory,
    extent: Extent,
    now: Timestamp,
) -> Placing {
    let setup = setup(judged);
    let placed = placed(view, memory, extent.placed);
    let nodes = live(view).map(|(node, record)| {
        let leaves = judged.drained.contains(&node);
        let mode = if leaves { NodeMode::Draining } else { record.mode };
        (Owner { node, incarnation: record.incarnation.clone() }, mode)
    });
    let members = memory.rounds.members(nodes, &setup, now);
    memory.rounds.turn(&members, &placed, &setup, now);
    miss(view, memory, &members, now);
    let hold = hold(view, memory, &members, &setup, now);
    let freed = freed(view, judged);
    let seen = Seen { hold, gone: &memory.gone, freed: &freed, now };
    let policy = memory.rounds.policy(&members, &placed, &setup, &seen);
    let costs = memory.rounds.costs();
    let scene = Scene { nodes: &members, partitions: &placed, costs: &costs, policy: &policy, now };
    let (plan, violations) = checked(&scene);
    let mut placing = Placing {
        violations,
        standing: (costs.total() > 0.0).then_some(plan.standing),
        unwell: members
            .iter()
            .filter(|member| member.health != super::Health::Well)
            .map(|member| member.owner.node.clone())
            .collect(),
        ..Placing::default()
    };
    let mut steps = plan.steps;
    let is_broken = |id: &PartitionId| matches!(placed.get(id), Some(Placed::Nowhere { .. }));
    let waits = |id| memory.put_back_at(id, now).filter(|_| is_broken(&id));
    let put_back_at = steps.iter().filter_map(|step| waits(step.partition)).min();
    steps.retain(|step| waits(step.partition).is_none());
    memory.rounds.planned(&steps, plan.running, &placed, &setup, now);
    placing.txns = transactions(&steps, view);
    placing.causes = steps.iter().map(|step| step.cause).collect();
    placing.notes(&steps, view, &placed);
    placing.stray_partitions(view, extent.known);
    let several = members.len() > 1;
    let wakes = [
        policy.hold,
        put_back_at,
        deadlines(view).filter(|at| *at > now).min(),
        memory.rounds.next_rested(now),
        memory.rounds.next().filter(|_| several),
    ];
    placing.wake_at = wakes.into_iter().flatten().min();
    placing
}

/// A plan that holds, and what was wrong with the one that did not. A move for balance that should
/// not be keeps nobody from taking over what is a dead node's: then only what must be is planned.
fn checked(scene: &Scene<'_>) -> (Plan, Vec<Violation>) {
    let plan = plan_placement(*scene);
    let violations = check(scene, &plan.steps);
    if violations.is_empty() {
        return (plan, violations);
    }
    let policy = Policy { paused: true, ..scene.policy.clone() };
    let forced = Scene { policy: &policy, ..*scene };
    let only = plan_placement(forced);
    let holds = check(&forced, &only.steps).is_empty();
    let steps = if holds { only.steps } else { Vec::new() };
    (Plan { steps, ..plan }, violations)
}

/// Owners that are not there, and were never seen to go: an operator that has just started takes
/// them for gone from now on, so that the brake holds for it as for one that saw them go.
fn miss(view: &HuntView<'_>, memory: &mut Memory, members: &[Member], now: Timestamp) {
    let live: BTreeSet<&NodeName> = members.iter().map(|member| &member.owner.node).collect();
    let owners = view.partitions.values().filter_map(|slot| Some(&slot.value()?.owner()?.node));
    for node in owners.filter(|node| !live.contains(node)) {
        memory.gone.entry(node.clone()).or_insert(now);
    }
}

fn setup(judged: &Evaluation) -> Setup {
    let config = &judged.effective.config;
    let partitions = &config.partitions;
    let percent = |number: u64| number as f64 / 100.0;
    Setup {
        round: partitions.round,
        budget: percent(partitions.budget),
        tolerance: percent(partitions.tolerance),
        moves: usize::try_from(partitions.moves).unwrap_or(usize::MAX),
        drain: partitions.drain,
        paused: partitions.paused,
        pins: partitions.pins.iter().map(|pin| (pin.partition, pin.node.clone())).collect(),
        lease: config.heartbeat.lease(),
    }
}

fn placed(view: &HuntView<'_>, memory: &Memory, count: u32) -> BTreeMap<PartitionId, Placed> {
    let of = |id: u32| {
        let id = PartitionId(id);
        let record = view.partitions.get(&id).and_then(|slot| slot.value());
        let epoch = memory.epochs.get(&id).copied().unwrap_or(Epoch(0));
        let record = record.filter(|record| memory.fits(id, record.epoch()));
        (id, record.map_or(Placed::Nowhere { epoch }, |r| Placed::Recorded(r.clone())))
    };
    (0..count).map(of).collect()
}

fn hold(
    view: &HuntView<'_>,
    memory: &Memory,
    members: &[Member],
    setup: &Setup,
    now: Timestamp,
) -> Option<Timestamp> {
    let owners: BTreeSet<&NodeName> =
        view.partitions.values().filter_map(|slot| Some(&slot.value()?.owner()?.node)).collect();
    let lives = |node: &NodeName| members.iter().any(|member| member.owner.node == *node);
    let gone: Vec<Timestamp> = owners
        .iter()
        .filter(|node| !lives(node))
        .filter_map(|node| memory.gone.get(*node).copied())
        .collect();
    hold_until(owners.len(), &gone, setup.lease, now)
}

/// Parked partitions that the running generation, which is newer, sets free.
fn freed(view: &HuntView<'_>, judged: &Evaluation) -> BTreeSet<PartitionId> {
    let kept = view.kept();
    let Some(written) = judged.choice.generation.and_then(|runs| kept.get(&runs)) else {
        return BTreeSet::new();
    };
    let free = |(id, slot): (&PartitionId, &crate::state::Slot<'_, PartitionRecord>)| {
        let parked = matches!(slot.value(), Some(PartitionRecord::Parked { .. }));
        let since = slot.entry().filter(|_| parked)?.mod_revision;
        (since < *written).then_some(*id)
    };
    view.partitions.iter().filter_map(free).collect()
}

fn deadlines<'a>(view: &'a HuntView<'_>) -> impl Iterator<Item = Timestamp> + 'a {
    view.partitions.values().filter_map(|slot| match slot.value()? {
        PartitionRecord::Mov { deadline, .. } => Some(*deadline),
        PartitionRecord::Own { .. } | PartitionRecord::Parked { .. } => None,
    })
}

impl Placing {
    fn notes(
        &mut self,
        steps: &[Step],
        view: &HuntView<'_>,
        placed: &BTreeMap<PartitionId, Placed>,
    ) {
        let pins = view.keys.key(&Key::Override("hunt/partitions/pins".to_owned()));
        let broken = steps.iter().map(|step| &step.partition).filter(|id| {
            let nowhere = matches!(placed.get(id), Some(Placed::Nowhere { .. }));
            nowhere && view.partitions.contains_key(id)
        });
        for id in broken.take(NOTES_MAX) {
            let key = view.keys.key(&Key::Partition(*id));
            let text = format!(
                "{key} is no record that can be, or of an epoch that is older or was never \
                 granted, and is written anew; to place a partition by hand, put {pins}"
            );
            self.notes.push(Note::warning("PutBack", key, text));
        }
        for step in steps.iter().filter(|step| step.cause == StepCause::Poison).take(NOTES_MAX) {
            let key = view.keys.key(&Key::Partition(step.partition));
            let PartitionRecord::Parked { reason, .. } = &step.record else { continue };
            let text = format!("partition {} is parked: {reason}", step.partition);
            self.notes.push(Note::warning("Parked", key, text));
        }
        for step in steps.iter().filter(|step| step.cause == StepCause::Freed).take(NOTES_MAX) {
            let key = view.keys.key(&Key::Partition(step.partition));
            let text = format!("partition {} is served again", step.partition);
            self.notes.push(Note::normal("Unparked", key, text));
        }
    }

    /// Keys that stand for no partition are taken away.
    fn stray_partitions(&mut self, view: &HuntView<'_>, count: u32) {
        let stray: Vec<_> = view.partitions.keys().filter(|id| id.0 >= count).collect();
        if stray.is_empty() {
            return;
        }
        let mut txn = Txn::default();
        for id in stray.into_iter().take(MOVES_PER_TXN) {
            let what = Key::Partition(*id);
            let key = view.keys.key(&what);
            txn.guards.push(view.guard(&what));
            txn.writes.push(store::Write::delete(key.clone()));
            let text = format!(
                "{key} stands for no partition of the hunt and is taken away; override/ is for people"
            );
            self.notes.push(Note::warning("PutBack", key, text));
        }
        self.txns.push(txn);
    }
}
