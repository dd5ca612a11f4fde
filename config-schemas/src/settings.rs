//! Every setting of TreasureHunt, each in one place: type, bounds, default, unit, meaning, cost
//! of change, whom it concerns. From this table come the typed `Config`, the JSON Schemas, the
//! resource's bounds and the reference. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::field::Component::{
    Game, Gateway, Heartbeat as Lease, Log, Placement, Queues, Workers as Pool,
};
use crate::field::Cost::{Drain, Fixed, Live};
use crate::field::Scope::{Hunt, Node};
use crate::field::{Field, FieldPath, Section};
use crate::pin::{Pin, is_pin};
use crate::table::settings;
use crate::value::{Kind, Value};

settings! {
    /// How often a node says that it lives, and when it counts as gone.
    heartbeat: Heartbeat {
        /// Time between two heartbeats of a node, each of which renews its lease.
        interval: Duration = duration(secs(1), ms(20), secs(60)), Live, Node, Lease;
        /// Heartbeats that may be missed in a row before the node counts as gone and its
        /// partitions are given to others. The lease lasts interval times misses, in whole
        /// seconds, at least 2s (etcd's floor) and at most 10m.
        misses: u64 = count(5, 2, 100, "heartbeats"), Live, Node, Lease;
    }

    /// How much may wait in front of a partition's worker.
    buffers: Buffers {
        /// Events that may wait in the queue of one partition. When it is full, producers are told
        /// to come back; nothing is dropped. Shrinking below what waits loses nothing.
        events: u64 = count(4096, 1, 1 << 20, "events"), Live, Node, Queues;
        /// Bytes that may wait in the queue of one partition.
        bytes: u64 = bytes(16 << 20, 4 << 10, 1 << 30), Live, Node, Queues;
        /// Longest time that events may wait for their outcome: while the oldest of a partition has
        /// waited for longer, producers are told to come back. Where events take long, a queue of
        /// buffers.events would keep everybody waiting for seconds, also after the rush is over.
        wait: Duration = duration(ms(500), ms(10), secs(60)), Live, Node, Queues;
        /// Largest event that is taken in; at most buffers.bytes.
        event: u64 = bytes(16 << 10, 256, 1 << 20), Live, Node, Gateway;
    }

    /// How the events of a node's partitions are worked on.
    workers: Workers {
        /// Partitions that a node works on at the same time.
        concurrency: u64 = count(4, 1, 1024, "workers"), Live, Node, Pool;
        /// Most events that a worker takes from a queue at once; at most buffers.events.
        batch: u64 = count(64, 1, 4096, "events"), Live, Node, Pool;
        /// Longest time that a worker stays with one partition before the next one has its turn.
        turn: Duration = duration(ms(50), ms(1), secs(10)), Live, Node, Pool;
        /// Longest time that a producer waits for its event to be durable; after that the answer
        /// is "try again", and the event's id keeps it from being played twice.
        timeout: Duration = duration(secs(5), ms(50), secs(60)), Live, Node, Gateway;
    }

    /// Into how many partitions a hunt is cut, and how they are placed on nodes.
    partitions: Partitions {
        /// Partitions of the hunt: the unit of order, ownership and movement. Plan at least 16 for
        /// each node that the hunt may ever have.
        count: u64 = count(16, 1, 4096, "partitions"), Fixed, Hunt, Placement;
        /// Partitions that are to run on a certain node, each written PARTITION=NODE. A pinned
        /// partition moves there when that node is ready, and is placed as any other when not.
        pins: Vec<Pin> = list("PARTITION=NODE, such as 3=agent-1", "^[0-9]{1,4}=[a-z0-9]([-a-z0-9]*[a-z0-9])?$", is_pin), Drain, Hunt, Placement;
        /// No partition moves for balance, off a slow node or for a pin while this is true; the
        /// partitions of a node that is gone or draining still do.
        paused: bool = switch(false), Live, Hunt, Placement;
        /// Partitions that one node may be handing over or taking over at the same time; what a node
        /// that is gone or draining has to lose is not counted.
        moves: u64 = count(8, 1, 1024, "moves"), Live, Hunt, Placement;
        /// Time between two decisions about balance. A partition that moved stays where it is for
        /// six of them. Nodes say what their partitions cost each 5s.
        round: Duration = duration(secs(10), secs(1), secs(600)), Live, Hunt, Placement;
        /// How far over the mean of all nodes the fullest may be, in percent of the mean, before
        /// partitions move off it. Where the largest partitions allow no better, the bound that they
        /// set counts instead of the mean.
        tolerance: u64 = count(15, 2, 400, "percent"), Live, Hunt, Placement;
        /// Share of the load that may move for balance between two decisions, in percent; of the
        /// partitions half as many. On few nodes it is at least a quarter of what one node carries.
        budget: u64 = count(4, 1, 100, "percent"), Live, Hunt, Placement;
        /// Time that an owner has to finish what it began on a partition that is to move; after it
        /// the move is called off.
        drain: Duration = duration(secs(10), ms(100), secs(300)), Live, Hunt, Placement;
    }

    /// How events find the node that owns their partition.
    routing: Routing {
        /// Longest time that a gateway holds events whose partition is between two owners before it
        /// tells the producer to come back.
        hold: Duration = duration(secs(2), ms(0), secs(30)), Live, Node, Gateway;
        /// Events that a gateway holds at the same time, over all partitions.
        held: u64 = count(10_000, 0, 1 << 20, "events"), Live, Node, Gateway;
        /// Longest time that a gateway waits for the answer of another node.
        forward: Duration = duration(secs(3), ms(50), secs(60)), Live, Node, Gateway;
        /// Oldest event that is taken in, by the time at which its producer says that it happened;
        /// one that says nothing is never too old. 5m of being ahead are forgiven, since clocks
        /// differ; more is refused too.
        age: Duration = duration(secs(24 * 3600), secs(1), secs(3650 * 24 * 3600)), Live, Node, Gateway;
        /// Events of a hot key whose kind needs no order are spread over several partitions while
        /// this is true.
        spread: bool = switch(true), Live, Node, Gateway;
        /// Events of one key per second in the whole hunt, under which no key is hot whatever its
        /// share; each gateway takes its even part of that. From there on a key is hot that asks for
        /// a tenth of what a mean node carries.
        hot: u64 = count(500, 1, 1 << 20, "events"), Live, Node, Gateway;
        /// Kinds of events that keep their order, and so never leave their key's partition, although
        /// the game says that they need none. What the game says needs order keeps it in any case.
        ordered: Vec<String> = list("a kind of event, such as sight", "^[a-z][a-z0-9._-]{0,63}$", is_kind), Live, Node, Gateway;
    }

    /// Where events and outcomes are kept.
    broker: Broker {
        /// What keeps the events: embedded is a log on the disk of one machine.
        kind: BrokerKind = choice(&["embedded"]), Fixed, Hunt, Log;
        /// Time that the log waits for more events before it writes a group to disk. 0s writes at
        /// once; more trades latency for fewer writes.
        linger: Duration = duration(ms(0), ms(0), ms(100)), Live, Node, Log;
        /// Size at which a new segment file is begun.
        segment: u64 = bytes(64 << 20, 1 << 20, 1 << 30), Live, Node, Log;
    }

    /// The rules of the hunt.
    rules: Rules {
        /// Time that a player has to wait between two claims.
        cooldown: Duration = duration(secs(2), ms(0), secs(3600)), Live, Hunt, Game;
        /// Clues of each treasure that a player has to solve, in order, before claiming it.
        clues: u64 = count(3, 0, 64, "clues"), Live, Hunt, Game;
        /// Points for a solved clue.
        cluePoints: u64 = count(10, 0, 1_000_000, "points"), Live, Hunt, Game;
        /// Points for a treasure won.
        treasurePoints: u64 = count(100, 0, 1_000_000, "points"), Live, Hunt, Game;
    }
}

