//! Cutting a hunt finer, at a partition's owner. One that loses keys plays what was taken in under the
//! cut before and then says so in its outcomes: from there on what it keeps under those keys is frozen.
//! One that is new waits for that word, and takes the frozen part over into its own outcomes before it
//! serves. In: the cut in force, logs. Out: records. I/O.

use std::sync::Arc;

use broker::{AnyBroker, AnyOwned, Broker as _, LogKind, Owned as _, Reader as _, Records};
use config_schemas::{Cuts, Offset, Origin, PartitionId};
use events::{Machine, OUTCOME_BYTES_MAX, PartitionState, PartsError, Stamp, partition_of};
use tokio::sync::{mpsc, watch};

use super::intake::Intake;
use super::keeper::{GivenUp, Keeper, Orders, RETRY, RETRY_CORRUPT, RETRY_FENCED};
use super::rebuild::{RebuildError, Rebuilt};
use super::worker::{Worker, WorkerEnd};
use crate::config::road::chain;

/// A cut that a worker is to write down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Into how many partitions.
    pub(crate) partitions: u32,
    /// All events before this are to have their outcome first.
    pub(crate) at: Offset,
}

/// Why a partition could not take over what was its origin's.
#[derive(Debug, thiserror::Error)]
pub(super) enum InheritError {
    #[error("folding the outcomes of the partition that it is cut from")]
    Origin(#[from] RebuildError),
    #[error("reading the outcomes of the partition that it is cut from")]
    Read(#[source] broker::Error),
    #[error("taking the state apart")]
    Parts(#[from] PartsError),
    #[error("the thread that takes the state apart")]
    Thread(#[source] tokio::task::JoinError),
    #[error("writing down what was taken over")]
    Append(#[source] broker::Error),
    #[error("the hunt has {has} partitions, and nobody says what this one was cut from")]
    Beyond { has: u32 },
    #[error("nothing tells any more into what the hunt is cut")]
    Unknown,
}

/// Tells the worker of each cut, after `cut` or else the first, once what was taken in before it is
/// under way no more. For ever.
pub(super) async fn tell_cuts(
    mut cut: Option<u32>,
    cuts: &mut watch::Receiver<Arc<Cuts>>,
    intake: &Intake,
    due: mpsc::Sender<Due>,
) {
    loop {
        let told = cuts.wait_for(|cuts| after(cuts, cut)).await.map(|cuts| cuts.partitions());
        let Ok(partitions) = told else { return std::future::pending().await };
        let at = intake.end_before_cut().await;
        tracing::debug!(partitions, %at, "all that was taken in before the cut is in the log");
        // the worker has ended, and whoever runs both is about to end this too
        if due.send(Due { partitions, at }).await.is_err() {
            return std::future::pending().await;
        }
        cut = Some(partitions);
    }
}

/// Whether the cut in force is finer than `cut`, or than the first where there was none.
fn after(cuts: &Cuts, cut: Option<u32>) -> bool {
    let before = cut.or_else(|| cuts.counts().first().copied());
    before.is_some_and(|before| cuts.partitions() > before)
}

impl<M: Machine> Worker<M> {
    /// Writes down that the hunt is cut finer, once all that was taken in before has its outcome.
    pub(super) async fn cut_if_due(&mut self) -> Result<(), WorkerEnd> {
        let next = self.next();
        let Some(Due { partitions, .. }) = self.due.take_if(|due| next >= due.at) else {
            return Ok(());
        };
        let running = self.live.load().clone();
        let (stamp, now) = (self.stamp(&running), telemetry::clock::now_millis());
        tracing::info!(partition = %stamp.partition, partitions, "keys go over to new partitions");
        let cut = PartitionState::<M>::split(partitions, now, stamp);
        self.intake.is_cut(Some(partitions));
        self.note(vec![cut], running.version).await
    }
}

impl<M: Machine> Keeper<M> {
    /// Returns when the state is whole: at once, but for a partition that is new and has not taken over
    /// what is its own. `false` if ordered otherwise meanwhile. The error is how long to wait before
    /// trying again.
    pub(super) async fn inherit(
        &self,
        log: &AnyBroker,
        owned: &AnyOwned,
        rebuilt: &mut Rebuilt<M>,
        mut given_up: GivenUp,
        orders: &mut Orders,
    ) -> Result<bool, std::time::Duration> {
        let (origin, has) = {
            let cuts = self.context.cuts.borrow();
            (cuts.origin(self.partition), cuts.placed())
        };
        if self.partition.0 >= has && rebuilt.state.ledger().cut().is_none() {
            // it may be new, and nobody says what it was cut from
            self.set_taken(Some(owned.clone()));
            self.troubles().begin(self.partition, chain(&InheritError::Beyond { has }));
            return Err(RETRY_CORRUPT);
        }
        let Some(origin) = origin.filter(|origin| !is_whole(&rebuilt.state, origin)) else {
            return Ok(true);
        };
        let taken = tokio::select! {
            _ = orders.changed() => {
                orders.mark_changed();
                self.set_taken(Some(owned.clone()));
                return Ok(false);
            }
            Ok(()) = given_up.changed() => return Err(std::time::Duration::ZERO),
            taken = self.take_over(log, owned, rebuilt, origin) => taken,
        };
        taken.map(|()| true).map_err(|error| {
            self.troubles().begin(self.partition, chain(&error));
            let wait = match error {
                // after an append that failed nothing more is appended under this holding
                InheritError::Append(_) => return RETRY_FENCED,
                InheritError::Parts(_) | InheritError::Origin(_) => RETRY_CORRUPT,
                _ => RETRY,
            };
            self.set_taken(Some(owned.clone()));
            wait
        })
    }

    async fn take_over(
        &self,
        log: &AnyBroker,
        owned: &AnyOwned,
        rebuilt: &mut Rebuilt<M>,
        origin: Origin,
    ) -> Result<(), InheritError> {
        let (partition, from) = (self.partition, origin.from);
        tracing::info!(%partition, %from, "waits for what is its own");
        let frozen = frozen::<M>(log, origin).await?;
        let mut cuts = self.context.cuts.clone();
        let in_force = cuts.wait_for(|cuts| cuts.partitions() >= origin.partitions).await;
        drop(in_force.map_err(|_| InheritError::Unknown)?);
        let running = self.context.live.snapshot();
        let most = usize::try_from(running.config.record_bytes_max()).unwrap_or(usize::MAX);
        let most = (OUTCOME_BYTES_MAX / 2).min(most / 2);
        let pieces = pieces(frozen, partition, origin, most).await?;
        let stamp = Stamp { partition, epoch: owned.epoch(), config_revision: running.revision };
        let now = telemetry::clock::now_millis();
        let count = pieces.len();
        for outcome in PartitionState::<M>::inherited(from, origin.partitions, pieces, now, stamp) {
            let mut records = Records::new();
            records.push_with(|into| outcome.clone().encode(into));
            let places = owned.append(LogKind::Outcomes, records).await;
            let places = places.map_err(InheritError::Append)?;
            let folded = rebuilt.state.try_fold(&outcome);
            let at = places.last().copied().unwrap_or(rebuilt.next);
            folded.map_err(|source| RebuildError::Fold { at, source })?;
            rebuilt.next = at.next();
        }
        tracing::info!(%partition, %from, pieces = count, "took over what is its own");
        Ok(())
    }
}

fn is_whole<M: Machine>(state: &PartitionState<M>, origin: &Origin) -> bool {
    state.ledger().cut() >= Some(origin.partitions)
}

/// The state of the partition that this one is cut from, with its keys frozen.
async fn frozen<M: Machine>(log: &AnyBroker, origin: Origin) -> Result<Rebuilt<M>, InheritError> {
    let mut state = Rebuilt::<M>::begin(log, origin.from).await?;
    let mut outcomes = log.follower(origin.from);
    loop {
        let end = outcomes.end().await.map_err(InheritError::Read)?;
        state.catch_up(&mut outcomes, end).await?;
        if is_whole(&state.state, &origin) {
            return Ok(state);
        }
        outcomes.wait_beyond(state.next).await.map_err(InheritError::Read)?;
    }
}

/// A large state takes a while, and so is taken apart on a thread of its own.
async fn pieces<M: Machine>(
    frozen: Rebuilt<M>,
    partition: PartitionId,
    origin: Origin,
    bytes_max: usize,
) -> Result<Vec<Vec<u8>>, InheritError> {
    let take = move || {
        let goes = |key: &str| partition_of(key, origin.partitions) == partition;
        frozen.state.parts(&goes, bytes_max)
    };
    // a simulated host has no other thread
    if cfg!(feature = "sim") {
        return Ok(take()?);
    }
    Ok(tokio::task::spawn_blocking(take).await.map_err(InheritError::Thread)??)
}
