//! The broker past one machine: a Kafka cluster. Partition N of a hunt is partition N of its topics:
//! events, which anybody may write, outcomes, of which only the owner's count, and snapshots and dead
//! letters beside them. In: claims, batches, reads, settings that change while all of it runs. Out:
//! durable offsets, records that can be believed. I/O.

mod believe;
mod connection;
mod options;
mod secret_files;
mod settings;
mod trouble;
mod wanted;

mod bell;
mod callbacks;
mod consumer;
mod lane;
mod proof;
mod sender;

mod flight;
mod gate;
mod owned;
mod ownership;
mod producer;

mod barrier;
mod buffer;
mod checkpoints;
mod consumers;
mod cursor;
mod ends;
mod reader;
mod slots;
mod snapshots;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use config_schemas::{Epoch, PartitionId, TopicRole};
use tokio::sync::{Semaphore, oneshot};

use crate::claim::Claim;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::traits::{Broker, LogKind};
use believe::{Belief, Mark, Take, Verdict};
use checkpoints::Checkpoints;
use consumer::Whose;
use consumers::Consumers;
use ends::Ends;
use flight::{Flight, Ticket};
use options::READ;
use ownership::Ownership;
use producer::Producer;
use proof::Expected;
use sender::{Outgoing, Sender};

pub use config_schemas::Compression;
pub use connection::{Bootstrap, Connection, Identity, Login, Mechanism, NoAddress, Secret, Tls};
pub use cursor::Switched;
pub use options::KafkaOptions;
pub use owned::{KafkaOwned, KafkaSubmitted};
pub use producer::Swapped;
pub use reader::KafkaReader;
pub use secret_files::{SecretFileError, read_secret};
pub use settings::{ClientSettings, ConsumerSettings, ProducerSettings, SessionSettings};
pub use trouble::KafkaTrouble;
pub use wanted::{Secrets, connection, secret_fields, secret_refs};

/// How long a record that belongs to no holding is waited for, such as a barrier; it may be tried
/// again.
const APPEND_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of such records that one topic may keep waiting, also after nobody waits for them any more:
/// one of the largest. A topic that cannot be written to then holds up nothing but itself.
pub(crate) const ASIDE_BYTES: u32 = 1 << 20;

/// The Kafka broker of one hunt. Clones share everything.
#[derive(Clone)]
pub struct KafkaBroker(Arc<Shared>);

/// What all handles of one `KafkaBroker` share.
pub(crate) struct Shared {
    /// As last made true.
    options: Mutex<KafkaOptions>,
    cluster: String,
    producer: Producer,
    consumers: [Arc<Consumers>; READ.len()],
    checkpoints: Checkpoints,
    ends: Ends,
    /// Per partition, the last holding of this process.
    held: Mutex<HashMap<PartitionId, Weak<Ownership>>>,
    retuning: Semaphore,
    /// Per topic, the room for records that belong to no holding.
    asides: [Arc<Semaphore>; TopicRole::ALL.len()],
}

/// What changing settings took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retuned {
    /// Making new clients and having them prove themselves. Nothing waited meanwhile.
    pub proof: Duration,
    /// The producer's swap, if it had to be swapped.
    pub producer: Option<Swapped>,
    /// Whether readers move over to new consumers.
    pub consumers: bool,
}

