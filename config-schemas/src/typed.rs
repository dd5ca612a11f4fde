//! The types that settings have in `Config`, and how a value becomes one of them. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::field::FieldPath;
use crate::pin::Pin;
use crate::secret::SecretRef;
use crate::settings::Values;
use crate::topics::TopicConfig;
use crate::value::Value;

/// What keeps the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// A log on the disk of one machine.
    #[default]
    Embedded,
    /// A Kafka cluster.
    Kafka,
}

/// How a user is known to Kafka's brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// Not at all.
    None,
    /// The password is sent; only inside TLS.
    Plain,
    /// The password itself is never sent.
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
}

/// How batches are made smaller on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Quick, and small gains.
    Lz4,
    /// Quick, and small gains.
    Snappy,
    /// Best for its time.
    Zstd,
    /// Slow; for consumers that know nothing else.
    Gzip,
}

/// A type that a setting can have in `Config`.
pub(crate) trait Typed: Sized {
    /// `None` when the value is of another kind, which the table's test rules out.
    fn from_value(value: &Value) -> Option<Self>;
}

/// The value of a setting, or its default, in the type that `Config` has it in.
pub(crate) fn typed<T: Typed>(values: &Values, section: &'static str, name: &'static str) -> T {
    let path = FieldPath { section, name };
    let typed = match values.get(&path) {
        Some(value) => T::from_value(value),
        None => T::from_value(&path.field().kind.default_value()),
    };
    // Values are read by the field's own kind, and a test walks the whole table.
    typed.expect("a field's type fits its kind")
}

macro_rules! typed {
    ($($type:ty: $pattern:pat => $typed:expr;)*) => {$(
        impl Typed for $type {
            fn from_value(value: &Value) -> Option<$type> {
                match value {
                    $pattern => $typed,
                    _ => None,
                }
            }
        }
    )*};
}

typed! {
    u64: Value::Count(number) | Value::Bytes(number) => Some(*number);
    Duration: Value::Duration(time) => Some(*time);
    bool: Value::Switch(on) => Some(*on);
    String: Value::Text(text) => Some(text.clone());
    Vec<String>: Value::List(texts) => Some(texts.clone());
    Vec<Pin>: Value::List(texts) => texts.iter().map(|text| text.parse().ok()).collect();
    Vec<TopicConfig>: Value::List(texts) => texts.iter().map(|text| text.parse().ok()).collect();
    Option<SecretRef>: Value::Secret(reference) => Some(reference.clone());
    BrokerKind: Value::Choice(word) => Some(match *word {
        "embedded" => BrokerKind::Embedded,
        "kafka" => BrokerKind::Kafka,
        _ => return None,
    });
    SaslMechanism: Value::Choice(word) => Some(match *word {
        "none" => SaslMechanism::None,
        "plain" => SaslMechanism::Plain,
        "scram-sha-256" => SaslMechanism::ScramSha256,
        "scram-sha-512" => SaslMechanism::ScramSha512,
        _ => return None,
    });
    Compression: Value::Choice(word) => Some(match *word {
        "none" => Compression::None,
        "lz4" => Compression::Lz4,
        "snappy" => Compression::Snappy,
        "zstd" => Compression::Zstd,
        "gzip" => Compression::Gzip,
        _ => return None,
    });
}
