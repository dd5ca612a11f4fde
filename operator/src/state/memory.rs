//! What has to be remembered of a hunt's earlier states, because the present one does not show
//! it: what stood where a person edited by hand, how high epochs were, since when nodes are gone.
//! A fold over the changes of its keys. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use config_schemas::documents::{self, Meta, NodeRecord, PartitionRecord};
use config_schemas::keys::Key;
use config_schemas::{Epoch, Generation, Load, NodeName, PartitionId, Revision, Troubles};
use jiff::{SignedDuration, Timestamp};
use store::Entry;

use super::Cutting;
use crate::placement::Rounds;

/// Nodes whose going is remembered: past it the oldest are forgotten, which only means that they
/// do not count for the brake.
const GONE_MAX: usize = 1024;

/// A partition's record that is broken again is written anew after a second, then after two, and
/// so on up to this: whoever breaks it may be a program, or another operator.
const PUT_BACK_MAX: SignedDuration = SignedDuration::from_mins(1);
const PUT_BACK_MIN: SignedDuration = SignedDuration::from_secs(1);

/// Live edits that are remembered against the loss of the store: so many fit into the transaction
/// that begins its new life, beside the documents.
const EDITS_MAX: usize = 64;
/// A longer edit is no edit but a mistake, and is not remembered.
const EDIT_BYTES_MAX: usize = 4 << 10;

/// What is remembered of one hunt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// `meta` as the operator wrote it.
    pub meta: Option<Bytes>,
    /// The kept documents as they were first written.
    pub documents: BTreeMap<Generation, Bytes>,
    /// The highest epoch that each partition had.
    pub epochs: BTreeMap<PartitionId, Epoch>,
    /// Partitions whose record was broken of late.
    broken: BTreeMap<PartitionId, Broken>,
    /// A revision not above the one at which a live edit or the rollout was last deleted.
    pub deleted_at: Option<Revision>,
    /// The live edits, by what follows `override/`. One that goes while the marker stands was
    /// deleted; one that goes with the marker was lost, and is kept here.
    pub edits: BTreeMap<String, Bytes>,
    /// The resource that the edits are of.
    pub edits_of: Option<String>,
    /// Into what the hunt was cut last, step by step, with the resource that it was named for.
    cutting: Option<(String, Cutting)>,
    /// The Kafka cluster that the marker named last, with the resource that it was named for.
    cluster: Option<(String, String)>,
    /// The marker is gone, so what goes now is lost and not deleted.
    pub marker_gone: bool,
    /// Since when nodes are gone.
    pub gone: BTreeMap<NodeName, Timestamp>,
    /// What placement remembers.
    pub rounds: Rounds,
    /// Nodes that say that they cannot serve all that is theirs.
    pub troubles: BTreeMap<NodeName, Troubles>,
}

/// How often a record was broken within a while, and when last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Broken {
    times: u32,
    last: Timestamp,
}

impl Memory {
    /// Whether a record of that epoch can be the partition's: epochs only rise, one by one. What is
    /// older or far above is a hand edit, or of a store that was restored.
    pub fn fits(&self, id: PartitionId, epoch: Epoch) -> bool {
        let known = self.epochs.get(&id).copied();
        known <= Some(epoch) && epoch.is_believable(known)
    }

    /// When a broken record may be written anew, if not at once.
    pub fn put_back_at(&self, id: PartitionId, now: Timestamp) -> Option<Timestamp> {
        let Broken { times, last } = self.broken.get(&id)?;
        let doubled = 1 << times.checked_sub(2)?.min(10);
        let pause = PUT_BACK_MIN.checked_mul(doubled)?.min(PUT_BACK_MAX);
        last.checked_add(pause).ok().filter(|at| *at > now)
    }

    /// The Kafka cluster that the marker of that resource named last.
    pub fn cluster_of(&self, uid: &str) -> Option<&str> {
        self.cluster.as_ref().filter(|(of, _)| of == uid).map(|(_, cluster)| cluster.as_str())
    }

    /// Into what the hunt of that resource was cut last.
    pub fn cutting_of(&self, uid: &str) -> Option<&Cutting> {
        self.cutting.as_ref().filter(|(of, _)| of == uid).map(|(_, cutting)| cutting)
    }

    /// Whether the hunt is cut further once this partition is loaded.
    pub fn awaits(&self, id: PartitionId) -> bool {
        let known = self.cutting.as_ref().map(|(_, cutting)| cutting);
        known.is_some_and(|cutting| cutting.next.is_some() && id.0 >= cutting.partitions)
    }

    /// What the hunt of that resource is cut into, by all that is known when nothing is remembered.
    pub fn believe_cutting(&mut self, uid: &str, believed: Option<Cutting>) {
        self.cutting = believed.map(|cutting| (uid.to_owned(), cutting));
    }

