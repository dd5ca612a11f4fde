//! From what producers send to typed events: strict, bounded, with every problem of an event named
//! at once. In: JSON text or protobuf messages, time and fresh ids as arguments. Pure.

mod strict;

use prost::Message as _;
use serde_json::Value;

use crate::codec::DecodeError;
use crate::event::{
    Event, EventId, Flaw, ID_LEN_MAX, KEY_LEN_MAX, KIND_LEN_MAX, Kind, PAYLOAD_BYTES_MAX,
    PAYLOAD_DEPTH_MAX, Problem, Verdict, is_safe,
};
use crate::v1;
use crate::v1::event::Internal;
use crate::vocabulary::Vocabulary;

/// Most events in one request: a batch is one unit of credit and of answer.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// Largest request body, in bytes: also the largest gRPC message that is taken in.
pub const BODY_BYTES_MAX: usize = 4 << 20;

const SAFE: &str = "A-Z a-z 0-9 . _ : -";
const FIELDS: [&str; 7] = ["id", "kind", "player", "treasure", "clue", "at_millis", "payload"];

/// What the gateway adds to an event.
pub struct ParseContext<'a> {
    /// The kinds that the hunt's machine understands.
    pub vocabulary: &'a Vocabulary,
    /// Now, milliseconds since 1970.
    pub now_millis: u64,
    /// A fresh id for an event that came without one.
    pub new_id: &'a mut dyn FnMut() -> EventId,
}

/// An event as found, field by field, before any judgement.
#[derive(Default)]
struct Raw {
    id: Option<String>,
    kind: Option<String>,
    player: Option<String>,
    treasure: Option<String>,
    clue: Option<u32>,
    at_millis: Option<u64>,
    payload: Option<Value>,
}

/// Reads a request body: one JSON object, or one per line. The outer error is about the body as a
/// whole; each event has its own list of problems.
pub fn parse_body(
    body: &[u8],
    context: &mut ParseContext<'_>,
) -> Result<Vec<Result<Event, Vec<Problem>>>, Problem> {
    if body.len() > BODY_BYTES_MAX {
        let allowed = format!("at most {BODY_BYTES_MAX} bytes");
        let problem = Problem::new("body", format!("{} bytes", body.len()), allowed);
        return Err(problem.of(Flaw::TooLarge));
    }
    let allowed = "one JSON object, or one JSON object per line";
    let malformed = |value: &dyn std::fmt::Display, allowed: &str| {
        Problem::new("body", value, allowed).of(Flaw::Malformed)
    };
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error, "UTF-8"))?;
    let whole = match strict::read("event", text, strict::EVENT_DEPTH_MAX) {
        Ok(value @ Value::Object(_)) => return Ok(vec![parse_json(value, context)]),
        Ok(other) => return Err(malformed(&other, allowed)),
        Err(problem) => problem,
    };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return Err(malformed(&"empty", allowed));
    }
    if lines.len() > BATCH_EVENTS_MAX {
        let allowed = format!("at most {BATCH_EVENTS_MAX} events");
        let problem = Problem::new("body", format!("{} lines", lines.len()), allowed);
        return Err(problem.of(Flaw::TooMany));
    }
    let mut judged = Vec::with_capacity(lines.len());
    let mut readable = false;
    for line in lines {
        judged.push(match strict::read("event", line, strict::EVENT_DEPTH_MAX) {
            Ok(value) => {
                readable = true;
                parse_json(value, context)
            }
            Err(problem) => {
                readable |= problem.flaw != Flaw::Malformed;
                Err(vec![problem])
            }
        });
    }
    match (readable, whole.flaw) {
        (true, _) => Ok(judged),
        (false, Flaw::Malformed) => Err(malformed(&whole.value, allowed)),
        // One object over several lines, which can be read and may not be taken.
        (false, _) => Ok(vec![Err(vec![whole])]),
    }
}

