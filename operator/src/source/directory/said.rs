//! What a file's text says: its TreasureHunts, what is wrong with it, and whether what it does not
//! name is meant to be gone. Pure.

use config_schemas::HuntName;

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
        let written = match crds::documents(text) {
            Ok(written) => written,
            Err(problem) => return Said { problems: vec![problem], ..Said::default() },
        };
        let mut said = Said::default();
        for (index, document) in written.into_iter().enumerate() {
            match document {
                Ok(Some(crds::Document { name, spec, .. })) => {
                    said.documents.push(Document { name, spec: spec.to_string() });
                }
                Ok(None) => {}
                Err(fault) => said.problems.push(format!("document {}: {fault}", index + 1)),
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
