//! Every setting of TreasureHunt, each in one place: type, bounds, default, unit, meaning, cost
//! of change, whom it concerns. From this table come the typed `Config`, the JSON Schemas, the
//! resource's bounds and the reference. Rules between settings are in `between`. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::field::Component::{
    Game, Gateway, Heartbeat as Lease, Kafka as Clients, Log, Placement, Queues,
    Topics as Reconciler, Workers as Pool,
};
use crate::field::Cost::{Drain, Fixed, Live, Raise, Swap};
use crate::field::Scope::{Hunt, Node};
use crate::field::{Field, FieldPath, Section};
use crate::kinds::{
    ADDRESSES, EVENT_KINDS, PINS, TOPIC, TOPIC_CONFIGS, USER, bytes, choice, count, days, duration,
    ms, secs, switch,
};
use crate::pin::Pin;
use crate::secret::SecretRef;
use crate::table::settings;
use crate::topics::TopicConfig;
use crate::typed::{BrokerKind, Compression, SaslMechanism, typed};
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
        /// Largest event that is taken in; at most buffers.bytes and producer.message.
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
        /// each node that the hunt may ever have. Raised to a whole multiple, each is cut into so many,
        /// live; no key goes from one old partition to another.
        count: u64 = count(16, 1, 4096, "partitions"), Raise, Hunt, Placement;
        /// Partitions that are to run on a certain node, each written PARTITION=NODE. A pinned
        /// partition moves there when that node is ready, and is placed as any other when not.
        pins: Vec<Pin> = PINS, Drain, Hunt, Placement;
        /// No partition moves for balance, off a slow node or for a pin while this is true; the
        /// partitions of a node that is gone or draining still do.
        paused: bool = switch(false), Live, Hunt, Placement;
        /// This node hands its partitions over and takes no more while this is true; it goes on taking
        /// events in for others. `hunt drain` sets it for one node. Where it is so for every node that
        /// is ready, it counts for none: somebody has to serve the hunt.
        drained: bool = switch(false), Drain, Node, Placement;
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
        ordered: Vec<String> = EVENT_KINDS, Live, Node, Gateway;
    }

    /// Where events and outcomes are kept.
    broker: Broker {
        /// What keeps the events: embedded is a log on the disk of one machine, kafka a cluster, which
        /// the section kafka says how to reach.
        kind: BrokerKind = choice(&["embedded", "kafka"]), Fixed, Hunt, Log;
        /// Time that the embedded log waits for more events before it writes a group to disk. 0s writes at
        /// once; more trades latency for fewer writes.
        linger: Duration = duration(ms(0), ms(0), ms(100)), Live, Node, Log;
        /// Size at which the embedded log begins a new segment file.
        segment: u64 = bytes(64 << 20, 1 << 20, 1 << 30), Live, Node, Log;
    }

    /// Where the Kafka cluster is and who we are to it. Passwords, certificates and keys are named by
    /// Secret and key, in the hunt's own namespace; their bytes stand nowhere else, and a Secret that
    /// changes is taken over like an edit.
    kafka: Kafka {
        /// Brokers that are asked first for all others.
        bootstrap: Vec<String> = ADDRESSES, Swap, Hunt, Clients;
        /// Whether connections are encrypted. Certificates are always checked, names too.
        tls: bool = switch(false), Swap, Hunt, Clients;
        /// PEM of who must have signed the brokers' certificates; the system's own authorities when
        /// there is none.
        authority: Option<SecretRef> = Kind::Secret, Swap, Hunt, Clients;
        /// PEM of the certificate that is shown to the brokers.
        certificate: Option<SecretRef> = Kind::Secret, Swap, Hunt, Clients;
        /// PEM of its private key, which has no password of its own.
        privateKey: Option<SecretRef> = Kind::Secret, Swap, Hunt, Clients;
        /// How the user is known to the brokers. plain sends the password as it is, so it needs tls.
        mechanism: SaslMechanism = choice(&["none", "plain", "scram-sha-256", "scram-sha-512"]), Swap, Hunt, Clients;
        /// Name of the user, wherever kafka.mechanism is not none.
        user: String = USER, Swap, Hunt, Clients;
        /// Password of that user.
        password: Option<SecretRef> = Kind::Secret, Swap, Hunt, Clients;
    }

    /// The hunt's topics in Kafka, which the operator makes and keeps as they are written here. Each
    /// has as many partitions as the hunt.
    topics: Topics {
        /// Topic that events come in by. When empty, NAMESPACE.HUNT.events.
        events: String = TOPIC, Fixed, Hunt, Reconciler;
        /// Topic of outcomes, which are the hunt's state. When empty, NAMESPACE.HUNT.outcomes.
        outcomes: String = TOPIC, Fixed, Hunt, Reconciler;
        /// Topic of snapshots, which spare most outcomes from being replayed. When empty,
        /// NAMESPACE.HUNT.snapshots.
        snapshots: String = TOPIC, Fixed, Hunt, Reconciler;
        /// Topic of events that could not be played. When empty, NAMESPACE.HUNT.dead.
        deadLetters: String = TOPIC, Fixed, Hunt, Reconciler;
        /// Brokers that have a copy of each partition. A change moves copies step by step.
        replicationFactor: u64 = count(3, 1, 7, "replicas"), Live, Hunt, Reconciler;
        /// Copies that must have a record before it counts as kept: with fewer in sync, nothing is
        /// taken in. At most topics.replicationFactor; with as many, one broker that is gone stops the
        /// hunt.
        minInSync: u64 = count(2, 1, 7, "replicas"), Live, Hunt, Reconciler;
        /// Largest batch of records that the topics take. producer.message must not be above it.
        message: u64 = bytes(1 << 20, 4 << 10, 64 << 20), Live, Hunt, Reconciler;
        /// Time that events are kept. An event that has not been played by then is lost, so it must be
        /// longer than the hunt may ever stand still.
        eventsRetention: Duration = duration(days(7), secs(60), days(3650)), Live, Hunt, Reconciler;
        /// Bytes of events that each partition keeps at most; 0 for any. What is above goes, oldest
        /// first, played or not.
        eventsBytes: u64 = bytes(0, 0, 16 << 40), Live, Hunt, Reconciler;
        /// Time that outcomes are kept; 0s for ever. Outcomes are the state: what is not in a snapshot
        /// is rebuilt from them. Where they go, each partition that is served gets a snapshot at least
        /// every quarter of this time, and one when its agent stops; so it must be longer than any
        /// partition may ever stand still.
        outcomesRetention: Duration = duration(secs(0), secs(0), days(3650)), Live, Hunt, Reconciler;
        /// Time that dead letters are kept.
        deadLettersRetention: Duration = duration(days(14), secs(60), days(3650)), Live, Hunt, Reconciler;
        /// Bytes of dead letters that each partition keeps at most; what is above goes, oldest first.
        deadLettersBytes: u64 = bytes(64 << 20, 1 << 20, 16 << 40), Live, Hunt, Reconciler;
        /// More configuration of single topics, by Kafka's own keys. What other settings decide, they
        /// decide; what Kafka refuses is reported.
        configs: Vec<TopicConfig> = TOPIC_CONFIGS, Live, Hunt, Reconciler;
    }

    /// How records are sent to Kafka. Acknowledgement is no setting: an answer promises that all
    /// in-sync copies have the record, and order needs idempotence, which asks for the same.
    producer: Producer {
        /// Time that a batch waits for more.
        linger: Duration = duration(ms(2), ms(0), secs(1)), Swap, Node, Clients;
        /// Bytes at which a batch is full; at most producer.message.
        batch: u64 = bytes(256 << 10, 1 << 10, 16 << 20), Swap, Node, Clients;
        /// Records at which a batch is full.
        batchRecords: u64 = count(10_000, 1, 1_000_000, "records"), Swap, Node, Clients;
        /// How batches are made smaller on their way: lz4 and snappy are quick, zstd gains most for
        /// its time, gzip is for consumers that know nothing else.
        compression: Compression = choice(&["none", "lz4", "snappy", "zstd", "gzip"]), Swap, Node, Clients;
        /// Requests to one broker without an answer; with more than 5 there is no order.
        inFlight: u64 = count(5, 1, 5, "requests"), Swap, Node, Clients;
        /// Largest request, and so largest record; at most producer.queue and topics.message. An
        /// event whose outcome would be larger is a dead letter.
        message: u64 = bytes(1 << 20, 4 << 10, 64 << 20), Swap, Node, Clients;
        /// Bytes of all partitions that wait for acknowledgement; who appends more, waits. With the
        /// rate, it says how long a broker may be gone before producers of events are told to wait.
        queue: u64 = bytes(64 << 20, 1 << 20, 1 << 30), Swap, Node, Clients;
        /// Time that a broker may take to have a batch on all in-sync copies.
        requestTimeout: Duration = duration(secs(5), secs(1), secs(300)), Swap, Node, Clients;
    }

    /// How records are fetched from Kafka.
    consumer: Consumer {
        /// A broker answers when it has so many bytes, or after consumer.fetchWait; at most
        /// consumer.fetchMax.
        fetchMin: u64 = bytes(1, 1, 16 << 20), Swap, Node, Clients;
        /// Most bytes of an answer.
        fetchMax: u64 = bytes(16 << 20, 1 << 10, 256 << 20), Swap, Node, Clients;
        /// Most bytes of one partition in an answer.
        partitionMax: u64 = bytes(1 << 20, 1 << 10, 64 << 20), Swap, Node, Clients;
        /// Time that a broker waits for consumer.fetchMin.
        fetchWait: Duration = duration(ms(100), ms(1), secs(5)), Swap, Node, Clients;
        /// Bytes that are fetched ahead for each reader: a quarter in a buffer of ours, the rest in the client.
        queued: u64 = bytes(4 << 20, 64 << 10, 256 << 20), Swap, Node, Clients;
    }

    /// What holds for every client of Kafka: connections, and how one client follows another.
    session: Session {
        /// Time within which a connection must stand.
        connectTimeout: Duration = duration(secs(5), secs(1), secs(60)), Swap, Node, Clients;
        /// Time within which a request must be answered.
        socketTimeout: Duration = duration(secs(10), secs(2), secs(300)), Swap, Node, Clients;
        /// First wait before connecting again; at most session.reconnectMax.
        reconnectMin: Duration = duration(ms(50), ms(10), secs(10)), Swap, Node, Clients;
        /// Longest wait before connecting again.
        reconnectMax: Duration = duration(secs(1), ms(10), secs(60)), Swap, Node, Clients;
        /// How old the knowledge of who leads which partition may get.
        metadataAge: Duration = duration(secs(60), secs(1), secs(900)), Swap, Node, Clients;
        /// Time within which a new client must prove itself before it takes over; one that cannot is
        /// rejected, and the old one goes on.
        proof: Duration = duration(secs(5), secs(1), secs(60)), Swap, Node, Clients;
        /// Time that an old client has after a swap to get its last records acknowledged; then they
        /// are given up, and whoever appended them is told so.
        drain: Duration = duration(secs(30), secs(1), secs(300)), Swap, Node, Clients;
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

/// The value of every setting.
pub type Values = BTreeMap<FieldPath, Value>;

impl Default for Config {
    fn default() -> Config {
        Config::from_values(&Values::new())
    }
}

/// etcd grants no shorter lease than this with its default election time-out.
const LEASE_MIN: Duration = Duration::from_secs(2);
/// A node that is silent for longer is gone by any measure.
const LEASE_MAX: Duration = Duration::from_secs(600);

/// Largest record of any log, in bytes: Kafka's default bound, so that a log can move there.
pub const RECORD_BYTES_MAX: u64 = 1 << 20;
/// What a request to Kafka has beside a record's bytes, at most: header, lengths, key. More than
/// clients count.
const REQUEST_ROOM: u64 = 256;

impl Config {
    /// Largest event or outcome that the log takes, in bytes. A Kafka client that could not be
    /// replaced yet may go by another number.
    pub fn record_bytes_max(&self) -> u64 {
        match self.broker.kind {
            BrokerKind::Embedded => RECORD_BYTES_MAX,
            BrokerKind::Kafka => {
                RECORD_BYTES_MAX.min(self.producer.message.saturating_sub(REQUEST_ROOM))
            }
        }
    }
}

impl Heartbeat {
    /// How long the node's lease lasts, in whole seconds as etcd counts.
    pub fn lease(&self) -> Duration {
        let misses = u32::try_from(self.misses).unwrap_or(u32::MAX);
        let silent = self.interval.saturating_mul(misses).clamp(LEASE_MIN, LEASE_MAX);
        Duration::from_secs(silent.as_secs() + u64::from(silent.subsec_nanos() > 0))
    }
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
    fn every_word_of_a_choice_has_its_type() {
        for field in fields() {
            let Kind::Choice { words } = field.kind else { continue };
            for word in words {
                Config::from_values(&[(field.path, Value::Choice(word))].into());
            }
        }
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
