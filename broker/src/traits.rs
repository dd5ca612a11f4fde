//! What the agent's gateway and workers need of a broker. A partition has two logs; its owner
//! appends to both under its epoch, everybody reads. Interfaces only.

use std::future::Future;

use config_schemas::{Epoch, Offset, PartitionId};

use crate::claim::Claim;
use crate::dead::DeadLetter;
use crate::error::Error;
use crate::records::{Chunk, Records};
use crate::snapshot::Snapshot;

/// Which of a partition's two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogKind {
    /// What came in.
    Events,
    /// What became of it.
    Outcomes,
}

impl LogKind {
    /// Both.
    pub const ALL: [LogKind; 2] = [LogKind::Events, LogKind::Outcomes];

    /// As in file and topic names.
    pub fn as_str(self) -> &'static str {
        match self {
            LogKind::Events => "events",
            LogKind::Outcomes => "outcomes",
        }
    }
}

/// A broker: takes partitions over, opens readers.
pub trait Broker: Clone + Send + Sync + 'static {
    /// The owner's handle.
    type Owned: Owned<Reader = Self::Reader>;
    /// A reader's handle.
    type Reader: Reader;

    /// Takes the partition over. When this returns, no earlier owner can have anything
    /// acknowledged any more, and all that ever was acknowledged can be read. Moves no data.
    fn take(
        &self,
        partition: PartitionId,
        claim: Claim,
    ) -> impl Future<Output = Result<Self::Owned, Error>> + Send;

    /// A reader of one log for who serves the partition, or is about to. Cheap: no I/O before the
    /// first call on it.
    fn reader(&self, partition: PartitionId, log: LogKind) -> Self::Reader;

    /// A reader of outcomes for anybody else: never in the way of those who serve the partition, and
    /// it may wait for places far ahead.
    fn follower(&self, partition: PartitionId) -> Self::Reader {
        self.reader(partition, LogKind::Outcomes)
    }

    /// Lays ready what makes [`Broker::take`] quicker, if there is anything. Claims nothing: the
    /// partition may be somebody else's.
    fn prepare(&self, _partition: PartitionId) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Keeps what was made of a partition's outcomes, next to its logs: durable as a whole or not
    /// there at all, and in nobody's way. Refused if no reader believes the outcomes that it is
    /// about. Any process may keep one; it states a fact, and needs no ownership.
    fn keep_snapshot(
        &self,
        partition: PartitionId,
        snapshot: Snapshot,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The newest kept snapshot that can be believed and that `read` understands. Damaged ones,
    /// those of another build and those that are not about this log are named in the log of the
    /// process and left out: the outcomes themselves say the same.
    fn kept_snapshot<T: Send + 'static>(
        &self,
        partition: PartitionId,
        read: impl Fn(Snapshot) -> Result<T, String> + Send + 'static,
    ) -> impl Future<Output = Result<Option<T>, Error>> + Send;
}

/// A partition held under an epoch. Clones are the same holding.
pub trait Owned: Clone + Send + Sync + 'static {
    /// An append that is in line.
    type Submitted: Future<Output = Result<Vec<Offset>, Error>> + Send + Unpin + 'static;
    /// As the broker's.
    type Reader: Reader;

    /// Which partition.
    fn partition(&self) -> PartitionId;

    /// Under which epoch.
    fn epoch(&self) -> Epoch;

    /// Appends in the order of the calls, merged with what others append meanwhile. When this
    /// returns `Ok`, the records are durable and believed by every reader, at these offsets.
    /// After an error they may still appear later (as after any crash), but were not promised.
    fn append(
        &self,
        log: LogKind,
        records: Records,
    ) -> impl Future<Output = Result<Vec<Offset>, Error>> + Send;

    /// Puts records in line, in the order of the calls, and returns before they are durable; what
    /// [`append`](Self::append) promises, the answer does. Waits only while too much is in line.
    /// Dropping the answer does not take the records back.
    fn submit(
        &self,
        log: LogKind,
        records: Records,
    ) -> impl Future<Output = Result<Self::Submitted, Error>> + Send;

    /// The end of what is durable, as far as this process knows. Of outcomes nobody knows more, as
    /// nobody else writes them; of events others may have written more.
    fn end(&self, log: LogKind) -> Offset;

    /// Events from `next` on that are there, as far as known: at most a second old.
    fn events_behind(&self, next: Offset) -> u64 {
        self.end(LogKind::Events).0.saturating_sub(next.0)
    }

    /// Returns when the outcome at `offset` is durable; once another owns the partition, perhaps
    /// never.
    fn outcomes_beyond(&self, offset: Offset) -> impl Future<Output = ()> + Send;

    /// Returns when `reader` can read the event at `offset`, whoever wrote it. Cancelling it loses
    /// nothing.
    fn events_beyond(
        &self,
        reader: &mut Self::Reader,
        offset: Offset,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The records that became durable last, if they begin at `from` and are in memory still: what
    /// a reader who keeps up need not read again. Given once.
    fn fresh(&self, _log: LogKind, _from: Offset) -> Option<Chunk> {
        None
    }

    /// Leaves an event that cannot be played where people find it, once: its bytes, and beside them
    /// why, where it stands, and what it was tried under. Brokers that have no place for it do
    /// nothing: what became of the event stands in the outcomes in any case.
    fn put_dead_letter(
        &self,
        _letter: DeadLetter<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Lets appends under way finish, then closes: later ones get [`Error::Closed`].
    fn release(&self) -> impl Future<Output = ()> + Send;
}

/// Reads one log, in any process, whoever owns it.
pub trait Reader: Send + 'static {
    /// Reads from `from` on, about `bytes_max` bytes and at least one record if there is one.
    fn read(
        &mut self,
        from: Offset,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Chunk, Error>> + Send;

    /// The end of what can be believed now.
    fn end(&mut self) -> impl Future<Output = Result<Offset, Error>> + Send;

    /// Returns when the record at `offset` can be read. Cancelling it loses nothing.
    fn wait_beyond(&mut self, offset: Offset) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether the log keeps copies elsewhere and mends them by itself. One that does not may have
    /// damage that nobody knows of until it is read.
    fn is_replicated(&self) -> bool;
}