/// Rules between two settings: the left one may be at most as large as the right one.
pub static AT_MOST: &[(FieldPath, FieldPath)] = &[
    (
        FieldPath { section: "workers", name: "batch" },
        FieldPath { section: "buffers", name: "events" },
    ),
    (
        FieldPath { section: "buffers", name: "event" },
        FieldPath { section: "buffers", name: "bytes" },
    ),
];

/// What keeps the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// A log on the disk of one machine.
    Embedded,
}

/// etcd grants no shorter lease than this with its default election time-out.
const LEASE_MIN: Duration = Duration::from_secs(2);
/// A node that is silent for longer is gone by any measure.
const LEASE_MAX: Duration = Duration::from_secs(600);

impl Heartbeat {
    /// How long the node's lease lasts, in whole seconds as etcd counts.
    pub fn lease(&self) -> Duration {
        let misses = u32::try_from(self.misses).unwrap_or(u32::MAX);
        let silent = self.interval.saturating_mul(misses).clamp(LEASE_MIN, LEASE_MAX);
        Duration::from_secs(silent.as_secs() + u64::from(silent.subsec_nanos() > 0))
    }
}

/// The value of every setting.
pub type Values = BTreeMap<FieldPath, Value>;

/// A type that a setting can have in `Config`.
pub(crate) trait Typed: Sized {
    /// `None` when the value is of another kind, which the table's test rules out.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Typed for u64 {
    fn from_value(value: &Value) -> Option<u64> {
        match value {
            Value::Count(number) | Value::Bytes(number) => Some(*number),
            _ => None,
        }
    }
}

