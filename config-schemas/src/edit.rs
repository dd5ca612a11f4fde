//! A live edit: what people put under `override/`. In: the rest of the key and the bytes. Out: a
//! typed edit, or why it is refused. What people write is read as YAML, so JSON too. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::documents::RefusalCode;
use crate::field::{Cost, FieldPath, Scope};
use crate::lookup::{field, section};
use crate::names::{Generation, NodeName};
use crate::problem::{HIDDEN, excerpt};
use crate::settings::SECTIONS;
use crate::value::{Kind, Value};

/// Longest value of an override: a list of 256 pins fits, an accident does not.
pub const EDIT_BYTES_MAX: usize = 32 << 10;

/// What a key below `override/` addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `hunt/generation`: run that kept generation.
    Generation,
    /// `hunt/<section>/<field>` or `node/<node>/<section>/<field>`.
    Setting {
        /// `None` for the whole hunt.
        node: Option<NodeName>,
        /// Which setting.
        path: FieldPath,
    },
}

impl Target {
    /// What follows `override/` in the key.
    pub fn rest(&self) -> String {
        match self {
            Target::Generation => "hunt/generation".to_owned(),
            Target::Setting { node: None, path } => {
                format!("hunt/{}/{}", path.section(), path.name())
            }
            Target::Setting { node: Some(node), path } => {
                format!("node/{node}/{}/{}", path.section(), path.name())
            }
        }
    }
}

/// Who made an edit, why, and until when it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when, by the clocks of agents and operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Signature {
    /// Whether it no longer holds.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// An edit that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit<V> {
    /// The value.
    pub value: V,
    /// Who, why, until when.
    pub signature: Signature,
}

/// Why an edit is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// As a word.
    pub code: RefusalCode,
    /// As a sentence, with what would be allowed.
    pub reason: String,
}

/// What the rest of a key below `override/` addresses.
pub fn target(rest: &str) -> Result<Target, Refused> {
    if rest == "hunt/generation" {
        return Ok(Target::Generation);
    }
    let (node, section, name) = match rest.split('/').collect::<Vec<_>>()[..] {
        ["hunt", section, name] => (None, section, name),
        ["node", node, section, name] => {
            let node = NodeName::new(node)
                .map_err(|error| refused(RefusalCode::UnknownNode, error.to_string()))?;
            (Some(node), section, name)
        }
        _ => {
            return Err(refused(
                RefusalCode::UnknownKey,
                "an override is hunt/<section>/<field>, node/<node>/<section>/<field> or \
                 hunt/generation",
            ));
        }
    };
    let field = field(section, name).ok_or_else(|| unknown_field(section))?;
    let fixed = match field.cost {
        Cost::Fixed => Some("cannot change once the hunt exists"),
        Cost::Raise => Some("cannot change by a live edit; the resource may raise it"),
        Cost::None | Cost::Live | Cost::Swap | Cost::Drain => None,
    };
    if let Some(why) = fixed {
        return Err(refused(RefusalCode::Fixed, format!("{} {why}", field.path)));
    }
    if node.is_some() && field.scope == Scope::Hunt {
        return Err(refused(
            RefusalCode::WrongScope,
            format!("{} is one value for the whole hunt; edit it below hunt/", field.path),
        ));
    }
    Ok(Target::Setting { node, path: field.path })
}

