//! What this agent knows of its hunt: a fold of the keys it follows, typed. In: one key and what
//! stands there now. Out: the view, and what a change concerned. Pure.
//!
//! Absence is not an instruction: a record that machines write and that vanishes is kept as it
//! was, and only counted. Deleted edits and gone nodes are facts, and are taken over.

use std::collections::BTreeMap;

use config_schemas::documents::{self, Meta, NodeRecord, PartitionRecord, Rollout};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::layers::{Edits, Written};
use config_schemas::{NodeName, PartitionId, Revision, Warm};

/// What stands at a followed key.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The bytes.
    pub value: &'a [u8],
    /// Since this revision.
    pub revision: Revision,
    /// The revision that created the key.
    pub created: Revision,
    /// How often it was written since.
    pub version: u64,
}

/// What a change concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// Meta, rollout or edits: the effective configuration may differ.
    pub config: bool,
    /// Nodes: routes may differ.
    pub nodes: bool,
    /// Partition records, or who is ready to take one: what this agent has to do, or routes, may
    /// differ.
    pub partitions: bool,
}

impl std::ops::BitOrAssign for Touched {
    fn bitor_assign(&mut self, other: Touched) {
        self.config |= other.config;
        self.nodes |= other.nodes;
        self.partitions |= other.partitions;
    }
}

/// A record and the revision at which it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// What it says.
    pub record: T,
    /// Since when.
    pub revision: Revision,
}

/// The hunt as this agent knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The root marker.
    pub meta: Option<At<Meta>>,
    /// Which generation runs where.
    pub rollout: Option<At<Rollout>>,
    /// Live edits.
    pub edits: Edits,
    /// Nodes that live.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// Who owns what.
    pub partitions: BTreeMap<PartitionId, At<PartitionRecord>>,
    /// Destinations of moves that have loaded what they are to own.
    pub warm: BTreeMap<PartitionId, At<Warm>>,
    /// Machine-written records that could not be read, by key, and why.
    pub unreadable: BTreeMap<String, String>,
    /// How often each edit was written or deleted since the last [`View::news`].
    news: BTreeMap<String, u64>,
    /// Creation and version of each edit, for counting.
    counted: BTreeMap<String, (Revision, u64)>,
    /// The revision up to which meta, rollout and edits are known: that of their newest change,
    /// deletions included, or of the last full list, whichever is newer.
    pub config_revision: Option<Revision>,
}

impl View {
    /// Takes over what stands at `key` at `revision` of the store; `None` when it is gone.
    pub fn apply(
        &mut self,
        keys: &HuntKeys,
        key: &str,
        standing: Option<Standing<'_>>,
        revision: Revision,
    ) -> Touched {
        let Some(what) = keys.parse(key) else { return Touched::default() };
        self.unreadable.remove(key);
        let touched = match what {
            // it also says into how many partitions the hunt is cut
            Key::Meta => {
                let changed = self.take_meta(key, standing);
                Touched { partitions: changed, ..config(changed) }
            }
            Key::Rollout => {
                config(keep(&mut self.rollout, self.unreadable.entry(key.into()), standing))
            }
            Key::Override(rest) => config(self.take_edit(rest, standing)),
            Key::Node(node) => {
                Touched { nodes: self.take_node(key, node, standing), ..Touched::default() }
            }
            Key::Partition(id) => {
                let mut held = self.partitions.remove(&id);
                let changed = keep(&mut held, self.unreadable.entry(key.into()), standing);
                self.partitions.extend(held.map(|held| (id, held)));
                Touched { partitions: changed, ..Touched::default() }
            }
            Key::Warm(id) => {
                let changed = self.take_warm(key, id, standing);
                Touched { partitions: changed, ..Touched::default() }
            }
            Key::Desired(_) | Key::Load(_) | Key::Ack(_) | Key::Routing | Key::Unknown(_) => {
                Touched::default()
            }
        };
        if touched.config {
            let at = standing.map_or(revision, |standing| standing.revision);
            self.config_revision = self.config_revision.max(Some(at));
        }
        touched
    }

    /// All keys were listed at that revision: every deletion up to it is taken in, also of a key
    /// that came and went unseen. The operator asks for those revisions too.
    pub fn listed(&mut self, revision: Revision) -> Touched {
        let newer = self.config_revision < Some(revision);
        self.config_revision = self.config_revision.max(Some(revision));
        config(newer)
    }

    /// The part that a snapshot keeps: neither nodes nor partitions, which are for the living to
    /// say.
    pub fn settings(&self) -> View {
        let (meta, rollout) = (self.meta.clone(), self.rollout.clone());
        View::of_settings(meta, rollout, self.edits.clone(), self.config_revision)
    }