impl KafkaBroker {
    /// Makes the clients and has them prove that cluster and topics are as expected. Within
    /// [`SessionSettings::proof`], roughly.
    pub async fn connect(options: KafkaOptions) -> Result<KafkaBroker, Error> {
        options.check()?;
        let topics = options.topics();
        let expected = options.expected();
        let properties = options.producer_properties();
        let (proven, cluster) =
            Sender::prove(properties, expected.clone()).await.map_err(Error::Kafka)?;
        let expected = Expected { cluster: Some(cluster.clone()), ..expected };
        let consumers = async |topic: TopicRole| {
            let name = topics.name(topic);
            let expected = Expected { topics: vec![name.to_string()], ..expected.clone() };
            let connected =
                Consumers::connect(Arc::clone(name), topic, options.clone(), expected).await;
            connected.map(Arc::new).map_err(Error::Kafka)
        };
        // side by side: each waits for its own connection
        let [events, outcomes, snapshots] = READ.map(consumers);
        let (events, outcomes, snapshots) = tokio::try_join!(events, outcomes, snapshots)?;
        let sender = proven.used().ok_or(Error::Closed)?;
        let shared = Shared {
            producer: Producer::new(topics, sender, options.settings.producer.queue_bytes),
            options: Mutex::new(options),
            cluster,
            consumers: [events, outcomes, snapshots],
            checkpoints: Checkpoints::default(),
            ends: Ends::default(),
            held: Mutex::default(),
            retuning: Semaphore::new(1),
            asides: TopicRole::ALL.map(|_| Arc::new(Semaphore::new(ASIDE_BYTES as usize))),
        };
        Ok(KafkaBroker(Arc::new(shared)))
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    /// What ails the clients now; `None` when they work, or have nothing to do.
    pub fn trouble(&self) -> Option<KafkaTrouble> {
        let consumers = self.0.consumers.iter().find_map(|consumers| consumers.trouble());
        self.0.producer.trouble().or(consumers)
    }

    /// Changes addresses, credentials or settings while all goes on: new clients are made and prove
    /// themselves first, then take over. If any cannot, nothing has happened, and the error says
    /// why. The cluster stays the same. Only clients whose settings change are replaced.
    pub async fn retune(
        &self,
        connection: Connection,
        settings: ClientSettings,
    ) -> Result<Retuned, Error> {
        let shared = &self.0;
        let _one = shared.retuning.acquire().await.map_err(|_| Error::Closed)?;
        let old = shared.options().clone();
        let new = KafkaOptions { connection, settings, ..old.clone() };
        new.check()?;
        let expected = Expected { cluster: Some(shared.cluster.clone()), ..new.expected() };
        let began = tokio::time::Instant::now();
        let fetches_change = old.consumer_properties() != new.consumer_properties();
        let sends_change = old.producer_properties() != new.producer_properties()
            || old.settings.producer != new.settings.producer;
        let consumer = async |consumers: &Arc<Consumers>| match fetches_change {
            true => {
                let topics = vec![consumers.topic().to_string()];
                consumers.prove(&new, Expected { topics, ..expected.clone() }).await.map(Some)
            }
            false => Ok(None),
        };
        let sender = async {
            match sends_change {
                true => Sender::prove(new.producer_properties(), expected.clone()).await.map(Some),
                false => Ok(None),
            }
        };
        let [events, outcomes, snapshots] = &shared.consumers;
        // side by side: each waits for its own connection
        let proven =
            tokio::try_join!(consumer(events), consumer(outcomes), consumer(snapshots), sender);
        let (events, outcomes, snapshots, sender) = proven.map_err(Error::Kafka)?;
        let sender = sender.and_then(|(proven, _)| proven.used());
        let proof = began.elapsed();
        let (room, drain) = (new.settings.producer.queue_bytes, new.settings.session.drain);
        shared.producer.shrink(room, drain).await.map_err(Error::Kafka)?;
        for (consumers, next) in shared.consumers.iter().zip([events, outcomes, snapshots]) {
            if let Some(next) = next {
                consumers.swap(next, new.clone());
            }
        }
        *shared.options() = new.clone();
        let producer = match sender {
            Some(sender) => Some(shared.producer.swap(sender, drain).await),
            None => None,
        };
        shared.producer.grow(room);
        Ok(Retuned { proof, producer, consumers: fetches_change })
    }
}

impl Broker for KafkaBroker {
    type Owned = KafkaOwned;
    type Reader = KafkaReader;

    /// Appends a barrier and reads up to it: from there on nobody else's outcomes are believed, and
    /// an earlier owner gets nothing acknowledged that it appends behind it.
    async fn take(&self, partition: PartitionId, claim: Claim) -> Result<KafkaOwned, Error> {
        let shared = &self.0;
        if let Some(held) = shared.held().remove(&partition).and_then(|held| held.upgrade()) {
            held.end_with(Error::Closed);
        }
        shared.renew_producer().await?;
        let take = Take(rand::random());
        // one word, as it stands in a header
        let incarnation: Arc<str> = claim.incarnation.replace(char::is_whitespace, "_").into();
        let owner = claim.owner.as_str().into();
        let barrier = Mark::Barrier { epoch: claim.epoch, take, incarnation, owner };
        let mut reader = shared.reader(partition, LogKind::Outcomes, Whose::Owner);
        // Whatever can fail does so before the barrier is there: barriers stay for ever, and a
        // take-over is tried again and again.
        let (believed, _) =
            tokio::try_join!(reader.belief_at_end(), shared.bounds(partition, TopicRole::Events))?;
        if believed.clone().judge(Some(&barrier)) != Verdict::Barrier {
            return Err(superseded(&believed));
        }
        let barrier = barrier.to_string();
        let headers = [(believe::HEADER, barrier.as_bytes())];
        let record = Outgoing { key: None, payload: Some(&[]), headers: &headers };
        let at = shared.append(TopicRole::Outcomes, partition, record, "append a barrier").await?;
        // also how far the events reach now, so that nothing that is there is taken for the end
        let (belief, _) = tokio::try_join!(
            reader.belief_before(at + 1),
            shared.bounds(partition, TopicRole::Events)
        )?;
        if belief.holder().is_none_or(|holder| holder.take != take) {
            return Err(superseded(&belief));
        }
        let ownership = Arc::new(Ownership::new(claim.epoch, take, belief, at));
        shared.held().insert(partition, Arc::downgrade(&ownership));
        Ok(KafkaOwned::new(Arc::clone(shared), partition, ownership))
    }

    fn reader(&self, partition: PartitionId, log: LogKind) -> KafkaReader {
        self.0.reader(partition, log, Whose::Owner)
    }

