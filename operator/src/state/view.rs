//! The keys of one hunt as etcd holds them, read. In: the held entries. Out: each key absent,
//! broken or read, with the entry that guards are made from. Built anew for each look. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{self, Ack, Desired, Meta, NodeRecord, PartitionRecord, Rollout};
use config_schemas::generation::Kept;
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::layers::{Edits, Written};
use config_schemas::{Generation, HuntName, NodeName, PartitionId, Revision, Warm};
use serde::de::DeserializeOwned;
use store::{Entry, Guard};

/// What stands at a machine-written key.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot<'a, T> {
    /// Nothing.
    Absent,
    /// Something that cannot be read.
    Broken {
        /// What stands there.
        entry: &'a Entry,
        /// What is wrong with it.
        why: String,
    },
    /// What belongs there.
    Read {
        /// What stands there.
        entry: &'a Entry,
        /// The same, typed.
        value: T,
    },
}

impl<'a, T: DeserializeOwned> Slot<'a, T> {
    fn read(entry: &'a Entry) -> Slot<'a, T> {
        Slot::of(entry, documents::read(&entry.value))
    }
}

impl<'a, T> Slot<'a, T> {
    fn of(entry: &'a Entry, read: Result<T, String>) -> Slot<'a, T> {
        match read {
            Ok(value) => Slot::Read { entry, value },
            Err(why) => Slot::Broken { entry, why },
        }
    }

    /// The value, where it can be read.
    pub fn value(&self) -> Option<&T> {
        match self {
            Slot::Read { value, .. } => Some(value),
            Slot::Absent | Slot::Broken { .. } => None,
        }
    }

    /// What stands there, readable or not.
    pub fn entry(&self) -> Option<&'a Entry> {
        match self {
            Slot::Absent => None,
            Slot::Broken { entry, .. } | Slot::Read { entry, .. } => Some(entry),
        }
    }
}

/// The keys of one hunt.
#[derive(Debug)]
pub struct HuntView<'a> {
    /// Which hunt.
    pub hunt: HuntName,
    /// Builds the hunt's keys.
    pub keys: HuntKeys,
    /// `meta`.
    pub meta: Slot<'a, Meta>,
    /// `rollout`.
    pub rollout: Slot<'a, Rollout>,
    /// `desired/*`.
    pub desired: BTreeMap<Generation, Slot<'a, Desired>>,
    /// `override/*`.
    pub edits: Edits,
    /// `node/*`; broken, too, what hangs on no lease: agents write on theirs alone.
    pub nodes: BTreeMap<NodeName, Slot<'a, NodeRecord>>,
    /// `ack/*` that can be read.
    pub acks: BTreeMap<NodeName, Ack>,
    /// `partition/*`.
    pub partitions: BTreeMap<PartitionId, Slot<'a, PartitionRecord>>,
    /// `warm/*` that can be read: who has loaded what is to be its own.
    pub warm: BTreeMap<PartitionId, Warm>,
    /// Keys that nobody of ours writes, below the hunt's prefix.
    pub unknown: Vec<String>,
}

impl<'a> HuntView<'a> {
    /// Reads the hunt's share of what is held.
    pub fn of(hunt: &HuntName, held: &'a BTreeMap<String, Entry>) -> HuntView<'a> {
        let mut view = HuntView {
            hunt: hunt.clone(),
            keys: HuntKeys::new(hunt),
            meta: Slot::Absent,
            rollout: Slot::Absent,
            desired: BTreeMap::new(),
            edits: Edits::new(),
            nodes: BTreeMap::new(),
            acks: BTreeMap::new(),
            partitions: BTreeMap::new(),
            warm: BTreeMap::new(),
            unknown: Vec::new(),
        };
        let prefix = view.keys.prefix().to_owned();
        let of_hunt = held.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        for (key, entry) in of_hunt {
            view.place(key, entry);
        }
        view
    }

    fn place(&mut self, key: &str, entry: &'a Entry) {
        let Some(what) = self.keys.parse(key) else { return };
        match what {
            Key::Meta => self.meta = Slot::read(entry),
            Key::Rollout => self.rollout = Slot::read(entry),
            Key::Desired(generation) => {
                self.desired.insert(generation, Slot::read(entry));
            }
            Key::Override(rest) => {
                let written = Written { bytes: entry.value.to_vec(), revision: entry.mod_revision };
                self.edits.insert(rest, written);
            }
            Key::Node(node) => {
                let read = NodeRecord::read(&entry.value, entry.lease.is_some());
                self.nodes.insert(node, Slot::of(entry, read));
            }
            Key::Ack(node) => {
                self.acks.extend(documents::read(&entry.value).ok().map(|ack| (node, ack)));
            }
            Key::Partition(id) => {
                self.partitions.insert(id, Slot::read(entry));
            }
            Key::Warm(id) => {
                self.warm.extend(documents::read(&entry.value).ok().map(|warm| (id, warm)));
            }
            Key::Load(_) | Key::Routing => {}
            Key::Unknown(rest) => self.unknown.push(rest),
        }
    }

    /// The guard that the key stays as this view shows it.
    pub fn guard(&self, what: &Key) -> Guard {
        let entry = match what {
            Key::Meta => self.meta.entry(),
            Key::Rollout => self.rollout.entry(),
            Key::Desired(generation) => self.desired.get(generation).and_then(Slot::entry),
            Key::Node(node) => self.nodes.get(node).and_then(Slot::entry),
            Key::Partition(id) => self.partitions.get(id).and_then(Slot::entry),
            Key::Override(_)
            | Key::Load(_)
            | Key::Ack(_)
            | Key::Warm(_)
            | Key::Routing
            | Key::Unknown(_) => None,
        };
        Guard::as_found(&self.keys.key(what), entry)
    }

    /// The kept generations and the revision at which each was first written. Not the last one:
    /// putting a hand edit back must not make a generation newer than a rollback to it.
    pub fn kept(&self) -> Kept {
        let created = |(generation, slot): (&Generation, &Slot<'a, Desired>)| {
            Some((*generation, slot.entry()?.create_revision))
        };
        self.desired.iter().filter_map(created).collect()
    }

    /// The last revision at which a live edit or the rollout was written, deletions aside.
    pub fn edited_at(&self) -> Option<Revision> {
        let rollout = self.rollout.entry().map(|entry| entry.mod_revision);
        self.edits.values().map(|written| written.revision).chain(rollout).max()
    }

    /// Whether the operator ever wrote anything of this hunt that is still there.
    pub fn is_bare(&self) -> bool {
        self.meta.entry().is_none()
            && self.rollout.entry().is_none()
            && self.desired.is_empty()
            && self.partitions.is_empty()
    }
}
