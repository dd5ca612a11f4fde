//! A partition's state from its outcome log: the fold of all that is believed. I/O, thin.

use broker::Reader;
use config_schemas::Offset;
use events::{DecodeError, HuntGame, OutcomeRecord, PartitionState};

/// Bytes read at once while rebuilding.
const READ_BYTES: usize = 1 << 20;

/// Why the state cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error("reading the outcome log")]
    Read(#[source] broker::Error),
    #[error("the record at offset {at} of the outcome log cannot be understood")]
    Decode {
        at: Offset,
        #[source]
        source: DecodeError,
    },
}

/// Folds every outcome before `end`.
pub(crate) async fn rebuild(
    mut outcomes: impl Reader,
    end: Offset,
) -> Result<PartitionState<HuntGame>, RebuildError> {
    let mut state = PartitionState::default();
    let mut at = Offset(0);
    while at < end {
        let chunk = outcomes.read(at, READ_BYTES).await.map_err(RebuildError::Read)?;
        for record in &chunk.records {
            let outcome = OutcomeRecord::decode(&record.payload)
                .map_err(|source| RebuildError::Decode { at: record.offset, source })?;
            state.fold(&outcome);
        }
        if chunk.next == at {
            break;
        }
        at = chunk.next;
    }
    Ok(state)
}