impl Typed for Duration {
    fn from_value(value: &Value) -> Option<Duration> {
        match value {
            Value::Duration(time) => Some(*time),
            _ => None,
        }
    }
}

impl Typed for bool {
    fn from_value(value: &Value) -> Option<bool> {
        match value {
            Value::Switch(on) => Some(*on),
            _ => None,
        }
    }
}

impl Typed for BrokerKind {
    fn from_value(value: &Value) -> Option<BrokerKind> {
        matches!(value, Value::Choice("embedded")).then_some(BrokerKind::Embedded)
    }
}

impl Typed for Vec<Pin> {
    fn from_value(value: &Value) -> Option<Vec<Pin>> {
        match value {
            Value::List(texts) => texts.iter().map(|text| text.parse().ok()).collect(),
            _ => None,
        }
    }
}

impl Typed for Vec<String> {
    fn from_value(value: &Value) -> Option<Vec<String>> {
        match value {
            Value::List(texts) => Some(texts.clone()),
            _ => None,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::from_values(&Values::new())
    }
}

fn typed<T: Typed>(values: &Values, section: &'static str, name: &'static str) -> T {
    let path = FieldPath { section, name };
    let default = || path.field().kind.default_value();
    let typed = T::from_value(&values.get(&path).cloned().unwrap_or_else(default));
    // Values are read by the field's own kind, and a test walks the whole table.
    typed.expect("a field's type fits its kind")
}

/// Whether the text may be the name of a kind of event; which there are, the game says.
fn is_kind(text: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(inner)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn duration(default: Duration, min: Duration, max: Duration) -> Kind {
    Kind::Duration { default, min, max }
}

const fn count(default: u64, min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Count { default, min, max, unit }
}

const fn bytes(default: u64, min: u64, max: u64) -> Kind {
    Kind::Bytes { default, min, max }
}

const fn switch(default: bool) -> Kind {
    Kind::Switch { default }
}

const fn choice(words: &'static [&'static str]) -> Kind {
    Kind::Choice { words }
}

const fn list(entry: &'static str, pattern: &'static str, is_entry: fn(&str) -> bool) -> Kind {
    Kind::List { entry, pattern, is_entry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::fields;

    #[test]
    fn every_default_is_what_its_own_field_would_read() {
        for field in fields() {
            let default = field.kind.default_value();
            assert_eq!(field.kind.read(&default.to_json()), Ok(default), "{}", field.path);
        }
    }

    #[test]
    fn the_typed_configuration_holds_the_table_s_defaults() {
        let config = Config::default();
        assert_eq!(config.heartbeat.interval, Duration::from_secs(1));
        assert_eq!(config.buffers.bytes, 16 << 20);
        assert_eq!(config.partitions.pins, []);
    }

    #[test]
    fn every_setting_says_what_it_means() {
        for field in fields() {
            assert!(field.doc.len() > 20 && field.doc.ends_with('.'), "{}", field.path);
        }
    }

    #[test]
    fn a_lease_is_in_whole_seconds_and_never_under_the_floor() {
        let check = |interval, misses, secs| {
            let lease = Heartbeat { interval, misses }.lease();
            assert_eq!(lease, Duration::from_secs(secs), "{interval:?} x {misses}");
        };
        check(ms(50), 5, 2);
        check(ms(700), 5, 4);
        check(secs(1), 5, 5);
        check(secs(60), 100, 600);
    }
}