/// Judges one JSON value.
pub fn parse_json(value: Value, context: &mut ParseContext<'_>) -> Result<Event, Vec<Problem>> {
    let Value::Object(fields) = value else {
        return Err(vec![Problem::new("event", value, "a JSON object")]);
    };
    let mut raw = Raw::default();
    let mut problems = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            (_, Value::Null) if FIELDS.contains(&name.as_str()) => {}
            ("id", Value::String(text)) => raw.id = Some(text),
            ("kind", Value::String(text)) => raw.kind = Some(text),
            ("player", Value::String(text)) => raw.player = Some(text),
            ("treasure", Value::String(text)) => raw.treasure = Some(text),
            ("clue", Value::Number(number)) => match number.as_u64().map(u32::try_from) {
                Some(Ok(clue)) => raw.clue = Some(clue),
                _ => problems.push(Problem::new("clue", number, "a whole number from 1")),
            },
            ("at_millis", Value::Number(number)) => match number.as_u64() {
                Some(at) => raw.at_millis = Some(at),
                None => {
                    problems.push(Problem::new("at_millis", number, "milliseconds since 1970"));
                }
            },
            ("payload", value) => raw.payload = Some(value),
            ("clue" | "at_millis", value) => {
                problems.push(Problem::new(&name, value, "a number"));
            }
            ("id" | "kind" | "player" | "treasure", value) => {
                problems.push(Problem::new(&name, value, "text"));
            }
            (_, value) => {
                let allowed = format!("no such field; the fields are {}", FIELDS.join(", "));
                problems.push(Problem::new(&name, value, allowed).of(Flaw::UnknownField));
            }
        }
    }
    judge(raw, problems, context)
}

/// Judges one protobuf event as bytes that a stranger wrote into a log. The outer error is about
/// bytes that are no such message.
pub fn parse_bytes(
    bytes: &[u8],
    context: &mut ParseContext<'_>,
) -> Result<Result<Event, Vec<Problem>>, DecodeError> {
    Ok(parse_wire(v1::Event::decode(bytes)?, false, context))
}

