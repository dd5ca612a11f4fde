//! Reads sections of settings as a resource or a kept document names them. In: parsed JSON or
//! YAML. Out: values within their bounds, the list of problems, and what is unknown. Pure.

use serde_json::{Map, Value as Json};

use crate::field::Section;
use crate::lookup::section;
use crate::names::Generation;
use crate::pin::Pin;
use crate::problem::{Problem, excerpt};
use crate::settings::{AT_MOST, Config, SECTIONS, Values};
use crate::value::Value;

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
    read.problems.extend(conflicts(&read.values));
    read
}

fn read_section(section: &'static Section, fields: &Map<String, Json>, read: &mut Read) {
    for (name, written) in fields {
        let Some(field) = section.fields.iter().find(|field| field.path.name() == name) else {
            read.unknown.push(Problem {
                field: format!("{}.{}", section.name, excerpt(name)),
                value: excerpt(&written.to_string()),
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
                value: excerpt(&written.to_string()),
                allowed,
            }),
        }
    }
}

/// Which rules between two settings the values break; a setting that they do not name has its
/// default.
pub fn conflicts(values: &Values) -> Vec<Problem> {
    let size = |path| {
        let value = values.get(&path).cloned().unwrap_or_else(|| path.field().kind.default_value());
        let number = match value {
            Value::Count(number) | Value::Bytes(number) => number,
            _ => 0,
        };
        (number, value)
    };
    let broken = AT_MOST.iter().filter_map(|(left, right)| {
        let ((left_number, left_value), (right_number, right_value)) = (size(*left), size(*right));
        (left_number > right_number).then(|| Problem {
            field: left.to_string(),
            value: left_value.to_string(),
            allowed: format!("at most {right}, which is {right_value}"),
        })
    });
    broken.chain(pinned_beyond(values)).collect()
}

/// Pins of partitions that the hunt does not have.
fn pinned_beyond(values: &Values) -> Option<Problem> {
    let partitions = Config::from_values(values).partitions;
    let beyond = |pin: &&Pin| u64::from(pin.partition.0) >= partitions.count;
    partitions.pins.iter().find(beyond).map(|pin| Problem {
        field: "partitions.pins".to_owned(),
        value: pin.to_string(),
        allowed: format!("partitions below partitions.count, which is {}", partitions.count),
    })
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
