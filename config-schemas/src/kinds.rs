//! Kinds of values as the table of settings writes them. Pure.

use std::time::Duration;

use crate::address::{ADDRESS_PATTERN, ADDRESSES_MAX, is_address};
use crate::pin::is_pin;
use crate::topics::{
    TOPIC_CONFIG_PATTERN, TOPIC_LEN_MAX, TOPIC_PATTERN, is_topic, is_topic_config,
};
use crate::value::{Kind, LIST_LEN_MAX};

/// Pins of partitions.
pub(crate) const PINS: Kind = Kind::List {
    entry: "PARTITION=NODE, such as 3=agent-1",
    pattern: "^[0-9]{1,4}=[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    is_entry: is_pin,
    len_max: LIST_LEN_MAX,
};

/// Kinds of events; which there are, the game says.
pub(crate) const EVENT_KINDS: Kind = Kind::List {
    entry: "a kind of event, such as sight",
    pattern: "^[a-z][a-z0-9._-]{0,63}$",
    is_entry: is_event_kind,
    len_max: LIST_LEN_MAX,
};

/// Addresses of brokers.
pub(crate) const ADDRESSES: Kind = Kind::List {
    entry: "host:port, such as kafka-1:9092",
    pattern: ADDRESS_PATTERN,
    is_entry: is_address,
    len_max: ADDRESSES_MAX,
};

/// Configuration entries of topics.
pub(crate) const TOPIC_CONFIGS: Kind = Kind::List {
    entry: "TOPIC:KEY=VALUE, such as events:segment.bytes=67108864, where TOPIC is events, outcomes, \
            snapshots or deadLetters",
    pattern: TOPIC_CONFIG_PATTERN,
    is_entry: is_topic_config,
    len_max: 64,
};

/// A topic's name.
pub(crate) const TOPIC: Kind = Kind::Text {
    what: "at most 249 letters, digits, '.', '_' and '-', or empty",
    pattern: TOPIC_PATTERN,
    is_text: is_topic,
    len_max: TOPIC_LEN_MAX,
};

/// A user's name.
pub(crate) const USER: Kind = Kind::Text {
    what: "at most 128 printable ASCII characters",
    pattern: "^[ -~]*$",
    is_text: |text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
    len_max: 128,
};

pub(crate) const fn days(days: u64) -> Duration {
    secs(days * 24 * 3600)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn duration(default: Duration, min: Duration, max: Duration) -> Kind {
    Kind::Duration { default, min, max }
}

pub(crate) const fn count(default: u64, min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Count { default, min, max, unit }
}

pub(crate) const fn bytes(default: u64, min: u64, max: u64) -> Kind {
    Kind::Bytes { default, min, max }
}

pub(crate) const fn switch(default: bool) -> Kind {
    Kind::Switch { default }
}

pub(crate) const fn choice(words: &'static [&'static str]) -> Kind {
    Kind::Choice { words }
}

fn is_event_kind(text: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(inner)
}
