//! The values that machines write under a hunt's keys, as JSON. Fields are only ever added; what
//! a build does not know it ignores, and `v1/samples` holds what every later build must read.
//! Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use crate::names::{Epoch, Generation, NodeName, Revision};
use crate::problem::Problem;
use crate::reading::read_sections;
use crate::settings::Values;
use crate::typed::BrokerKind;

/// The format that this build writes. A document of a higher format is refused.
pub const FORMAT: u32 = 1;

/// The largest value that a machine writes: far under etcd's 1.5 MiB for a request, so that a
/// transaction holds several.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// `meta`: the root marker. A prefix without it means "lost", never "no configuration".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// See [`FORMAT`].
    pub format: u32,
    /// A random id, made once for this life of the prefix: another one means that the store was
    /// wiped or the hunt made anew.
    pub store_epoch: String,
    /// The resource's own id: as long as it is the same, generations only rise.
    pub uid: String,
    /// Partitions of the hunt.
    pub partitions: u32,
    /// How many it had before it was cut finer, oldest first; see [`crate::Cuts`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<u32>,
    /// How many it is about to have: they are placed already, and no key goes to the new ones yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// How a key finds its partition.
    pub hash: String,
    /// The id of the Kafka cluster that has the hunt's topics: the first one that was found where
    /// the hunt says. No other is believed to have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What keeps the hunt's events, for its whole life.
    #[serde(default, skip_serializing_if = "is_embedded")]
    pub broker: BrokerKind,
}

/// Left out, as before there was another one.
fn is_embedded(broker: &BrokerKind) -> bool {
    *broker == BrokerKind::Embedded
}

/// Kafka's default partitioner, so that ordinary clients agree with us.
pub const HASH_MURMUR2: &str = "murmur2";

/// `desired/<generation>`: what the resource asked for in that generation. Immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// See [`FORMAT`].
    pub format: u32,
    /// The resource's generation.
    pub generation: Generation,
    /// The resource's own id.
    pub uid: String,
    /// When the operator wrote it.
    pub written_at: Timestamp,
    /// `section: {field: value}`, as the resource names them; what it leaves out has its default.
    pub config: Map<String, Json>,
}

impl Desired {
    /// The values that the document names, and what is wrong with it. A field that this build
    /// does not know is no problem: a newer operator wrote it.
    pub fn values(&self) -> (Values, Vec<Problem>) {
        let read = read_sections(&self.config);
        (read.values, read.problems)
    }
}

/// `rollout`: which generation runs where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// See [`FORMAT`].
    pub format: u32,
    /// What every node runs that is not named in `candidate`.
    pub stable: Generation,
    /// A generation on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// What `desired/<stable>` holds, once more: a thousand agents that learn of a new generation
    /// by one event need no thousand reads to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Desired>,
}

/// A generation on trial and the nodes that run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub generation: Generation,
    /// Where.
    pub nodes: Vec<NodeName>,
}

impl Rollout {
    /// All nodes run that document's generation.
    pub fn of(document: Desired) -> Rollout {
        let stable = document.generation;
        Rollout { format: FORMAT, stable, candidate: None, document: Some(document) }
    }

    /// The generation that `node` is to run.
    pub fn generation_of(&self, node: &NodeName) -> Generation {
        match &self.candidate {
            Some(trial) if trial.nodes.contains(node) => trial.generation,
            _ => self.stable,
        }
    }
}

/// `node/<node>`: an agent that lives, on its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// See [`FORMAT`].
    pub format: u32,
    /// A random id of this start of the agent: a partition belongs to an incarnation, so that a
    /// restarted agent does not believe itself to own what it owned before.
    pub incarnation: String,
    /// A random id kept in the agent's data directory: the same agent, started again.
    pub instance: String,
    /// `host:port` of HTTP (events and admin).
    pub http: String,
    /// `host:port` of gRPC.
    pub grpc: String,
    /// Whether it takes partitions.
    pub mode: NodeMode,
}

impl NodeRecord {
    /// Reads what stands at a node's key; `on_lease` says whether that key hangs on a lease. Agents
    /// write on theirs alone: what hangs on none is a person's, and no node. The error says why it
    /// is none.
    pub fn read(bytes: &[u8], on_lease: bool) -> Result<NodeRecord, String> {
        match on_lease {
            true => read(bytes),
            false => Err("it hangs on no lease: no agent wrote it".to_owned()),
        }
    }
}

/// Whether a node takes partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeMode {
    /// It does.
    Ready,
    /// It is about to stop and hands its partitions over.
    Draining,
}

/// `partition/<id>`: who owns a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum PartitionRecord {
    /// One owner, who serves it.
    #[serde(rename = "OWN")]
    Own {
        /// Who.
        owner: Owner,
        /// Since this epoch.
        #[serde(deserialize_with = "bounded")]
        epoch: Epoch,
    },
    /// The owner is to drain and then hand over to `to`.
    #[serde(rename = "MOV")]
    Mov {
        /// Who still serves it.
        owner: Owner,
        /// Since this epoch.
        #[serde(deserialize_with = "bounded")]
        epoch: Epoch,
        /// Who is to own it in the next epoch.
        to: Owner,
        /// When the move was ordered, for people and for sweeping stuck moves.
        since: Timestamp,
        /// When the owner has to be done.
        deadline: Timestamp,
    },
    /// Nobody serves it, on purpose.
    #[serde(rename = "PARKED")]
    Parked {
        /// The last epoch that it had.
        #[serde(deserialize_with = "bounded")]
        epoch: Epoch,
        /// Why.
        reason: String,
    },
}

