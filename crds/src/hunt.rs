//! The resource itself. Its spec holds one object per section of settings, kept as a map: what a
//! setting is, only the table in `config_schemas` says. Pure.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::status::TreasureHuntStatus;

/// Keeps a deleted hunt until its keys are gone from etcd.
pub const FINALIZER: &str = "treasurehunt.dev/keys";

/// Generations kept when the resource does not say.
pub const HISTORY_DEFAULT: u32 = 10;
/// A rollback needs at least one older generation.
pub const HISTORY_MIN: u32 = 2;
/// All kept documents are listed in the status.
pub const HISTORY_MAX: u32 = 50;

/// A hunt is planned for at most so many agents.
pub const REPLICAS_MAX: i32 = 1000;

/// What a hunt is to be like.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "treasurehunt.dev",
    version = "v1alpha1",
    kind = "TreasureHunt",
    namespaced,
    status = "TreasureHuntStatus",
    derive = "PartialEq",
    shortname = "th",
    category = "treasurehunt",
    doc = "A treasure hunt: the settings that its agents run, changed while players are hunting.",
    scale(
        spec_replicas_path = ".spec.agents.replicas",
        status_replicas_path = ".status.nodes.desired"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message("metadata.name: allowed: at most 63 lower-case letters, digits and '-', because the name is part of keys in etcd"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "Whether every live node runs what the hunt asks for",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Converged",
        type_ = "string",
        description = "Nodes that run what they should, of all that live",
        json_path = ".status.converged"
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        description = "The generation that the nodes run",
        json_path = ".status.generation"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Heartbeat",
        type_ = "string",
        priority = 1,
        description = "Interval and misses in effect for the hunt",
        json_path = ".status.effective.heartbeat"
    ),
    printcolumn(
        name = "Buffers",
        type_ = "string",
        priority = 1,
        description = "Events and bytes that a partition's queue may hold, in effect for the hunt",
        json_path = ".status.effective.buffers"
    ),
    printcolumn(
        name = "Partitions",
        type_ = "string",
        priority = 1,
        description = "Partitions placed, of all",
        json_path = ".status.effective.partitions"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TreasureHuntSpec {
    /// How many agents there are to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Agents>,
    /// Generations to keep; see [`HISTORY_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
    /// What becomes of live edits and topics when the hunt is deleted; see [`DeletionPolicy`]. Not the
    /// same as its default: only a policy that is written down deletes topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// `section: {field: value}`, as written.
    #[serde(flatten)]
    pub config: Map<String, Json>,
}

/// How many agents there are to be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Agents {
    /// Agents that the hunt is planned for: what `kubectl scale` reads and writes. Nothing starts
    /// or stops agents by this number yet; the live ones are counted in status.nodes.desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = REPLICAS_MAX))]
    pub replicas: Option<i32>,
}

/// What becomes of the hunt's live edits (the keys below override/) and of its topics in Kafka when
/// it is deleted. Left out: live edits go, topics stay with all that was ever played. Delete: both go.
/// Retain: both stay, and live edits hold again when a hunt of that name is made anew.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// Live edits and topics go with the hunt.
    Delete,
    /// Live edits and topics stay.
    Retain,
}

impl TreasureHuntSpec {
    /// Generations to keep, within bounds whatever the resource says.
    pub fn kept(&self) -> usize {
        let history = self.history.unwrap_or(HISTORY_DEFAULT);
        history.clamp(HISTORY_MIN, HISTORY_MAX) as usize
    }

    /// Whether live edits outlive the hunt.
    pub fn keeps_edits(&self) -> bool {
        self.deletion_policy == Some(DeletionPolicy::Retain)
    }

    /// Whether the topics outlive the hunt: they do unless the resource says in so many words that
    /// they go. What cannot be brought back is not deleted by default.
    pub fn keeps_topics(&self) -> bool {
        self.deletion_policy != Some(DeletionPolicy::Delete)
    }
}
