//! Says planned steps in records and guards, as many transactions as etcd's limits ask for.
//! Each holds only while the partition and the nodes in question are as they were seen. Pure.

use std::collections::BTreeSet;

use config_schemas::NodeName;
use config_schemas::documents;
use config_schemas::keys::Key;
use store::{Guard, OPS_MAX, Txn, Write};

use super::Step;
use crate::state::HuntView;

/// Partitions in one transaction: each is a guard and a write, and its nodes bring guards of
/// their own; a refused transaction should not throw more than this away.
pub const MOVES_PER_TXN: usize = 60;
/// Guards that every transaction has besides: the root marker's and the leader's.
const OTHER_GUARDS: usize = 2;

/// The transactions of these steps.
pub fn transactions(steps: &[Step], view: &HuntView<'_>) -> Vec<Txn> {
    let mut txns = Vec::new();
    let (mut begun, mut about) = (0, BTreeSet::new());
    for (index, step) in steps.iter().enumerate() {
        let also: BTreeSet<NodeName> = nodes(step, view).into_iter().collect();
        let guards = index + 1 - begun + about.union(&also).count() + OTHER_GUARDS;
        if index - begun >= MOVES_PER_TXN || guards > OPS_MAX {
            txns.push(transaction(&steps[begun..index], &about, view));
            begun = index;
            about.clear();
        }
        about.extend(also);
    }
    if begun < steps.len() {
        txns.push(transaction(&steps[begun..], &about, view));
    }
    txns
}

fn transaction(steps: &[Step], about: &BTreeSet<NodeName>, view: &HuntView<'_>) -> Txn {
    let mut txn = Txn::default();
    txn.guards.push(view.guard(&Key::Meta));
    txn.guards.extend(about.iter().map(|node| view.guard(&Key::Node(node.clone()))));
    for step in steps {
        let what = Key::Partition(step.partition);
        let guard: Guard = view.guard(&what);
        txn.guards.push(guard);
        txn.writes.push(Write::put(view.keys.key(&what), documents::write(&step.record)));
    }
    txn
}

/// The nodes whose life the step depends on: whoever has it and whoever is to get it.
fn nodes(step: &Step, view: &HuntView<'_>) -> Vec<NodeName> {
    use config_schemas::documents::PartitionRecord::Mov;
    let before = view.partitions.get(&step.partition).and_then(|slot| slot.value());
    let mut nodes: Vec<_> =
        before.and_then(|r| r.owner()).into_iter().chain(step.record.owner()).collect();
    if let Mov { to, .. } = &step.record {
        nodes.push(to);
    }
    nodes.into_iter().map(|owner| owner.node.clone()).collect()
}
