//! What may be set on our Kafka clients, and nothing else, so that no setting runs commands, loads
//! libraries or reads files. In: the sections `producer`, `consumer` and `session`, whose bounds and
//! defaults stand in their table. Out: librdkafka's properties. Changing any of them is a swap of
//! the client. Pure.

use std::time::Duration;

use config_schemas::{
    Compression, Config, Consumer, FieldPath, Producer, Session, TopicRole, Value,
};

use super::connection::{Connection, Property};

/// How records are sent. Acknowledgement is not among it: an answer promises that all in-sync
/// replicas have the record, and order needs idempotence, which asks for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSettings {
    /// How long a batch waits for more.
    pub linger: Duration,
    /// Bytes at which a batch is full.
    pub batch_bytes: u32,
    /// Records at which a batch is full.
    pub batch_records: u32,
    /// Of batches.
    pub compression: Compression,
    /// Requests to one broker without an answer.
    pub in_flight: u32,
    /// Largest request, in bytes.
    pub message_bytes: u32,
    /// Bytes of all partitions that wait for acknowledgement; who appends more, waits.
    pub queue_bytes: u32,
    /// How long a broker may take to have a batch on all in-sync replicas.
    pub request_timeout: Duration,
}

/// How records are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// A broker answers when it has so many bytes.
    pub fetch_bytes_min: u32,
    /// Most bytes of an answer.
    pub fetch_bytes_max: u32,
    /// Most bytes of one partition in an answer.
    pub partition_bytes_max: u32,
    /// Or after so long.
    pub fetch_wait: Duration,
    /// Fetched ahead for each reader, in bytes: a quarter in our own buffer, the rest by the client
    /// below, beside one more answer's share and what it keeps for each record.
    pub queued_bytes: u32,
}

/// What holds for every client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// A connection must stand within this.
    pub connect_timeout: Duration,
    /// A request must be answered within this.
    pub socket_timeout: Duration,
    /// First wait before connecting again.
    pub reconnect_min: Duration,
    /// Longest.
    pub reconnect_max: Duration,
    /// How old the knowledge of leaders may get.
    pub metadata_age: Duration,
    /// Within this, a new client must prove itself.
    pub proof: Duration,
    /// After a swap, how long the old client may take to have its last records acknowledged; then
    /// they are given up, and whoever appended them is told so.
    pub drain: Duration,
}

/// All settings of our clients; by default those of a hunt that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Sending.
    pub producer: ProducerSettings,
    /// Fetching.
    pub consumer: ConsumerSettings,
    /// Both.
    pub session: SessionSettings,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings::from(&Config::default())
    }
}

impl From<&Config> for ClientSettings {
    fn from(config: &Config) -> ClientSettings {
        let Config { producer, consumer, session, .. } = config;
        ClientSettings {
            producer: producer.into(),
            consumer: consumer.into(),
            session: session.into(),
        }
    }
}

impl From<&Producer> for ProducerSettings {
    fn from(from: &Producer) -> ProducerSettings {
        ProducerSettings {
            linger: from.linger,
            batch_bytes: narrow(from.batch),
            batch_records: narrow(from.batchRecords),
            compression: from.compression,
            in_flight: narrow(from.inFlight),
            message_bytes: narrow(from.message),
            queue_bytes: narrow(from.queue),
            request_timeout: from.requestTimeout,
        }
    }
}

impl From<&Consumer> for ConsumerSettings {
    fn from(from: &Consumer) -> ConsumerSettings {
        ConsumerSettings {
            fetch_bytes_min: narrow(from.fetchMin),
            fetch_bytes_max: narrow(from.fetchMax),
            partition_bytes_max: narrow(from.partitionMax),
            fetch_wait: from.fetchWait,
            queued_bytes: narrow(from.queued),
        }
    }
}

impl From<&Session> for SessionSettings {
    fn from(from: &Session) -> SessionSettings {
        SessionSettings {
            connect_timeout: from.connectTimeout,
            socket_timeout: from.socketTimeout,
            reconnect_min: from.reconnectMin,
            reconnect_max: from.reconnectMax,
            metadata_age: from.metadataAge,
            proof: from.proof,
            drain: from.drain,
        }
    }
}

impl ConsumerSettings {
    /// Of what is fetched ahead, the part that no longer holds whole answers of brokers in memory.
    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.queued_bytes / 4
    }
}

