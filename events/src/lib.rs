//! The events of a hunt and what becomes of them: wire forms, strict parsing, keys and partitions,
//! the deterministic machine of a partition, and the built-in hunt. In: bytes, times and ids as
//! arguments. Out: typed events, outcome records, lists of problems. Pure: no clock, no I/O.

mod codec;
mod cursor;
mod event;
mod hunt;
mod key;
mod ledger;
mod machine;
mod outcome;
mod parse;
mod partition;
mod parts;
mod recent;
mod snapshot;
mod vocabulary;

pub use codec::DecodeError;
pub use cursor::{Cursor, CursorError};
pub use event::*;
pub use hunt::{HuntGame, HuntRules, HuntState};
pub use key::{murmur2, partition_of};
pub use ledger::{Ledger, OUTBOX_LEN_MAX};
pub use machine::{Decision, Input, Machine};
pub use outcome::{DEAD_LETTER_WHY_MAX, Outcome, OutcomeRecord, Refusal};
pub use parse::{
    BATCH_EVENTS_MAX, BODY_BYTES_MAX, ParseContext, parse_body, parse_bytes, parse_json, parse_wire,
};
pub use partition::{Folded, OUTCOME_BYTES_MAX, Panicked, PartitionState, Stamp};
pub use parts::PartsError;
pub use recent::RECENT_IDS_MAX;
pub use snapshot::SnapshotError;
pub use vocabulary::{Field, KindRule, Vocabulary};

/// The protobuf types, clients and servers of `treasurehunt.v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("treasurehunt.v1");
}

/// The file descriptor set of `treasurehunt.v1`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("treasurehunt.v1");
