//! Brings `meta`, `desired/*` and `rollout` to what a valid resource asks for, in one
//! transaction: a new generation's document and the pointer to it are never seen apart. Hand
//! edits of these keys are put back on the way. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;
use config_schemas::documents::{self, Desired, FORMAT, HASH_MURMUR2, Meta, Rollout};
use config_schemas::keys::Key;
use config_schemas::{Generation, edit, generation};
use jiff::Timestamp;
use store::{Guard, KeyRange, Txn, Write};

use super::raise;
use super::{Note, Plan};
use crate::desire::Wanted;
use crate::state::{Cutting, HuntView, Memory, Slot};

/// What a plan needs besides what is known: randomness and time, as arguments.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// A random id, for a prefix that begins a new life.
    pub store_epoch: String,
    /// For stamps.
    pub now: Timestamp,
    /// The Kafka cluster that was found where the hunt says, if it is to be in one.
    pub cluster: Option<String>,
}

/// The transaction that is missing, if any.
pub fn configure(wanted: &Wanted, view: &HuntView<'_>, memory: &Memory, fresh: &Fresh) -> Plan {
    let mut draft = Draft::new(view);
    let life = life(wanted, view, memory);
    draft.meta(wanted, memory, &life, fresh);
    let document = draft.document(wanted, memory, &life, fresh);
    draft.rollout(wanted, document, &life);
    draft.others(wanted, memory, &life);
    draft.edits(wanted, memory, &life);
    draft.finish(wanted, &life)
}

/// How this prefix relates to the resource.
enum Life {
    /// It is the resource's.
    Same,
    /// It is the resource's, and its marker was taken away by hand.
    MarkerGone(Bytes),
    /// It is empty, or was wiped.
    New,
    /// It is left over from another resource of that name.
    Other,
}

fn life(wanted: &Wanted, view: &HuntView<'_>, memory: &Memory) -> Life {
    let ours =
        |bytes: &Bytes| documents::read::<Meta>(bytes).is_ok_and(|meta| meta.uid == wanted.uid);
    match view.meta.value() {
        Some(meta) if meta.uid == wanted.uid => Life::Same,
        _ => match memory.meta.clone().filter(ours) {
            Some(bytes) if view.rollout.entry().is_some() => Life::MarkerGone(bytes),
            _ if view.meta.entry().is_some() => Life::Other,
            _ => Life::New,
        },
    }
}

struct Draft<'a> {
    view: &'a HuntView<'a>,
    guards: Vec<Guard>,
    writes: Vec<Write>,
    notes: Vec<Note>,
}

