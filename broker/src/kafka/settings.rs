//! What may be set on our Kafka clients: each with its unit and bounds, and nothing else, so that
//! no setting runs commands, loads libraries or reads files. In: typed values. Out: what is wrong
//! with them, or librdkafka's properties. Changing any of them is a swap of the client. Pure.

use std::time::Duration;

use super::connection::{Connection, Property};

/// How batches are made smaller on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
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

/// How records are sent. Acknowledgement is not among it: an answer promises that all in-sync
/// replicas have the record, and order needs idempotence, which asks for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSettings {
    /// How long a batch waits for more. 0 to 1 s.
    pub linger: Duration,
    /// Bytes at which a batch is full. 1 KiB to 16 MiB; not above what topics take.
    pub batch_bytes: u32,
    /// Records at which a batch is full. 1 to 1,000,000.
    pub batch_records: u32,
    /// Of batches.
    pub compression: Compression,
    /// Requests to one broker without an answer. 1 to 5, the most with which order is kept.
    pub in_flight: u32,
    /// Largest request. 1 KiB to 64 MiB; not above the topics' `max.message.bytes`.
    pub message_bytes: u32,
    /// Bytes of all partitions that wait for acknowledgement; who appends more, waits. 1 MiB to
    /// 1 GiB. With the rate, it says how long a broker may be gone before producers wait.
    pub queue_bytes: u32,
    /// How long a broker may take to have a batch on all in-sync replicas. 1 to 300 s.
    pub request_timeout: Duration,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        ProducerSettings {
            linger: Duration::from_millis(2),
            batch_bytes: 256 << 10,
            batch_records: 10_000,
            compression: Compression::None,
            in_flight: 5,
            message_bytes: 1_048_588,
            queue_bytes: 64 << 20,
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// How records are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// A broker answers when it has so many bytes. 1 B to 16 MiB.
    pub fetch_bytes_min: u32,
    /// Most bytes of an answer. 1 KiB to 256 MiB.
    pub fetch_bytes_max: u32,
    /// Most bytes of one partition in an answer. 1 KiB to 64 MiB.
    pub partition_bytes_max: u32,
    /// Or after so long. 1 ms to 5 s.
    pub fetch_wait: Duration,
    /// Fetched ahead for each reader, in bytes, and about as much again by the client below. 64 KiB
    /// to 256 MiB.
    pub queued_bytes: u32,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        ConsumerSettings {
            fetch_bytes_min: 1,
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 1 << 20,
            fetch_wait: Duration::from_millis(100),
            queued_bytes: 4 << 20,
        }
    }
}

/// What holds for every client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// A connection must stand within this. 1 to 60 s.
    pub connect_timeout: Duration,
    /// A request must be answered within this. 1 to 300 s.
    pub socket_timeout: Duration,
    /// First wait before connecting again. 10 ms to 10 s.
    pub reconnect_min: Duration,
    /// Longest. 10 ms to 60 s.
    pub reconnect_max: Duration,
    /// How old the knowledge of leaders may get. 1 s to 15 min.
    pub metadata_age: Duration,
    /// Within this, a new client must prove itself. 1 to 60 s.
    pub proof: Duration,
    /// After a swap, how long the old client may take to have its last records acknowledged; then
    /// they are given up, and whoever appended them is told so. 1 to 300 s.
    pub drain: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings {
            connect_timeout: Duration::from_secs(5),
            socket_timeout: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(1),
            metadata_age: Duration::from_secs(60),
            proof: Duration::from_secs(5),
            drain: Duration::from_secs(30),
        }
    }
}