    /// A step that does not follow from the one before is a hand edit.
    fn note_cutting(&mut self, meta: &Meta) {
        let found = Cutting::of(meta);
        if self.cutting_of(&meta.uid).is_some_and(|known| found.follows(known)) {
            self.cutting = Some((meta.uid.clone(), found));
        }
    }

    fn note_broken(&mut self, id: PartitionId, now: Timestamp) {
        let broken = self.broken.entry(id).or_insert(Broken { times: 0, last: now });
        if now.duration_since(broken.last) > PUT_BACK_MAX * 2 {
            broken.times = 0;
        }
        *broken = Broken { times: broken.times.saturating_add(1), last: now };
    }

    /// Takes a change of one of the hunt's keys in. `after` is the revision of the state before
    /// the change, so that the change itself is newer.
    pub fn fold(
        &mut self,
        key: &Key,
        entry: Option<&Entry>,
        after: Option<Revision>,
        now: Timestamp,
    ) {
        self.fold_edits(key, entry);
        match (key, entry) {
            (Key::Meta, Some(entry)) if untouched(entry) => self.meta = Some(entry.value.clone()),
            (Key::Desired(generation), Some(entry)) if untouched(entry) => {
                self.documents.entry(*generation).or_insert_with(|| entry.value.clone());
            }
            (Key::Override(_) | Key::Rollout, None) => {
                self.deleted_at = self.deleted_at.max(after.map(Revision::next));
            }
            (Key::Node(node), None) => {
                self.rounds.node(node, None);
                self.gone.insert(node.clone(), now);
                self.forget_oldest_gone();
            }
            (Key::Node(node), Some(entry)) => {
                let record = NodeRecord::read(&entry.value, entry.lease.is_some());
                self.rounds.node(node, record.ok().map(|record| record.mode));
                self.gone.remove(node);
            }
            (Key::Load(node), entry) => {
                let load = entry.and_then(|entry| documents::read::<Load>(&entry.value).ok());
                let troubles = load.as_ref().map(|load| load.troubles.clone());
                match troubles.filter(|troubles| !troubles.is_none()) {
                    Some(troubles) => self.troubles.insert(node.clone(), troubles),
                    None => self.troubles.remove(node),
                };
                self.rounds.report(node, load, now);
            }
            (Key::Partition(id), Some(entry)) => {
                let record = documents::read::<PartitionRecord>(&entry.value).ok();
                let epoch = record.map(|record| record.epoch());
                let Some(epoch) = epoch.filter(|epoch| self.fits(*id, *epoch)) else {
                    self.epochs.entry(*id).or_insert(Epoch(0));
                    self.note_broken(*id, now);
                    return;
                };
                let known = self.epochs.insert(*id, epoch);
                if known.is_some_and(|known| known < epoch) {
                    self.rounds.changed(*id, now);
                }
            }
            _ => {}
        }
    }

    /// Of what goes at once, the marker comes first: `meta` sorts before `override/`.
    fn fold_edits(&mut self, key: &Key, entry: Option<&Entry>) {
        match (key, entry) {
            (Key::Meta, entry) => {
                self.marker_gone = entry.is_none();
                let meta = entry.and_then(|entry| documents::read::<Meta>(&entry.value).ok());
                if let Some(meta) = meta {
                    self.note_cutting(&meta);
                    if let Some(cluster) = meta.cluster {
                        self.cluster = Some((meta.uid.clone(), cluster));
                    }
                    self.edits_of = Some(meta.uid);
                }
            }
            (Key::Override(rest), Some(entry)) => {
                let known = self.edits.contains_key(rest);
                if entry.value.len() <= EDIT_BYTES_MAX && (known || self.edits.len() < EDITS_MAX) {
                    self.edits.insert(rest.clone(), entry.value.clone());
                } else {
                    self.edits.remove(rest);
                }
            }
            (Key::Override(rest), None) if !self.marker_gone => {
                self.edits.remove(rest);
            }
            _ => {}
        }
    }

    /// The store went back in time or is another one: revisions of before mean nothing, and
    /// neither do documents. Epochs are kept: they only rise.
    pub fn store_rewound(&mut self) {
        self.deleted_at = None;
        self.documents.clear();
        self.meta = None;
    }

    /// Forgets documents that are not kept any more.
    pub fn retain_documents(&mut self, keep: impl Fn(Generation) -> bool) {
        self.documents.retain(|generation, _| keep(*generation));
    }

    fn forget_oldest_gone(&mut self) {
        while self.gone.len() > GONE_MAX {
            let oldest = self.gone.iter().min_by_key(|(_, at)| **at).map(|(node, _)| node.clone());
            oldest.and_then(|node| self.gone.remove(&node));
        }
    }
}

/// Written once and never again: what the operator wrote, for keys that it writes once.
fn untouched(entry: &Entry) -> bool {
    entry.create_revision == entry.mod_revision
}