impl<'a> Draft<'a> {
    fn new(view: &'a HuntView<'a>) -> Draft<'a> {
        Draft { view, guards: Vec::new(), writes: Vec::new(), notes: Vec::new() }
    }

    fn put(&mut self, what: &Key, value: impl Into<Bytes>) {
        self.guards.push(self.view.guard(what));
        self.writes.push(Write::put(self.view.keys.key(what), value));
    }

    fn delete(&mut self, what: &Key) {
        self.guards.push(self.view.guard(what));
        self.writes.push(Write::delete(self.view.keys.key(what)));
    }

    fn put_back(&mut self, what: &Key, did: &str) {
        let key = self.view.keys.key(what);
        let instead = self.view.keys.key(&Key::Override("hunt/<section>/<field>".to_owned()));
        let text = format!(
            "{key} was changed by hand and is {did}; the operator alone writes it. To change a \
             setting live, put {instead}"
        );
        self.notes.push(Note::warning("PutBack", key, text));
    }

    fn meta(&mut self, wanted: &Wanted, memory: &Memory, life: &Life, fresh: &Fresh) {
        let found = self.view.meta.value().filter(|_| matches!(life, Life::Same));
        let original = match life {
            Life::MarkerGone(bytes) => documents::read::<Meta>(bytes).ok(),
            Life::Same => memory.meta.as_ref().and_then(|bytes| {
                documents::read::<Meta>(bytes).ok().filter(|meta| meta.uid == wanted.uid)
            }),
            Life::New | Life::Other => None,
        };
        let store_epoch = original.as_ref().or(found).map(|meta| meta.store_epoch.clone());
        let bound = found.and_then(|meta| meta.cluster.clone());
        let bound = bound.or_else(|| memory.cluster_of(&wanted.uid).map(str::to_owned));
        let known = memory.cutting_of(&wanted.uid).cloned();
        let cutting = match known {
            Some(known) => raise::towards(known, wanted.partitions, self.view),
            None => Cutting::first(wanted.partitions),
        };
        let expected = Meta {
            format: FORMAT,
            store_epoch: store_epoch.unwrap_or_else(|| fresh.store_epoch.clone()),
            uid: wanted.uid.clone(),
            partitions: cutting.partitions,
            before: cutting.before,
            next: cutting.next,
            hash: HASH_MURMUR2.to_owned(),
            cluster: bound.or_else(|| fresh.cluster.clone()),
            broker: wanted.broker,
        };
        if found == Some(&expected) {
            return;
        }
        let binds = found.is_some_and(|found| {
            found.cluster.is_none() && Meta { cluster: None, ..expected.clone() } == *found
        });
        if let (true, Some(cluster)) = (binds, &expected.cluster) {
            let text = format!("the hunt's topics are in the Kafka cluster {cluster} from now on");
            self.notes.push(Note::normal("ClusterBound", cluster.clone(), text));
        } else if let Some(step) = found.and_then(|found| raise::told(found, &expected)) {
            self.notes.push(step);
        } else if matches!(life, Life::Same | Life::MarkerGone(_)) {
            self.put_back(&Key::Meta, "put back");
        }
        self.put(&Key::Meta, documents::write(&expected));
    }

    /// `desired/<generation>` of the generation that is wanted.
    fn document(
        &mut self,
        wanted: &Wanted,
        memory: &Memory,
        life: &Life,
        fresh: &Fresh,
    ) -> Desired {
        let what = Key::Desired(wanted.generation);
        let ours = !matches!(life, Life::Other);
        let found = self.view.desired.get(&wanted.generation).unwrap_or(&Slot::Absent);
        let original = memory.documents.get(&wanted.generation).filter(|_| ours);
        let original = original.and_then(|bytes| documents::read::<Desired>(bytes).ok());
        let first = original.as_ref().or(found.value().filter(|_| ours));
        let expected = Desired {
            format: FORMAT,
            generation: wanted.generation,
            uid: wanted.uid.clone(),
            written_at: first.map_or(fresh.now, |first| first.written_at),
            config: wanted.config(),
        };
        if found.value() == Some(&expected) {
            return expected;
        }
        if ours && (found.entry().is_some() || original.as_ref() == Some(&expected)) {
            self.put_back(&what, "put back");
        }
        self.put(&what, documents::write(&expected));
        expected
    }

    fn rollout(&mut self, wanted: &Wanted, document: Desired, life: &Life) {
        let expected = Rollout::of(document);
        if self.view.rollout.value() == Some(&expected) {
            return;
        }
        let there = self.view.rollout.entry().is_some();
        // An operator of before wrote no document into it: completed, not put back.
        let lacks_document = Rollout { document: None, ..expected.clone() };
        let completes = self.view.rollout.value() == Some(&lacks_document);
        let advances = self.view.rollout.value().is_some_and(|found| {
            found.stable < wanted.generation && !self.view.desired.contains_key(&wanted.generation)
        });
        let was_live = self.view.desired.contains_key(&wanted.generation);
        if matches!(life, Life::Same) && !advances && !completes && (there || was_live) {
            self.put_back(&Key::Rollout, "put back");
        }
        self.put(&Key::Rollout, documents::write(&expected));
    }

    /// The other documents: kept as they were written, as many as wanted, or taken away.
    fn others(&mut self, wanted: &Wanted, memory: &Memory, life: &Life) {
        if matches!(life, Life::Other) {
            let theirs = self.view.desired.keys().filter(|other| **other != wanted.generation);
            theirs.copied().collect::<Vec<_>>().iter().for_each(|other| {
                self.delete(&Key::Desired(*other));
            });
            let partitions = format!("{}partition/", self.view.keys.prefix());
            self.writes.push(Write::DeleteRange(KeyRange::prefix(&partitions)));
            return;
        }
        let keep = kept(wanted, self.view, memory);
        let known: BTreeSet<Generation> =
            self.view.desired.keys().chain(memory.documents.keys()).copied().collect();
        for other in known.into_iter().filter(|other| *other != wanted.generation) {
            if other > wanted.generation && self.view.desired.contains_key(&other) {
                self.put_back(&Key::Desired(other), "taken away");
            }
            self.other(other, keep.contains(&other), memory);
        }
    }

    fn other(&mut self, other: Generation, keep: bool, memory: &Memory) {
        let what = Key::Desired(other);
        let found = self.view.desired.get(&other).and_then(Slot::entry);
        match (found, memory.documents.get(&other)) {
            (Some(_), _) if !keep => self.delete(&what),
            (Some(entry), Some(original)) if entry.value != *original => {
                self.put_back(&what, "put back");
                self.put(&what, original.clone());
            }
            (Some(entry), None) if entry.create_revision != entry.mod_revision => {
                self.put_back(&what, "taken away, because nobody knows any more what it was");
                self.delete(&what);
            }
            (None, Some(original)) if keep => {
                self.put_back(&what, "put back");
                self.put(&what, original.clone());
            }
            _ => {}
        }
    }

    /// Live edits that went with the store are people's, and come back with its new life: in the
    /// same transaction, so that no agent ever runs without them.
    fn edits(&mut self, wanted: &Wanted, memory: &Memory, life: &Life) {
        let begins = matches!(life, Life::New | Life::MarkerGone(_));
        if !begins || memory.edits_of.as_ref() != Some(&wanted.uid) {
            return;
        }
        let lost = memory.edits.iter().filter(|(rest, _)| !self.view.edits.contains_key(*rest));
        for (rest, text) in lost {
            let what = Key::Override(rest.clone());
            let key = self.view.keys.key(&what);
            self.put(&what, text.clone());
            let said = format!("{key} was lost with the store and is put back as it was");
            self.notes.push(Note::warning("PutBack", key, said));
        }
    }

    fn finish(mut self, wanted: &Wanted, life: &Life) -> Plan {
        if self.writes.is_empty() {
            return Plan::default();
        }
        let text = match life {
            Life::New => format!("generation {} begins a new life of the keys", wanted.generation),
            Life::Other => format!(
                "generation {} replaces what another resource of this name left",
                wanted.generation
            ),
            Life::Same | Life::MarkerGone(_) => format!("generation {} runs", wanted.generation),
        };
        let document = self.view.keys.key(&Key::Desired(wanted.generation));
        if self.writes.iter().any(|w| matches!(w, Write::Put { key, .. } if *key == document)) {
            self.notes.push(Note::normal("Written", document, text));
        }
        // Whatever was looked at must still be so, also where nothing of it is written.
        for what in [Key::Meta, Key::Rollout] {
            let guard = self.view.guard(&what);
            if !self.guards.contains(&guard) {
                self.guards.push(guard);
            }
        }
        let txn = Txn { guards: self.guards, writes: self.writes };
        Plan { txns: vec![txn], notes: self.notes }
    }
}

/// Which documents to keep: the newest, at most as many as wanted, and always the one that a
/// rollback names. A document above the wanted generation is nobody's.
pub(crate) fn kept(wanted: &Wanted, view: &HuntView<'_>, memory: &Memory) -> BTreeSet<Generation> {
    let all: BTreeSet<Generation> = view
        .desired
        .keys()
        .chain(memory.documents.keys())
        .copied()
        .filter(|generation| *generation < wanted.generation)
        .chain([wanted.generation])
        .collect();
    let rollback = view.edits.get(generation::ROLLBACK);
    let named = rollback.and_then(|written| edit::rollback(&written.bytes).ok());
    let named = named.map(|edit| edit.value).filter(|named| all.contains(named));
    all.iter().rev().take(wanted.history).copied().chain(named).collect()
}
