//! Cutting a hunt finer, at a partition's owner. One that loses keys plays what was taken in under the
//! cut before and then says so in its outcomes: from there on what it keeps under those keys is frozen.
//! One that is new waits for that word, and takes the frozen part over into its own outcomes before it
//! serves. In: the cut in force, logs. Out: records. I/O.

use std::sync::Arc;
use std::time::Duration;

use broker::{
    AnyBroker, AnyOwned, AnyReader, Broker as _, LogKind, Owned as _, Reader as _, Records,
};
use config_schemas::{Cuts, Epoch, Offset, Origin, PartitionId, Revision};
use events::{Machine, OUTCOME_BYTES_MAX, PartitionState, PartsError, Stamp, partition_of};
use tokio::sync::{mpsc, watch};

use super::intake::Intake;
use super::keeper::{GivenUp, Keeper, Orders, RETRY, RETRY_CORRUPT, RETRY_FENCED};
use super::rebuild::{RebuildError, Rebuilt};
use super::worker::{Worker, WorkerEnd};
use crate::config::road::chain;

/// What a piece has around it as a record, in bytes: a stamp and a few numbers.
const FRAME_BYTES: usize = 256;
/// How long keys may wait for a new partition before it is told, and how often it is told anew: what is
/// loaded already takes milliseconds.
const TELL_AFTER: Duration = Duration::from_secs(2);

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
    #[error("waits for partition {from} to hand over what is its own, of {partitions} partitions")]
    Waits { from: PartitionId, partitions: u32 },
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

impl InheritError {
    /// How long to wait before trying again.
    fn retry(&self) -> Duration {
        match self {
            // after an append that failed nothing more is appended under this holding
            InheritError::Append(_) => RETRY_FENCED,
            InheritError::Origin(RebuildError::Read(error) | RebuildError::Snapshot(error))
                if !matches!(error, broker::Error::Corrupt { .. }) =>
            {
                RETRY
            }
            InheritError::Parts(_) | InheritError::Origin(_) | InheritError::Beyond { .. } => {
                RETRY_CORRUPT
            }
            InheritError::Read(_)
            | InheritError::Thread(_)
            | InheritError::Waits { .. }
            | InheritError::Unknown => RETRY,
        }
    }
}

impl<M: Machine> Keeper<M> {
    /// Returns when the state is whole: at once, but for a partition that is new and has not taken over
    /// what is its own. `false` if ordered otherwise meanwhile. The error is how long to wait before
    /// trying again.
    pub(super) async fn inherit(
        &self,
        taken: (&AnyBroker, &AnyOwned, Revision),
        rebuilt: &mut Rebuilt<M>,
        mut given_up: GivenUp,
        orders: &mut Orders,
    ) -> Result<bool, Duration> {
        let (_, owned, _) = taken;
        let (origin, has) = {
            let cuts = self.context.cuts.borrow();
            (cuts.origin(self.partition), cuts.placed())
        };
        if self.partition.0 >= has && rebuilt.state.ledger().cut().is_none() {
            // it may be new, and nobody says what it was cut from
            return Err(self.not_whole(owned, &InheritError::Beyond { has }));
        }
        #[cfg(feature = "sim")]
        let origin = origin.filter(|_| !crate::sim::sabotage().hasty);
        let Some(origin) = origin.filter(|origin| !is_whole(&rebuilt.state, origin)) else {
            return Ok(true);
        };
        let done = tokio::select! {
            _ = orders.changed() => {
                orders.mark_changed();
                self.set_taken(Some(owned.clone()));
                return Ok(false);
            }
            Ok(()) = given_up.changed() => return Err(Duration::ZERO),
            () = self.tell_that_it_waits(origin) => return Err(RETRY),
            done = self.take_over(taken, rebuilt, origin) => done,
        };
        done.map(|()| true).map_err(|error| self.not_whole(owned, &error))
    }

    /// Tells why it is not served, and how long to wait before trying again.
    fn not_whole(&self, owned: &AnyOwned, error: &InheritError) -> Duration {
        self.troubles().begin(self.partition, chain(error));
        if !matches!(error, InheritError::Append(_)) {
            self.set_taken(Some(owned.clone()));
        }
        error.retry()
    }

