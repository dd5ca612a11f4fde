//! What the files mean: a file of TreasureHunts and its status file, joined. The status file
//! keeps what the API server would keep: each hunt's id, and a generation that rises with the
//! spec. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::{Generation, HuntName, Values, read_sections};
use crds::{EVENTS_MAX, StatusEvent, TreasureHuntSpec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::said::{Document, Said};
use super::{Report, Target};
use crate::plan::{Note, Severity};
use crate::state::{Observed, parse_status};

/// Problems of a file that are spelled out.
const PROBLEMS_MAX: usize = 16;

/// The file beside a file of hunts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StatusFile {
    /// What is wrong with the file as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<String>,
    /// The hunts of the file.
    #[serde(default)]
    pub(super) hunts: Vec<Record>,
}

/// What is kept of one hunt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Which hunt.
    pub(super) hunt: HuntName,
    /// Its id, made once.
    pub(super) uid: String,
    /// Rises with each change of the spec.
    pub(super) generation: Generation,
    /// The spec of that generation, as JSON text, so that no rewriting can alter it.
    pub(super) spec: String,
    /// What the operator reports.
    #[serde(default)]
    pub(super) status: Json,
    /// What happened, oldest first, at most `EVENTS_MAX`.
    #[serde(default)]
    pub(super) events: Vec<StatusEvent>,
}

impl StatusFile {
    /// The record of that hunt.
    pub(super) fn record(&self, hunt: &HuntName) -> Option<&Record> {
        self.hunts.iter().find(|record| record.hunt == *hunt)
    }
}

/// A file and its status file, joined.
#[derive(Debug, PartialEq)]
pub(super) struct Joined {
    /// The status file to be.
    pub(super) status: StatusFile,
    /// What to tell the controller.
    pub(super) observed: Vec<Observed>,
    /// A record waits to be taken away until its new file has it.
    pub(super) unfinished: bool,
}

/// What etcd knows of a hunt of which there is no record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    /// Its id.
    pub(super) uid: String,
    /// The newest generation that was written, and its values.
    pub(super) newest: Option<(Generation, Values)>,
}

/// What was decided about the hunts of one file, by looking at all files.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rulings {
    /// Hunts that it names or has a record of, and that another file keeps.
    pub(super) elsewhere: BTreeMap<HuntName, Elsewhere>,
    /// Records of hunts that move here.
    pub(super) adopted: BTreeMap<HuntName, Record>,
    /// Hunts that no file names any more, for long enough.
    pub(super) deleted: BTreeSet<HuntName>,
    /// Where those of [`without_record`] come from.
    pub(super) origins: BTreeMap<HuntName, Origin>,
}

/// The file that keeps a hunt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Elsewhere {
    /// Its name, for people.
    pub(super) file: String,
    /// It has the hunt's record already: no other file needs it any more.
    pub(super) recorded: bool,
}

/// Joins what the file says with the status file of before.
pub(super) fn join(said: &Said, before: &StatusFile, rulings: &Rulings) -> Joined {
    let mut status = StatusFile { problems: said.problems.clone(), hunts: Vec::new() };
    let mut observed = Vec::new();
    for document in &said.documents {
        let name = &document.name;
        if status.record(name).is_some() {
            status.problems.push(format!("hunt {name} is named twice"));
        } else if let Some(other) = rulings.elsewhere.get(name) {
            status.problems.push(format!("hunt {name} stands in {} already", other.file));
        } else if let Some(record) = kept(document, before, rulings) {
            observed.push(record.observed(false));
            status.hunts.push(record);
        } else {
            status.problems.push(format!("hunt {name} has no id"));
        }
    }
    let unnamed = |record: &&Record| !said.names(&record.hunt);
    if said.documents.is_empty() && !said.ends && said.problems.is_empty() {
        let stay = before.hunts.iter().filter(|r| !rulings.elsewhere.contains_key(&r.hunt));
        let names: Vec<String> = stay.map(|record| record.hunt.to_string()).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            status.problems.push(format!("names no hunt; to delete {names}, remove the file"));
        }
    }
    for record in before.hunts.iter().filter(unnamed) {
        if rulings.elsewhere.contains_key(&record.hunt) {
            continue;
        }
        // Where the file says nothing of the hunt and does not end it, its status says why.
        let mut seen = record.observed(rulings.deleted.contains(&record.hunt));
        if !said.ends {
            seen.spec = Json::from(status.problems.join("; ")).to_string().into();
        }
        observed.push(seen);
        status.hunts.push(record.clone());
    }
    let mut unfinished = false;
    for record in &before.hunts {
        // A record is in two files for a moment rather than in none.
        if rulings.elsewhere.get(&record.hunt).is_some_and(|other| !other.recorded) {
            status.hunts.push(record.clone());
            unfinished = true;
        }
    }
    status.problems.truncate(PROBLEMS_MAX);
    Joined { status, observed, unfinished }
}

