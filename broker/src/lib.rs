//! Where events and outcomes are kept: per partition two logs, written by one owner at a time, read
//! by anybody. In: batches of bytes from the owner. Out: durable offsets, records that can be
//! believed. The traits fit any broker; `Embedded` is the one for a single machine, `KafkaBroker`
//! the one past that. I/O.

mod any;
mod claim;
mod dead;
mod embedded;
mod error;
pub mod kafka;
mod records;
#[cfg(feature = "sim")]
pub mod sim;
mod snapshot;
mod traits;

pub use any::{AnyBroker, AnyOwned, AnyReader, AnySubmitted};
pub use claim::Claim;
pub use dead::DeadLetter;
pub use embedded::{
    Embedded, EmbeddedOptions, EmbeddedOwned, EmbeddedReader, EmbeddedSubmitted, Tuning,
};
pub use error::Error;
pub use kafka::{KafkaBroker, KafkaOptions, KafkaOwned, KafkaReader, KafkaTrouble};
pub use records::{Chunk, RECORD_BYTES_MAX, Record, Records};
pub use snapshot::Snapshot;
pub use traits::{Broker, LogKind, Owned, Reader};
