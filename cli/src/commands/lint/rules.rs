//! What `hunt lint` looks for, each with a code that never changes its meaning. In: nothing. Out: the
//! codes, and their page in the docs. Pure.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

/// What can be wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The file cannot be read.
    File,
    /// Its text is no YAML.
    Yaml,
    /// A document is of another kind.
    Kind,
    /// It has no name, or one that none can have.
    Name,
    /// A part of the spec is of the wrong type.
    Spec,
    /// A section that does not exist.
    Section,
    /// A field that does not exist.
    Field,
    /// A value out of bounds or of the wrong type.
    Value,
    /// Values that do not go together.
    Together,
    /// The same hunt twice.
    Twice,
    /// A file that names no hunt.
    Empty,
}

impl Rule {
    /// All of them, by code.
    pub const ALL: [Rule; 11] = [
        Rule::File,
        Rule::Yaml,
        Rule::Kind,
        Rule::Name,
        Rule::Spec,
        Rule::Section,
        Rule::Field,
        Rule::Value,
        Rule::Together,
        Rule::Twice,
        Rule::Empty,
    ];

    /// The code: its meaning stays for ever, and no code is used again for another.
    pub fn code(self) -> &'static str {
        match self {
            Rule::File => "HUNT001",
            Rule::Yaml => "HUNT002",
            Rule::Kind => "HUNT003",
            Rule::Name => "HUNT004",
            Rule::Spec => "HUNT005",
            Rule::Section => "HUNT006",
            Rule::Field => "HUNT007",
            Rule::Value => "HUNT008",
            Rule::Together => "HUNT009",
            Rule::Twice => "HUNT010",
            Rule::Empty => "HUNT011",
        }
    }

    /// What is wrong, and what the operator and the API server make of it.
    pub fn meaning(self) -> &'static str {
        match self {
            Rule::File => {
                "The file is not there, cannot be read, is no plain file, is larger than 4 MiB or \
                 is not UTF-8; or a folder holds no file of hunts. The operator leaves its hunts as \
                 they are."
            }
            Rule::Yaml => {
                "The text is not YAML, or names a key twice. The operator leaves the file's hunts \
                 as they are and reports it."
            }
            Rule::Kind => {
                "A document is no TreasureHunt of treasurehunt.dev/v1alpha1. The API server files \
                 it elsewhere or refuses it; in a directory of the operator it keeps the file's \
                 other hunts from being deleted, and is reported."
            }
            Rule::Name => {
                "metadata.name is missing, or it or metadata.namespace is no name: lower-case \
                 letters, digits and '-', at most 63."
            }
            Rule::Spec => {
                "A part of the spec is of the wrong type, such as agents, history or \
                 deletionPolicy. The resource is not accepted (`Accepted` is False with \
                 `Undecodable`), and what ran goes on."
            }
            Rule::Section => {
                "There is no such section, or nothing of that name beside spec. The API server \
                 drops it, and the operator reports it; in both cases it changes nothing."
            }
            Rule::Field => {
                "The section has no such field. The API server drops it, and the operator reports \
                 it; in both cases it changes nothing."
            }
            Rule::Value => {
                "A value is of the wrong type or out of its bounds. The resource is refused whole, \
                 and what ran goes on."
            }
            Rule::Together => {
                "Two values or more do not go together. The resource is refused whole, and what \
                 ran goes on."
            }
            Rule::Twice => {
                "A hunt is named twice, in one file or in two. The operator takes the first one \
                 and reports the other; kubectl applies both, one after the other."
            }
            Rule::Empty => {
                "The file names no hunt. In a directory of the operator that deletes nothing: to \
                 delete a hunt, remove the file."
            }
        }
    }

    /// What to do.
    pub fn mend(self) -> &'static str {
        match self {
            Rule::File => "Give a file or folder that is there and can be read.",
            Rule::Yaml => "Mend the text at the line that the message names.",
            Rule::Kind => {
                "Write `apiVersion: treasurehunt.dev/v1alpha1` and `kind: TreasureHunt`, or keep \
                 other kinds in files of their own."
            }
            Rule::Name => "Give it such a name.",
            Rule::Spec => "`kubectl explain th.spec` and `examples/harbour.yaml` show the types.",
            Rule::Section => "The message names the sections that there are.",
            Rule::Field => "The message names the fields that the section has.",
            Rule::Value => "The message names what is allowed; see [settings](settings.md).",
            Rule::Together => "Change one of the settings that the message names.",
            Rule::Twice => "Keep one of the two.",
            Rule::Empty => "Name a hunt in it, or remove it.",
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// The page of the docs.
pub fn page() -> String {
    let mut page = String::from(
        "# What `hunt lint` finds\n\nGenerated from `cli/src/commands/lint/rules.rs`; edit there. \
         Codes keep their meaning for ever. `hunt lint` reads files as the operator does, with the \
         same checks, and needs neither etcd nor Kubernetes; its exit code is 2 when it finds \
         anything.\n\n| code | what is wrong | what to do |\n|---|---|---|\n",
    );
    for rule in Rule::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {} | {} | {} |", rule.code(), rule.meaning(), rule.mend());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_none_is_used_twice() {
        let codes: Vec<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        let expected: Vec<_> = (1..=codes.len()).map(|n| format!("HUNT{n:03}")).collect();
        assert_eq!(codes, expected);
    }
}
