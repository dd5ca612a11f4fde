//! One producer client, from its proof to its end: a generation. In: connection and settings. Out:
//! a client that has shown that it can send; acknowledgements, on its own thread. I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};

use super::connection::Property;
use super::flight::Ticket;
use super::proof::{Expected, Pulse, config};
use super::trouble::{KafkaTrouble, of_delivery};
use crate::error::Error;

/// How long one look for acknowledgements waits; so late a thread sees at most that it is to end.
const POLL: Duration = Duration::from_millis(100);
/// The same while it waits for the last ones who hold it.
const POLL_RETIRED: Duration = Duration::from_millis(10);

/// What a record takes besides its bytes: header, lengths, and its place in the client's queue.
pub(crate) const RECORD_OVERHEAD: usize = 192;

/// Longest wait for what a topic has; asked for again with the next record that finds no partition.
const LOOK: Duration = Duration::from_secs(1);

/// A record to be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outgoing<'a> {
    /// What ordinary clients choose a partition by, and compaction what is newer.
    pub(crate) key: Option<&'a [u8]>,
    /// `None` says that what stood under the key is gone.
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'static str, &'a [u8])],
}

impl Outgoing<'_> {
    /// What it takes, about, while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        let (key, payload) = (self.key.map_or(0, <[u8]>::len), self.payload.map_or(0, <[u8]>::len));
        RECORD_OVERHEAD + key + payload + headers.sum::<usize>()
    }
}

/// A producer and the thread that serves it.
pub(crate) struct Sender {
    producer: BaseProducer<SenderContext>,
    pulse: Arc<Pulse>,
    retired: AtomicBool,
}

/// What librdkafka calls.
struct SenderContext {
    pulse: Arc<Pulse>,
}

impl ClientContext for SenderContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "producer");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.pulse.counted(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "producer");
        if let Some(trouble) = KafkaTrouble::of_client(&error, reason) {
            self.pulse.begin(trouble);
        }
    }
}

impl ProducerContext for SenderContext {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        match result {
            Ok(message) => {
                self.pulse.end();
                ticket.landed(Ok(message.offset()));
            }
            Err((error, message)) => {
                let bytes = message.payload_len();
                let code = error.rdkafka_error_code();
                let code = code.unwrap_or(rdkafka::types::RDKafkaErrorCode::Unknown);
                ticket.landed(Err(of_delivery(code, bytes)));
            }
        }
    }
}

impl Sender {
    /// Makes a producer and has it prove itself. Also out: the cluster's id. One that cannot is
    /// gone again when this returns, or shortly after.
    pub(crate) async fn prove(
        properties: Vec<Property>,
        expected: Expected,
    ) -> Result<(Proven, String), KafkaTrouble> {
        let sender = Sender::on_trial(properties)?;
        let served = Arc::clone(&sender);
        thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || serve(served))
            .map_err(|error| KafkaTrouble::NoClient { why: error.to_string() })?;
        let on_trial = Proven(Some(sender));
        let cluster = on_trial.prove(expected).await?;
        Ok((on_trial, cluster))
    }

    pub(super) fn on_trial(properties: Vec<Property>) -> Result<Arc<Sender>, KafkaTrouble> {
        let pulse = Arc::new(Pulse::default());
        let context = SenderContext { pulse: Arc::clone(&pulse) };
        let producer = BaseProducer::from_config_and_context(&config(properties), context)
            .map_err(|error| KafkaTrouble::of_making(&error))?;
        Ok(Arc::new(Sender { producer, pulse, retired: AtomicBool::new(false) }))
    }

    /// Puts a record in line. It is never waited for: our own bounds are tighter than the queue's.
    pub(crate) fn send(
        &self,
        topic: &str,
        partition: i32,
        outgoing: Outgoing<'_>,
        ticket: Box<Ticket>,
    ) -> Result<(), (Error, Box<Ticket>)> {
        let mut record =
            BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, ticket).partition(partition);
        (record.key, record.payload) = (outgoing.key, outgoing.payload);
        if !outgoing.headers.is_empty() {
            let all = OwnedHeaders::new_with_capacity(outgoing.headers.len());
            let all = outgoing
                .headers
                .iter()
                .fold(all, |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
            record = record.headers(all);
        }
        self.producer.send(record).map_err(|(error, record)| {
            let code = error.rdkafka_error_code();
            let code = code.unwrap_or(rdkafka::types::RDKafkaErrorCode::Unknown);
            (of_delivery(code, outgoing.payload.map_or(0, <[u8]>::len)), record.delivery_opaque)
        })
    }

    /// Asks which partitions a topic has, and goes by it from then on. Blocking.
    pub(crate) fn look(&self, topic: &str) {
        if let Err(error) = self.client().fetch_metadata(Some(topic), LOOK) {
            tracing::debug!(topic, %error, "cannot look at the topic");
        }
    }

    /// What ails it.
    pub(crate) fn trouble(&self) -> Option<KafkaTrouble> {
        self.pulse.trouble()
    }

    /// Whether it can never send anything again: its order is lost beyond repair.
    pub(crate) fn is_finished(&self) -> bool {
        self.client().fatal_error().is_some()
    }

    /// Ends it when nobody holds it any more, on its own thread.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Gives up all that is not acknowledged.
    pub(crate) fn give_up(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// A producer that has failed for good keeps what was on its way, and never answers.
    fn answer_if_finished(&self) {
        if self.is_finished() {
            self.give_up();
        }
    }

    fn client(&self) -> &Client<SenderContext> {
        self.producer.client()
    }
}

/// A producer that may be used. Unless it is, it retires: when it could not prove itself, when
/// something else could not, or when nobody waits for it any more.
pub(crate) struct Proven(Option<Arc<Sender>>);

impl Proven {
    /// Uses it.
    pub(crate) fn used(mut self) -> Option<Arc<Sender>> {
        self.0.take()
    }

    async fn prove(&self, expected: Expected) -> Result<String, KafkaTrouble> {
        let Some(sender) = self.0.clone() else { return Err(KafkaTrouble::NoProducerId) };
        let (within, pulse) = (expected.within, Arc::clone(&sender.pulse));
        let asked =
            tokio::task::spawn_blocking(move || expected.prove(sender.client(), &sender.pulse));
        let late = |_| KafkaTrouble::Late { act: "proving a client" };
        let cluster = asked.await.map_err(late)??;
        let mut has_id = pulse.has_id().subscribe();
        let has_id = tokio::time::timeout(within, has_id.wait_for(|has| *has)).await;
        if has_id.is_err() {
            return Err(pulse.trouble().unwrap_or(KafkaTrouble::NoProducerId));
        }
        Ok(cluster)
    }
}

impl Drop for Proven {
    fn drop(&mut self) {
        if let Some(sender) = &self.0 {
            sender.retire();
        }
    }
}

/// Serves a producer until it is retired and nobody else holds it; ending it takes up to half a
/// second, for which nobody waits.
fn serve(sender: Arc<Sender>) {
    while !sender.retired.load(Ordering::Relaxed) {
        sender.producer.poll(POLL);
        sender.answer_if_finished();
    }
    while Arc::strong_count(&sender) > 1 {
        sender.producer.poll(POLL_RETIRED);
        sender.answer_if_finished();
    }
}
