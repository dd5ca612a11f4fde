//! All that is wrong with files of TreasureHunts, by the checks that the operator makes. In: texts.
//! Out: the hunts that they name, and faults. Pure.

use std::collections::BTreeMap;

use config_schemas::{HuntName, Problem, Values, contradictions, excerpt, excerpt_of};
use crds::{Document, DocumentFault, TreasureHuntSpec, asks, documents};
use serde::Serialize;

use super::rules::Rule;

/// A file, and what stands in it.
#[derive(Debug, Clone)]
pub struct File {
    /// As people call it.
    pub name: String,
    /// Its text, or why there is none.
    pub text: Result<String, String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// In which file.
    pub file: String,
    /// In which of its documents, from 1.
    pub document: Option<usize>,
    /// Of which hunt.
    pub hunt: Option<HuntName>,
    /// What it breaks.
    pub code: Rule,
    /// Where in the document.
    pub field: String,
    /// What stands there.
    pub value: String,
    /// What would be allowed, or what is wrong.
    pub allowed: String,
}

/// A hunt that a file names, as far as it can be read.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: HuntName,
    /// Where it stands.
    pub file: String,
    /// What it asks for; none when its spec cannot be read.
    pub spec: Option<TreasureHuntSpec>,
    /// The settings that it names, those that are allowed.
    pub values: Values,
}

/// What the files say.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// The hunts that they name, in their order.
    pub hunts: Vec<Found>,
    /// All that is wrong.
    pub faults: Vec<Fault>,
}

/// Reads and judges the files.
pub fn judge(files: &[File]) -> Judged {
    let mut judged = Judged::default();
    let mut named: BTreeMap<HuntName, String> = BTreeMap::new();
    for file in files {
        judged.file(file, &mut named);
    }
    judged
}

impl Judged {
    fn file(&mut self, file: &File, named: &mut BTreeMap<HuntName, String>) {
        let whole = |code, value: &str, allowed: String| Fault {
            file: file.name.clone(),
            document: None,
            hunt: None,
            code,
            field: String::new(),
            value: value.to_owned(),
            allowed,
        };
        let text = match &file.text {
            Ok(text) => text,
            Err(why) => return self.faults.push(whole(Rule::File, "", excerpt_of(why, 200))),
        };
        let written = match documents(text) {
            Ok(written) => written,
            Err(why) => return self.faults.push(whole(Rule::Yaml, "", why)),
        };
        if written.iter().all(|document| matches!(document, Ok(None))) {
            self.faults.push(whole(Rule::Empty, "", "names no hunt".to_owned()));
        }
        for (index, document) in written.into_iter().enumerate() {
            let at = At { file: &file.name, document: index + 1 };
            match document {
                Ok(None) => {}
                Ok(Some(document)) => self.document(at, document, named),
                Err(fault) => self.faults.push(at.fault_of(&fault)),
            }
        }
    }

    fn document(&mut self, at: At<'_>, document: Document, named: &mut BTreeMap<HuntName, String>) {
        let Document { name, spec, strangers } = document;
        let fault = |code, problem: Problem| at.fault(Some(&name), code, problem);
        if let Some(first) = named.insert(name.clone(), at.file.to_owned()) {
            let problem = Problem {
                field: "metadata.name".to_owned(),
                value: name.to_string(),
                allowed: format!("each hunt once; {first} names it already"),
            };
            self.faults.push(fault(Rule::Twice, problem));
        }
        for stranger in strangers {
            let problem = Problem {
                field: excerpt(&stranger),
                value: "stands beside spec".to_owned(),
                allowed: "apiVersion, kind, metadata, spec, status".to_owned(),
            };
            self.faults.push(fault(Rule::Section, problem));
        }
        let spec = match serde_json::from_value::<TreasureHuntSpec>(spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                let problem = Problem {
                    field: "spec".to_owned(),
                    value: excerpt(&spec.to_string()),
                    allowed: excerpt_of(&error.to_string(), 200),
                };
                self.faults.push(fault(Rule::Spec, problem));
                let file = at.file.to_owned();
                self.hunts.push(Found { name, file, spec: None, values: Values::new() });
                return;
            }
        };
        let read = asks(&spec);
        let together = contradictions(&read.values);
        for problem in read.problems {
            let rule = if together.contains(&problem) { Rule::Together } else { Rule::Value };
            self.faults.push(fault(rule, below_spec(problem)));
        }
        for problem in read.unknown {
            let rule = if problem.field.contains('.') { Rule::Field } else { Rule::Section };
            self.faults.push(fault(rule, below_spec(problem)));
        }
        let file = at.file.to_owned();
        self.hunts.push(Found { name, file, spec: Some(spec), values: read.values });
    }
}

