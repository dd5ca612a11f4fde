//! What the files mean: a file of TreasureHunts and its status file, joined. The status file
//! keeps what the API server would keep: each hunt's id, and a generation that rises with the
//! spec. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::{Generation, HuntName, Values, excerpt, read_sections};
use crds::{EVENTS_MAX, StatusEvent, TreasureHuntSpec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

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

impl Record {
    pub(super) fn name(&self) -> HuntName {
        self.hunt.clone()
    }
}

/// A file and its status file, joined.
#[derive(Debug, PartialEq)]
pub(super) struct Joined {
    /// The status file to be.
    pub(super) status: StatusFile,
    /// What to tell the controller.
    pub(super) observed: Vec<Observed>,
}

/// What etcd knows of a hunt of which there is no record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    /// Its id.
    pub(super) uid: String,
    /// The newest generation that was written, and its values.
    pub(super) newest: Option<(Generation, Values)>,
}

struct Document {
    name: HuntName,
    spec: Json,
}

/// Joins the file's text (`None` when the file is gone) with the status file of before.
/// `elsewhere` tells the hunts that other files have, `origins` those of [`without_record`].
pub(super) fn join(
    text: Option<&str>,
    before: &StatusFile,
    elsewhere: impl Fn(&HuntName) -> bool,
    origins: &BTreeMap<HuntName, Origin>,
) -> Joined {
    let (documents, problems, whole) = match text.map(documents) {
        None => (Vec::new(), Vec::new(), true),
        Some(Ok((documents, problems))) => {
            let whole = problems.is_empty();
            (documents, problems, whole)
        }
        Some(Err(problem)) => (Vec::new(), vec![problem], false),
    };
    let mut status = StatusFile { problems, hunts: Vec::new() };
    let mut observed = Vec::new();
    for document in documents {
        let taken = status.hunts.iter().any(|record| record.hunt == document.name);
        if taken || elsewhere(&document.name) {
            status.problems.push(format!("hunt {} stands elsewhere already", document.name));
            continue;
        }
        let Some(record) = kept(&document, before, origins) else {
            status.problems.push(format!("hunt {} has no id", document.name));
            continue;
        };
        observed.push(record.observed(false));
        status.hunts.push(record);
    }
    // What the file no longer names is deleted, if the file could be read to its end. Where it
    // could not, every hunt stays as it is, and its status says why.
    for record in &before.hunts {
        if status.hunts.iter().all(|named| named.hunt != record.hunt) {
            let mut seen = record.observed(whole);
            if !whole {
                seen.spec = Json::from(status.problems.join("; ")).to_string().into();
            }
            observed.push(seen);
            status.hunts.push(record.clone());
        }
    }
    status.problems.truncate(PROBLEMS_MAX);
    Joined { status, observed }
}

/// The hunts that the file names and of which there is no record yet.
pub(super) fn without_record(
    text: Option<&str>,
    before: &StatusFile,
    elsewhere: impl Fn(&HuntName) -> bool,
) -> BTreeSet<HuntName> {
    let named = text.and_then(|text| documents(text).ok()).map(|(named, _)| named);
    let names = named.into_iter().flatten().map(|document| document.name);
    let known: BTreeSet<&HuntName> = before.hunts.iter().map(|record| &record.hunt).collect();
    names.filter(|name| !elsewhere(name) && !known.contains(name)).collect()
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
fn kept(
    document: &Document,
    before: &StatusFile,
    origins: &BTreeMap<HuntName, Origin>,
) -> Option<Record> {
    let spec = document.spec.to_string();
    if let Some(known) = before.hunts.iter().find(|record| record.hunt == document.name) {
        let same = serde_json::from_str::<Json>(&known.spec).is_ok_and(|s| s == document.spec);
        let rise = u64::from(!same);
        return Some(Record {
            generation: Generation(known.generation.0 + rise),
            spec,
            ..known.clone()
        });
    }
    let origin = origins.get(&document.name)?;
    Some(Record {
        hunt: document.name.clone(),
        uid: origin.uid.clone(),
        generation: next(origin, &document.spec),
        spec,
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

/// The TreasureHunts of a file, and what is wrong with single documents.
fn documents(text: &str) -> Result<(Vec<Document>, Vec<String>), String> {
    let written: Vec<Json> = serde_yaml::from_multiple(text).map_err(|error| {
        let text = error.to_string();
        format!("not YAML: {}", excerpt(text.lines().next().unwrap_or_default()))
    })?;
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    for (index, value) in written.into_iter().enumerate() {
        match document(value) {
            Ok(Some(document)) => documents.push(document),
            Ok(None) => {}
            Err(problem) => problems.push(format!("document {}: {problem}", index + 1)),
        }
    }
    Ok((documents, problems))
}

/// `None` for an empty document.
fn document(value: Json) -> Result<Option<Document>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Json::as_str);
    let kind = (text("/apiVersion"), text("/kind"));
    if kind != (Some("treasurehunt.dev/v1alpha1"), Some("TreasureHunt")) {
        return Err("not a TreasureHunt of treasurehunt.dev/v1alpha1".to_owned());
    }
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let name = text("/metadata/name").ok_or("metadata.name is missing")?;
    let name = HuntName::new(namespace, name).map_err(|error| error.to_string())?;
    let spec = value.get("spec").cloned().unwrap_or_else(|| Json::Object(serde_json::Map::new()));
    Ok(Some(Document { name, spec }))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
