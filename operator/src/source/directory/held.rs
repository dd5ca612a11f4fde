//! The files that the source holds: what each says, which of them keeps which hunt, and which
//! hunts no file names any more. Found by path and by hunt: ten thousand files must not be walked
//! for each of ten thousand reports. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config_schemas::HuntName;
use tokio::time::Instant;

use super::disk::Stamp;
use super::files::{Elsewhere, Rulings, StatusFile};
use super::said::Said;
use crate::source::Target;

/// How long a hunt must be missing before it is moved or deleted: longer than an editor or a copy
/// takes to put a file back that it truncated or renamed, short enough for a person to wait.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// One file as it was read or written last.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) stamp: Option<Stamp>,
    pub(super) said: Said,
    pub(super) status: StatusFile,
}

/// All of them.
#[derive(Default)]
pub(super) struct Held {
    files: BTreeMap<PathBuf, Known>,
    /// The files that name a hunt or have its record.
    places: BTreeMap<HuntName, BTreeSet<PathBuf>>,
    /// The file that a hunt was told from.
    told: BTreeMap<HuntName, PathBuf>,
    /// Hunts whose file names them no more.
    leaving: BTreeMap<HuntName, Leaving>,
    /// Hunts of files that were read since the last [`Held::settle`].
    changed: BTreeSet<HuntName>,
}

struct Leaving {
    since: Instant,
    settled: bool,
}

/// What became of a hunt whose file names it no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is moved or deleted after [`SETTLE`].
    Leaves,
    /// Another file names it, and keeps it from now on.
    Moves(PathBuf),
    /// No file names it: it is deleted.
    Ends,
}

/// A hunt whose file names it no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) hunt: HuntName,
    /// The file that had it.
    pub(super) from: PathBuf,
    pub(super) turn: Turn,
}

/// What a file is to a hunt, the best keeper first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It has the hunt's record and names it.
    Named,
    /// It has the record, and does not say what it means.
    Unclear,
    /// It has the record, and names the hunt no more.
    Unnamed,
}

impl Held {
    /// Whether the file has changed since it was read.
    pub(super) fn is_news(&self, path: &Path, stamp: Option<&Stamp>) -> bool {
        self.files.get(path).is_none_or(|known| known.stamp.as_ref() != stamp)
    }

    /// Files that were there and are not among those found.
    pub(super) fn vanished<T>(&self, found: &BTreeMap<PathBuf, T>) -> Vec<PathBuf> {
        let there = self.files.iter().filter(|(_, known)| known.stamp.is_some());
        there.map(|(path, _)| path).filter(|path| !found.contains_key(*path)).cloned().collect()
    }

    /// All hunts.
    pub(super) fn names(&self) -> BTreeSet<HuntName> {
        self.told.keys().cloned().collect()
    }

    /// Whether a hunt is held that was not on its way out.
    pub(super) fn any_stands(&self) -> bool {
        self.told.keys().any(|hunt| !self.leaving.contains_key(hunt))
    }

    /// The file as it is held.
    pub(super) fn file(&self, path: &Path) -> Option<&Known> {
        self.files.get(path)
    }

    /// Takes in what was read of a file.
    pub(super) fn learn(&mut self, path: &Path, known: Known) {
        for hunt in self.files.get(path).into_iter().flat_map(hunts) {
            unplace(&mut self.places, path, &hunt);
            self.changed.insert(hunt);
        }
        for hunt in hunts(&known) {
            self.places.entry(hunt.clone()).or_default().insert(path.to_owned());
            self.changed.insert(hunt);
        }
        self.files.insert(path.to_owned(), known);
    }

    /// Takes in what stands beside a file; nothing is held of one that is gone with its hunts.
    pub(super) fn wrote(&mut self, path: &Path, stamp: Option<Stamp>, status: StatusFile) {
        let Some(known) = self.files.get_mut(path) else { return };
        known.stamp = stamp;
        let before = std::mem::replace(&mut known.status, status);
        let is_left = known.stamp.is_some() || !hunts(known).is_empty();
        let dropped: Vec<HuntName> = before
            .hunts
            .into_iter()
            .map(|record| record.hunt)
            .filter(|hunt| known.status.record(hunt).is_none())
            .collect();
        let now: Vec<HuntName> = known.status.hunts.iter().map(|r| r.hunt.clone()).collect();
        let unnamed: Vec<bool> = dropped.iter().map(|hunt| !known.said.names(hunt)).collect();
        for (hunt, unnamed) in dropped.into_iter().zip(unnamed) {
            if unnamed {
                unplace(&mut self.places, path, &hunt);
            }
            if self.told.get(&hunt).is_some_and(|told| told == path) {
                self.told.remove(&hunt);
            }
            // Whoever names it still, makes it anew.
            if self.seat(&hunt).is_none() {
                self.changed.insert(hunt);
            }
        }
        for hunt in now {
            self.places.entry(hunt.clone()).or_default().insert(path.to_owned());
            if self.keeper(&hunt) == Some(path) {
                self.told.insert(hunt, path.to_owned());
            }
        }
        if !is_left {
            self.files.remove(path);
        }
    }

    /// Takes in a status file that somebody else wrote meanwhile.
    pub(super) fn refresh(&mut self, path: &Path, status: StatusFile) {
        if let Some(known) = self.files.get_mut(path) {
            for record in &status.hunts {
                self.places.entry(record.hunt.clone()).or_default().insert(path.to_owned());
            }
            known.status = status;
        }
    }