    /// A view as a snapshot kept it.
    pub fn of_settings(
        meta: Option<At<Meta>>,
        rollout: Option<At<Rollout>>,
        edits: Edits,
        config_revision: Option<Revision>,
    ) -> View {
        View { meta, rollout, edits, config_revision, ..View::default() }
    }

    /// The edits since the last call: by what follows `override/`, how many of each. Writes that
    /// came as one are counted one by one, so that every edit is accounted for.
    pub fn news(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.news)
    }

    fn take_edit(&mut self, rest: String, standing: Option<Standing<'_>>) -> bool {
        let before = self.counted.get(&rest).copied();
        let Some(standing) = standing else {
            if before.is_some() {
                self.counted.remove(&rest);
                *self.news.entry(rest.clone()).or_default() += 1;
            }
            return self.edits.remove(&rest).is_some();
        };
        let writes = match before {
            Some((created, version)) if created == standing.created => {
                standing.version.saturating_sub(version)
            }
            // It was deleted in between, and that was an edit too.
            Some(_) => standing.version + 1,
            None => standing.version,
        };
        if writes > 0 {
            self.counted.insert(rest.clone(), (standing.created, standing.version));
            *self.news.entry(rest.clone()).or_default() += writes;
        }
        let written = Written { bytes: standing.value.to_vec(), revision: standing.revision };
        self.edits.insert(rest, written.clone()) != Some(written)
    }

    /// Another resource under the old name has other partitions: the old ones' records go. After
    /// a mere wipe of the store it is the same resource, and what is owned stays owned.
    fn take_meta(&mut self, key: &str, standing: Option<Standing<'_>>) -> bool {
        let uid = |meta: &Option<At<Meta>>| meta.as_ref().map(|at| at.record.uid.clone());
        let before = uid(&self.meta);
        let changed = keep(&mut self.meta, self.unreadable.entry(key.into()), standing);
        if before.is_some() && uid(&self.meta) != before {
            self.partitions.clear();
        }
        changed
    }

    fn take_warm(&mut self, key: &str, id: PartitionId, standing: Option<Standing<'_>>) -> bool {
        let Some(standing) = standing else { return self.warm.remove(&id).is_some() };
        match documents::read::<Warm>(standing.value) {
            Ok(record) => {
                self.warm.insert(id, At { record, revision: standing.revision });
                true
            }
            Err(reason) => {
                self.unreadable.insert(key.to_owned(), reason);
                self.warm.remove(&id).is_some()
            }
        }
    }

    fn take_node(&mut self, key: &str, node: NodeName, standing: Option<Standing<'_>>) -> bool {
        let Some(standing) = standing else { return self.nodes.remove(&node).is_some() };
        match documents::read::<NodeRecord>(standing.value) {
            Ok(record) => self.nodes.insert(node, record.clone()) != Some(record),
            Err(reason) => {
                self.unreadable.insert(key.to_owned(), reason);
                false
            }
        }
    }
}

fn config(config: bool) -> Touched {
    Touched { config, ..Touched::default() }
}