/// Whether what stands at such a key may be a secret that somebody put in the wrong place: below a
/// setting that names one, whoever may have it, or below one that is not there beside such.
pub(crate) fn may_be_secret(rest: &str) -> bool {
    let mut parts = rest.rsplit('/');
    let (name, section_name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match field(section_name, name) {
        Some(field) => field.kind.is_secret(),
        None => section(section_name)
            .is_some_and(|section| section.fields.iter().any(|field| field.kind.is_secret())),
    }
}

/// Reads the edit of a setting.
pub fn setting(path: FieldPath, bytes: &[u8]) -> Result<Edit<Value>, Refused> {
    let (written, signature) = parse(bytes, is_bare(path.field().kind))?;
    let kind = path.field().kind;
    let out_of_bounds = |allowed| {
        let shown =
            if kind.is_secret() { HIDDEN.to_owned() } else { excerpt(&written.to_string()) };
        let reason = format!("{shown} is not allowed; allowed: {allowed}");
        refused(RefusalCode::OutOfBounds, reason)
    };
    let value = kind.read(&written).map_err(out_of_bounds)?;
    Ok(Edit { value, signature })
}

/// Reads a rollback.
pub fn rollback(bytes: &[u8]) -> Result<Edit<Generation>, Refused> {
    let (written, signature) = parse(bytes, |_| false)?;
    let value = written.as_u64().map(Generation).ok_or_else(|| {
        refused(RefusalCode::OutOfBounds, "a rollback names a generation: a whole number")
    })?;
    Ok(Edit { value, signature })
}

/// The bytes of an edit, in the form that machines and `hunt set` write.
pub fn write(value: &Json, signature: &Signature) -> String {
    if *signature == Signature::default() {
        return value.to_string();
    }
    let mut map = serde_json::Map::from_iter([("value".to_owned(), value.clone())]);
    if let Ok(Json::Object(fields)) = serde_json::to_value(signature) {
        map.extend(fields);
    }
    Json::Object(map).to_string()
}

/// Whether a map that stands there is the value itself: a Secret's name and key are a map too.
fn is_bare(kind: Kind) -> impl Fn(&serde_json::Map<String, Json>) -> bool {
    move |map| matches!(kind, Kind::Secret) && !map.contains_key("value")
}

/// A bare value, or `{value, owner, reason, until}`.
fn parse(
    bytes: &[u8],
    is_bare: impl Fn(&serde_json::Map<String, Json>) -> bool,
) -> Result<(Json, Signature), Refused> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Signed {
        value: Json,
        owner: Option<String>,
        reason: Option<String>,
        until: Option<Timestamp>,
    }
    if bytes.len() > EDIT_BYTES_MAX {
        let reason = format!("{} bytes; an override has at most {EDIT_BYTES_MAX}", bytes.len());
        return Err(refused(RefusalCode::TooLarge, reason));
    }
    let malformed = |what: String| refused(RefusalCode::Malformed, what);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8 text".to_owned()))?;
    let written: Json = serde_yaml::from_str(text)
        .map_err(|error| malformed(format!("not YAML: {}", one_line(&error.to_string()))))?;
    if written.as_object().is_none_or(is_bare) {
        return Ok((written, Signature::default()));
    }
    let signed: Signed = serde_json::from_value(written).map_err(|error| {
        malformed(format!("not {{value, owner, reason, until}}: {}", one_line(&error.to_string())))
    })?;
    let signature = Signature { owner: signed.owner, reason: signed.reason, until: signed.until };
    Ok((signed.value, signature))
}

fn unknown_field(section_name: &str) -> Refused {
    let reason = match section(section_name) {
        Some(section) => {
            let names: Vec<_> = section.fields.iter().map(|field| field.path.name()).collect();
            format!("section {section_name} has the fields {}", names.join(", "))
        }
        None => {
            let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
            format!("there are the sections {}", names.join(", "))
        }
    };
    refused(RefusalCode::UnknownField, reason)
}

fn one_line(message: &str) -> String {
    excerpt(message.lines().next().unwrap_or_default())
}