fn bounded<'de, D: Deserializer<'de>>(input: D) -> Result<Epoch, D::Error> {
    let epoch = Epoch::deserialize(input)?;
    match epoch > Epoch::MAX {
        true => Err(D::Error::custom(format!("epoch {epoch} is above {}", Epoch::MAX))),
        false => Ok(epoch),
    }
}

/// One life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The node.
    pub node: NodeName,
    /// Which life of it.
    pub incarnation: String,
}

impl PartitionRecord {
    /// The epoch that holds now.
    pub fn epoch(&self) -> Epoch {
        match self {
            PartitionRecord::Own { epoch, .. }
            | PartitionRecord::Mov { epoch, .. }
            | PartitionRecord::Parked { epoch, .. } => *epoch,
        }
    }

    /// Who serves it now.
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            PartitionRecord::Own { owner, .. } | PartitionRecord::Mov { owner, .. } => Some(owner),
            PartitionRecord::Parked { .. } => None,
        }
    }
}

/// `ack/<node>`: what a node's workers really run, on its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// See [`FORMAT`].
    pub format: u32,
    /// Which life of the node says so.
    pub incarnation: String,
    /// The resource's generation in effect; `None` while only defaults and overrides are.
    pub generation: Option<Generation>,
    /// The store's revision up to which every edit is in effect or refused.
    pub revision: Option<Revision>,
    /// Hash of the effective configuration.
    pub hash: String,
    /// What became of each section's last change.
    pub sections: BTreeMap<String, Outcome>,
    /// Edits and generations that this node refuses, at most [`REFUSALS_MAX`].
    pub refused: Vec<Refusal>,
    /// All refusals, also those that found no place in `refused`.
    pub refused_count: u32,
}

/// Refusals that an ack spells out: it stays a few kilobytes however many keys are wrong.
pub const REFUSALS_MAX: usize = 16;

/// What became of a section's last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// The workers run it.
    InEffect,
    /// The component could not take it over and goes on as before.
    Rejected {
        /// Why, for a person.
        reason: String,
    },
}

/// Something that a person wrote and that is not in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The key below the hunt's prefix, such as `override/hunt/buffers/events`.
    pub key: String,
    /// What stands there, shortened and escaped.
    pub found: String,
    /// Why it is refused, and what would be allowed.
    pub reason: String,
    /// A word for metrics.
    pub code: RefusalCode,
    /// Since this revision of the store.
    pub revision: Revision,
}

/// Why something is refused, as a word for metrics and filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// No such key: neither `hunt/<section>/<field>` nor `node/<node>/<section>/<field>`.
    UnknownKey,
    /// No such section or field.
    UnknownField,
    /// No node of that name is there.
    UnknownNode,
    /// A setting of the whole hunt, edited for one node.
    WrongScope,
    /// A setting that cannot change once the hunt exists.
    Fixed,
    /// Longer than any value may be.
    TooLarge,
    /// Not YAML, or not the form of an override.
    Malformed,
    /// Of the wrong type or out of bounds.
    OutOfBounds,
    /// Fine alone, but not together with another setting.
    Conflict,
    /// Its `until` has passed.
    Expired,
    /// A rollback to a generation that is not kept.
    NotKept,
    /// A newer resource has ended this rollback.
    Lifted,
    /// A document that this build cannot read.
    Unreadable,
    /// An older generation than the one in effect.
    Older,
}

impl RefusalCode {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCode::UnknownKey => "UnknownKey",
            RefusalCode::UnknownField => "UnknownField",
            RefusalCode::UnknownNode => "UnknownNode",
            RefusalCode::WrongScope => "WrongScope",
            RefusalCode::Fixed => "Fixed",
            RefusalCode::TooLarge => "TooLarge",
            RefusalCode::Malformed => "Malformed",
            RefusalCode::OutOfBounds => "OutOfBounds",
            RefusalCode::Conflict => "Conflict",
            RefusalCode::Expired => "Expired",
            RefusalCode::NotKept => "NotKept",
            RefusalCode::Lifted => "Lifted",
            RefusalCode::Unreadable => "Unreadable",
            RefusalCode::Older => "Older",
        }
    }
}

/// Reads a machine-written value; the error says what was wrong with it.
pub fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        format: Option<u32>,
    }
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("{} bytes, more than {DOCUMENT_BYTES_MAX}", bytes.len()));
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if let Some(format) = head.format.filter(|format| *format > FORMAT) {
        return Err(format!("format {format}; this build reads up to format {FORMAT}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Writes a machine-written value.
pub fn write<T: Serialize>(document: &T) -> Vec<u8> {
    // Maps with text keys and plain numbers only: nothing that JSON cannot say.
    serde_json::to_vec(document).expect("our documents are JSON")
}
