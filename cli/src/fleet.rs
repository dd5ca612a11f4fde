//! A hunt as etcd shows it at one revision, typed. In: a listing. Out: nodes, acks, partitions,
//! edits, kept generations; and for any node what it should run. Pure.

mod effects;

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::documents::{self, Ack, Desired, Meta, NodeRecord, PartitionRecord, Rollout};
use config_schemas::generation::{Choice, Kept, choose};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::layers::{Edits, Effective, Written, resolve};
use config_schemas::{
    Generation, HuntName, Load, NodeName, PartitionId, Resource, Revision, Warm, keys,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use store::{Entry, Listing};

use crate::last_good::LastGood;

pub use effects::Effects;

/// A hunt at one revision.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Which.
    pub hunt: HuntName,
    /// The revision of the store that all this shows.
    pub revision: Revision,
    /// The root marker.
    pub meta: Option<Meta>,
    /// Which generation runs where, and since which revision.
    pub rollout: Option<(Rollout, Revision)>,
    /// Every kept configuration.
    pub desired: BTreeMap<Generation, Desired>,
    /// When each of them was written.
    pub kept: Kept,
    /// Every live edit.
    pub edits: Edits,
    /// The agents that live.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// What they say that they run.
    pub acks: BTreeMap<NodeName, Ack>,
    /// What they carry.
    pub loads: BTreeMap<NodeName, Load>,
    /// Who owns what.
    pub partitions: BTreeMap<PartitionId, PartitionRecord>,
    /// Who has loaded what is to be its own.
    pub warm: BTreeMap<PartitionId, Warm>,
    /// Machine-written keys that cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// What agents say that they hold; nothing before they are asked.
    pub last_good: LastGood,
}

impl Fleet {
    /// The hunt in a listing of its prefix.
    pub fn read(hunt: &HuntName, listing: &Listing) -> Fleet {
        Fleet::of(hunt, listing.revision, &listing.entries)
    }

    /// The hunt as its entries show it at that revision.
    pub fn of<'a>(
        hunt: &HuntName,
        revision: Revision,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Fleet {
        let keys = HuntKeys::new(hunt);
        let mut fleet = Fleet::new(hunt, revision);
        for entry in entries {
            if let Some(key) = keys.parse(&entry.key) {
                fleet.add(&key, entry);
            }
        }
        fleet
    }

    /// Every hunt in a listing of all.
    pub fn read_all(listing: &Listing) -> Vec<Fleet> {
        Fleet::all(listing.revision, &listing.entries)
    }

