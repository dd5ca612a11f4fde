//! The value of a setting and its kind: how a person writes it, its bounds, its default.
//! In: YAML that a person wrote. Out: a `Value` inside its bounds, or the sentence that says
//! what would have been allowed. Pure.

use std::fmt;
use std::time::Duration;

use serde_json::Value as Json;

use crate::secret::SecretRef;

/// Longest list that a setting may hold: each entry is looked at on every event.
pub const LIST_LEN_MAX: usize = 256;
/// Longest text in a list: a host's name of full length and a port.
pub const TEXT_LEN_MAX: usize = 260;

/// The value of one setting, known to be of its field's kind and within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A length of time, to the millisecond.
    Duration(Duration),
    /// A size in bytes.
    Bytes(u64),
    /// A switch.
    Switch(bool),
    /// One of a few words.
    Choice(&'static str),
    /// A text; empty when nobody says anything.
    Text(String),
    /// A list of texts, in the order that the person wrote.
    List(Vec<String>),
    /// Where a secret is; never the secret.
    Secret(Option<SecretRef>),
}

/// What values a setting takes, and the one that it has when nobody says otherwise.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number from `min` to `max`; `unit` is the plural noun of what is counted.
    #[allow(missing_docs)]
    Count { default: u64, min: u64, max: u64, unit: &'static str },
    /// A length of time, written `250ms`, `1s`, `1m30s`.
    #[allow(missing_docs)]
    Duration { default: Duration, min: Duration, max: Duration },
    /// A size, written `64Ki`, `16Mi`, `1Gi` or as plain bytes.
    #[allow(missing_docs)]
    Bytes { default: u64, min: u64, max: u64 },
    /// `true` or `false`.
    #[allow(missing_docs)]
    Switch { default: bool },
    /// One of `words`; the first one is the default.
    #[allow(missing_docs)]
    Choice { words: &'static [&'static str] },
    /// A text that `is_text` accepts; empty by default. `what` says what it is, `pattern` is the
    /// same as a regular expression.
    #[allow(missing_docs)]
    Text { what: &'static str, pattern: &'static str, is_text: fn(&str) -> bool, len_max: usize },
    /// At most `len_max` texts, each of which `is_entry` accepts; empty by default. `entry` says what
    /// an entry is, `pattern` is the same as a regular expression.
    #[allow(missing_docs)]
    List { entry: &'static str, pattern: &'static str, is_entry: fn(&str) -> bool, len_max: usize },
    /// A key of a Secret, written `{name: .., key: ..}`; none by default.
    Secret,
}

impl Kind {
    /// The value when no layer names one.
    pub fn default_value(&self) -> Value {
        match *self {
            Kind::Count { default, .. } => Value::Count(default),
            Kind::Duration { default, .. } => Value::Duration(default),
            Kind::Bytes { default, .. } => Value::Bytes(default),
            Kind::Switch { default } => Value::Switch(default),
            Kind::Choice { words } => Value::Choice(words[0]),
            Kind::Text { .. } => Value::Text(String::new()),
            Kind::List { .. } => Value::List(Vec::new()),
            Kind::Secret => Value::Secret(None),
        }
    }

    /// What a person may write, as the end of a sentence that starts with "allowed: ".
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Count { min, max, unit, .. } => {
                format!("a whole number of {unit} from {min} to {max}")
            }
            Kind::Duration { min, max, .. } => format!(
                "a time with a unit (ms, s, m, h) from {} to {}",
                Value::Duration(min),
                Value::Duration(max)
            ),
            Kind::Bytes { min, max, .. } => format!(
                "a size (plain bytes, or with Ki, Mi, Gi) from {} to {}",
                Value::Bytes(min),
                Value::Bytes(max)
            ),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Choice { words } => format!("one of {}", words.join(", ")),
            Kind::Text { what, .. } => what.to_owned(),
            Kind::List { entry, len_max, .. } => {
                format!("a list of at most {len_max} entries, each {entry}")
            }
            Kind::Secret => {
                "name and key of a Secret of this namespace, and nothing else: {name: .., key: ..}"
                    .to_owned()
            }
        }
    }

    /// Whether what a person writes there by mistake may be a secret, and must not be repeated.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Kind::Secret)
    }

    /// Reads what a person wrote. The error is [`Kind::allowed`], since nothing else helps.
    pub fn read(&self, written: &Json) -> Result<Value, String> {
        self.try_read(written).ok_or_else(|| self.allowed())
    }

    fn try_read(&self, written: &Json) -> Option<Value> {
        match *self {
            Kind::Count { min, max, .. } => within(written.as_u64()?, min, max).map(Value::Count),
            Kind::Duration { min, max, .. } => {
                within(parse_duration(written.as_str()?)?, min, max).map(Value::Duration)
            }
            Kind::Bytes { min, max, .. } => {
                let bytes = match written {
                    Json::String(text) => parse_bytes(text)?,
                    other => other.as_u64()?,
                };
                within(bytes, min, max).map(Value::Bytes)
            }
            Kind::Switch { .. } => written.as_bool().map(Value::Switch),
            Kind::Choice { words } => {
                let text = written.as_str()?;
                words.iter().find(|word| **word == text).map(|word| Value::Choice(word))
            }
            Kind::Text { is_text, len_max, .. } => {
                let text = written.as_str()?;
                (text.len() <= len_max && is_text(text)).then(|| Value::Text(text.to_owned()))
            }
            Kind::Secret if written.is_null() => Some(Value::Secret(None)),
            Kind::Secret => Some(Value::Secret(Some(SecretRef::read(written)?))),
            Kind::List { is_entry, len_max, .. } => {
                let entries = written.as_array().filter(|list| list.len() <= len_max)?;
                let texts = entries.iter().map(|entry| {
                    let text = entry.as_str()?;
                    (text.len() <= TEXT_LEN_MAX && is_entry(text)).then(|| text.to_owned())
                });
                texts.collect::<Option<Vec<_>>>().map(Value::List)
            }
        }
    }
}

