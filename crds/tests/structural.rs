//! The generated schema is structural and bounded everywhere, so that the API server takes it
//! and no rule can cost too much.

use kube::CustomResourceExt;
use serde_json::Value as Json;

#[test]
fn every_part_of_the_schema_has_a_type_a_description_and_a_bound() {
    let definition = serde_json::to_value(crds::TreasureHunt::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut faults = Vec::new();
    for part in ["spec", "status"] {
        walk(&schema["properties"][part], part, &mut faults);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn walk(schema: &Json, path: &str, faults: &mut Vec<String>) {
    let mut fault = |what: &str| faults.push(format!("{path}: {what}"));
    for word in ["$ref", "patternProperties", "anyOf", "oneOf", "allOf", "additionalProperties"] {
        if schema.get(word).is_some() {
            fault(word);
        }
    }
    if schema["format"].as_str().is_some_and(|format| format.starts_with("uint")) {
        fault("unsigned format");
    }
    if schema["description"].as_str().is_none_or(str::is_empty) && !path.ends_with("[]") {
        fault("no description");
    }
    match schema["type"].as_str() {
        Some("string") if schema.get("enum").is_none() && schema["maxLength"].is_null() => {
            fault("no maxLength");
        }
        Some("integer") if schema["minimum"].is_null() => fault("no minimum"),
        Some("array") if schema["maxItems"].is_null() => fault("no maxItems"),
        Some("array") if !schema["items"].is_object() => fault("items is no schema"),
        Some("string" | "integer" | "array" | "boolean") => {}
        Some("object") if schema["properties"].is_object() => {}
        Some("object") => fault("an object without properties"),
        other => fault(&format!("type {other:?}")),
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), faults);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), faults);
    }
}

#[test]
fn every_setting_of_the_table_is_in_the_schema() {
    let definition = serde_json::to_value(crds::TreasureHunt::crd()).unwrap();
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for field in config_schemas::fields() {
        let schema = &spec["properties"][field.path.section()]["properties"][field.path.name()];
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(text.contains(field.doc), "{}", field.path);
    }
}
