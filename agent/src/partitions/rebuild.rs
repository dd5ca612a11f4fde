//! A partition's state from its outcome log: the newest snapshot that can be believed, and the fold
//! of all that came after. Needs no ownership: it only reads. I/O, thin.

use broker::{AnyBroker, AnyReader, Broker as _, Reader};
use config_schemas::{Offset, PartitionId};
use events::{DecodeError, Machine, OutcomeRecord, Panicked, PartitionState};

use crate::config::road::chain;

/// Bytes read at once while rebuilding: folding them takes about a millisecond.
const READ_BYTES: usize = 256 << 10;

/// Why the state cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error("looking for a snapshot")]
    Snapshot(#[source] broker::Error),
    #[error("reading the outcome log")]
    Read(#[source] broker::Error),
    #[error("the record at offset {at} of the outcome log cannot be understood")]
    Decode {
        at: Offset,
        #[source]
        source: DecodeError,
    },
    #[error("the machine cannot fold the record at offset {at} of the outcome log")]
    Fold {
        at: Offset,
        #[source]
        source: Panicked,
    },
    #[error("the log says that it ends at {end}, and there is nothing at {at}")]
    Short { at: Offset, end: Offset },
    #[error("outcomes are there of events up to {played}, and the event log ends at {end}")]
    Ahead { played: Offset, end: Offset },
    #[error("reading the events that are to be played")]
    Events(#[source] broker::Error),
}

/// A state, and how far in its outcome log it reaches.
pub(crate) struct Rebuilt<M: Machine> {
    pub(crate) state: PartitionState<M>,
    /// The first outcome that is not folded yet.
    pub(crate) next: Offset,
    /// The first outcome that is not in the newest snapshot.
    pub(crate) kept: Offset,
    /// Bytes of that snapshot.
    pub(crate) kept_bytes: usize,
}

impl<M: Machine> Rebuilt<M> {
    /// As the newest snapshot says, or the beginning.
    pub(crate) async fn begin(
        log: &AnyBroker,
        partition: PartitionId,
    ) -> Result<Rebuilt<M>, RebuildError> {
        let read = |snapshot: broker::Snapshot| {
            let state = PartitionState::<M>::from_snapshot(&snapshot.body)
                .map_err(|error| chain(&error))?;
            if state.ledger().next_offset() != snapshot.events {
                return Err("its body does not match its head".to_owned());
            }
            let next = snapshot.outcomes;
            Ok(Rebuilt { state, next, kept: next, kept_bytes: snapshot.body.len() })
        };
        let kept = log.kept_snapshot(partition, read).await.map_err(RebuildError::Snapshot)?;
        Ok(kept.unwrap_or_else(|| Rebuilt {
            state: PartitionState::default(),
            next: Offset(0),
            kept: Offset(0),
            kept_bytes: 0,
        }))
    }

    /// Folds every outcome before `end`. What was folded stays so when it is cancelled or fails.
    pub(crate) async fn catch_up(
        &mut self,
        outcomes: &mut impl Reader,
        end: Offset,
    ) -> Result<(), RebuildError> {
        while self.next < end {
            let at = self.next;
            let chunk = outcomes.read(at, READ_BYTES).await.map_err(RebuildError::Read)?;
            if chunk.next <= at {
                return Err(RebuildError::Short { at, end });
            }
            for record in &chunk.records {
                let outcome = OutcomeRecord::decode(&record.payload)
                    .map_err(|source| RebuildError::Decode { at: record.offset, source })?;
                let folded = self.state.try_fold(&outcome);
                folded.map_err(|source| RebuildError::Fold { at: record.offset, source })?;
                self.next = record.offset.next();
            }
            // a barrier, or what nobody believes
            self.next = chunk.next;
        }
        Ok(())
    }

    /// Refuses a state that knows of events that the log does not hold (new ones would be taken
    /// for handled), and, where there is one copy, a log whose next events are damaged: behind those
    /// nothing could be played, and what is taken in would only pile up. Elsewhere reading a long
    /// backlog twice would keep the partition shut for as long.
    pub(crate) async fn check_events(
        &self,
        events: &mut AnyReader,
        end: Offset,
    ) -> Result<(), RebuildError> {
        let mut at = self.state.ledger().next_offset();
        if at > end {
            return Err(RebuildError::Ahead { played: at, end });
        }
        if events.is_replicated() {
            return Ok(());
        }
        while at < end {
            let chunk = events.read(at, READ_BYTES).await.map_err(RebuildError::Events)?;
            if chunk.next <= at {
                return Err(RebuildError::Short { at, end });
            }
            at = chunk.next;
        }
        Ok(())
    }
}
