//! What the operator reports of a hunt. Everything in it is bounded, and everything that people
//! wrote is in it only as a short, escaped excerpt. Pure.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Refused edits that are spelled out; a status stays a few kilobytes.
pub const REFUSED_MAX: usize = 32;
/// Overrides in effect that are spelled out.
pub const OVERRIDES_MAX: usize = 32;
/// Partitions filled by one key that are spelled out.
pub const HOT_MAX: usize = 8;
/// Conditions, and room for those of a later version.
pub const CONDITIONS_MAX: usize = 16;
/// Events kept in a status file, where there is no Kubernetes to keep them.
pub const EVENTS_MAX: usize = 20;
/// Longest message of a condition.
pub const MESSAGE_CHARS_MAX: usize = 2048;

/// What the operator knows of the hunt.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TreasureHuntStatus {
    /// The newest generation of this resource that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Accepted, Converged, Overridden, Degraded, Ready, and TopicsReady where events are in Kafka.
    #[serde(default)]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// The generation that the nodes are to run: the rollout's, or the one rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub generation: Option<i64>,
    /// Nodes that run what they should, of all that live, written 3/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub converged: Option<String>,
    /// Nodes, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Nodes>,
    /// Partitions, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,
    /// How the hunt was cut into more partitions, if it was or is about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<CutState>,
    /// Partitions that one key fills whose events have to stay in order, the heaviest first: such a
    /// key is never split, and sets what balance can reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub hot: Vec<HotPartition>,
    /// Values in effect for the hunt as a whole, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Applied>,
    /// Live edits and documents that are not in effect, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub refused: Vec<RefusedEdit>,
    /// All refusals, also those that found no place in refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub refused_count: i64,
    /// Live edits in effect: what they shadow, who made them and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub overrides: Vec<OverrideInEffect>,
    /// All live edits in effect, also those that found no place in overrides.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub override_count: i64,
    /// The rollback in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// Generations that are kept and can be rolled back to, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<Kept>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One statement about the hunt.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the statement is about.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// Why, as a word.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z][A-Za-z0-9]*$"))]
    pub reason: String,
    /// Why, as a sentence.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// The generation of the resource that the statement was made about.
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// Since when it holds or does not.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

/// Whether a condition holds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Truth {
    True,
    False,
    Unknown,
}

/// The conditions of a hunt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// The resource is valid and its generation is written to etcd.
    Accepted,
    /// Every live node runs what it should.
    Converged,
    /// A live edit is in effect over what the resource or a default says.
    Overridden,
    /// Something is refused, missing or behind that a person should look at.
    Degraded,
    /// Accepted and Converged.
    Ready,
    /// The topics in Kafka are as declared; says what moves and how far, or what stands in the way.
    TopicsReady,
}

impl ConditionKind {
    /// In the order of the status.
    pub const ALL: [ConditionKind; 6] = [
        ConditionKind::Accepted,
        ConditionKind::Converged,
        ConditionKind::Overridden,
        ConditionKind::Degraded,
        ConditionKind::Ready,
        ConditionKind::TopicsReady,
    ];
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Nodes, counted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Nodes that live.
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// Nodes that run what they should.
    #[schemars(range(min = 0))]
    pub acked: i32,
    /// Nodes that could not take over a section or a generation.
    #[schemars(range(min = 0))]
    pub rejected: i32,
    /// Nodes that have not said yet that they run it.
    #[schemars(range(min = 0))]
    pub stale: i32,
}

/// Partitions, counted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Partitions of the hunt.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// Partitions that a live node owns.
    #[schemars(range(min = 0))]
    pub placed: i32,
    /// Of these, partitions on the move.
    #[schemars(range(min = 0))]
    pub moving: i32,
    /// Partitions that nobody serves on purpose.
    #[schemars(range(min = 0))]
    pub parked: i32,
}

/// How a hunt was cut into more partitions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct CutState {
    /// How many partitions it had before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(range(min = 1, max = 4096)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub before: Vec<i32>,
    /// How many it is about to have; no key goes to the new ones yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub next: Option<i32>,
    /// Of the new ones, how many have loaded what they are cut from: keys go once all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4096))]
    pub loaded: Option<i32>,
}

/// A partition that one ordered key fills.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HotPartition {
    /// Which.
    #[schemars(range(min = 0, max = 4095))]
    pub partition: i32,
    /// Who has it, if that node lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub node: Option<String>,
    /// The first 16 hexadecimal digits of the key's SHA-256.
    #[schemars(length(max = 16))]
    pub key: String,
    /// What the key takes of that node, in percent; to a fifth, so that it stands still.
    #[schemars(range(min = 0))]
    pub percent_of_node: i32,
    /// The same of what a mean node carries.
    #[schemars(range(min = 0))]
    pub percent_of_mean: i32,
    /// It has its node for itself, as far as moves can bring that about.
    pub apart: bool,
    /// The same for people.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Values in effect for the hunt as a whole, in short.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Interval and misses.
    #[schemars(length(max = 64))]
    pub heartbeat: String,
    /// Events and bytes of a partition's queue.
    #[schemars(length(max = 64))]
    pub buffers: String,
    /// Partitions placed, of all.
    #[schemars(length(max = 64))]
    pub partitions: String,
}

/// A live edit, or a document, that is not in effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct RefusedEdit {
    /// The key below the hunt's prefix, or the field of the resource.
    #[schemars(length(max = 256))]
    pub key: String,
    /// What stands there, shortened.
    #[schemars(length(max = 1024))]
    pub found: String,
    /// Why it is refused, and what would be allowed.
    #[schemars(length(max = 2048))]
    pub reason: String,
    /// The reason as a word.
    #[schemars(length(max = 64))]
    pub code: String,
    /// Who says so: the operator, or the nodes by name.
    #[schemars(length(max = 256))]
    pub by: String,
    /// Since when the operator knows.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub since: Timestamp,
}

/// A live edit in effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct OverrideInEffect {
    /// The setting, written section.field.
    #[schemars(length(max = 128))]
    pub field: String,
    /// The node that it is for; without it, the whole hunt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub node: Option<String>,
    /// The value in effect.
    #[schemars(length(max = 1024))]
    pub value: String,
    /// The value that would hold without it.
    #[schemars(length(max = 1024))]
    pub shadows: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub owner: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
}

/// A rollback in effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The generation that is run instead of the newest.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Who rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub owner: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
}

/// A kept generation.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Which.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// When it was written to etcd; absent when the document cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub written_at: Option<Timestamp>,
}

/// Something that happened, for a status file where there is no Kubernetes to hold events.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    /// When.
    pub at: Timestamp,
    /// Normal or Warning.
    pub severity: String,
    /// As a word.
    pub reason: String,
    /// As a sentence.
    pub note: String,
}

impl TreasureHuntStatus {
    /// The condition of that kind.
    pub fn condition(&self, kind: ConditionKind) -> Option<&Condition> {
        let kind = kind.to_string();
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