    /// Every hunt of these entries.
    pub fn all<'a>(revision: Revision, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Fleet> {
        let mut fleets: BTreeMap<HuntName, Fleet> = BTreeMap::new();
        for entry in entries {
            if let Some((hunt, key)) = keys::parse(&entry.key) {
                let new = || Fleet::new(&hunt, revision);
                fleets.entry(hunt.clone()).or_insert_with(new).add(&key, entry);
            }
        }
        fleets.into_values().collect()
    }

    fn new(hunt: &HuntName, revision: Revision) -> Fleet {
        Fleet {
            hunt: hunt.clone(),
            revision,
            meta: None,
            rollout: None,
            desired: BTreeMap::new(),
            kept: Kept::new(),
            edits: Edits::new(),
            nodes: BTreeMap::new(),
            acks: BTreeMap::new(),
            loads: BTreeMap::new(),
            partitions: BTreeMap::new(),
            warm: BTreeMap::new(),
            unreadable: Vec::new(),
            last_good: LastGood::default(),
        }
    }

    fn add(&mut self, key: &Key, entry: &Entry) {
        let revision = entry.mod_revision;
        match key {
            Key::Meta => self.meta = self.document(entry),
            Key::Rollout => self.rollout = self.document(entry).map(|found| (found, revision)),
            Key::Desired(generation) => {
                self.kept.insert(*generation, revision);
                if let Some(found) = self.document(entry) {
                    self.desired.insert(*generation, found);
                }
            }
            Key::Override(rest) => {
                let written = Written { bytes: entry.value.to_vec(), revision };
                self.edits.insert(rest.clone(), written);
            }
            Key::Node(node) => {
                let read = NodeRecord::read(&entry.value, entry.lease.is_some());
                if let Some(found) = self.told(entry, read) {
                    self.nodes.insert(node.clone(), found);
                }
            }
            Key::Ack(node) => {
                if let Some(found) = self.document(entry) {
                    self.acks.insert(node.clone(), found);
                }
            }
            Key::Partition(id) => {
                if let Some(found) = self.document(entry) {
                    self.partitions.insert(*id, found);
                }
            }
            Key::Load(node) => {
                if let Some(found) = self.document(entry) {
                    self.loads.insert(node.clone(), found);
                }
            }
            Key::Warm(id) => {
                if let Some(found) = self.document(entry) {
                    self.warm.insert(*id, found);
                }
            }
            Key::Routing => {}
            Key::Unknown(rest) => {
                self.unreadable.push((rest.clone(), "no key of TreasureHunt".to_owned()));
            }
        }
    }

    fn document<T: DeserializeOwned>(&mut self, entry: &Entry) -> Option<T> {
        self.told(entry, documents::read(&entry.value))
    }

    /// What was read, or a note of why it was not.
    fn told<T>(&mut self, entry: &Entry, read: Result<T, String>) -> Option<T> {
        match read {
            Ok(document) => Some(document),
            Err(why) => {
                let prefix = HuntKeys::new(&self.hunt).prefix().len();
                self.unreadable.push((entry.key[prefix..].to_owned(), why));
                None
            }
        }
    }

    /// Whether there is nothing of that name.
    pub fn is_empty(&self) -> bool {
        let nothing = self.meta.is_none() && self.rollout.is_none() && self.kept.is_empty();
        nothing && self.nodes.is_empty() && self.edits.is_empty()
    }

    /// The generation that `node` is to run, or the hunt as a whole.
    pub fn choice(&self, node: Option<&NodeName>, now: Timestamp) -> Choice {
        let rollout = self.rollout.as_ref().map(|(rollout, _)| rollout);
        choose(rollout, &self.edits, &self.kept, node, now)
    }

    /// The resource's values in that generation.
    pub fn resource(&self, generation: Generation) -> Option<Resource> {
        let (values, _) = self.desired.get(&generation)?.values();
        Some(Resource { generation, values })
    }

    /// What `node` is to run, or the hunt as a whole: the same function that agents use, with the
    /// last good values of edits that have become wrong as far as agents have told them.
    pub fn effective(&self, node: Option<&NodeName>, now: Timestamp) -> Effective {
        self.effective_with(&self.edits, node, now)
    }

    /// The same with other edits.
    pub fn effective_with(
        &self,
        edits: &Edits,
        node: Option<&NodeName>,
        now: Timestamp,
    ) -> Effective {
        let generation = self.choice(node, now).generation;
        let resource = generation.and_then(|generation| self.resource(generation));
        resolve(resource.as_ref(), edits, node, &self.last_good.of(node), now)
    }

    /// What should run everywhere.
    pub fn effects(&self, now: Timestamp) -> Effects {
        Effects::of(self, &self.edits, now)
    }

    /// The revisions of all that concerns `node`: edits of it or of the hunt, and the rollout.
    pub fn asked_of(&self, node: &NodeName) -> impl Iterator<Item = Revision> {
        let concerns = |rest: &str| match rest.strip_prefix("node/") {
            Some(rest) => rest.split('/').next() == Some(node.as_str()),
            None => true,
        };
        let edits = self.edits.iter().filter(move |(rest, _)| concerns(rest));
        let rollout = self.rollout.iter().map(|(_, revision)| *revision);
        edits.map(|(_, written)| written.revision).chain(rollout)
    }

    /// Whether the edit in effect is an earlier one than what stands at its key.
    pub fn is_held(&self, rest: &str, revision: Option<Revision>) -> bool {
        self.edits.get(rest).is_some_and(|written| revision < Some(written.revision))
    }

    /// The ack of this life of the node; an earlier life's says nothing.
    pub fn ack(&self, node: &NodeName) -> Option<&Ack> {
        let record = self.nodes.get(node)?;
        self.acks.get(node).filter(|ack| ack.incarnation == record.incarnation)
    }

    /// The load of this life of the node.
    pub fn load(&self, node: &NodeName) -> Option<&Load> {
        let record = self.nodes.get(node)?;
        self.loads.get(node).filter(|load| load.incarnation == record.incarnation)
    }

    /// Partitions that this life of the node owns.
    pub fn owned(&self, node: &NodeName) -> usize {
        let Some(record) = self.nodes.get(node) else { return 0 };
        let mine = |partition: &&PartitionRecord| {
            let owner = partition.owner();
            owner.is_some_and(|o| o.node == *node && o.incarnation == record.incarnation)
        };
        self.partitions.values().filter(mine).count()
    }

    /// Partitions that no living node serves, missing records included.
    pub fn ownerless(&self) -> BTreeSet<PartitionId> {
        let expected = self.meta.as_ref().map_or(0, |meta| meta.partitions);
        let all = (0..expected).map(PartitionId).chain(self.partitions.keys().copied());
        all.filter(|id| !self.is_served(*id)).collect()
    }

    /// How many of the partitions that are not in use yet have loaded what they are cut from.
    pub fn loaded(&self, from: u32, to: u32) -> usize {
        let is_loaded = |id: &PartitionId| match (self.partitions.get(id), self.warm.get(id)) {
            (Some(PartitionRecord::Own { owner, epoch }), Some(warm)) => {
                (&warm.owner, warm.epoch) == (owner, *epoch)
            }
            _ => false,
        };
        (from..to).map(PartitionId).filter(is_loaded).count()
    }

    fn is_served(&self, id: PartitionId) -> bool {
        let owner = self.partitions.get(&id).and_then(PartitionRecord::owner);
        owner.is_some_and(|owner| {
            self.nodes.get(&owner.node).is_some_and(|node| node.incarnation == owner.incarnation)
        })
    }

    /// Nodes that edits address, without those that live.
    pub fn absent_nodes(&self) -> BTreeSet<NodeName> {
        let named = self.edits.keys().filter_map(|rest| {
            let name = rest.strip_prefix("node/")?.split('/').next()?;
            NodeName::new(name).ok()
        });
        named.filter(|node| !self.nodes.contains_key(node)).collect()
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! A hunt to test views with.

    use super::*;
    use config_schemas::documents::{FORMAT, HASH_MURMUR2, NodeMode, Owner};
    use config_schemas::hot::HotReport;

    pub(crate) const NOW: &str = "2026-11-21T12:00:00Z";

    pub(crate) fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    pub(crate) fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    pub(crate) fn revision(number: u64) -> Revision {
        Revision::new(number).unwrap()
    }

    /// Ana's key is hot, so many events per second.
    pub(crate) fn hot(partition: u32, rate: f64) -> HotReport {
        let (key, partition) = (config_schemas::hot::hash("ana"), PartitionId(partition));
        HotReport { key, partition, rate }
    }

    /// Two nodes, generations 1 and 2 (2 runs), four partitions, acks at revision 20.
    pub(crate) fn harbour(edits: &[(&str, &str, u64)]) -> Fleet {
        let hunt = HuntName::new("default", "harbour").unwrap();
        let mut fleet = Fleet::new(&hunt, revision(30));
        fleet.meta = Some(Meta {
            format: FORMAT,
            store_epoch: "e".into(),
            uid: "u".into(),
            partitions: 4,
            before: Vec::new(),
            next: None,
            hash: HASH_MURMUR2.into(),
            cluster: None,
            broker: Default::default(),
        });
        let rollout =
            Rollout { format: FORMAT, stable: Generation(2), candidate: None, document: None };
        fleet.rollout = Some((rollout, revision(12)));
        for (generation, interval) in [(1, "1s"), (2, "2s")] {
            let config = serde_json::json!({"heartbeat": {"interval": interval}});
            let desired = Desired {
                format: FORMAT,
                generation: Generation(generation),
                uid: "u".into(),
                written_at: now(),
                config: config.as_object().unwrap().clone(),
            };
            fleet.desired.insert(Generation(generation), desired);
            fleet.kept.insert(Generation(generation), revision(generation * 5));
        }
        for (rest, text, at) in edits {
            let written = Written { bytes: text.as_bytes().to_vec(), revision: revision(*at) };
            fleet.edits.insert((*rest).to_owned(), written);
        }
        for name in ["agent-1", "agent-2"] {
            fleet.nodes.insert(node(name), record(name));
            let hash = fleet.effective(Some(&node(name)), now()).hash;
            fleet.acks.insert(node(name), ack(name, 2, 20, &hash));
            let life = format!("{name}-life");
            fleet.loads.insert(node(name), Load::at_rest(&life, 1_795_262_400_000, 2.0));
        }
        for id in 0..4 {
            let name = if id % 2 == 0 { "agent-1" } else { "agent-2" };
            let owner = Owner { node: node(name), incarnation: format!("{name}-life") };
            let own = PartitionRecord::Own { owner, epoch: config_schemas::Epoch(1) };
            fleet.partitions.insert(PartitionId(id), own);
        }
        fleet
    }

    pub(crate) fn record(name: &str) -> NodeRecord {
        NodeRecord {
            format: FORMAT,
            incarnation: format!("{name}-life"),
            instance: name.to_owned(),
            http: "127.0.0.1:1".into(),
            grpc: "127.0.0.1:2".into(),
            mode: NodeMode::Ready,
        }
    }

    pub(crate) fn ack(name: &str, generation: u64, at: u64, hash: &str) -> Ack {
        Ack {
            format: FORMAT,
            incarnation: format!("{name}-life"),
            generation: Some(Generation(generation)),
            revision: Some(revision(at)),
            hash: hash.to_owned(),
            sections: BTreeMap::new(),
            refused: Vec::new(),
            refused_count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{harbour, node, now};
    use super::*;

    #[test]
    fn a_partition_of_an_earlier_life_is_served_by_nobody() {
        let mut fleet = harbour(&[]);
        assert!(fleet.ownerless().is_empty());
        fleet.nodes.get_mut(&node("agent-2")).unwrap().incarnation = "next".into();
        let expected = BTreeSet::from([PartitionId(1), PartitionId(3)]);
        assert_eq!(fleet.ownerless(), expected);
        assert_eq!((fleet.owned(&node("agent-1")), fleet.owned(&node("agent-2"))), (2, 0));
        assert!(fleet.ack(&node("agent-2")).is_none() && fleet.load(&node("agent-2")).is_none());
        assert!(fleet.load(&node("agent-1")).is_some());
    }

    #[test]
    fn missing_partition_records_are_ownerless() {
        let mut fleet = harbour(&[]);
        fleet.partitions.remove(&PartitionId(3));
        assert_eq!(fleet.ownerless(), BTreeSet::from([PartitionId(3)]));
    }

    #[test]
    fn a_rollback_changes_what_should_run() {
        let interval = config_schemas::FieldPath::parse("heartbeat.interval").unwrap();
        let value = |fleet: &Fleet| fleet.effective(None, now()).values[&interval].to_string();
        assert_eq!(value(&harbour(&[])), "2s");
        assert_eq!(value(&harbour(&[("hunt/generation", "1", 25)])), "1s");
    }

    #[test]
    fn edits_for_nodes_that_do_not_live_are_found() {
        let fleet = harbour(&[("node/ghost/buffers/events", "7", 21)]);
        assert_eq!(fleet.absent_nodes(), BTreeSet::from([node("ghost")]));
    }

    #[test]
    fn what_hangs_on_no_lease_is_no_node_and_told() {
        let hunt = HuntName::new("default", "harbour").unwrap();
        let entry = |name: &str, lease| Entry {
            key: HuntKeys::new(&hunt).key(&Key::Node(node(name))),
            value: serde_json::to_vec(&sample::record(name)).unwrap().into(),
            create_revision: sample::revision(1),
            mod_revision: sample::revision(1),
            version: 1,
            lease: store::LeaseId::from_etcd(lease),
        };
        let mut fleet = Fleet::new(&hunt, sample::revision(2));
        for (name, lease) in [("agent-1", 7), ("ghost", 0)] {
            fleet.add(&Key::Node(node(name)), &entry(name, lease));
        }
        assert_eq!(fleet.nodes.keys().collect::<Vec<_>>(), [&node("agent-1")]);
        let (key, why) = &fleet.unreadable[0];
        assert_eq!((key.as_str(), why.contains("no lease")), ("node/ghost", true));
    }
}
