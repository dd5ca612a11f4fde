//! Rules that no setting can keep alone. Each is said twice side by side, as the API server asks it
//! and as we do; a test asks both. In: values. Out: which rules they break. Pure.

use std::time::Duration;

use crate::field::FieldPath;
use crate::pin::Pin;
use crate::problem::{Problem, excerpt};
use crate::settings::{Config, Values};
use crate::typed::{BrokerKind, SaslMechanism};
use crate::value::Value;

/// Rules between two settings: the left one may be at most as large as the right one.
pub static AT_MOST: &[(FieldPath, FieldPath)] = &[
    (path("workers", "batch"), path("buffers", "events")),
    (path("buffers", "event"), path("buffers", "bytes")),
    (path("topics", "minInSync"), path("topics", "replicationFactor")),
    (path("buffers", "event"), path("producer", "message")),
    (path("producer", "batch"), path("producer", "message")),
    (path("producer", "message"), path("producer", "queue")),
    (path("producer", "message"), path("topics", "message")),
    (path("consumer", "fetchMin"), path("consumer", "fetchMax")),
    (path("session", "reconnectMin"), path("session", "reconnectMax")),
];

/// Another rule.
#[derive(Debug)]
pub struct Rule {
    /// The setting that is wrong when it is broken.
    pub field: FieldPath,
    /// What would be allowed, with the settings that it depends on.
    pub allowed: &'static str,
    /// The same as an expression of the API server, which puts `{section.field}` as the value or its
    /// default and `{?section.field}` as whether there is one; `None` where it would cost too much.
    pub cel: Option<&'static str>,
    /// Asked only of a whole resource. Live edits come one by one: of two that belong together such
    /// a rule would refuse the first, and with it the second.
    pub whole: bool,
    holds: fn(&Config) -> bool,
}

/// All of them.
pub static RULES: &[Rule] = &[
    Rule {
        field: path("kafka", "bootstrap"),
        allowed: "at least one host:port where broker.kind is kafka",
        cel: Some("{broker.kind} != 'kafka' || {kafka.bootstrap}.size() > 0"),
        whole: false,
        holds: |it| it.broker.kind != BrokerKind::Kafka || !it.kafka.bootstrap.is_empty(),
    },
    Rule {
        field: path("kafka", "mechanism"),
        allowed: "plain only where kafka.tls is true, because it sends the password as it is",
        cel: Some("{kafka.mechanism} != 'plain' || {kafka.tls}"),
        whole: false,
        holds: |it| it.kafka.mechanism != SaslMechanism::Plain || it.kafka.tls,
    },
    Rule {
        field: path("kafka", "mechanism"),
        allowed: "none, or another with both kafka.user and kafka.password",
        cel: Some("{kafka.mechanism} == 'none' || ({kafka.user} != '' && {?kafka.password})"),
        whole: false,
        holds: |it| {
            let login = !it.kafka.user.is_empty() && it.kafka.password.is_some();
            it.kafka.mechanism == SaslMechanism::None || login
        },
    },
    Rule {
        field: path("kafka", "certificate"),
        allowed: "none, or one with its kafka.privateKey",
        cel: Some("!{?kafka.certificate} || {?kafka.privateKey}"),
        whole: false,
        holds: |it| it.kafka.certificate.is_none() || it.kafka.privateKey.is_some(),
    },
    Rule {
        field: path("kafka", "privateKey"),
        allowed: "none, or one with its kafka.certificate",
        cel: Some("!{?kafka.privateKey} || {?kafka.certificate}"),
        whole: true,
        holds: |it| it.kafka.privateKey.is_none() || it.kafka.certificate.is_some(),
    },
    Rule {
        field: path("kafka", "tls"),
        allowed: "true where kafka.authority or kafka.certificate is given",
        cel: Some("{kafka.tls} || !({?kafka.authority} || {?kafka.certificate})"),
        whole: true,
        holds: |it| {
            let meant = it.kafka.authority.is_some() || it.kafka.certificate.is_some();
            it.kafka.tls || !meant
        },
    },
    Rule {
        field: path("topics", "events"),
        allowed: "another name than those of topics.outcomes, topics.snapshots and topics.deadLetters, which differ too",
        cel: Some(
            "[{topics.events}, {topics.outcomes}, {topics.snapshots}, {topics.deadLetters}]\
             .all(name, name == '' || [{topics.events}, {topics.outcomes}, {topics.snapshots}, \
             {topics.deadLetters}].exists_one(other, other == name))",
        ),
        whole: false,
        holds: |it| it.topics.are_apart(),
    },
    Rule {
        field: path("topics", "outcomesRetention"),
        allowed: "0s for ever, or at least 1h",
        cel: Some(
            "duration({topics.outcomesRetention}) == duration('0s') || \
             duration({topics.outcomesRetention}) >= duration('1h')",
        ),
        whole: false,
        holds: |it| {
            let kept = it.topics.outcomesRetention;
            kept.is_zero() || kept >= Duration::from_secs(3600)
        },
    },
    Rule {
        field: path("topics", "configs"),
        allowed: "keys that no other setting decides: not cleanup.policy, max.message.bytes, min.insync.replicas, retention.bytes, retention.ms, unclean.leader.election.enable, nor replicas that are throttled",
        cel: Some(
            "!{topics.configs}.exists(entry, entry.matches(':(cleanup[.]policy|max[.]message[.]bytes|\
             min[.]insync[.]replicas|retention[.]bytes|retention[.]ms|\
             unclean[.]leader[.]election[.]enable|(leader|follower)[.]replication[.]throttled[.]replicas)='))",
        ),
        whole: false,
        holds: |it| it.topics.leave_reserved(),
    },
    Rule {
        field: path("topics", "configs"),
        allowed: "each key of a topic once",
        cel: None,
        whole: false,
        holds: |it| it.topics.say_once(),
    },
    Rule {
        field: path("consumer", "fetchWait"),
        allowed: "at least 1s less than session.socketTimeout",
        cel: Some(
            "duration({consumer.fetchWait}) + duration('1s') <= duration({session.socketTimeout})",
        ),
        whole: false,
        // librdkafka makes no client otherwise
        holds: |it| it.consumer.fetchWait + Duration::from_secs(1) <= it.session.socketTimeout,
    },
];