/// Takes over a machine-written record that can be read; keeps the last good one otherwise.
fn keep<T: serde::de::DeserializeOwned>(
    held: &mut Option<At<T>>,
    unreadable: std::collections::btree_map::Entry<'_, String, String>,
    standing: Option<Standing<'_>>,
) -> bool {
    let Some(standing) = standing else { return false };
    match documents::read::<T>(standing.value) {
        Ok(record) => {
            *held = Some(At { record, revision: standing.revision });
            true
        }
        Err(reason) => {
            unreadable.or_insert(reason);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::HuntName;

    struct Case {
        keys: HuntKeys,
        view: View,
        next: u64,
    }

    impl Case {
        fn new() -> Case {
            let keys = HuntKeys::new(&HuntName::new("default", "harbour").unwrap());
            Case { keys, view: View::default(), next: 1 }
        }

        fn put(&mut self, rest: &str, value: &str) -> Touched {
            let revision = Revision::new(self.next).unwrap();
            self.next += 1;
            let standing =
                Standing { value: value.as_bytes(), revision, created: revision, version: 1 };
            let key = format!("{}{rest}", self.keys.prefix());
            self.view.apply(&self.keys, &key, Some(standing), revision)
        }

        fn delete(&mut self, rest: &str) -> Touched {
            let revision = Revision::new(self.next).unwrap();
            self.next += 1;
            let key = format!("{}{rest}", self.keys.prefix());
            self.view.apply(&self.keys, &key, None, revision)
        }
    }

    const OWN: &str = r#"{"state":"OWN","owner":{"node":"a","incarnation":"1"},"epoch":3}"#;
    const NODE: &str =
        r#"{"format":1,"incarnation":"1","instance":"1","http":"h","grpc":"g","mode":"Ready"}"#;

    #[test]
    fn a_change_concerns_what_it_concerns() {
        let mut case = Case::new();
        let none = Touched::default();
        assert_eq!(case.put("override/hunt/buffers/events", "1"), config(true));
        assert_eq!(case.put("rollout", r#"{"format":1,"stable":4}"#), config(true));
        assert_eq!(case.put("node/a", NODE), Touched { nodes: true, ..none });
        assert_eq!(case.put("node/a", NODE), none);
        assert_eq!(case.put("partition/3", OWN), Touched { partitions: true, ..none });
        assert_eq!(case.put("ack/a", "{}"), none);
        let warm = r#"{"format":1,"owner":{"node":"a","incarnation":"1"},"epoch":3}"#;
        assert_eq!(case.put("warm/3", warm), Touched { partitions: true, ..none });
        assert_eq!(case.delete("warm/3"), Touched { partitions: true, ..none });
        assert_eq!(case.delete("warm/3"), none);
        assert_eq!(case.put("stray", "{}"), none);
        assert_eq!(case.view.config_revision, Revision::new(2));
    }

    #[test]
    fn records_of_machines_outlive_their_deletion_and_edits_do_not() {
        let mut case = Case::new();
        case.put("rollout", r#"{"format":1,"stable":4}"#);
        case.put("partition/3", OWN);
        case.put("node/a", NODE);
        case.put("override/hunt/buffers/events", "1");
        let before = case.view.clone();
        assert_eq!(case.delete("rollout"), Touched::default());
        assert_eq!(case.delete("partition/3"), Touched::default());
        assert_eq!(case.view, before);
        assert!(case.delete("node/a").nodes);
        assert!(case.delete("override/hunt/buffers/events").config);
        assert!(case.view.edits.is_empty() && case.view.nodes.is_empty());
        assert_eq!(case.view.config_revision, Revision::new(8));
    }

    #[test]
    fn a_fresh_list_has_seen_every_deletion_up_to_it() {
        let mut case = Case::new();
        case.put("rollout", r#"{"format":1,"stable":4}"#);
        // an edit was put at 2 and deleted at 3, before this agent was there
        assert_eq!(case.view.listed(Revision::new(3).unwrap()), config(true));
        assert_eq!(case.view.config_revision, Revision::new(3));
        assert_eq!(case.view.listed(Revision::new(2).unwrap()), Touched::default());
        assert_eq!(case.view.config_revision, Revision::new(3), "it never falls");
    }

    #[test]
    fn every_write_of_an_edit_is_counted_also_when_several_came_as_one() {
        let mut case = Case::new();
        let mut check = |created: u64, version: u64, expected: u64| {
            let revision = Revision::new(100).unwrap();
            let created = Revision::new(created).unwrap();
            let standing = Standing { value: b"1", revision, created, version };
            let key = format!("{}override/hunt/buffers/events", case.keys.prefix());
            case.view.apply(&case.keys, &key, Some(standing), revision);
            let news = case.view.news();
            assert_eq!(news.values().sum::<u64>(), expected, "{created} {version}");
        };
        check(5, 1, 1);
        check(5, 1, 0);
        check(5, 4, 3);
        check(9, 2, 3);
    }

    #[test]
    fn another_resource_of_the_same_name_starts_without_partitions() {
        let mut case = Case::new();
        let meta = |uid: &str| {
            format!(
                r#"{{"format":1,"storeEpoch":"s","uid":"{uid}","partitions":4,"hash":"murmur2"}}"#
            )
        };
        case.put("meta", &meta("u"));
        case.put("partition/3", OWN);
        case.delete("meta");
        case.put("meta", &meta("u").replace("\"s\"", "\"t\""));
        assert_eq!(case.view.partitions.len(), 1);
        case.put("meta", &meta("v"));
        assert!(case.view.partitions.is_empty());
    }

    #[test]
    fn a_hunt_that_is_cut_finer_is_news_to_whoever_serves_partitions() {
        let mut case = Case::new();
        let meta = |partitions: u32| {
            format!(
                r#"{{"format":1,"storeEpoch":"s","uid":"u","partitions":{partitions},"hash":"murmur2"}}"#
            )
        };
        assert!(case.put("meta", &meta(4)).partitions);
        assert!(case.put("meta", &meta(8)).partitions);
    }

    #[test]
    fn an_unreadable_record_keeps_the_last_good_one_and_is_named() {
        let mut case = Case::new();
        case.put("rollout", r#"{"format":1,"stable":4}"#);
        case.put("rollout", r#"{"format":9,"stable":5}"#);
        assert_eq!(case.view.rollout.as_ref().unwrap().record.stable.0, 4);
        assert!(case.view.unreadable.values().next().unwrap().contains("format 9"));
        case.put("rollout", r#"{"format":1,"stable":5}"#);
        assert_eq!(case.view.rollout.as_ref().unwrap().record.stable.0, 5);
        assert!(case.view.unreadable.is_empty());
    }
}
