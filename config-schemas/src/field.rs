//! What is known of a setting besides its value: where it stands, what it means, what a change
//! of it costs and whom it concerns. Filled in `settings`, read by everybody else. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::Kind;

/// What it costs to change a setting on a running hunt, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cost {
    /// Read afresh wherever it is used.
    None,
    /// A component takes it over between two batches.
    Live,
    /// A client is replaced by a proven new one.
    Swap,
    /// Partitions are drained and move.
    Drain,
    /// Only rises, to whole multiples, by the resource alone: the hunt is cut finer while it runs.
    Raise,
    /// Cannot be changed once the hunt exists.
    Fixed,
}

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// May differ from node to node.
    Node,
    /// One value for the whole hunt.
    Hunt,
}

/// Which running part takes a changed setting over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Component {
    /// The lease and its renewal.
    Heartbeat,
    /// The queues in front of the workers.
    Queues,
    /// The workers.
    Workers,
    /// The gateway that takes events in and passes them on.
    Gateway,
    /// The log that events and outcomes are written to.
    Log,
    /// The rules that the workers play by.
    Game,
    /// The placement controller, in the operator.
    Placement,
    /// The clients of Kafka.
    Kafka,
    /// The topics of Kafka, in the operator.
    Topics,
}

/// One setting.
#[derive(Debug)]
pub struct Field {
    /// `section.name`.
    pub path: FieldPath,
    /// What it means; the text of `kubectl explain` and of the reference.
    pub doc: &'static str,
    /// Its values.
    pub kind: Kind,
    /// What a change of it costs.
    pub cost: Cost,
    /// Whose it is.
    pub scope: Scope,
    /// Who takes a change over.
    pub component: Component,
}

/// The settings of one concern.
#[derive(Debug)]
pub struct Section {
    /// As in keys and in the resource.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// In the order of the reference.
    pub fields: &'static [Field],
}

/// `section.name` of a setting that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
}

impl FieldPath {
    /// The section's name.
    pub fn section(self) -> &'static str {
        self.section
    }

    /// The field's name inside its section.
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.section, self.name)
    }
}

impl Serialize for FieldPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
