//! Either broker as one: what the resource names is known only when the hunt is. In and out: as the
//! traits say. No decisions, no I/O of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use config_schemas::{Epoch, Offset, PartitionId};

use crate::claim::Claim;
use crate::dead::DeadLetter;
use crate::embedded::{Embedded, EmbeddedOwned, EmbeddedReader, EmbeddedSubmitted};
use crate::error::Error;
use crate::kafka::{KafkaBroker, KafkaOwned, KafkaReader, KafkaSubmitted};
use crate::records::{Chunk, Records};
use crate::snapshot::Snapshot;
use crate::traits::{Broker, LogKind, Owned, Reader};

/// A broker of either kind.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum AnyBroker {
    Embedded(Embedded),
    Kafka(KafkaBroker),
}

/// A holding at either.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum AnyOwned {
    Embedded(EmbeddedOwned),
    Kafka(KafkaOwned),
}

/// A reader at either.
#[allow(missing_docs)]
pub enum AnyReader {
    Embedded(EmbeddedReader),
    Kafka(KafkaReader),
}

/// An append at either.
#[allow(missing_docs)]
pub enum AnySubmitted {
    Embedded(EmbeddedSubmitted),
    Kafka(KafkaSubmitted),
}

/// The same call on whichever it is.
macro_rules! either {
    ($any:ident, $self:expr, $it:ident => $call:expr) => {
        match $self {
            $any::Embedded($it) => $call,
            $any::Kafka($it) => $call,
        }
    };
}

impl AnyBroker {
    /// What ails the way to the broker now, of all partitions.
    pub fn trouble(&self) -> Option<Error> {
        match self {
            AnyBroker::Embedded(_) => None,
            AnyBroker::Kafka(kafka) => kafka.trouble().map(Error::Kafka),
        }
    }
}

impl Broker for AnyBroker {
    type Owned = AnyOwned;
    type Reader = AnyReader;

    async fn take(&self, partition: PartitionId, claim: Claim) -> Result<AnyOwned, Error> {
        match self {
            AnyBroker::Embedded(it) => it.take(partition, claim).await.map(AnyOwned::Embedded),
            AnyBroker::Kafka(it) => it.take(partition, claim).await.map(AnyOwned::Kafka),
        }
    }

    fn reader(&self, partition: PartitionId, log: LogKind) -> AnyReader {
        match self {
            AnyBroker::Embedded(it) => AnyReader::Embedded(it.reader(partition, log)),
            AnyBroker::Kafka(it) => AnyReader::Kafka(it.reader(partition, log)),
        }
    }

    fn follower(&self, partition: PartitionId) -> AnyReader {
        match self {
            AnyBroker::Embedded(it) => AnyReader::Embedded(it.follower(partition)),
            AnyBroker::Kafka(it) => AnyReader::Kafka(it.follower(partition)),
        }
    }

    async fn prepare(&self, partition: PartitionId) -> Result<(), Error> {
        either!(AnyBroker, self, it => it.prepare(partition).await)
    }

    async fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Result<(), Error> {
        either!(AnyBroker, self, it => it.keep_snapshot(partition, snapshot).await)
    }

    async fn kept_snapshot<T: Send + 'static>(
        &self,
        partition: PartitionId,
        read: impl Fn(Snapshot) -> Result<T, String> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        either!(AnyBroker, self, it => it.kept_snapshot(partition, read).await)
    }
}

impl Owned for AnyOwned {
    type Submitted = AnySubmitted;
    type Reader = AnyReader;

    fn partition(&self) -> PartitionId {
        either!(AnyOwned, self, it => it.partition())
    }

    fn epoch(&self) -> Epoch {
        either!(AnyOwned, self, it => it.epoch())
    }

    async fn append(&self, log: LogKind, records: Records) -> Result<Vec<Offset>, Error> {
        either!(AnyOwned, self, it => it.append(log, records).await)
    }

    async fn submit(&self, log: LogKind, records: Records) -> Result<AnySubmitted, Error> {
        match self {
            AnyOwned::Embedded(it) => it.submit(log, records).await.map(AnySubmitted::Embedded),
            AnyOwned::Kafka(it) => it.submit(log, records).await.map(AnySubmitted::Kafka),
        }
    }

    fn end(&self, log: LogKind) -> Offset {
        either!(AnyOwned, self, it => it.end(log))
    }

    fn events_behind(&self, next: Offset) -> u64 {
        either!(AnyOwned, self, it => it.events_behind(next))
    }

    async fn outcomes_beyond(&self, offset: Offset) {
        either!(AnyOwned, self, it => it.outcomes_beyond(offset).await);
    }

    async fn events_beyond(&self, reader: &mut AnyReader, offset: Offset) -> Result<(), Error> {
        match (self, reader) {
            (AnyOwned::Embedded(it), AnyReader::Embedded(reader)) => {
                it.events_beyond(reader, offset).await
            }
            (AnyOwned::Kafka(it), AnyReader::Kafka(reader)) => {
                it.events_beyond(reader, offset).await
            }
            // of two brokers; whoever holds such a pair asks the reader
            (_, reader) => reader.wait_beyond(offset).await,
        }
    }

    fn fresh(&self, log: LogKind, from: Offset) -> Option<Chunk> {
        either!(AnyOwned, self, it => it.fresh(log, from))
    }

    async fn put_dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), Error> {
        either!(AnyOwned, self, it => it.put_dead_letter(letter).await)
    }

    async fn release(&self) {
        either!(AnyOwned, self, it => it.release().await);
    }
}

impl Reader for AnyReader {
    async fn read(&mut self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        either!(AnyReader, self, it => it.read(from, bytes_max).await)
    }

    async fn end(&mut self) -> Result<Offset, Error> {
        either!(AnyReader, self, it => it.end().await)
    }

    async fn wait_beyond(&mut self, offset: Offset) -> Result<(), Error> {
        either!(AnyReader, self, it => it.wait_beyond(offset).await)
    }

    fn is_replicated(&self) -> bool {
        either!(AnyReader, self, it => it.is_replicated())
    }
}

impl Future for AnySubmitted {
    type Output = Result<Vec<Offset>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        either!(AnySubmitted, &mut *self, it => Pin::new(it).poll(context))
    }
}