/// Judges one protobuf event. From `peer` agents internal kinds and derived ids are taken too, and
/// what the first gateway stamped is kept.
pub fn parse_wire(
    wire: v1::Event,
    peer: bool,
    context: &mut ParseContext<'_>,
) -> Result<Event, Vec<Problem>> {
    if peer {
        return parse_peer(wire, context);
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    let mut problems = Vec::new();
    if wire.internal.is_some() {
        problems.push(Problem::new("internal", "set", "nothing: only agents use it"));
    }
    let payload = some(wire.payload_json).and_then(|text| payload_value(&text, &mut problems));
    let raw = Raw {
        id: some(wire.id),
        kind: some(wire.kind),
        player: some(wire.player),
        treasure: some(wire.treasure),
        clue: (wire.clue != 0).then_some(wire.clue),
        at_millis: (wire.at_millis != 0).then_some(wire.at_millis),
        payload,
    };
    judge(raw, problems, context)
}

fn payload_value(text: &str, problems: &mut Vec<Problem>) -> Option<Value> {
    if text.len() > PAYLOAD_BYTES_MAX {
        problems.push(too_large(text.len()));
        return None;
    }
    match strict::read("payload_json", text, PAYLOAD_DEPTH_MAX) {
        Ok(value) => Some(value),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// An event from another agent was judged by its gateway; what is checked again is what this
/// agent's own state depends on.
fn parse_peer(wire: v1::Event, context: &mut ParseContext<'_>) -> Result<Event, Vec<Problem>> {
    let mut problems = Vec::new();
    if !EventId::is_derived(&wire.id) {
        problems.push(Problem::new("id", &wire.id, "an event id, derived or not"));
    }
    if wire.payload_json.len() > PAYLOAD_BYTES_MAX {
        problems.push(too_large(wire.payload_json.len()));
    }
    let verdict = wire.internal.as_ref().map(|Internal::Verdict(verdict)| verdict.winner.as_str());
    for (field, text) in [
        ("player", Some(wire.player.as_str())),
        ("treasure", Some(wire.treasure.as_str())),
        ("winner", verdict),
    ] {
        check_key(field, text.filter(|text| !text.is_empty()), &mut problems);
    }
    let received_millis =
        if wire.received_millis == 0 { context.now_millis } else { wire.received_millis };
    let event = Event::try_from(v1::Event { received_millis, ..wire })
        .map_err(|error| vec![Problem::new("event", error, "an event of treasurehunt.v1")])?;
    if context.vocabulary.key(&event).is_none() {
        problems.push(Problem::new("kind", &event.kind, "a kind of this hunt, with its key"));
    }
    if event.kind == Kind::Verdict && event.verdict.as_ref().is_none_or(no_winner) {
        problems.push(Problem::new("verdict", "none", "a verdict with its winner"));
    }
    if problems.is_empty() { Ok(event) } else { Err(problems) }
}

fn no_winner(verdict: &Verdict) -> bool {
    verdict.winner.is_empty()
}

fn too_large(bytes: usize) -> Problem {
    let allowed = format!("at most {PAYLOAD_BYTES_MAX} bytes of compact JSON");
    Problem::new("payload", format!("{bytes} bytes"), allowed).of(Flaw::TooLarge)
}

fn check_key(field: &str, text: Option<&str>, problems: &mut Vec<Problem>) {
    if let Some(text) = text.filter(|text| !is_safe(text, KEY_LEN_MAX)) {
        let allowed = format!("1 to {KEY_LEN_MAX} characters of {SAFE}");
        problems.push(Problem::new(field, format!("{text:?}"), allowed));
    }
}

/// All rules that do not depend on the wire form.
fn judge(
    raw: Raw,
    mut problems: Vec<Problem>,
    context: &mut ParseContext<'_>,
) -> Result<Event, Vec<Problem>> {
    check_key("player", raw.player.as_deref(), &mut problems);
    check_key("treasure", raw.treasure.as_deref(), &mut problems);
    let id = match &raw.id {
        None => Some((context.new_id)()),
        Some(text) => EventId::new(text.clone()).or_else(|| {
            let allowed = format!("1 to {ID_LEN_MAX} characters of {SAFE}");
            problems.push(Problem::new("id", format!("{text:?}"), allowed));
            None
        }),
    };
    if raw.clue == Some(0) {
        problems.push(Problem::new("clue", 0, "a whole number from 1"));
    }
    check_kind(&raw, context.vocabulary, &mut problems);
    let payload_json = raw.payload.and_then(|value| check_payload(&value, &mut problems));
    match (id, raw.kind) {
        (Some(id), Some(kind)) if problems.is_empty() => Ok(Event {
            player: raw.player,
            treasure: raw.treasure,
            clue: raw.clue,
            at_millis: raw.at_millis,
            payload_json,
            ..Event::new(id, Kind::from(kind), context.now_millis)
        }),
        _ => Err(problems),
    }
}

fn check_kind(raw: &Raw, vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    let allowed = || format!("one of {}", vocabulary.public().collect::<Vec<_>>().join(", "));
    let Some(kind) = &raw.kind else {
        problems.push(Problem::new("kind", "missing", allowed()).of(Flaw::Missing));
        return;
    };
    let known = vocabulary.rule(kind).filter(|rule| !rule.internal && kind.len() <= KIND_LEN_MAX);
    let Some(rule) = known else {
        let problem = Problem::new("kind", format!("{kind:?}"), allowed());
        problems.push(problem.of(Flaw::UnknownKind));
        return;
    };
    for (field, needed, there) in [
        ("player", rule.player, raw.player.is_some()),
        ("treasure", rule.treasure, raw.treasure.is_some()),
        ("clue", rule.clue, raw.clue.is_some()),
    ] {
        if needed && !there {
            let allowed = format!("required by kind {kind}");
            problems.push(Problem::new(field, "missing", allowed).of(Flaw::Missing));
        }
    }
}

fn check_payload(value: &Value, problems: &mut Vec<Problem>) -> Option<String> {
    if !is_shallow(value, PAYLOAD_DEPTH_MAX) {
        let allowed = format!("at most {PAYLOAD_DEPTH_MAX} levels");
        problems.push(Problem::new("payload", "deeper", allowed).of(Flaw::TooDeep));
        return None;
    }
    let text = value.to_string();
    if text.len() > PAYLOAD_BYTES_MAX {
        problems.push(too_large(text.len()));
        return None;
    }
    Some(text)
}

/// Whether `value` nests at most `levels` arrays and objects.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        Value::Object(fields) => {
            levels > 0 && fields.values().all(|item| is_shallow(item, levels - 1))
        }
        _ => true,
    }
}
