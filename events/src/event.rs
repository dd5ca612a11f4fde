//! An event as every part after the gateway knows it: typed, checked, bounded. Comes out of
//! `parse`; goes into logs through `codec`. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest event id that a producer may choose, in characters: a UUID with a prefix fits.
pub const ID_LEN_MAX: usize = 64;
/// Longest player or treasure, in characters.
pub const KEY_LEN_MAX: usize = 128;
/// Longest event kind, in characters.
pub const KIND_LEN_MAX: usize = 32;
/// Largest payload, in bytes of compact JSON: payloads are carried, not searched.
pub const PAYLOAD_BYTES_MAX: usize = 4096;
/// Deepest payload: no reader of ours recurses further.
pub const PAYLOAD_DEPTH_MAX: usize = 8;
/// How many events one event may cause in a row, each forwarded on account of the one before.
pub const CHAIN_LEN_MAX: usize = 4;

/// Whether `text` has 1 to `len_max` characters, all of `A-Z a-z 0-9 . _ : -`.
pub(crate) fn is_safe(text: &str, len_max: usize) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    (1..=len_max).contains(&text.len()) && text.bytes().all(safe)
}

/// The identity of an event: the same id is never played twice within the recent window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// A producer's or gateway's id; `None` if it is not 1 to 64 safe characters.
    pub fn new(text: impl Into<String>) -> Option<EventId> {
        let text = text.into();
        is_safe(&text, ID_LEN_MAX).then_some(EventId(text))
    }

    /// As found in a log or on the wire between agents, where derived ids occur.
    pub(crate) fn trusted(text: String) -> EventId {
        EventId(text)
    }

    /// The id of the `index`th event that this one causes: always the same one, and never one
    /// that a producer can choose. `None` past [`CHAIN_LEN_MAX`].
    pub fn caused(&self, index: usize) -> Option<EventId> {
        let depth = self.0.bytes().filter(|b| *b == b'~').count();
        (depth < CHAIN_LEN_MAX).then(|| EventId(format!("{}~{index}", self.0)))
    }

    /// Whether a derived id is well formed: a safe id and at most [`CHAIN_LEN_MAX`] causes.
    pub(crate) fn is_derived(text: &str) -> bool {
        let mut parts = text.split('~');
        let root = parts.next().is_some_and(|root| is_safe(root, ID_LEN_MAX));
        let causes: Vec<&str> = parts.collect();
        let number = |part: &&str| is_safe(part, 4) && part.bytes().all(|b| b.is_ascii_digit());
        root && causes.len() <= CHAIN_LEN_MAX && causes.iter().all(number)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> String {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of event it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Kind {
    /// A player enters the hunt.
    Join,
    /// A player is somewhere else.
    Move,
    /// A player solves a clue of a treasure.
    Solve,
    /// A player wants a treasure; decided first at the player's partition.
    Claim,
    /// Somebody tells that they saw a treasure. Counted at the treasure's partitions, in any order.
    Sight,
    /// Internal: a claim that the player's partition lets through, at the treasure's partition.
    ClaimForwarded,
    /// Internal: the verdict on a claim, back at the player's partition.
    Verdict,
    /// A kind of another machine.
    Custom(String),
}

impl Kind {
    /// The kind as text.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::Join => "join",
            Kind::Move => "move",
            Kind::Solve => "solve",
            Kind::Claim => "claim",
            Kind::Sight => "sight",
            Kind::ClaimForwarded => "claim.forwarded",
            Kind::Verdict => "claim.verdict",
            Kind::Custom(name) => name,
        }
    }
}

impl From<String> for Kind {
    fn from(text: String) -> Kind {
        match text.as_str() {
            "join" => Kind::Join,
            "move" => Kind::Move,
            "solve" => Kind::Solve,
            "claim" => Kind::Claim,
            "sight" => Kind::Sight,
            "claim.forwarded" => Kind::ClaimForwarded,
            "claim.verdict" => Kind::Verdict,
            _ => Kind::Custom(text),
        }
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        match kind {
            Kind::Custom(name) => name,
            known => known.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the treasure's partition decided on a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether this claim won the treasure.
    pub won: bool,
    /// What the player gets for it.
    pub points: u64,
    /// Who has the treasure now.
    pub winner: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// What kind it is.
    pub kind: Kind,
    /// Who acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub treasure: Option<String>,
    /// Which clue of the treasure, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clue: Option<u32>,
    /// When it happened by the producer's clock, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_millis: Option<u64>,
    /// One JSON value, compact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_json: Option<String>,
    /// When the gateway took it in, milliseconds since 1970: the clock that rules use.
    #[serde(default)]
    pub received_millis: u64,
    /// On the way back from a treasure's partition: its decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl Event {
    /// An event with nothing but id, kind and time of arrival.
    pub fn new(id: EventId, kind: Kind, received_millis: u64) -> Event {
        Event {
            id,
            kind,
            player: None,
            treasure: None,
            clue: None,
            at_millis: None,
            payload_json: None,
            received_millis,
            verdict: None,
        }
    }
}

/// One thing that is wrong with what a producer sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {value} (allowed: {allowed})")]
pub struct Problem {
    /// Which field.
    pub field: String,
    /// What was found there, shortened.
    pub value: String,
    /// What may stand there.
    pub allowed: String,
    /// What kind of mistake it is. Counted, not told: the rest says more.
    #[serde(skip)]
    pub flaw: Flaw,
}

/// Kinds of mistakes, few enough to count by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Something stands there that may not.
    #[default]
    Value,
    /// It cannot be read at all.
    Malformed,
    /// More bytes than may be.
    TooLarge,
    /// More events than may be.
    TooMany,
    /// More levels than may be.
    TooDeep,
    /// It happened too long ago, or will happen.
    TooOld,
    /// A kind that the hunt does not know.
    UnknownKind,
    /// A field that no event has.
    UnknownField,
    /// A field is missing that the kind requires.
    Missing,
    /// A field is named twice.
    Twice,
}

impl Flaw {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Flaw::Value => "value",
            Flaw::Malformed => "malformed",
            Flaw::TooLarge => "too_large",
            Flaw::TooMany => "too_many",
            Flaw::TooDeep => "too_deep",
            Flaw::TooOld => "too_old",
            Flaw::UnknownKind => "unknown_kind",
            Flaw::UnknownField => "unknown_field",
            Flaw::Missing => "missing",
            Flaw::Twice => "twice",
        }
    }
}

/// Longest value that a [`Problem`] repeats, in characters.
const SHOWN_LEN_MAX: usize = 80;

impl Problem {
    /// Shortens the value to what a person wants to read.
    pub fn new(field: &str, value: impl fmt::Display, allowed: impl Into<String>) -> Problem {
        let mut value = value.to_string();
        if let Some((cut, _)) = value.char_indices().nth(SHOWN_LEN_MAX) {
            value.truncate(cut);
            value.push_str("...");
        }
        Problem { field: field.to_owned(), value, allowed: allowed.into(), flaw: Flaw::Value }
    }

    /// The same, of that kind.
    #[must_use]
    pub fn of(self, flaw: Flaw) -> Problem {
        Problem { flaw, ..self }
    }
}
