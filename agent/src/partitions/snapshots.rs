//! Snapshots of the partitions that this node serves. A small state is copied by its worker, and
//! kept once every outcome in it is durable; a large one, whose copy the worker would feel, is made
//! beside it from the snapshot before and the outcomes since. In: a partition. Out: a file now and
//! then. I/O.

use std::time::Duration;

use broker::{AnyBroker, AnyOwned, Broker as _, LogKind, Owned as _, Reader as _};
use config_schemas::{Config, Epoch, Offset, PartitionId};
use events::{Machine, PartitionState, SnapshotError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::rebuild::{RebuildError, Rebuilt};
use crate::config::live::Live;
use crate::config::road::chain;

/// A snapshot is made after this many outcomes: a take-over replays at most about as many, which
/// takes some tenths of a second. Tests make do with fewer, and simulated worlds are small.
const OUTCOMES: u64 = match (cfg!(feature = "sim"), cfg!(test)) {
    (true, false) => 48,
    (_, true) => 8_192,
    (false, false) => 262_144,
};
/// A large state is written less often: one outcome for this many bytes of the last snapshot, so
/// that snapshots cost about as much as the log itself.
const BYTES_PER_OUTCOME: u64 = 64;
/// When the agent stops, what came since the last snapshot is worth one from this many outcomes
/// on; fewer are replayed in milliseconds.
const OUTCOMES_AT_STOP: u64 = 4_096;
/// Where outcomes do not stay for ever, a partition that has just been opened has its first snapshot
/// after this time: nobody knows how old the last one is, and partitions that move do not all at once
/// write one.
const FIRST: Duration = Duration::from_secs(60);
/// A worker copies a state whose snapshot takes no more than this: some ten milliseconds in which
/// it plays nothing. Folding every outcome twice instead costs a sixth of what a core can play.
/// Small in simulated worlds and tests, which see both ways.
const COPIED_BYTES_MAX: u64 = match (cfg!(feature = "sim"), cfg!(test)) {
    (true, _) => 2 << 10,
    (_, true) => 256 << 10,
    (false, false) => 8 << 20,
};
/// After a failure: a full disk is not hammered, and the log goes on without snapshots.
const RETRY: Duration = Duration::from_secs(10);

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("folding the outcomes")]
    Rebuild(#[from] RebuildError),
    #[error("finding the end of the outcomes")]
    End(#[source] broker::Error),
    #[error("writing the state down")]
    Encode(#[from] SnapshotError),
    #[error("the thread that writes the state down")]
    Thread(#[source] tokio::task::JoinError),
    #[error("keeping the snapshot")]
    Keep(#[source] broker::Error),
}

/// A worker's state.
pub(crate) struct Copied<M: Machine> {
    pub(crate) state: PartitionState<M>,
    /// It is the fold of every outcome before this; told when all of them are durable.
    pub(crate) outcomes: oneshot::Receiver<Offset>,
}

/// A worker is asked for its state.
pub(crate) type Asked<M> = oneshot::Sender<Copied<M>>;

/// What a partition's snapshots are made from and how far they reach.
#[derive(Clone)]
pub(crate) struct Keeping {
    log: AnyBroker,
    partition: PartitionId,
    epoch: Epoch,
    /// The first outcome that is not in the last snapshot.
    pub(crate) since: Offset,
    bytes: u64,
    live: Live,
    /// When the partition was opened, or the last snapshot was made here.
    kept: Instant,
    first: bool,
}

impl Keeping {
    pub(crate) fn new<M: Machine>(
        log: &AnyBroker,
        owned: &AnyOwned,
        from: &Rebuilt<M>,
        live: Live,
    ) -> Keeping {
        Keeping {
            log: log.clone(),
            partition: owned.partition(),
            epoch: owned.epoch(),
            since: from.kept,
            bytes: from.kept_bytes as u64,
            live,
            kept: Instant::now(),
            first: true,
        }
    }

    /// Keeps snapshots until dropped, `one` at a time on this node.
    pub(crate) async fn run<M: Machine>(
        mut self,
        owned: &AnyOwned,
        worker: mpsc::Sender<Asked<M>>,
        one: &Semaphore,
    ) {
        loop {
            let every = OUTCOMES.max(self.bytes / BYTES_PER_OUTCOME);
            let enough = owned.outcomes_beyond(Offset(self.since.0 + every - 1));
            tokio::select! {
                () = enough => {}
                () = self.overdue(owned) => {}
            }
            let kept = {
                let Ok(_turn) = one.acquire().await else { return };
                if self.bytes <= COPIED_BYTES_MAX {
                    self.keep_copy(&worker).await
                } else {
                    self.keep_folded::<M>().await
                }
            };
            match kept {
                Ok(()) => (self.kept, self.first) = (Instant::now(), false),
                Err(error) => {
                    self.say(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Returns when there is something to keep, and it has waited for as long as it may.
    async fn overdue(&self, owned: &AnyOwned) {
        let mut live = self.live.clone();
        loop {
            let due = longest(&live.snapshot().config)
                .map(|longest| self.kept + if self.first { longest.min(FIRST) } else { longest });
            tokio::select! {
                () = live.changed() => {}
                () = sleep_until(due) => break,
            }
        }
        owned.outcomes_beyond(self.since).await;
    }

    /// One last snapshot, if it is worth it.
    pub(crate) async fn last<M: Machine>(mut self, one: &Semaphore) {
        let Ok(_turn) = one.acquire().await else { return };
        let end = self.log.reader(self.partition, LogKind::Outcomes).end().await;
        let stay = longest(&self.live.snapshot().config).is_none();
        let worth = if stay { OUTCOMES_AT_STOP } else { 1 };
        if end.is_ok_and(|end| end.0 < self.since.0 + worth) {
            return;
        }
        if let Err(error) = self.keep_folded::<M>().await {
            self.say(&error);
        }
    }

    /// From the worker's own state. Nothing that is not durable gets into a snapshot.
    async fn keep_copy<M: Machine>(
        &mut self,
        worker: &mpsc::Sender<Asked<M>>,
    ) -> Result<(), KeepError> {
        let (asked, copied) = oneshot::channel();
        let copied = match worker.send(asked).await {
            Ok(()) => copied.await.ok(),
            Err(_) => None,
        };
        // the worker has ended, and whoever runs both is about to end this too
        let Some(Copied { state, outcomes }) = copied else { return Ok(()) };
        match outcomes.await {
            Ok(outcomes) if outcomes > self.since => self.keep(state, outcomes).await,
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// From the log, as any reader finds it.
    async fn keep_folded<M: Machine>(&mut self) -> Result<(), KeepError> {
        let mut outcomes = self.log.reader(self.partition, LogKind::Outcomes);
        let mut rebuilt = Rebuilt::<M>::begin(&self.log, self.partition).await?;
        let end = outcomes.end().await.map_err(KeepError::End)?;
        rebuilt.catch_up(&mut outcomes, end).await?;
        if rebuilt.next > rebuilt.kept {
            self.keep(rebuilt.state, rebuilt.next).await?;
        }
        self.since = rebuilt.next;
        Ok(())
    }

    async fn keep<M: Machine>(
        &mut self,
        state: PartitionState<M>,
        outcomes: Offset,
    ) -> Result<(), KeepError> {
        let events = state.ledger().next_offset();
        let body = encode(state).await?;
        self.bytes = body.len() as u64;
        let snapshot = broker::Snapshot { epoch: self.epoch, outcomes, events, body };
        self.log.keep_snapshot(self.partition, snapshot).await.map_err(KeepError::Keep)?;
        tracing::debug!(partition = %self.partition, %outcomes, bytes = self.bytes, "kept a snapshot");
        self.since = outcomes;
        Ok(())
    }

    fn say(&self, error: &KeepError) {
        tracing::warn!(partition = %self.partition, error = %chain(error), "cannot keep a snapshot");
    }
}

/// Longest time that outcomes may be in no snapshot, where they do not stay for ever: whoever opens the
/// partition has three times as much time before they go.
fn longest(config: &Config) -> Option<Duration> {
    let kept = config.topics.outcomesRetention;
    (!kept.is_zero()).then(|| kept / 4)
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The state as bytes; a large one takes a while, and so is made on a thread of its own.
async fn encode<M: Machine>(state: PartitionState<M>) -> Result<Vec<u8>, KeepError> {
    // a simulated host has no other thread
    if cfg!(feature = "sim") {
        return Ok(state.to_snapshot()?);
    }
    let encoded = tokio::task::spawn_blocking(move || state.to_snapshot());
    Ok(encoded.await.map_err(KeepError::Thread)??)
}
