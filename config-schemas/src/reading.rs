//! Reads sections of settings as a resource or a kept document names them. In: parsed JSON or
//! YAML. Out: values within their bounds, the list of problems, and what is unknown. Pure.

use serde_json::{Map, Value as Json};

use crate::between::contradictions;
use crate::field::Section;
use crate::lookup::section;
use crate::names::Generation;
use crate::problem::{HIDDEN, Problem, excerpt};
use crate::settings::{SECTIONS, Values};

/// What was read of a map `section: {field: value}`.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// The values that are allowed.
    pub values: Values,
    /// Values that are not, alone or together.
    pub problems: Vec<Problem>,
    /// Sections and fields that do not exist; an error for what a person wrote, none for what a
    /// newer build wrote.
    pub unknown: Vec<Problem>,
}

/// The resource's share of the configuration: one generation's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Which generation.
    pub generation: Generation,
    /// What it names.
    pub values: Values,
}

/// Reads every section of `config`.
pub fn read_sections(config: &Map<String, Json>) -> Read {
    let mut read = Read::default();
    for (name, fields) in config {
        match (section(name), fields) {
            (_, Json::Null) => {}
            (Some(section), Json::Object(fields)) => read_section(section, fields, &mut read),
            (Some(_), other) => read.problems.push(Problem {
                field: name.clone(),
                value: excerpt(&other.to_string()),
                allowed: "a map of fields".to_owned(),
            }),
            (None, other) => read.unknown.push(Problem {
                field: excerpt(name),
                value: excerpt(&other.to_string()),
                allowed: format!("one of the sections {}", names(SECTIONS.iter().map(|s| s.name))),
            }),
        }
    }
    read.problems.extend(contradictions(&read.values));
    read
}

fn read_section(section: &'static Section, fields: &Map<String, Json>, read: &mut Read) {
    for (name, written) in fields {
        let Some(field) = section.fields.iter().find(|field| field.path.name() == name) else {
            read.unknown.push(Problem {
                field: format!("{}.{}", section.name, excerpt(name)),
                value: shown(written, section.fields.iter().any(|field| field.kind.is_secret())),
                allowed: format!(
                    "one of the fields {}",
                    names(section.fields.iter().map(|field| field.path.name()))
                ),
            });
            continue;
        };
        if written.is_null() {
            continue;
        }
        match field.kind.read(written) {
            Ok(value) => {
                read.values.insert(field.path, value);
            }
            Err(allowed) => read.problems.push(Problem {
                field: field.path.to_string(),
                value: shown(written, field.kind.is_secret()),
                allowed,
            }),
        }
    }
}

/// What stands there, unless it may be a secret that somebody wrote where its name belongs.
fn shown(written: &Json, secret: bool) -> String {
    if secret { HIDDEN.to_owned() } else { excerpt(&written.to_string()) }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(config: Json, values: usize, problems: &[&str], unknown: &[&str]) {
        let Json::Object(config) = config else { panic!("a map") };
        let read = read_sections(&config);
        let fields = |list: &[Problem]| list.iter().map(|p| p.field.clone()).collect::<Vec<_>>();
        assert_eq!(read.values.len(), values);
        assert_eq!(fields(&read.problems), problems);
        assert_eq!(fields(&read.unknown), unknown);
    }

    #[test]
    fn a_pin_names_a_partition_that_is_there() {
        check(json!({"partitions": {"pins": ["15=a"]}}), 1, &[], &[]);
        check(json!({"partitions": {"pins": ["16=a"]}}), 1, &["partitions.pins"], &[]);
        check(json!({"partitions": {"pins": ["16=a"], "count": 17}}), 2, &[], &[]);
    }

    #[test]
    fn every_problem_is_listed_and_the_rest_is_read() {
        check(
            json!({
                "heartbeat": {"interval": "1ms", "misses": 3},
                "buffers": {"events": "lots", "bytes": "1Mi", "size": 3},
                "treasure": {},
                "workers": 7,
                "rules": null,
            }),
            2,
            &["heartbeat.interval", "buffers.events", "workers"],
            &["buffers.size", "treasure"],
        );
    }

    #[test]
    fn a_rule_between_two_settings_counts_defaults_too() {
        check(json!({"buffers": {"events": 32}}), 1, &["workers.batch"], &[]);
        check(json!({"buffers": {"events": 32}, "workers": {"batch": 32}}), 2, &[], &[]);
        check(json!({"buffers": {"event": "1Mi", "bytes": "4Ki"}}), 2, &["buffers.event"], &[]);
        let smaller = json!({"producer": {"message": "8Ki", "batch": "8Ki"}});
        check(smaller, 2, &["buffers.event"], &[]);
    }

    #[test]
    fn a_secret_that_stands_where_its_name_belongs_is_not_repeated() {
        let config = json!({"kafka": {"password": "pa55", "passwd": "pa55", "user": "ana"}});
        check(config.clone(), 1, &["kafka.password"], &["kafka.passwd"]);
        let Json::Object(config) = config else { panic!("a map") };
        assert!(!format!("{:?}", read_sections(&config)).contains("pa55"));
    }

    #[test]
    fn a_problem_names_field_value_and_range() {
        let Json::Object(config) = json!({"buffers": {"events": 0}}) else { panic!("a map") };
        assert_eq!(
            read_sections(&config).problems[0].to_string(),
            "buffers.events: 0 is not allowed; allowed: a whole number of events from 1 to 1048576"
        );
    }
}
