//! A partition that this process holds: appends to its topics. In: batches. Out: answers, given
//! only for what every reader believes. I/O.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use config_schemas::{Epoch, Offset, PartitionId, TopicRole};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Shared;
use super::barrier::first_barrier;
use super::believe::{self, Mark};
use super::flight::{Answer, Flight, Ticket};
use super::gate::Gate;
use super::ownership::{Ownership, Standing};
use super::reader::KafkaReader;
use super::sender::{Outgoing, RECORD_OVERHEAD};
use crate::dead::DeadLetter;
use crate::error::Error;
use crate::records::{RECORD_BYTES_MAX, Records};
use crate::traits::{LogKind, Owned, Reader as _};

/// Most bytes of one partition's topic that wait for acknowledgement. A larger batch goes in parts.
const ROOM_BYTES: u32 = 8 << 20;
/// How long a release waits for what is under way. It is not lost by that: it arrives, or not, as
/// after any crash.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// A partition of a [`KafkaBroker`](crate::KafkaBroker) that this process holds.
#[derive(Clone)]
pub struct KafkaOwned(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    partition: PartitionId,
    ownership: Arc<Ownership>,
    gates: [Arc<Gate>; 2],
    room: [Arc<Semaphore>; 2],
    released: AtomicBool,
}

/// Where an append gets its room, and whom it tells.
type Fare = (Vec<OwnedSemaphorePermit>, oneshot::Sender<Answer>);
/// Records that the client did not take.
type Failed = Vec<(Error, Box<Ticket>)>;

impl KafkaOwned {
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: PartitionId,
        ownership: Arc<Ownership>,
    ) -> KafkaOwned {
        let gates = LogKind::ALL.map(|log| shared.producer.gate(log.into(), partition));
        let room = [(); 2].map(|()| Arc::new(Semaphore::new(ROOM_BYTES as usize)));
        let released = AtomicBool::new(false);
        KafkaOwned(Arc::new(Inner { shared, partition, ownership, gates, room, released }))
    }

    /// Puts all of the batch in line, once the gate is open.
    async fn send(&self, log: LogKind, records: &Records, fare: Fare) -> Result<(), Error> {
        let Inner { gates, ownership, .. } = &*self.0;
        let gate = &gates[place(log)];
        let mut fare = Some(fare);
        let sent: Result<Failed, Error> = gate
            .send(|_| match log {
                LogKind::Events if self.0.released.load(Ordering::Relaxed) => {
                    Some(Err(Error::Closed))
                }
                LogKind::Events => self.try_send(gate, records, None, &mut fare).map(Ok),
                LogKind::Outcomes => {
                    let count = records.len() as u64;
                    let numbered = ownership.number(count, |first| {
                        self.try_send(gate, records, Some(first), &mut fare)
                    });
                    numbered.transpose()
                }
            })
            .await;
        for (error, ticket) in sent? {
            ticket.flight.landed(ticket.index, Err(error));
        }
        Ok(())
    }

    /// `None` while the gate is shut; `first` is the first record's number.
    fn try_send(
        &self,
        gate: &Arc<Gate>,
        records: &Records,
        first: Option<u64>,
        fare: &mut Option<Fare>,
    ) -> Option<Failed> {
        let ownership = &self.0.ownership;
        let log = if first.is_some() { LogKind::Outcomes } else { LogKind::Events };
        gate.try_send(|sender| {
            let Some((room, reply)) = fare.take() else { return (0, Vec::new()) };
            let held = first.map(|first| (Arc::clone(ownership), first));
            let end = self.0.shared.end_of(self.0.partition, log.into());
            let flight = Arc::new(Flight::new(records.len(), held, end, room, reply));
            let (mut failed, mut mark) = (Vec::new(), String::new());
            for (index, payload) in records.iter().enumerate() {
                mark.clear();
                let said = first.map_or(Mark::Event, |first| ownership.mark(first + index as u64));
                // a String takes all that is written to it
                let _ = write!(mark, "{said}");
                let headers = &[(believe::HEADER, mark.as_bytes())];
                let key = records.key(index);
                let outgoing = Outgoing { key, payload: Some(payload), headers };
                let (ticket_gate, flight) = (Arc::clone(gate), Arc::clone(&flight));
                let ticket = Box::new(Ticket { gate: ticket_gate, flight, index });
                let sent = sender.send(gate.topic(), gate.partition(), outgoing, ticket);
                failed.extend(sent.err());
            }
            (records.len() - failed.len(), failed)
        })
    }

    /// The batch in parts that there can be room for. None is sent when one record is too large.
    fn parts(&self, records: Records) -> Result<Vec<Records>, Error> {
        let message = self.0.shared.message_bytes();
        let payload_max = message.saturating_sub(RECORD_OVERHEAD).min(RECORD_BYTES_MAX);
        if let Some(large) = records.iter().find(|record| record.len() > payload_max) {
            return Err(Error::TooLarge { bytes: large.len() });
        }
        let most = ROOM_BYTES.min(self.0.shared.producer.room_bytes()) as usize;
        Ok(records.split(most, RECORD_OVERHEAD))
    }

    /// Room for a part of a batch.
    async fn room(
        &self,
        log: LogKind,
        records: &Records,
    ) -> Result<Vec<OwnedSemaphorePermit>, Error> {
        let shared = &self.0.shared;
        let bytes = records.bytes() + records.len() * RECORD_OVERHEAD;
        let fits = u32::try_from(bytes).unwrap_or(ROOM_BYTES).min(ROOM_BYTES);
        let closed = |_| Error::Closed;
        let room = Arc::clone(&self.0.room[place(log)]);
        let ours = room.acquire_many_owned(fits).await.map_err(closed)?;
        let all = Arc::clone(&shared.producer.room);
        Ok(vec![ours, all.acquire_many_owned(fits).await.map_err(closed)?])
    }
}