/// The hunts that the file is to keep and of which there is no record yet.
pub(super) fn without_record(
    said: &Said,
    before: &StatusFile,
    rulings: &Rulings,
) -> BTreeSet<HuntName> {
    let names = said.documents.iter().map(|document| &document.name);
    let is_new = |name: &&HuntName| {
        let known = before.record(name).is_some() || rulings.adopted.contains_key(*name);
        !known && !rulings.elsewhere.contains_key(*name)
    };
    names.filter(is_new).cloned().collect()
}

/// Takes a report in; `false` when the hunt is not there.
pub(super) fn report(status: &mut StatusFile, target: &Target, report: &Report) -> bool {
    let Some(at) = status.hunts.iter().position(|record| record.uid == target.uid) else {
        return false;
    };
    match report {
        Report::Status(text) => {
            status.hunts[at].status = serde_json::from_str(text).unwrap_or(Json::Null);
        }
        Report::Hold => {}
        Report::Release => {
            status.hunts.remove(at);
        }
    }
    true
}

/// Takes a note in; `false` when the hunt is not there.
pub(super) fn tell(status: &mut StatusFile, target: &Target, note: &Note, at: Timestamp) -> bool {
    let Some(record) = status.hunts.iter_mut().find(|record| record.uid == target.uid) else {
        return false;
    };
    let severity = match note.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    record.events.push(StatusEvent {
        at,
        severity: severity.to_owned(),
        reason: note.reason.to_owned(),
        note: note.text.clone(),
    });
    let surplus = record.events.len().saturating_sub(EVENTS_MAX);
    record.events.drain(..surplus);
    true
}

/// The record of before with the spec of now, or a new one.
fn kept(document: &Document, before: &StatusFile, rulings: &Rulings) -> Option<Record> {
    let spec: Json = serde_json::from_str(&document.spec).ok()?;
    let known = before.record(&document.name).or_else(|| rulings.adopted.get(&document.name));
    if let Some(known) = known {
        let same = serde_json::from_str::<Json>(&known.spec).is_ok_and(|s| s == spec);
        let rise = u64::from(!same);
        return Some(Record {
            generation: Generation(known.generation.0 + rise),
            spec: document.spec.clone(),
            ..known.clone()
        });
    }
    let origin = rulings.origins.get(&document.name)?;
    Some(Record {
        hunt: document.name.clone(),
        uid: origin.uid.clone(),
        generation: next(origin, &spec),
        spec: document.spec.clone(),
        status: Json::Null,
        events: Vec::new(),
    })
}

/// The generation of a spec whose history is only known by what was written of it.
fn next(origin: &Origin, spec: &Json) -> Generation {
    let Some((newest, values)) = &origin.newest else { return Generation(1) };
    let same = TreasureHuntSpec::deserialize(spec).is_ok_and(|spec| {
        let read = read_sections(&spec.config);
        read.problems.is_empty() && read.values == *values
    });
    Generation(newest.0 + u64::from(!same))
}

impl Record {
    fn observed(&self, deleting: bool) -> Observed {
        Observed {
            name: self.hunt.clone(),
            uid: self.uid.clone(),
            generation: self.generation,
            deleting,
            held: true,
            version: String::new(),
            spec: self.spec.clone().into(),
            status: parse_status(&self.status),
        }
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
