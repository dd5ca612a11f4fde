//! Sees people's hands on what agents write on their leases: `node/` and `ack/`. The agents put
//! such keys back by themselves; what is seen here is told as an Event. In: the changes of a hunt's
//! keys. Out: notes. Pure.
//!
//! `etcdctl put` takes a key off its lease, and agents never write without one. A key that lapsed
//! with its lease never returns on the same one: whoever deleted it was not its agent.

use std::collections::BTreeMap;

use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{HuntName, Revision};
use store::{Entry, LeaseId};

use crate::plan::Note;

/// Keys remembered for one hunt: two for each of a thousand nodes, and as many gone ones. Past it
/// one is forgotten, which only means that its deletion by hand is not told.
const KEYS_MAX: usize = 4096;

/// What stood at the keys of agents.
#[derive(Debug, Default)]
pub struct Hands {
    written: BTreeMap<Key, (LeaseId, Revision)>,
}

impl Hands {
    /// Takes a change in; a note if it was a person's, or the mending of a person's.
    pub fn see(&mut self, hunt: &HuntName, what: &Key, entry: Option<&Entry>) -> Option<Note> {
        if !matches!(what, Key::Node(_) | Key::Ack(_)) {
            return None;
        }
        let entry = entry?;
        let Some(lease) = entry.lease else {
            let did = match what {
                Key::Node(_) => {
                    "changed by hand; its agent puts it back, and without one it is no node"
                }
                _ => "changed by hand; its agent puts it back",
            };
            return Some(note(hunt, what, did));
        };
        let before = self.written.insert(what.clone(), (lease, entry.create_revision));
        if self.written.len() > KEYS_MAX {
            self.written.pop_first();
        }
        let returned = before.is_some_and(|(on, created)| {
            on == lease && created < entry.create_revision && entry.version == 1
        });
        returned.then(|| note(hunt, what, "deleted by hand, and its agent has put it back"))
    }
}

fn note(hunt: &HuntName, what: &Key, did: &str) -> Note {
    let keys = HuntKeys::new(hunt);
    let key = keys.key(what);
    let instead = keys.key(&Key::Override("hunt/<section>/<field>".to_owned()));
    let text = format!("{key} was {did}. To change a setting live, put {instead}");
    Note::warning("PutBack", key, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write of `node/a`: lease, creation, version; and what is told of it.
    fn check(writes: &[Option<(i64, u64, u64)>], told: &[Option<&str>]) {
        let hunt: HuntName = "default/harbour".parse().unwrap();
        let what = Key::Node(config_schemas::NodeName::new("a").unwrap());
        let mut hands = Hands::default();
        let seen: Vec<Option<String>> = writes
            .iter()
            .map(|write| {
                let entry = write.map(|(lease, created, version)| Entry {
                    key: HuntKeys::new(&hunt).key(&what),
                    value: bytes::Bytes::new(),
                    create_revision: Revision::new(created).unwrap(),
                    mod_revision: Revision::new(created + version).unwrap(),
                    version,
                    lease: LeaseId::from_etcd(lease),
                });
                hands.see(&hunt, &what, entry.as_ref()).map(|note| note.text)
            })
            .collect();
        assert_eq!(seen.len(), told.len());
        for (seen, told) in seen.iter().zip(told) {
            let told_so = seen.as_ref().zip(*told).is_some_and(|(text, word)| text.contains(word));
            assert!(told_so || (seen.is_none() && told.is_none()), "{seen:?}, not {told:?}");
        }
    }

    #[test]
    fn a_write_without_a_lease_is_a_persons() {
        let (put, back) = (Some((0, 5, 2)), Some((7, 5, 3)));
        check(&[Some((7, 5, 1)), put, back], &[None, Some("changed by hand"), None]);
    }

    #[test]
    fn a_key_that_returns_on_its_lease_was_deleted_by_a_person_and_one_on_another_lapsed() {
        let deleted = Some("deleted by hand");
        check(&[Some((7, 5, 1)), None, Some((7, 9, 1))], &[None, None, deleted]);
        check(&[Some((7, 5, 1)), None, Some((8, 9, 1))], &[None, None, None]);
        check(&[Some((7, 5, 3)), Some((7, 9, 1))], &[None, deleted]);
        // A store that went back shows what stood there before.
        check(&[Some((7, 5, 3)), Some((7, 5, 1))], &[None, None]);
        check(&[Some((7, 9, 1)), Some((7, 5, 1))], &[None, None]);
    }
}
