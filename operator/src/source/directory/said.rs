//! What a file's text says: its TreasureHunts, what is wrong with it, and whether what it does not
//! name is meant to be gone. Pure.

use config_schemas::{HuntName, excerpt};
use serde_json::Value as Json;

/// A TreasureHunt as written in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) name: HuntName,
    /// JSON text.
    pub(super) spec: String,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    /// In the order of the file.
    pub(super) documents: Vec<Document>,
    /// What is wrong with the text.
    pub(super) problems: Vec<String>,
    /// What it does not name is meant to be gone: the file is gone, or it is sound and names
    /// others. A file that cannot be read to its end or names nothing at all is an accident, or an
    /// editor at work.
    pub(super) ends: bool,
}

impl Said {
    /// Reads the text; `None` when the file is gone.
    pub(super) fn of(text: Option<&str>) -> Said {
        let Some(text) = text else { return Said { ends: true, ..Said::default() } };
        let written: Vec<Json> = match serde_yaml::from_multiple(text) {
            Ok(written) => written,
            Err(error) => {
                let text = error.to_string();
                let line = excerpt(text.lines().next().unwrap_or_default());
                return Said { problems: vec![format!("not YAML: {line}")], ..Said::default() };
            }
        };
        let mut said = Said::default();
        for (index, value) in written.into_iter().enumerate() {
            match document(&value) {
                Ok(Some(document)) => said.documents.push(document),
                Ok(None) => {}
                Err(problem) => said.problems.push(format!("document {}: {problem}", index + 1)),
            }
        }
        said.ends = said.problems.is_empty() && !said.documents.is_empty();
        said
    }

    /// Whether the hunt stands in the file.
    pub(super) fn names(&self, hunt: &HuntName) -> bool {
        self.documents.iter().any(|document| document.name == *hunt)
    }
}

/// `None` for an empty document.
fn document(value: &Json) -> Result<Option<Document>, String> {
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
    let spec = value.get("spec").map_or_else(|| "{}".to_owned(), Json::to_string);
    Ok(Some(Document { name, spec }))
}