/// Every bound of the table is below 4 GiB, which a test looks after.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl ClientSettings {
    /// What is out of the bounds that the table of settings has; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let ClientSettings { producer, consumer, session } = self;
        let count = |number: u32| Value::Count(number.into());
        let bytes = |number: u32| Value::Bytes(number.into());
        let time = Value::Duration;
        let all = [
            ("producer.linger", time(producer.linger)),
            ("producer.batch", bytes(producer.batch_bytes)),
            ("producer.batchRecords", count(producer.batch_records)),
            ("producer.inFlight", count(producer.in_flight)),
            ("producer.message", bytes(producer.message_bytes)),
            ("producer.queue", bytes(producer.queue_bytes)),
            ("producer.requestTimeout", time(producer.request_timeout)),
            ("consumer.fetchMin", bytes(consumer.fetch_bytes_min)),
            ("consumer.fetchMax", bytes(consumer.fetch_bytes_max)),
            ("consumer.partitionMax", bytes(consumer.partition_bytes_max)),
            ("consumer.fetchWait", time(consumer.fetch_wait)),
            ("consumer.queued", bytes(consumer.queued_bytes)),
            ("session.connectTimeout", time(session.connect_timeout)),
            ("session.socketTimeout", time(session.socket_timeout)),
            ("session.reconnectMin", time(session.reconnect_min)),
            ("session.reconnectMax", time(session.reconnect_max)),
            ("session.metadataAge", time(session.metadata_age)),
            ("session.proof", time(session.proof)),
            ("session.drain", time(session.drain)),
        ];
        let problem = |(name, value): (&str, Value)| {
            let kind = FieldPath::parse(name)?.field().kind;
            let allowed = kind.read(&value.to_json()).err()?;
            Some(format!("{name}: {value} is not allowed; allowed: {allowed}"))
        };
        all.into_iter().filter_map(problem).collect()
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
        let asides = u64::from(super::ASIDE_BYTES) * TopicRole::ALL.len() as u64;
        let held = (2 * u64::from(it.queue_bytes) + asides) >> 10;
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
            ("queue.buffering.max.kbytes", held.to_string()),
            ("queue.buffering.max.messages", "0".to_owned()),
            ("statistics.interval.ms", PRODUCER_STATISTICS_MILLIS.to_string()),
        ]);
        all
    }

    /// Everything that our consumers are told.
    pub(crate) fn consumer_properties(
        &self,
        connection: &Connection,
        id: &str,
        fetch_wait: Duration,
    ) -> Vec<Property> {
        let it = &self.consumer;
        let below = it.queued_bytes - it.buffer_bytes();
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
            ("fetch.wait.max.ms", millis(fetch_wait)),
            // of each partition, since each has a queue of its own
            ("queued.max.messages.kbytes", (below >> 10).to_string()),
            ("queued.min.messages", (it.queued_bytes / QUEUED_RECORD_BYTES).to_string()),
            // So soon it is looked again whether a queue that was full is still.
            ("fetch.queue.backoff.ms", "5".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
            ("statistics.interval.ms", CONSUMER_STATISTICS_MILLIS.to_string()),
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

/// What a record takes in librdkafka beside its bytes, about: as many are queued as take no more than
/// bytes may.
const QUEUED_RECORD_BYTES: u32 = 256;
/// How soon a new producer's id is seen, and that an idle client reaches brokers again.
const PRODUCER_STATISTICS_MILLIS: u32 = 200;
/// How soon a consumer tells where its partitions end, also behind marks of transactions.
const CONSUMER_STATISTICS_MILLIS: u32 = 1_000;

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use config_schemas::Kind;
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
        let consumer = settings.consumer_properties(&secured(), "id", Duration::from_millis(9));
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
            settings.consumer_properties(&secured(), "id", Duration::from_millis(9)),
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
        settings.consumer.fetch_wait = Duration::ZERO;
        let problems = settings.problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[1].starts_with("producer.inFlight: 6 is not allowed"), "{problems:?}");
    }

    #[test]
    fn every_setting_of_a_client_is_checked_by_its_own_row_of_the_table() {
        let none = Duration::ZERO;
        let producer = ProducerSettings {
            linger: Duration::MAX,
            batch_bytes: 0,
            batch_records: 0,
            compression: Compression::None,
            in_flight: 0,
            message_bytes: 0,
            queue_bytes: 0,
            request_timeout: none,
        };
        let consumer = ConsumerSettings {
            fetch_bytes_min: 0,
            fetch_bytes_max: 0,
            partition_bytes_max: 0,
            fetch_wait: none,
            queued_bytes: 0,
        };
        let session = SessionSettings {
            connect_timeout: none,
            socket_timeout: none,
            reconnect_min: none,
            reconnect_max: none,
            metadata_age: none,
            proof: none,
            drain: none,
        };
        let settings = ClientSettings { producer, consumer, session };
        let said = settings.problems();
        let sections = ["producer", "consumer", "session"];
        let rows = config_schemas::fields()
            .filter(|field| sections.contains(&field.path.section()))
            .map(|field| field.path.to_string())
            // every word of a choice is one that there is
            .filter(|row| row != "producer.compression");
        for row in rows {
            assert!(said.iter().any(|said| said.starts_with(&format!("{row}: "))), "{row}");
        }
    }

    #[test]
    fn the_largest_that_the_table_allows_is_not_cut() {
        for field in config_schemas::fields() {
            let clients = ["producer", "consumer", "session"].contains(&field.path.section());
            let max = match field.kind {
                Kind::Count { max, .. } | Kind::Bytes { max, .. } if clients => max,
                _ => continue,
            };
            // fetches have room for one more message, and the room is doubled in kilobytes
            assert!(max < u64::from(u32::MAX / 2), "{}", field.path);
        }
    }
}