/// Which rules the values of a whole resource break; a setting that they do not name has its
/// default.
pub fn contradictions(values: &Values) -> Vec<Problem> {
    broken(values, true)
}

/// Which rules the values break that hold at every step of a change.
pub fn conflicts(values: &Values) -> Vec<Problem> {
    broken(values, false)
}

fn broken(values: &Values, whole: bool) -> Vec<Problem> {
    let config = Config::from_values(values);
    let rules = RULES.iter().filter(|rule| whole || !rule.whole);
    let broken = rules.filter(|rule| !(rule.holds)(&config)).map(|rule| Problem {
        field: rule.field.to_string(),
        value: excerpt(&value(values, rule.field).to_string()),
        allowed: rule.allowed.to_owned(),
    });
    too_large(values).chain(broken).chain(pinned_beyond(&config)).collect()
}

fn too_large(values: &Values) -> impl Iterator<Item = Problem> {
    AT_MOST.iter().filter_map(|(left, right)| {
        let (smaller, larger) = (value(values, *left), value(values, *right));
        (size(&smaller) > size(&larger)).then(|| Problem {
            field: left.to_string(),
            value: smaller.to_string(),
            allowed: format!("at most {right}, which is {larger}"),
        })
    })
}

fn value(values: &Values, path: FieldPath) -> Value {
    values.get(&path).cloned().unwrap_or_else(|| path.field().kind.default_value())
}

fn size(value: &Value) -> u128 {
    match value {
        Value::Count(number) | Value::Bytes(number) => u128::from(*number),
        Value::Duration(time) => time.as_millis(),
        _ => 0,
    }
}

/// Pins of partitions that the hunt does not have.
fn pinned_beyond(config: &Config) -> Option<Problem> {
    let partitions = &config.partitions;
    let beyond = |pin: &&Pin| u64::from(pin.partition.0) >= partitions.count;
    partitions.pins.iter().find(beyond).map(|pin| Problem {
        field: "partitions.pins".to_owned(),
        value: pin.to_string(),
        allowed: format!("partitions below partitions.count, which is {}", partitions.count),
    })
}

const fn path(section: &'static str, name: &'static str) -> FieldPath {
    FieldPath { section, name }
}