impl Inner {
    /// Whether every reader believes acknowledged outcomes up to `last`. Looks into places between
    /// them that are not ours.
    async fn believed(&self, last: Offset) -> Result<(), Error> {
        loop {
            match self.ownership.standing(last.0) {
                Standing::Believed => return Ok(()),
                Standing::Not(error) => return Err(error),
                Standing::Doubtful(_) => {}
            }
            let _turn = self.ownership.looking.acquire().await.map_err(|_| Error::Closed)?;
            let Standing::Doubtful(place) = self.ownership.standing(last.0) else { continue };
            let belief = self.ownership.belief();
            let consumers = self.shared.consumers(TopicRole::Outcomes);
            let barrier = first_barrier(consumers, self.partition, &place, belief).await?;
            self.ownership.looked(&place, barrier);
        }
    }
}

fn place(log: LogKind) -> usize {
    match log {
        LogKind::Events => 0,
        LogKind::Outcomes => 1,
    }
}

/// An append that waits for the brokers.
pub struct KafkaSubmitted(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl Future for KafkaSubmitted {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        self.0.as_mut().poll(context)
    }
}

impl Owned for KafkaOwned {
    type Submitted = KafkaSubmitted;
    type Reader = KafkaReader;

    fn partition(&self) -> PartitionId {
        self.0.partition
    }

    fn epoch(&self) -> Epoch {
        self.0.ownership.epoch()
    }

    async fn append(&self, log: LogKind, records: Records) -> Answer {
        self.submit(log, records).await?.await
    }

    async fn submit(&self, log: LogKind, records: Records) -> Result<KafkaSubmitted, Error> {
        self.0.shared.renew_producer().await?;
        let mut answers = Vec::new();
        for part in self.parts(records)? {
            let room = self.room(log, &part).await?;
            let (reply, answer) = oneshot::channel();
            self.send(log, &part, (room, reply)).await?;
            answers.push(answer);
        }
        let inner = Arc::clone(&self.0);
        Ok(KafkaSubmitted(Box::pin(async move {
            let mut offsets = Vec::new();
            for answer in answers {
                offsets.append(&mut answer.await.unwrap_or(Err(Error::Closed))?);
            }
            if let (LogKind::Outcomes, Some(last)) = (log, offsets.last()) {
                inner.believed(*last).await?;
            }
            Ok(offsets)
        })))
    }

    fn end(&self, log: LogKind) -> Offset {
        match log {
            LogKind::Events => Offset(self.0.shared.known_end(self.0.partition, TopicRole::Events)),
            LogKind::Outcomes => self.0.ownership.end(),
        }
    }

    fn events_behind(&self, next: Offset) -> u64 {
        let (shared, partition) = (&self.0.shared, self.0.partition);
        let counted = shared.consumers(TopicRole::Events).counted_end(partition).unwrap_or(0);
        let end = counted.max(shared.known_end(partition, TopicRole::Events));
        end.saturating_sub(next.0)
    }

    async fn outcomes_beyond(&self, offset: Offset) {
        let mut end = self.0.shared.end_of(self.0.partition, TopicRole::Outcomes).subscribe();
        // the sender is kept beside the partition's clients, for as long as this handle
        let _ = end.wait_for(|end| *end > offset.0).await;
    }

    async fn events_beyond(&self, reader: &mut KafkaReader, offset: Offset) -> Result<(), Error> {
        reader.wait_beyond(offset).await
    }

    async fn put_dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), Error> {
        let DeadLetter { partition, offset, payload, why, config_revision } = letter;
        let numbers = [partition.to_string(), offset.to_string(), config_revision.to_string()];
        let [from, at, under] = numbers.each_ref().map(|number| number.as_bytes());
        let headers = [
            ("treasurehunt-cause", why.as_bytes()),
            ("treasurehunt-partition", from),
            ("treasurehunt-offset", at),
            ("treasurehunt-config-revision", under),
        ];
        let record = Outgoing { key: None, payload: Some(payload), headers: &headers };
        let shared = &self.0.shared;
        shared
            .append(TopicRole::DeadLetters, partition, record, "leave a dead letter")
            .await
            .map(drop)
    }

    async fn release(&self) {
        self.0.released.store(true, Ordering::Relaxed);
        self.0.ownership.end_with(Error::Closed);
        let rest = async {
            for room in &self.0.room {
                // all room is free when every append under way is answered
                let _all = room.acquire_many(ROOM_BYTES).await;
            }
        };
        if tokio::time::timeout(RELEASE_LIMIT, rest).await.is_err() {
            tracing::warn!(partition = %self.0.partition, "released with appends under way");
        }
    }
}