    fn follower(&self, partition: PartitionId) -> KafkaReader {
        self.0.reader(partition, LogKind::Outcomes, Whose::Follower)
    }

    async fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Result<(), Error> {
        snapshots::keep(&self.0, partition, &snapshot).await
    }

    async fn kept_snapshot<T: Send + 'static>(
        &self,
        partition: PartitionId,
        read: impl Fn(Snapshot) -> Result<T, String> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let Some(snapshot) = snapshots::kept(&self.0, partition).await? else { return Ok(None) };
        let outcomes = snapshot.outcomes;
        let understood = tokio::task::spawn_blocking(move || read(snapshot)).await;
        match understood.map_err(|_| Error::Closed)? {
            Ok(read) => Ok(Some(read)),
            Err(why) => {
                tracing::warn!(%partition, %outcomes, why, "a snapshot is left out");
                Ok(None)
            }
        }
    }
}

impl Shared {
    /// Replaces a producer that can never send anything again. All that it had was answered with an
    /// error, so that whoever appends tries again, and comes here first.
    pub(crate) async fn renew_producer(&self) -> Result<(), Error> {
        if !self.producer.is_finished() {
            return Ok(());
        }
        let _one = self.retuning.acquire().await.map_err(|_| Error::Closed)?;
        if !self.producer.is_finished() {
            return Ok(());
        }
        let options = self.options().clone();
        let expected = Expected { cluster: Some(self.cluster.clone()), ..options.expected() };
        let proven = Sender::prove(options.producer_properties(), expected).await;
        let sender = proven.map_err(Error::Kafka)?.0.used().ok_or(Error::Closed)?;
        self.producer.swap(sender, Duration::ZERO).await;
        Ok(())
    }

    fn reader(self: &Arc<Self>, partition: PartitionId, log: LogKind, whose: Whose) -> KafkaReader {
        KafkaReader::new(Arc::clone(self), partition, log, whose)
    }

    /// Of a topic that we read.
    pub(crate) fn consumers(&self, topic: TopicRole) -> &Arc<Consumers> {
        &self.consumers[topic as usize]
    }

    /// Largest request.
    pub(crate) fn message_bytes(&self) -> usize {
        self.options().settings.producer.message_bytes as usize
    }

    /// Appends one record that belongs to no holding. Out: its place. Of a partition that was added of
    /// late the client may know nothing yet.
    pub(crate) async fn append(
        &self,
        topic: TopicRole,
        partition: PartitionId,
        outgoing: Outgoing<'_>,
        act: &'static str,
    ) -> Result<u64, Error> {
        match self.append_once(topic, partition, outgoing, act).await {
            Err(Error::Kafka(KafkaTrouble::PartitionUnknown)) => {
                self.producer.look_anew().await;
                self.append_once(topic, partition, outgoing, act).await
            }
            appended => appended,
        }
    }

    async fn append_once(
        &self,
        topic: TopicRole,
        partition: PartitionId,
        outgoing: Outgoing<'_>,
        act: &'static str,
    ) -> Result<u64, Error> {
        let gate = self.producer.gate(topic, partition);
        let end = self.end_of(partition, topic);
        let bytes = outgoing.bytes().min(ASIDE_BYTES as usize);
        let room = Arc::clone(&self.asides[topic as usize]);
        let appended = async {
            let room = room.acquire_many_owned(u32::try_from(bytes).unwrap_or(ASIDE_BYTES)).await;
            let mut room = Some(room.map_err(|_| Error::Closed)?);
            let (reply, answer) = oneshot::channel();
            let mut reply = Some(reply);
            let failed = gate.send(|_| {
                gate.try_send(|sender| {
                    let Some(reply) = reply.take() else { return (0, None) };
                    let flight =
                        Flight::new(1, None, end.clone(), room.take().into_iter().collect(), reply);
                    let flight = Arc::new(flight);
                    let ticket = Box::new(Ticket { gate: Arc::clone(&gate), flight, index: 0 });
                    match sender.send(gate.topic(), gate.partition(), outgoing, ticket) {
                        Ok(()) => (1, None),
                        Err((error, _)) => (0, Some(error)),
                    }
                })
            });
            match failed.await {
                Some(error) => Err(error),
                None => answer.await.unwrap_or(Err(Error::Closed)),
            }
        };
        let late = KafkaTrouble::Late { act };
        match tokio::time::timeout(APPEND_LIMIT, appended).await {
            Ok(offsets) => offsets?.first().map(|offset| offset.0).ok_or(Error::Closed),
            Err(_) => Err(Error::Kafka(self.producer.trouble().unwrap_or(late))),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<PartitionId, Weak<Ownership>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self) -> MutexGuard<'_, KafkaOptions> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn superseded(by: &Belief) -> Error {
    let (holds, owner) =
        by.holder().map_or((Epoch(0), ""), |holder| (holder.epoch, &*holder.owner));
    Error::Superseded { holds, owner: owner.to_owned() }
}