fn below_spec(problem: Problem) -> Problem {
    Problem { field: format!("spec.{}", problem.field), ..problem }
}

#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    document: usize,
}

impl At<'_> {
    fn fault(self, hunt: Option<&HuntName>, code: Rule, problem: Problem) -> Fault {
        Fault {
            file: self.file.to_owned(),
            document: Some(self.document),
            hunt: hunt.cloned(),
            code,
            field: problem.field,
            value: problem.value,
            allowed: problem.allowed,
        }
    }

    fn fault_of(self, fault: &DocumentFault) -> Fault {
        let (code, field) = match fault {
            DocumentFault::Kind => (Rule::Kind, "kind"),
            DocumentFault::Nameless | DocumentFault::Name(_) => (Rule::Name, "metadata"),
        };
        let allowed = excerpt_of(&fault.to_string(), 240);
        let (field, value) = (field.to_owned(), String::new());
        self.fault(None, code, Problem { field, value, allowed })
    }
}

impl Fault {
    /// As a sentence.
    pub fn sentence(&self) -> String {
        match (self.field.as_str(), self.value.as_str()) {
            ("", _) => self.allowed.clone(),
            (field, "") => format!("{field}: {}", self.allowed),
            (field, value) if matches!(self.code, Rule::Spec | Rule::Twice) => {
                format!("{field}: {value}: {}", self.allowed)
            }
            (field, value) => format!("{field}: {value} is not allowed; allowed: {}", self.allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\n";

    fn hunt(rest: &str) -> String {
        format!("{HEAD}metadata: {{name: harbour}}\n{rest}")
    }

    fn check(texts: &[&str], expected: &[(&str, &str)]) {
        let files: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| File { name: format!("{at}.yaml"), text: Ok((*text).to_owned()) })
            .collect();
        let judged = judge(&files);
        let found: Vec<_> =
            judged.faults.iter().map(|it| (it.code.code(), it.sentence())).collect();
        assert_eq!(found.len(), expected.len(), "{texts:?}: {found:#?}");
        for ((code, sentence), (expected, said)) in found.iter().zip(expected) {
            assert_eq!(code, expected, "{sentence}");
            assert!(sentence.contains(said), "{sentence}");
        }
    }

    #[test]
    fn each_fault_has_its_code_and_says_what_is_allowed() {
        check(&[&hunt("spec: {buffers: {events: 128}, history: 3, agents: {replicas: 2}}")], &[]);
        check(&["a: [", ""], &[("HUNT002", "not YAML"), ("HUNT011", "names no hunt")]);
        check(&["kind: ConfigMap"], &[("HUNT003", "not a TreasureHunt of treasurehunt.dev")]);
        check(&[HEAD], &[("HUNT004", "metadata.name is missing")]);
        check(&[&format!("{HEAD}metadata: {{name: A}}")], &[("HUNT004", "is not a name")]);
        check(&[&hunt("spec: {history: lots}")], &[("HUNT005", "spec: {\"history\":\"lots\"}")]);
        check(&[&hunt("spec: {bufers: {events: 3}}")], &[("HUNT006", "one of the sections")]);
        check(&[&hunt("sepc: {}")], &[("HUNT006", "sepc: stands beside spec")]);
        check(&[&hunt("spec: {buffers: {size: 3}}")], &[("HUNT007", "spec.buffers.size: 3")]);
        check(&[&hunt("spec: {buffers: {events: lots}}")], &[("HUNT008", "from 1 to 1048576")]);
        check(&[&hunt("spec: {history: 1}")], &[("HUNT008", "spec.history: 1")]);
        check(&[&hunt("spec: {agents: {replicas: -1}}")], &[("HUNT008", "from 0 to 1000")]);
        let both = hunt("spec: {buffers: {events: 9}, workers: {batch: 10}}");
        check(&[&both], &[("HUNT009", "at most buffers.events, which is 9")]);
        check(&[&hunt(""), &hunt("")], &[("HUNT010", "0.yaml names it already")]);
        check(&[&format!("{}\n---\n{}", hunt(""), hunt(""))], &[("HUNT010", "each hunt once")]);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = hunt("spec: {buffers: {events: lots, size: 1}, rules: {clues: -1}, x: 1}");
        check(
            &[&text],
            &[("HUNT008", "events"), ("HUNT008", "clues"), ("HUNT007", "size"), ("HUNT006", "x")],
        );
    }
}
