//! Says planned steps in records and guards, as many transactions as etcd's limits ask for.
//! Each holds only while the partition and the nodes in question are as they were seen. Pure.

use config_schemas::documents;
use config_schemas::keys::Key;
use store::{Guard, Txn, Write};

use super::Step;
use crate::state::HuntView;

/// Partitions in one transaction: each may bring three guards, and etcd takes 128 in all.
pub const PARTITIONS_PER_TXN: usize = 40;

/// The transactions of these steps.
pub fn transactions(steps: &[Step], view: &HuntView<'_>) -> Vec<Txn> {
    steps.chunks(PARTITIONS_PER_TXN).map(|chunk| transaction(chunk, view)).collect()
}

fn transaction(steps: &[Step], view: &HuntView<'_>) -> Txn {
    let mut txn = Txn::default();
    let guard = |txn: &mut Txn, guard: Guard| {
        if !txn.guards.contains(&guard) {
            txn.guards.push(guard);
        }
    };
    guard(&mut txn, view.guard(&Key::Meta));
    for step in steps {
        let what = Key::Partition(step.partition);
        guard(&mut txn, view.guard(&what));
        for node in nodes(step, view) {
            guard(&mut txn, view.guard(&Key::Node(node)));
        }
        let record = documents::write(&step.record);
        txn.writes.push(Write::put(view.keys.key(&what), record));
    }
    txn
}

/// The nodes whose life the step depends on: whoever has it and whoever is to get it.
fn nodes(step: &Step, view: &HuntView<'_>) -> Vec<config_schemas::NodeName> {
    use config_schemas::documents::PartitionRecord::Mov;
    let before = view.partitions.get(&step.partition).and_then(|slot| slot.value());
    let mut nodes: Vec<_> =
        before.and_then(|r| r.owner()).into_iter().chain(step.record.owner()).collect();
    if let Mov { to, .. } = &step.record {
        nodes.push(to);
    }
    nodes.into_iter().map(|owner| owner.node.clone()).collect()
}
