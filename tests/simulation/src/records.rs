//! What stands in etcd, watched from outside at every step of the simulation: who was said to own
//! which partition under which epoch, and which epochs ended by an owner's own hand-over. In: the
//! keys. Out: what contradicts itself, and what is not at rest. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::{self, Meta, NodeMode, NodeRecord, Owner, PartitionRecord};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Epoch, NodeName, PartitionId};

/// An owner that is told to hand over may leave what it has not played by then to the next; one
/// that hands over earlier has no reason to. See `DRAIN_SOFT` in the agent.
const DRAINS_WITHIN: Duration = Duration::from_millis(250);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Records {
    now: BTreeMap<PartitionId, PartitionRecord>,
    nodes: BTreeMap<NodeName, NodeRecord>,
    warm: BTreeSet<PartitionId>,
    /// Into how many partitions the hunt is cut, and was before.
    cut: Vec<u32>,
    owners: BTreeMap<(PartitionId, Epoch), Owner>,
    /// Since when which move is under way.
    moving: BTreeMap<(PartitionId, Epoch), Duration>,
    /// Epochs that ended while their owner lived, soon after it was told to hand over.
    handed_over: BTreeSet<(PartitionId, Epoch)>,
    /// Epochs that ended otherwise: their owner was gone, or was thought to be.
    pub(crate) forced: usize,
    /// Moves that were begun.
    pub(crate) moves: usize,
    findings: Vec<String>,
}

impl Records {
    /// Takes all keys in as they stand `now`.
    pub(crate) fn look<'a>(
        &mut self,
        now: Duration,
        keys: &HuntKeys,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) {
        let before = std::mem::take(&mut self.now);
        let lived = std::mem::take(&mut self.nodes);
        self.warm.clear();
        for (key, value) in entries {
            let Some(key) = std::str::from_utf8(key).ok().and_then(|key| keys.parse(key)) else {
                continue;
            };
            match key {
                Key::Partition(id) => self.now.extend(documents::read(value).ok().map(|r| (id, r))),
                Key::Node(node) => {
                    self.nodes.extend(documents::read(value).ok().map(|r| (node, r)));
                }
                Key::Warm(id) => drop(self.warm.insert(id)),
                Key::Meta => self.cut = documents::read(value).map_or(Vec::new(), counts),
                _ => {}
            }
        }
        for (id, record) in &self.now {
            if before.get(id) == Some(record) {
                continue;
            }
            if matches!(record, PartitionRecord::Mov { .. }) {
                self.moves += 1;
                self.moving.insert((*id, record.epoch()), now);
            }
            if let Some(before) = before.get(id) {
                if record.epoch() < before.epoch() {
                    let (from, to) = (before.epoch(), record.epoch());
                    self.findings.push(format!("partition {id}: epoch {to} after {from} in etcd"));
                }
                let since = self.moving.get(&(*id, before.epoch()));
                let soon = since.is_some_and(|since| now.saturating_sub(*since) < DRAINS_WITHIN);
                if soon && handed_over(before, record, &lived, &self.nodes) {
                    self.handed_over.insert((*id, before.epoch()));
                } else if record.epoch() > before.epoch() {
                    self.forced += 1;
                }
            }
            let Some(owner) = record.owner() else { continue };
            let known = self.owners.insert((*id, record.epoch()), owner.clone());
            if known.as_ref().is_some_and(|known| known != owner) {
                self.findings.push(format!(
                    "partition {id}: epoch {} belonged to {known:?} and to {owner:?}",
                    record.epoch()
                ));
            }
        }
    }

    /// Whether the owner itself ended that epoch, so soon after it was told to that it must have
    /// played all that it had taken in.
    pub(crate) fn was_handed_over(&self, partition: u32, epoch: u64) -> bool {
        self.handed_over.contains(&(PartitionId(partition), Epoch(epoch)))
    }

    /// How many epochs their owners ended themselves.
    pub(crate) fn handed_over(&self) -> usize {
        self.handed_over.len()
    }

    /// The store is another one from now on: epochs begin anew, and owners raise them to what the
    /// logs say.
    pub(crate) fn store_wiped(&mut self) {
        self.now.clear();
        self.owners.clear();
        self.handed_over.clear();
    }

    /// Into how many partitions the hunt is cut, oldest first; the last one is in force.
    pub(crate) fn cut(&self) -> &[u32] {
        &self.cut
    }

    /// What should never have stood there.
    pub(crate) fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Whether somebody has to set partitions free.
    pub(crate) fn parked(&self) -> bool {
        self.now.values().any(|record| matches!(record, PartitionRecord::Parked { .. }))
    }

    /// What is not at rest yet: every partition is a living node's, nothing moves, nothing is
    /// left of moves.
    pub(crate) fn unrest(&self, partitions: u32) -> Option<String> {
        if self.cut.last() != Some(&partitions) {
            return Some(format!("cut into {:?}, and {partitions} are wanted", self.cut));
        }
        for id in (0..partitions).map(PartitionId) {
            match self.now.get(&id) {
                Some(PartitionRecord::Own { owner, .. }) if self.serves(owner) => {}
                other => return Some(format!("partition {id}: {other:?}")),
            }
        }
        (!self.warm.is_empty()).then(|| format!("warm keys are left: {:?}", self.warm))
    }

    fn serves(&self, owner: &Owner) -> bool {
        self.nodes.get(&owner.node).is_some_and(|node| {
            node.incarnation == owner.incarnation && node.mode == NodeMode::Ready
        })
    }
}

fn counts(meta: Meta) -> Vec<u32> {
    meta.before.into_iter().chain([meta.partitions]).collect()
}

/// A move ended in its destination's favour while the owner that had begun to hand it over was
/// registered, before and after: the controller may not do that.
fn handed_over(
    before: &PartitionRecord,
    after: &PartitionRecord,
    lived: &BTreeMap<NodeName, NodeRecord>,
    lives: &BTreeMap<NodeName, NodeRecord>,
) -> bool {
    let PartitionRecord::Mov { owner, epoch, to, .. } = before else { return false };
    let is_there = |nodes: &BTreeMap<NodeName, NodeRecord>| {
        nodes.get(&owner.node).is_some_and(|node| node.incarnation == owner.incarnation)
    };
    after.owner() == Some(to) && after.epoch() == epoch.next() && is_there(lived) && is_there(lives)
}
