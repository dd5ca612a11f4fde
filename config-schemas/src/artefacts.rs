//! What is generated from the table of settings: JSON Schemas and the reference. In: the table.
//! Out: text. The committed copies are kept fresh by `tests/fresh.rs`. Pure.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::between::{AT_MOST, RULES};
use crate::field::{Cost, Field, Scope, Section};
use crate::secret::{SECRET_KEY_PATTERN, SECRET_NAME_LEN_MAX, SECRET_NAME_PATTERN};
use crate::settings::SECTIONS;
use crate::value::{Kind, TEXT_LEN_MAX};

/// Matches what is read as a time, before its bounds.
pub const DURATION_PATTERN: &str = "^([0-9]+(ms|s|m|h))+$";
/// Matches what is read as a size, before its bounds.
pub const BYTES_PATTERN: &str = "^[0-9]+(Ki|Mi|Gi)?$";
/// Longest text of a time or a size.
pub const SCALAR_LEN_MAX: usize = 24;

/// The JSON Schema of one section, as a resource names it: every field may be left out.
pub fn section_schema(section: &Section) -> Json {
    let properties: serde_json::Map<_, _> = section
        .fields
        .iter()
        .map(|field| (field.path.name().to_owned(), field_schema(field)))
        .collect();
    json!({
        "type": "object",
        "description": section.doc,
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The JSON Schema of one field, with its default and cost in the description.
pub fn field_schema(field: &Field) -> Json {
    let description = format!(
        "{} Default: {}. Allowed: {}. {}",
        field.doc,
        field.kind.default_value(),
        field.kind.allowed(),
        cost_sentence(field.cost)
    );
    let mut schema = match field.kind {
        Kind::Count { min, max, .. } => {
            json!({"type": "integer", "format": "int64", "minimum": min, "maximum": max})
        }
        Kind::Duration { .. } => {
            json!({"type": "string", "maxLength": SCALAR_LEN_MAX, "pattern": DURATION_PATTERN})
        }
        Kind::Bytes { .. } => {
            json!({"type": "string", "maxLength": SCALAR_LEN_MAX, "pattern": BYTES_PATTERN})
        }
        Kind::Switch { .. } => json!({"type": "boolean"}),
        Kind::Choice { words } => json!({"type": "string", "enum": words}),
        Kind::Text { pattern, len_max, .. } => {
            json!({"type": "string", "maxLength": len_max, "pattern": pattern})
        }
        Kind::List { pattern, len_max, .. } => json!({
            "type": "array",
            "maxItems": len_max,
            "items": {"type": "string", "maxLength": TEXT_LEN_MAX, "pattern": pattern},
        }),
        Kind::Secret => secret_schema(),
    };
    schema["description"] = description.into();
    schema
}

fn secret_schema() -> Json {
    let part = |pattern: &str, description: &str| {
        json!({
            "type": "string",
            "maxLength": SECRET_NAME_LEN_MAX,
            "pattern": pattern,
            "description": description,
        })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "key"],
        "properties": {
            "name": part(SECRET_NAME_PATTERN, "Name of the Secret."),
            "key": part(SECRET_KEY_PATTERN, "Which of its keys."),
        },
    })
}

/// The schema of a whole configuration document.
pub fn config_schema() -> Json {
    let properties: serde_json::Map<_, _> =
        SECTIONS.iter().map(|section| (section.name.to_owned(), section_schema(section))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "TreasureHunt configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// Every committed schema: file name below `v1/` and its text.
pub fn schemas() -> Vec<(String, String)> {
    let text = |schema: &Json| format!("{schema:#}\n");
    let mut files = vec![("config.schema.json".to_owned(), text(&config_schema()))];
    for section in SECTIONS {
        let mut schema = section_schema(section);
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        schema["title"] = format!("TreasureHunt section {}", section.name).into();
        files.push((format!("{}.schema.json", section.name), text(&schema)));
    }
    files
}

/// The reference of all settings, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\nGenerated from `config-schemas/src/settings.rs`; edit there. Each can be set \
         in a `TreasureHunt` below `spec`, and live in etcd below the hunt's `override/`.\n",
    );
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.name, section.doc);
        page.push_str("| field | default | allowed | for | change | meaning |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for field in section.fields {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {} |",
                field.path.name(),
                field.kind.default_value(),
                field.kind.allowed(),
                match field.scope {
                    Scope::Hunt => "the hunt",
                    Scope::Node => "the hunt or a node",
                },
                format!("{:?}", field.cost).to_lowercase(),
                field.doc,
            );
        }
    }
    page.push_str("\n## Between settings\n\n");
    for (left, right) in AT_MOST {
        let _ = writeln!(page, "- `{left}` is at most `{right}`.");
    }
    for rule in RULES {
        let _ = writeln!(page, "- `{}`: {}.", rule.field, rule.allowed);
    }
    page
}

fn cost_sentence(cost: Cost) -> &'static str {
    match cost {
        Cost::None | Cost::Live => "Changes live.",
        Cost::Swap => "A change replaces a client, live.",
        Cost::Drain => "A change drains and moves partitions, live.",
        Cost::Raise => {
            "Only rises, to whole multiples, by the resource: partitions are cut finer, live."
        }
        Cost::Fixed => "Cannot change once the hunt exists.",
    }
}