    /// Once keys come here and nobody serves them, somebody has to say so. For ever.
    async fn tell_that_it_waits(&self, origin: Origin) {
        let mut cuts = self.context.cuts.clone();
        if cuts.wait_for(|cuts| cuts.partitions() >= origin.partitions).await.is_err() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(TELL_AFTER).await;
            let why = InheritError::Waits { from: origin.from, partitions: origin.partitions };
            self.troubles().run_into(self.partition, chain(&why));
        }
    }

    /// Says that the partition is loaded for as long as the hunt's marker has it wait: also one that is
    /// whole, where the marker was lost with etcd and is cut once more. For ever.
    pub(super) async fn say_loaded(&self, epoch: Epoch, revision: Revision) {
        let mut marker = self.context.marker.clone();
        let id = self.partition.0;
        let waits = |cuts: &Arc<Cuts>| (cuts.partitions()..cuts.placed()).contains(&id);
        while marker.wait_for(waits).await.is_ok() {
            let ready = self.context.warmth.ready(self.partition, epoch, revision);
            let over = marker.wait_for(|cuts| !waits(cuts)).await.is_ok();
            drop(ready);
            if !over {
                break;
            }
        }
        std::future::pending().await
    }

    async fn take_over(
        &self,
        (log, owned, revision): (&AnyBroker, &AnyOwned, Revision),
        rebuilt: &mut Rebuilt<M>,
        origin: Origin,
    ) -> Result<(), InheritError> {
        let (partition, from) = (self.partition, origin.from);
        let turn = self.context.loads.acquire().await;
        let mut frozen = Rebuilt::<M>::begin(log, from).await?;
        let mut outcomes = log.follower(from);
        let end = outcomes.end().await.map_err(InheritError::Read)?;
        frozen.catch_up(&mut outcomes, end).await?;
        // what could not go over is to be known before any key goes
        let (frozen, _) = self.pieces(frozen, origin).await?;
        drop(turn);
        tracing::info!(%partition, %from, at = %frozen.next, "loaded, and waits for what is its own");
        let _ready = self.context.warmth.ready(partition, owned.epoch(), revision);
        let frozen = until_cut(frozen, &mut outcomes, origin).await?;
        let mut cuts = self.context.cuts.clone();
        let in_force = cuts.wait_for(|cuts| cuts.partitions() >= origin.partitions).await;
        drop(in_force.map_err(|_| InheritError::Unknown)?);
        let (_, pieces) = self.pieces(frozen, origin).await?;
        let count = pieces.len();
        self.write_down(owned, rebuilt, origin, pieces).await?;
        tracing::info!(%partition, %from, pieces = count, "took over what is its own");
        Ok(())
    }

    /// What goes to this partition. A large state takes a while, and so is taken apart on a thread of its
    /// own.
    async fn pieces(
        &self,
        frozen: Rebuilt<M>,
        origin: Origin,
    ) -> Result<(Rebuilt<M>, Vec<Vec<u8>>), InheritError> {
        let partition = self.partition;
        let most = self.context.live.snapshot().config.record_bytes_max();
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(OUTCOME_BYTES_MAX);
        let take = move || {
            let goes = |key: &str| partition_of(key, origin.partitions) == partition;
            let pieces = frozen.state.parts(&goes, most.saturating_sub(FRAME_BYTES))?;
            Ok((frozen, pieces))
        };
        // a simulated host has no other thread
        if cfg!(feature = "sim") {
            return take();
        }
        tokio::task::spawn_blocking(take).await.map_err(InheritError::Thread)?
    }

    /// All pieces in line at once: each would cost a way to the log and back. Taken in first, so that
    /// nothing is in the log that cannot be read back.
    async fn write_down(
        &self,
        owned: &AnyOwned,
        rebuilt: &mut Rebuilt<M>,
        origin: Origin,
        pieces: Vec<Vec<u8>>,
    ) -> Result<(), InheritError> {
        let config_revision = self.context.live.snapshot().revision;
        let stamp = Stamp { partition: self.partition, epoch: owned.epoch(), config_revision };
        let (Origin { from, partitions }, now) = (origin, telemetry::clock::now_millis());
        let mut answers = Vec::with_capacity(pieces.len());
        for outcome in PartitionState::<M>::inherited(from, partitions, pieces, now, stamp) {
            let folded = rebuilt.state.try_fold(&outcome);
            folded.map_err(|source| RebuildError::Fold { at: rebuilt.next, source })?;
            let mut records = Records::new();
            records.push_with(|into| outcome.encode(into));
            let answer = owned.submit(LogKind::Outcomes, records).await;
            answers.push(answer.map_err(InheritError::Append)?);
        }
        for answer in answers {
            let places = answer.await.map_err(InheritError::Append)?;
            rebuilt.next = places.last().map_or(rebuilt.next, |last| last.next());
        }
        Ok(())
    }
}

fn is_whole<M: Machine>(state: &PartitionState<M>, origin: &Origin) -> bool {
    state.ledger().cut() >= Some(origin.partitions)
}

/// Follows the partition that this one is cut from until its keys are frozen.
async fn until_cut<M: Machine>(
    mut state: Rebuilt<M>,
    outcomes: &mut AnyReader,
    origin: Origin,
) -> Result<Rebuilt<M>, InheritError> {
    while !is_whole(&state.state, &origin) {
        outcomes.wait_beyond(state.next).await.map_err(InheritError::Read)?;
        let end = outcomes.end().await.map_err(InheritError::Read)?;
        state.catch_up(outcomes, end).await?;
    }
    Ok(state)
}