    /// Decides what is missing and for how long, and what follows. Out: the files whose hunts may
    /// have another standing now, and hunts that turned, for people.
    pub(super) fn settle(&mut self, now: Instant) -> (BTreeSet<PathBuf>, Vec<Turned>) {
        let mut affected = std::mem::take(&mut self.changed);
        let mut turned = Vec::new();
        let missing: BTreeSet<HuntName> =
            affected.iter().chain(self.leaving.keys()).cloned().collect();
        for hunt in missing {
            let from = match self.seat(&hunt) {
                Some((Claim::Unnamed, path)) => path.to_owned(),
                _ => {
                    self.leaving.remove(&hunt);
                    continue;
                }
            };
            let Some(leaving) = self.leaving.get_mut(&hunt) else {
                self.leaving.insert(hunt.clone(), Leaving { since: now, settled: false });
                turned.push(Turned { hunt, from, turn: Turn::Leaves });
                continue;
            };
            if !leaving.settled && now.duration_since(leaving.since) >= SETTLE {
                leaving.settled = true;
                let turn = match self.heir(&hunt) {
                    Some(heir) => Turn::Moves(heir.to_owned()),
                    None => Turn::Ends,
                };
                affected.insert(hunt.clone());
                turned.push(Turned { hunt, from, turn });
            }
        }
        let places = affected.iter().filter_map(|hunt| self.places.get(hunt));
        (places.flatten().cloned().collect(), turned)
    }

    /// What was decided about the hunts of that file; where new ones come from is not known here.
    pub(super) fn rulings(&self, path: &Path) -> Rulings {
        let mut rulings = Rulings::default();
        for hunt in self.files.get(path).into_iter().flat_map(hunts) {
            let Some(keeper) = self.keeper(&hunt) else { continue };
            let seat = self.seat(&hunt);
            if keeper != path {
                let file = keeper.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let recorded = self.record_in(keeper, &hunt);
                rulings.elsewhere.insert(hunt, Elsewhere { file, recorded });
            } else if let Some((Claim::Unnamed, seat)) = seat {
                if seat == path && self.is_settled(&hunt) {
                    rulings.deleted.insert(hunt);
                } else if let Some(known) = self.files.get(seat).filter(|_| seat != path) {
                    let record = known.status.record(&hunt).cloned();
                    rulings.adopted.extend(record.map(|record| (hunt, record)));
                }
            }
        }
        rulings
    }

    /// The file that the target stands in.
    pub(super) fn place(&self, target: &Target) -> Option<(&Path, &Known)> {
        let path = self.told.get(&target.name)?;
        let known = self.files.get(path)?;
        known.status.record(&target.name).filter(|record| record.uid == target.uid)?;
        Some((path, known))
    }

    /// The file whose word counts for the hunt: whoever has its record, unless that names it no
    /// more while another one does. Never another one while the first may only be unreadable.
    fn keeper(&self, hunt: &HuntName) -> Option<&Path> {
        match self.seat(hunt) {
            Some((Claim::Unnamed, seat)) if self.is_settled(hunt) => self.heir(hunt).or(Some(seat)),
            Some((_, seat)) => Some(seat),
            None => self.heir(hunt),
        }
    }

    /// The best file that has the hunt's record; among equals the one that it was told from.
    fn seat(&self, hunt: &HuntName) -> Option<(Claim, &Path)> {
        let places = self.places.get(hunt)?.iter();
        let with_record = places.filter(|path| self.record_in(path, hunt));
        let told = self.told.get(hunt);
        with_record
            .map(|path| (self.claim(path, hunt), told != Some(path), path.as_path()))
            .min()
            .map(|(claim, _, path)| (claim, path))
    }

    fn claim(&self, path: &Path, hunt: &HuntName) -> Claim {
        match self.files.get(path).map(|known| &known.said) {
            Some(said) if said.names(hunt) => Claim::Named,
            Some(said) if said.ends => Claim::Unnamed,
            _ => Claim::Unclear,
        }
    }

    /// The first file that names the hunt without having a record of it.
    fn heir(&self, hunt: &HuntName) -> Option<&Path> {
        let names = |path: &&PathBuf| {
            let known = self.files.get(*path);
            known.is_some_and(|k| k.said.names(hunt) && k.status.record(hunt).is_none())
        };
        self.places.get(hunt)?.iter().find(names).map(PathBuf::as_path)
    }

    fn record_in(&self, path: &Path, hunt: &HuntName) -> bool {
        self.files.get(path).is_some_and(|known| known.status.record(hunt).is_some())
    }

    fn is_settled(&self, hunt: &HuntName) -> bool {
        self.leaving.get(hunt).is_some_and(|leaving| leaving.settled)
    }
}

/// The hunts that a file names or has a record of.
fn hunts(known: &Known) -> BTreeSet<HuntName> {
    let named = known.said.documents.iter().map(|document| document.name.clone());
    named.chain(known.status.hunts.iter().map(|record| record.hunt.clone())).collect()
}

fn unplace(places: &mut BTreeMap<HuntName, BTreeSet<PathBuf>>, path: &Path, hunt: &HuntName) {
    if let Some(there) = places.get_mut(hunt) {
        there.remove(path);
        if there.is_empty() {
            places.remove(hunt);
        }
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