impl Value {
    /// As JSON, in the form that a person would write.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Count(number) => Json::from(*number),
            Value::Switch(on) => Json::from(*on),
            Value::Text(text) => Json::from(text.clone()),
            Value::List(texts) => Json::from(texts.clone()),
            Value::Secret(reference) => reference.as_ref().map_or(Json::Null, SecretRef::to_json),
            Value::Duration(_) | Value::Bytes(_) | Value::Choice(_) => Json::from(self.to_string()),
        }
    }

    /// As a number in base units (seconds, bytes, counts, 0 or 1), where it has one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Count(number) | Value::Bytes(number) => Some(*number as f64),
            Value::Duration(time) => Some(time.as_secs_f64()),
            Value::Switch(on) => Some(f64::from(u8::from(*on))),
            Value::Choice(_) | Value::Text(_) | Value::List(_) | Value::Secret(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(number) => number.fmt(f),
            Value::Duration(time) => f.write_str(&format_duration(*time)),
            Value::Bytes(bytes) => f.write_str(&format_bytes(*bytes)),
            Value::Switch(on) => on.fmt(f),
            Value::Choice(word) => f.write_str(word),
            Value::Text(text) if text.is_empty() => f.write_str("\"\""),
            Value::Text(text) => f.write_str(text),
            Value::List(texts) => write!(f, "[{}]", texts.join(", ")),
            Value::Secret(Some(reference)) => reference.fmt(f),
            Value::Secret(None) => f.write_str("none"),
        }
    }
}

fn within<T: PartialOrd>(value: T, min: T, max: T) -> Option<T> {
    (min <= value && value <= max).then_some(value)
}

const UNITS_MS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// Go's form of a duration (`1m30s`), so that the API server's `duration()` agrees with us; whole
/// numbers of `h`, `m`, `s` and `ms` only.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let (unit, scale) = UNITS_MS.iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
        total_ms = total_ms.checked_add(number.checked_mul(*scale)?)?;
        rest = &rest[digits + unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(total_ms))
}

fn format_duration(time: Duration) -> String {
    let total_ms = time.as_millis();
    match total_ms {
        0 => "0s".to_owned(),
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

const SIZES: [(&str, u64); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// Kubernetes' binary quantities; a trailing `B` (`16MiB`) is understood too.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.strip_suffix('B').unwrap_or(text);
    let (digits, scale) = SIZES
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
        .unwrap_or((text, 1));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

fn format_bytes(bytes: u64) -> String {
    match SIZES.iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TIME: Kind = Kind::Duration {
        default: Duration::from_secs(1),
        min: Duration::from_millis(20),
        max: Duration::from_secs(60),
    };
    const SIZE: Kind = Kind::Bytes { default: 1 << 20, min: 1024, max: 1 << 30 };
    const NUMBER: Kind = Kind::Count { default: 4, min: 1, max: 9, unit: "workers" };

    fn check(kind: Kind, written: Json, shown: Option<&str>) {
        let read = kind.read(&written).ok().map(|value| value.to_string());
        assert_eq!(read.as_deref(), shown, "{written}");
    }

    #[test]
    fn times_are_read_as_go_reads_them() {
        check(TIME, json!("250ms"), Some("250ms"));
        check(TIME, json!("1s500ms"), Some("1500ms"));
        check(TIME, json!("1m"), Some("1m"));
        check(TIME, json!("60s"), Some("1m"));
        for wrong in [json!("10ms"), json!("2m"), json!("250"), json!(250), json!(""), json!("s")] {
            check(TIME, wrong, None);
        }
        for wrong in ["-1s", "1.5s", "1 s", "1us", "99999999999999999999s", "1s2"] {
            check(TIME, json!(wrong), None);
        }
    }

    #[test]
    fn sizes_take_binary_units() {
        check(SIZE, json!("16Mi"), Some("16Mi"));
        check(SIZE, json!("16MiB"), Some("16Mi"));
        check(SIZE, json!(2048), Some("2Ki"));
        check(SIZE, json!("1025"), Some("1025"));
        for wrong in [json!("16M"), json!("1Ti"), json!(1), json!("Ki"), json!("+5Ki"), json!(-1)] {
            check(SIZE, wrong, None);
        }
    }

    #[test]
    fn a_secret_is_a_reference_and_never_a_text() {
        check(Kind::Secret, json!({"name": "kafka", "key": "password"}), Some("kafka/password"));
        check(Kind::Secret, json!(null), Some("none"));
        for wrong in [json!("pa55"), json!({"name": "kafka"}), json!({"value": "pa55"}), json!([])]
        {
            check(Kind::Secret, wrong, None);
        }
    }

    #[test]
    fn counts_are_whole_and_bounded() {
        check(NUMBER, json!(9), Some("9"));
        for wrong in [json!(0), json!(10), json!(1.5), json!("4"), json!(true), json!(null)] {
            check(NUMBER, wrong, None);
        }
        assert_eq!(NUMBER.read(&json!(0)), Err("a whole number of workers from 1 to 9".into()));
    }
}
