//! The schema of the spec: our own few fields, and every section of the table of settings with
//! the rules that OpenAPI cannot say. In: the table. Out: a JSON Schema. Pure.

use std::borrow::Cow;

use config_schemas::artefacts::section_schema;
use config_schemas::{AT_MOST, Cost, RULES, SECTIONS, Section, fields};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json, json};

use crate::hunt::{
    Agents, DeletionPolicy, HISTORY_DEFAULT, HISTORY_MAX, HISTORY_MIN, TreasureHuntSpec,
};
use crate::rules;

impl JsonSchema for TreasureHuntSpec {
    fn schema_name() -> Cow<'static, str> {
        "TreasureHuntSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties: Map<String, Json> =
            SECTIONS.iter().map(|section| (section.name.to_owned(), bounded(section))).collect();
        properties.insert("agents".into(), generator.subschema_for::<Agents>().into());
        properties.insert("history".into(), history());
        properties
            .insert("deletionPolicy".into(), generator.subschema_for::<DeletionPolicy>().into());
        let between: Vec<Json> = AT_MOST
            .iter()
            .map(|(left, right)| rules::at_most(*left, *right))
            .chain(RULES.iter().filter_map(rules::between))
            .chain(fields().filter(|field| field.cost == Cost::Fixed).map(rules::fixed))
            .chain(fields().filter(|field| field.cost == Cost::Raise).map(rules::raised))
            .collect();
        json_schema!({
            "type": "object",
            "description": "What the hunt is to be like. Every setting can be left out, and can be \
                            changed live in etcd below the hunt's override/.",
            "properties": properties,
            "x-kubernetes-validations": between,
        })
    }
}

/// A section's schema with the bounds of times and sizes as rules.
fn bounded(section: &Section) -> Json {
    let mut schema = section_schema(section);
    close(&mut schema);
    for field in section.fields {
        let own = &mut schema["properties"][field.path.name()];
        if own["properties"].is_object() {
            close(own);
        }
        if let Some(rule) = rules::bounds(field) {
            schema["properties"][field.path.name()]["x-kubernetes-validations"] = json!([rule]);
        }
    }
    schema
}

/// A structural schema names its properties or allows others, not both; the API server prunes or
/// refuses what is unknown by itself.
fn close(schema: &mut Json) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("additionalProperties");
    }
}

fn history() -> Json {
    json!({
        "type": "integer",
        "format": "int32",
        "minimum": HISTORY_MIN,
        "maximum": HISTORY_MAX,
        "description": format!(
            "Generations that are kept in etcd to roll back to. Default: {HISTORY_DEFAULT}."
        ),
    })
}