/// All settings of our clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// Sending.
    pub producer: ProducerSettings,
    /// Fetching.
    pub consumer: ConsumerSettings,
    /// Both.
    pub session: SessionSettings,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl ClientSettings {
    /// What is out of bounds; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let ClientSettings { producer, consumer, session } = self;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bounds: [(&str, u64, (u64, u64), &str); 19] = [
            ("producer linger", millis(producer.linger), (0, 1_000), "ms"),
            ("producer batch", producer.batch_bytes.into(), (KIB, 16 * MIB), "bytes"),
            ("producer batch", producer.batch_records.into(), (1, 1_000_000), "records"),
            ("producer requests in flight", producer.in_flight.into(), (1, 5), "requests"),
            ("producer message", producer.message_bytes.into(), (KIB, 64 * MIB), "bytes"),
            ("producer queue", producer.queue_bytes.into(), (MIB, KIB * MIB), "bytes"),
            ("producer request timeout", millis(producer.request_timeout), (1_000, 300_000), "ms"),
            ("consumer fetch minimum", consumer.fetch_bytes_min.into(), (1, 16 * MIB), "bytes"),
            ("consumer fetch maximum", consumer.fetch_bytes_max.into(), (KIB, 256 * MIB), "bytes"),
            (
                "consumer partition fetch",
                consumer.partition_bytes_max.into(),
                (KIB, 64 * MIB),
                "bytes",
            ),
            ("consumer fetch wait", millis(consumer.fetch_wait), (1, 5_000), "ms"),
            ("consumer queue", consumer.queued_bytes.into(), (64 * KIB, 256 * MIB), "bytes"),
            ("connect timeout", millis(session.connect_timeout), (1_000, 60_000), "ms"),
            ("socket timeout", millis(session.socket_timeout), (1_000, 300_000), "ms"),
            ("first reconnect", millis(session.reconnect_min), (10, 10_000), "ms"),
            ("last reconnect", millis(session.reconnect_max), (10, 60_000), "ms"),
            ("metadata age", millis(session.metadata_age), (1_000, 900_000), "ms"),
            ("proof", millis(session.proof), (1_000, 60_000), "ms"),
            ("drain", millis(session.drain), (1_000, 300_000), "ms"),
        ];
        let mut problems: Vec<String> = bounds
            .into_iter()
            .filter(|(_, value, (min, max), _)| !(min..=max).contains(&value))
            .map(|(what, value, (min, max), unit)| {
                format!("{what} of {value} {unit} is not within {min} and {max}")
            })
            .collect();
        let orders = [
            (
                producer.batch_bytes <= producer.message_bytes,
                "a producer's batch is larger than its message",
            ),
            (
                producer.message_bytes <= producer.queue_bytes,
                "a producer's message is larger than its queue",
            ),
            (
                consumer.fetch_bytes_min <= consumer.fetch_bytes_max,
                "the consumer's fetch minimum is above its maximum",
            ),
            (
                session.reconnect_min <= session.reconnect_max,
                "the first reconnect is above the last",
            ),
            (
                session.socket_timeout > consumer.fetch_wait,
                "the consumer's fetch wait is not below the socket timeout",
            ),
        ];
        problems
            .extend(orders.iter().filter(|(holds, _)| !holds).map(|(_, why)| (*why).to_owned()));
        problems
    }

    /// Everything that our producer is told.
    pub(crate) fn producer_properties(&self, connection: &Connection, id: &str) -> Vec<Property> {
        let it = &self.producer;
        let compression = match it.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        };
        let mut all = self.shared_properties(connection, id);
        all.extend([
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("linger.ms", millis(it.linger)),
            ("batch.size", it.batch_bytes.to_string()),
            ("batch.num.messages", it.batch_records.to_string()),
            ("compression.codec", compression.to_owned()),
            ("max.in.flight.requests.per.connection", it.in_flight.to_string()),
            ("message.max.bytes", it.message_bytes.to_string()),
            ("request.timeout.ms", millis(it.request_timeout)),
            // A record is never given up by the clock: those after it would be written without it.
            ("message.timeout.ms", "0".to_owned()),
            // Our own bound, in bytes, is the one that holds; these only must not come before it.
            ("queue.buffering.max.kbytes", (2 * (it.queue_bytes >> 10)).to_string()),
            ("queue.buffering.max.messages", "0".to_owned()),
            ("statistics.interval.ms", STATISTICS_MILLIS.to_string()),
        ]);
        all
    }

    /// Everything that our consumers are told.
    pub(crate) fn consumer_properties(&self, connection: &Connection, id: &str) -> Vec<Property> {
        let it = &self.consumer;
        let mut all = self.shared_properties(connection, id);
        // librdkafka wants an answer to hold at least its largest message
        let fetch_max = it.fetch_bytes_max.max(self.producer.message_bytes + 512);
        all.extend([
            // Never joined: partitions are assigned by our own map. Assigning asks for a name.
            ("group.id", id.to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            ("auto.offset.reset", "error".to_owned()),
            // Events of transactions that were called off are nobody's.
            ("isolation.level", "read_committed".to_owned()),
            ("check.crcs", "true".to_owned()),
            ("fetch.min.bytes", it.fetch_bytes_min.to_string()),
            ("fetch.max.bytes", fetch_max.to_string()),
            ("receive.message.max.bytes", (fetch_max + (1 << 20)).to_string()),
            ("fetch.message.max.bytes", it.partition_bytes_max.to_string()),
            ("message.max.bytes", self.producer.message_bytes.to_string()),
            ("fetch.wait.max.ms", millis(it.fetch_wait)),
            ("queued.max.messages.kbytes", (it.queued_bytes >> 10).to_string()),
            ("queued.min.messages", "100000".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
        ]);
        all
    }

    fn shared_properties(&self, connection: &Connection, id: &str) -> Vec<Property> {
        let it = &self.session;
        let mut all = connection.properties();
        all.extend([
            ("client.id", id.to_owned()),
            ("allow.auto.create.topics", "false".to_owned()),
            ("socket.connection.setup.timeout.ms", millis(it.connect_timeout)),
            ("socket.timeout.ms", millis(it.socket_timeout)),
            ("socket.keepalive.enable", "true".to_owned()),
            ("socket.nagle.disable", "true".to_owned()),
            ("reconnect.backoff.ms", millis(it.reconnect_min)),
            ("reconnect.backoff.max.ms", millis(it.reconnect_max)),
            ("metadata.max.age.ms", millis(it.metadata_age)),
            ("topic.metadata.refresh.interval.ms", millis(it.metadata_age)),
            // A broker that comes back is asked soon, not only when all others are gone.
            ("topic.metadata.refresh.fast.interval.ms", "50".to_owned()),
            ("retry.backoff.ms", "50".to_owned()),
            ("retry.backoff.max.ms", "500".to_owned()),
            ("enable.sparse.connections", "true".to_owned()),
        ]);
        all
    }
}

/// How soon a new producer's id is seen.
const STATISTICS_MILLIS: u32 = 200;

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::super::connection::{Identity, Login, Mechanism, Secret, Tls};
    use super::*;

    fn secured() -> Connection {
        let identity = Identity { certificate: "-----BEGIN a".to_owned(), key: Secret::new("b") };
        Connection {
            bootstrap: "a:1,b:2".parse().unwrap(),
            tls: Some(Tls { authority: Some("-----BEGIN c".to_owned()), identity: Some(identity) }),
            login: Some(Login {
                mechanism: Mechanism::ScramSha512,
                user: "ana".to_owned(),
                password: Secret::new("secret"),
            }),
        }
    }

    #[test]
    fn nothing_that_runs_loads_or_reads_is_ever_set() {
        let settings = ClientSettings::default();
        let producer = settings.producer_properties(&secured(), "id");
        let consumer = settings.consumer_properties(&secured(), "id");
        assert!(producer.len() > 20 && consumer.len() > 20);
        for (name, _) in producer.iter().chain(&consumer) {
            let forbidden = [
                "location",
                "paths",
                "cmd",
                "_cb",
                "engine",
                "oauthbearer",
                "plugin",
                "keytab",
                "url",
            ];
            assert!(!forbidden.iter().any(|part| name.contains(part)), "{name}");
        }
    }

    #[test]
    fn every_property_is_one_that_the_client_knows() {
        let settings = ClientSettings::default();
        for properties in [
            settings.producer_properties(&secured(), "id"),
            settings.consumer_properties(&secured(), "id"),
        ] {
            // PEM is looked at when it is set
            let plain = properties.iter().filter(|(name, _)| !name.ends_with(".pem"));
            let mut config = ClientConfig::new();
            for (name, value) in plain {
                config.set(*name, value);
            }
            config.create_native_config().unwrap();
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named_all_at_once() {
        assert_eq!(ClientSettings::default().problems(), Vec::<String>::new());
        let mut settings = ClientSettings::default();
        settings.producer.linger = Duration::from_secs(2);
        settings.producer.in_flight = 6;
        settings.producer.batch_bytes = 2 << 20;
        settings.consumer.fetch_wait = Duration::ZERO;
        settings.session.reconnect_min = Duration::from_secs(5);
        assert_eq!(
            settings.problems(),
            [
                "producer linger of 2000 ms is not within 0 and 1000",
                "producer requests in flight of 6 requests is not within 1 and 5",
                "consumer fetch wait of 0 ms is not within 1 and 5000",
                "a producer's batch is larger than its message",
                "the first reconnect is above the last",
            ]
        );
    }
}
