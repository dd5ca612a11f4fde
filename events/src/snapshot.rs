//! A partition's state as bytes, so that a take-over replays only what came after. In: a state.
//! Out: bytes, and back. Checksums, places and who may believe it are the log's business. Pure.
//!
//! ```text
//!  0  format u32, version of the machine's state u32 (little endian)
//!  8  MessagePack, fields by name: ledger, game
//! ```

use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, StoredLedger};
use crate::machine::Machine;
use crate::partition::PartitionState;

/// The format that this build writes, and the only one that it reads: an older or newer one is
/// left alone and the log is replayed.
const FORMAT: u32 = 1;
/// Where the state begins.
const HEAD_LEN: usize = 8;

/// Why bytes are not a state, or a state cannot become bytes.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Shorter than its head.
    #[error("shorter than its head")]
    Short,
    /// Of another format.
    #[error("of format {found}, and this build reads format {FORMAT}")]
    Format {
        /// Which.
        found: u32,
    },
    /// Of another version of the machine.
    #[error("of version {found} of the machine's state, and this build has version {ours}")]
    Version {
        /// Which.
        found: u32,
        /// This build's.
        ours: u32,
    },
    /// The machine's state cannot be said in MessagePack.
    #[error("the machine's state cannot be written")]
    Encode(#[source] rmp_serde::encode::Error),
    /// It says something else than a state.
    #[error("the bytes are no state of this machine")]
    Decode(#[source] rmp_serde::decode::Error),
}

#[derive(Serialize)]
struct Written<'a, S> {
    ledger: StoredLedger,
    game: &'a S,
}

#[derive(Deserialize)]
struct Found<S> {
    ledger: StoredLedger,
    game: S,
}

impl<M: Machine> PartitionState<M> {
    /// The whole state as bytes.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = [FORMAT.to_le_bytes(), M::STATE_VERSION.to_le_bytes()].concat();
        let written = Written { ledger: self.ledger.store(), game: &self.game };
        rmp_serde::encode::write_named(&mut bytes, &written).map_err(SnapshotError::Encode)?;
        Ok(bytes)
    }

    /// The state that [`to_snapshot`](Self::to_snapshot) wrote.
    pub fn from_snapshot(bytes: &[u8]) -> Result<PartitionState<M>, SnapshotError> {
        let head = bytes.first_chunk::<HEAD_LEN>().ok_or(SnapshotError::Short)?;
        let [f0, f1, f2, f3, v0, v1, v2, v3] = *head;
        let (format, version) =
            (u32::from_le_bytes([f0, f1, f2, f3]), u32::from_le_bytes([v0, v1, v2, v3]));
        if format != FORMAT {
            return Err(SnapshotError::Format { found: format });
        }
        if version != M::STATE_VERSION {
            return Err(SnapshotError::Version { found: version, ours: M::STATE_VERSION });
        }
        let found: Found<M::State> =
            rmp_serde::from_slice(&bytes[HEAD_LEN..]).map_err(SnapshotError::Decode)?;
        Ok(PartitionState { ledger: Ledger::restore(found.ledger), game: found.game })
    }
}