fn refused(code: RefusalCode, reason: impl Into<String>) -> Refused {
    Refused { code, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).unwrap()
    }

    #[test]
    fn what_may_be_a_secret_is_known_also_where_it_does_not_belong() {
        for rest in ["hunt/kafka/password", "node/a/kafka/password", "hunt/kafka/pasword"] {
            assert!(may_be_secret(rest), "{rest}");
        }
        for rest in ["hunt/buffers/events", "hunt/buffers/evnts", "hunt/generation", "", "x/y/z/w"]
        {
            assert!(!may_be_secret(rest), "{rest}");
        }
    }

    #[test]
    fn a_key_addresses_a_setting_of_the_hunt_or_of_a_node() {
        for rest in ["hunt/heartbeat/interval", "node/agent-1/buffers/events", "hunt/generation"] {
            assert_eq!(target(rest).unwrap().rest(), rest);
        }
    }

    #[test]
    fn a_key_that_addresses_nothing_says_what_there_is() {
        let check = |rest: &str, code, word: &str| {
            let refused = target(rest).unwrap_err();
            assert_eq!(refused.code, code, "{rest}");
            assert!(refused.reason.contains(word), "{rest}: {}", refused.reason);
        };
        check("hunt/heartbeat/speed", RefusalCode::UnknownField, "interval, misses");
        check("hunt/hartbeat/interval", RefusalCode::UnknownField, "heartbeat");
        check("hunt/heartbeat", RefusalCode::UnknownKey, "hunt/<section>/<field>");
        check("heartbeat/interval", RefusalCode::UnknownKey, "node/<node>");
        check("hunt/heartbeat/interval/", RefusalCode::UnknownKey, "override");
        check("node/A/heartbeat/interval", RefusalCode::UnknownNode, "\"A\"");
        check("node/a/rules/cooldown", RefusalCode::WrongScope, "whole hunt");
        check("hunt/partitions/count", RefusalCode::Fixed, "cannot change");
    }

    #[test]
    fn a_bare_value_and_a_signed_one_are_read_alike() {
        let events = path("buffers.events");
        let bare = setting(events, b"128").unwrap();
        assert_eq!(bare, Edit { value: Value::Count(128), signature: Signature::default() });
        let text = r#"{"value": 128, "owner": "ana", "reason": "hot node", "until": "2026-12-01T00:00:00Z"}"#;
        let signed = setting(events, text.as_bytes()).unwrap();
        assert_eq!(signed.value, bare.value);
        assert_eq!(signed.signature.owner.as_deref(), Some("ana"));
        assert!(signed.signature.expired("2026-12-01T00:00:00Z".parse().unwrap()));
        assert!(!signed.signature.expired("2026-11-30T23:59:59Z".parse().unwrap()));
        let yaml = setting(path("heartbeat.interval"), b"value: 250ms\nowner: ana\n").unwrap();
        assert_eq!(yaml.value.to_string(), "250ms");
        let again = write(&signed.value.to_json(), &signed.signature);
        assert_eq!(setting(events, again.as_bytes()).unwrap(), signed);
    }

    #[test]
    fn a_reference_to_a_secret_is_read_bare_and_signed() {
        let check = |text: &str, expected: Result<&str, RefusalCode>| {
            let read = setting(path("kafka.password"), text.as_bytes());
            let read = read.map(|edit| edit.value.to_string()).map_err(|refused| refused.code);
            assert_eq!(read.as_deref().map_err(|code| *code), expected, "{text}");
        };
        check("{name: kafka, key: password}", Ok("kafka/password"));
        check("{value: {name: kafka, key: password}, owner: ana}", Ok("kafka/password"));
        check("{value: null, owner: ana}", Ok("none"));
        check("{name: kafka, key: password, owner: ana}", Err(RefusalCode::OutOfBounds));
        check("{name: kafka}", Err(RefusalCode::OutOfBounds));
        check("pa55", Err(RefusalCode::OutOfBounds));
        let refused = setting(path("kafka.password"), b"pa55").unwrap_err();
        assert!(refused.reason.starts_with("(not shown) is not allowed"), "{}", refused.reason);
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_reason() {
        let check = |bytes: &[u8], code, word: &str| {
            let refused = setting(path("buffers.events"), bytes).unwrap_err();
            assert_eq!(refused.code, code, "{}", refused.reason);
            assert!(refused.reason.contains(word), "{}", refused.reason);
        };
        check(b"lots", RefusalCode::OutOfBounds, "whole number of events from 1 to 1048576");
        check(b"0", RefusalCode::OutOfBounds, "from 1");
        check(b"", RefusalCode::OutOfBounds, "null");
        check(b"{value: 1, until: soon}", RefusalCode::Malformed, "until");
        check(b"{value: 1, ownr: ana}", RefusalCode::Malformed, "ownr");
        check(b"{owner: ana}", RefusalCode::Malformed, "value");
        check(b"{a: [", RefusalCode::Malformed, "not YAML");
        check(b"\xff\xfe", RefusalCode::Malformed, "UTF-8");
        check(&vec![b'1'; 1 << 20], RefusalCode::TooLarge, "1048576 bytes");
        check(b"1\n--- \n2", RefusalCode::Malformed, "");
    }
}
