//! What people write in files: TreasureHunts, and what is wrong with them. The operator's directory
//! and `hunt lint` read the same. In: YAML. Out: documents, each with its name and spec, or its
//! fault. And what a spec asks for beside its single values. Pure.

use std::fmt;

use config_schemas::cuts::cannot_become;
use config_schemas::{
    Cost, HuntName, NameError, Problem, Read, Value, Values, excerpt, fields, read_sections,
};
use serde_json::Value as Json;

use crate::hunt::{HISTORY_MAX, HISTORY_MIN, REPLICAS_MAX, TreasureHuntSpec};

/// What stands in a file as its version and kind.
const KIND: (&str, &str) = ("treasurehunt.dev/v1alpha1", "TreasureHunt");

/// What a resource consists of.
const PARTS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// A TreasureHunt as written in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its name; what names no namespace is in "default".
    pub name: HuntName,
    /// As JSON; `{}` where there is none.
    pub spec: Json,
    /// What stands beside spec and is no part of a resource: it changes nothing.
    pub strangers: Vec<String>,
}

/// Why a document is none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentFault {
    /// Of another version or kind.
    Kind,
    /// `metadata.name` is missing.
    Nameless,
    /// Name or namespace is none.
    Name(NameError),
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentFault::Kind => write!(f, "not a {} of {}", KIND.1, KIND.0),
            DocumentFault::Nameless => f.write_str("metadata.name is missing"),
            DocumentFault::Name(error) => error.fmt(f),
        }
    }
}

/// The documents of a file, in its order; `None` for an empty one. The error says why it is no
/// YAML.
pub fn documents(text: &str) -> Result<Vec<Result<Option<Document>, DocumentFault>>, String> {
    // Comments are nobody's data: as such, the parser would allow 32 of them in a row.
    let options = serde_yaml::options! { emit_comments: false };
    let written: Vec<Json> = serde_yaml::from_multiple_with_options(text, options).map_err(
        |error: serde_yaml::Error| {
            let text = error.to_string();
            format!("not YAML: {}", excerpt(text.lines().next().unwrap_or_default()))
        },
    )?;
    Ok(written.iter().map(document).collect())
}

fn document(value: &Json) -> Result<Option<Document>, DocumentFault> {
    if value.is_null() {
        return Ok(None);
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Json::as_str);
    if (text("/apiVersion"), text("/kind")) != (Some(KIND.0), Some(KIND.1)) {
        return Err(DocumentFault::Kind);
    }
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let name = text("/metadata/name").ok_or(DocumentFault::Nameless)?;
    let name = HuntName::new(namespace, name).map_err(DocumentFault::Name)?;
    let spec = value.get("spec").cloned().unwrap_or_else(|| Json::Object(Default::default()));
    let parts = value.as_object().into_iter().flat_map(|map| map.keys());
    let strangers = parts.filter(|part| !PARTS.contains(&part.as_str())).cloned().collect();
    Ok(Some(Document { name, spec, strangers }))
}

/// What a spec asks of settings, and all that is wrong with it without knowing what runs.
pub fn asks(spec: &TreasureHuntSpec) -> Read {
    let mut read = read_sections(&spec.config);
    read.problems.extend(history_out_of_bounds(spec));
    read.problems.extend(replicas_out_of_bounds(spec));
    read
}

fn history_out_of_bounds(spec: &TreasureHuntSpec) -> Option<Problem> {
    let history = spec.history.filter(|kept| !(HISTORY_MIN..=HISTORY_MAX).contains(kept))?;
    Some(Problem {
        field: "history".to_owned(),
        value: history.to_string(),
        allowed: format!("a whole number of generations from {HISTORY_MIN} to {HISTORY_MAX}"),
    })
}

fn replicas_out_of_bounds(spec: &TreasureHuntSpec) -> Option<Problem> {
    let replicas = spec.agents.as_ref()?.replicas?;
    (!(0..=REPLICAS_MAX).contains(&replicas)).then(|| Problem {
        field: "agents.replicas".to_owned(),
        value: replicas.to_string(),
        allowed: format!("a whole number of agents from 0 to {REPLICAS_MAX}"),
    })
}

/// Settings that never change, or only in one direction, and that differ otherwise from what the hunt
/// was made with.
pub fn changed_fixed(before: &Values, named: &Values) -> Vec<Problem> {
    let changed = fields().filter_map(|field| {
        let of = |values: &Values| {
            values.get(&field.path).cloned().unwrap_or_else(|| field.kind.default_value())
        };
        let (now, then) = (of(named), of(before));
        match (field.cost, &then, &now) {
            (Cost::Raise, Value::Count(then), Value::Count(now)) => {
                cannot_become(*then, *now, named.contains_key(&field.path))
            }
            (Cost::Fixed, ..) if now != then => Some(Problem {
                field: field.path.to_string(),
                value: now.to_string(),
                allowed: format!("{then}, because it cannot change once the hunt exists"),
            }),
            _ => None,
        }
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_as_many_comments_as_its_author_likes() {
        let head =
            format!("apiVersion: {}\nkind: {}\nmetadata:\n  name: harbour\n", KIND.0, KIND.1);
        let text = format!("{head}spec:\n{}  history: 3\n", "  # as agreed\n".repeat(500));
        let found = documents(&text).unwrap();
        let expected = serde_json::json!({"history": 3});
        assert_eq!(found[0].as_ref().unwrap().as_ref().unwrap().spec, expected);
    }

    #[test]
    fn replicas_and_history_are_bounded_as_by_the_api_server() {
        let check = |text: &str, expected: &[&str]| {
            let spec: TreasureHuntSpec = serde_json::from_str(text).unwrap();
            let found: Vec<_> = asks(&spec).problems.into_iter().map(|p| p.field).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(r#"{"history": 10, "agents": {"replicas": 1000}}"#, &[]);
        check(r#"{"history": 51, "agents": {"replicas": 1001}}"#, &["history", "agents.replicas"]);
        check(r#"{"agents": {"replicas": -1}}"#, &["agents.replicas"]);
    }
}
