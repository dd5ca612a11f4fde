//! What the agent's gateway and workers need of a broker. A partition has two logs; its owner
//! appends to both under its epoch, everybody reads. Interfaces only.

use std::future::Future;

use config_schemas::{Epoch, Offset, PartitionId};

use crate::claim::Claim;
use crate::error::Error;
use crate::records::{Chunk, Records};

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
    type Owned: Owned;
    /// A reader's handle.
    type Reader: Reader;

    /// Takes the partition over. When this returns, no earlier owner can have anything
    /// acknowledged any more, and all that ever was acknowledged can be read. Moves no data.
    fn take(
        &self,
        partition: PartitionId,
        claim: Claim,
    ) -> impl Future<Output = Result<Self::Owned, Error>> + Send;

    /// A reader of one log. Cheap: no I/O before the first call on it.
    fn reader(&self, partition: PartitionId, log: LogKind) -> Self::Reader;
}

/// A partition held under an epoch. Clones are the same holding.
pub trait Owned: Clone + Send + Sync + 'static {
    /// An append that is in line.
    type Submitted: Future<Output = Result<Vec<Offset>, Error>> + Send + Unpin + 'static;

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

    /// The offset that the next durable record will have.
    fn end(&self, log: LogKind) -> Offset;

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
}
