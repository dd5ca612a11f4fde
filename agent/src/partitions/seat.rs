//! One partition at this node, from take-over to hand-over. In: orders, level by level. Out: an
//! open partition while ordered to serve; the record in etcd flipped when handed over. I/O.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{Broker as _, Claim, EmbeddedOwned, LogKind, Owned as _};
use config_schemas::documents::{self, Owner, PartitionRecord};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Epoch, PartitionId, Revision};
use events::{Event, HuntGame};
use store::{Guard, Store, StoreError, Txn, Verdict, Write};
use telemetry::tasks::Tasks;
use tokio::sync::{Semaphore, watch};

use super::answer::{Accepted, NotTaken, Source};
use super::intake::Intake;
use super::log::Log;
use super::outbox::{Forward, Outbox};
use super::ownership::Order;
use super::queues::Queues;
use super::rebuild::{RebuildError, Rebuilt};
use super::snapshots::Keeping;
use super::turns::Turns;
use super::worker::{Worker, WorkerEnd};
use crate::config::live::Live;
use crate::config::road::chain;
use crate::config::switched::Board;
use crate::metrics::PlaneMetrics;

/// Wait before a take-over or a hand-over that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// The same for damage that trying again does not mend: no crash loop, and no silence either.
const RETRY_CORRUPT: Duration = Duration::from_secs(10);

/// Longest wait for a snapshot when the agent stops: well under the time that tasks are given.
const LAST_SNAPSHOT: Duration = Duration::from_secs(5);

/// What every seat of a node works with.
pub(crate) struct SeatContext {
    pub(crate) me: Owner,
    pub(crate) keys: HuntKeys,
    pub(crate) store: Store,
    pub(crate) live: Live,
    pub(crate) board: Board,
    pub(crate) turns: Turns,
    pub(crate) queues: Queues,
    pub(crate) log: Log,
    pub(crate) forward: Arc<dyn Forward>,
    pub(crate) metrics: PlaneMetrics,
    pub(crate) tasks: Tasks,
    /// How many snapshots may be made at the same time.
    pub(crate) snapshots: Semaphore,
}

/// A partition's seat.
pub(crate) struct Seat {
    orders: watch::Sender<Option<Order>>,
    /// The way in, while the partition is served.
    intake: Arc<Mutex<Option<Intake>>>,
}

impl Seat {
    /// Starts with `order`; ends when ordered nothing.
    pub(crate) fn start(
        context: Arc<SeatContext>,
        partition: PartitionId,
        order: Order,
    ) -> Arc<Seat> {
        let (orders, receiver) = watch::channel(Some(order));
        let seat = Arc::new(Seat { orders, intake: Arc::default() });
        let keeper = Keeper {
            context: context.clone(),
            partition,
            intake: seat.intake.clone(),
            keeping: Mutex::default(),
        };
        let stopping = context.tasks.stopping();
        context.tasks.spawn("seat", async move {
            tokio::select! {
                () = stopping.cancelled() => keeper.stopped().await,
                () = keeper.run(receiver) => {}
            }
        });
        seat
    }

    pub(crate) fn order(&self, order: Option<Order>) {
        self.orders.send_if_modified(|held| {
            let changed = *held != order;
            *held = order;
            changed
        });
    }

    pub(crate) async fn append(
        &self,
        events: Vec<Event>,
        source: Source,
    ) -> Result<Vec<Accepted>, NotTaken> {
        let intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match intake {
            Some(intake) => intake.append(events, source).await,
            None => Err(NotTaken::NotMine { epoch: None }),
        }
    }
}

struct Keeper {
    context: Arc<SeatContext>,
    partition: PartitionId,
    intake: Arc<Mutex<Option<Intake>>>,
    /// While it is served: how far its snapshots reach.
    keeping: Mutex<Option<Keeping>>,
}

/// Why a partition is not open.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the hunt's log is not open yet")]
    NoLog,
    #[error("taking the partition over")]
    Take(#[source] broker::Error),
    #[error("rebuilding the partition's state")]
    Rebuild(#[from] RebuildError),
}

impl Keeper {
    /// Carries out one order after the other.
    async fn run(&self, mut orders: watch::Receiver<Option<Order>>) {
        loop {
            let order = orders.borrow_and_update().clone();
            let ended = match order {
                None => return,
                Some(Order::Serve { epoch, revision }) => {
                    self.open_and_serve(epoch, revision, &mut orders).await
                }
                // Ordered away before it was ever opened: nothing to drain.
                Some(Order::HandOver { epoch, to, revision }) => {
                    self.hand_over(epoch, &to, revision).await
                }
            };
            let wait = ended.err();
            tokio::select! {
                changed = orders.changed() => if changed.is_err() { return },
                () = pause(wait) => {}
            }
        }
    }

    /// Opens, then serves until the order is no longer to serve in this epoch. The error is how
    /// long to wait before trying again.
    async fn open_and_serve(
        &self,
        epoch: Epoch,
        revision: Revision,
        orders: &mut watch::Receiver<Option<Order>>,
    ) -> Result<(), Duration> {
        match self.open(epoch).await {
            Ok((owned, rebuilt)) => self.serve(owned, rebuilt, orders).await,
            Err(OpenError::Take(broker::Error::Superseded { holds, owner })) => {
                // etcd was wiped or restored from a backup: the log remembers a later ownership
                // than the record. The record is ours, so we may raise it.
                tracing::warn!(partition = %self.partition, %holds, %owner, record = %epoch,
                    "the log knows a later epoch than etcd; raising the record");
                let raised =
                    PartitionRecord::Own { owner: self.context.me.clone(), epoch: holds.next() };
                self.replace(revision, &raised).await
            }
            Err(error) => {
                tracing::error!(partition = %self.partition, error = %chain(&error), "cannot serve");
                let corrupt = matches!(
                    &error,
                    OpenError::Take(broker::Error::Corrupt { .. }) | OpenError::Rebuild(_)
                );
                Err(if corrupt { RETRY_CORRUPT } else { RETRY })
            }
        }
    }

    async fn open(&self, epoch: Epoch) -> Result<(EmbeddedOwned, Rebuilt<HuntGame>), OpenError> {
        let log = self.context.log.embedded().ok_or(OpenError::NoLog)?;
        let me = &self.context.me;
        let claim =
            Claim { epoch, owner: me.node.to_string(), incarnation: me.incarnation.clone() };
        let owned = log.take(self.partition, claim).await.map_err(OpenError::Take)?;
        let mut rebuilt = Rebuilt::begin(&log, self.partition).await?;
        let mut outcomes = log.reader(self.partition, LogKind::Outcomes);
        rebuilt.catch_up(&mut outcomes, owned.end(LogKind::Outcomes)).await?;
        rebuilt.check_events(owned.end(LogKind::Events))?;
        Ok((owned, rebuilt))
    }

    /// Serves until ordered otherwise. Dropping the worker or the outbox at any point loses
    /// nothing: what counts is in the log.
    async fn serve(
        &self,
        owned: EmbeddedOwned,
        rebuilt: Rebuilt<HuntGame>,
        orders: &mut watch::Receiver<Option<Order>>,
    ) -> Result<(), Duration> {
        let log = self.context.log.embedded().ok_or(RETRY)?;
        let keeping = Keeping::new(&log, &owned, &rebuilt);
        let state = rebuilt.state;
        let place = self.context.queues.join(self.partition);
        let outbox = Outbox::default();
        outbox.send(state.ledger().outbox().cloned().collect::<Vec<_>>());
        let intake = Intake::new(
            owned.clone(),
            place.credits.clone(),
            self.context.live.clone(),
            self.context.metrics.clone(),
        );
        let mut live = self.context.live.clone();
        let version = live.load().version;
        let worker = Worker {
            owned: owned.clone(),
            events: log.reader(self.partition, LogKind::Events),
            state,
            intake: intake.clone(),
            outbox: outbox.clone(),
            line: self.context.board.join(self.partition, version),
            live,
            turns: self.context.turns.clone(),
            metrics: self.context.metrics.clone(),
        };
        self.set_intake(Some(intake.clone()));
        *self.keeping.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeping.clone());
        self.context.metrics.served.inc();
        tracing::info!(partition = %self.partition, epoch = %owned.epoch(), "serving");
        let ended = tokio::select! {
            end = worker.run() => self.worker_ended(&end, orders),
            () = outbox.run(self.context.forward.as_ref()) => Ok(()),
            () = keeping.run::<HuntGame>(&owned, &self.context.snapshots) => Ok(()),
            ended = self.until_ordered_away(&owned, &intake, orders) => ended,
        };
        self.set_intake(None);
        *self.keeping.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.context.metrics.served.dec();
        owned.release().await;
        tracing::info!(partition = %self.partition, epoch = %owned.epoch(), "no longer serving");
        ended
    }

    fn worker_ended(
        &self,
        end: &WorkerEnd,
        orders: &mut watch::Receiver<Option<Order>>,
    ) -> Result<(), Duration> {
        match end {
            // Somebody newer owns it, and the records will say so; or we closed the log ourselves to
            // hand over, and the worker, which had a delivery to note, saw it first: that order stands.
            WorkerEnd::Fenced => {
                if matches!(*orders.borrow(), Some(Order::HandOver { .. })) {
                    orders.mark_changed();
                }
                Ok(())
            }
            WorkerEnd::Failed(why) => {
                tracing::error!(partition = %self.partition, %why, "the worker ended; opening anew");
                Err(RETRY)
            }
        }
    }

    /// Returns when the partition is to be closed: another epoch, nothing, or handed over.
    async fn until_ordered_away(
        &self,
        owned: &EmbeddedOwned,
        intake: &Intake,
        orders: &mut watch::Receiver<Option<Order>>,
    ) -> Result<(), Duration> {
        loop {
            let order = orders.borrow_and_update().clone();
            match order {
                Some(Order::Serve { epoch, .. }) if epoch == owned.epoch() => {
                    intake.open();
                    if orders.changed().await.is_err() {
                        return Ok(());
                    }
                }
                Some(Order::HandOver { epoch, to, revision }) if epoch == owned.epoch() => {
                    tokio::select! {
                        changed = orders.changed() => if changed.is_err() { return Ok(()) },
                        () = intake.drain() => {
                            owned.release().await;
                            self.set_intake(None);
                            return self.hand_over(epoch, &to, revision).await;
                        }
                    }
                }
                _ => {
                    orders.mark_changed();
                    return Ok(());
                }
            }
        }
    }

    /// The owner's own transaction: release and grant in one write.
    async fn hand_over(
        &self,
        epoch: Epoch,
        to: &Owner,
        revision: Revision,
    ) -> Result<(), Duration> {
        let next = PartitionRecord::Own { owner: to.clone(), epoch: epoch.next() };
        self.replace(revision, &next).await
    }

    /// Replaces the partition's record if it still is the one of `revision`. When it is not, a
    /// new order is on its way.
    async fn replace(&self, revision: Revision, record: &PartitionRecord) -> Result<(), Duration> {
        let key = self.context.keys.key(&Key::Partition(self.partition));
        let txn = Txn {
            guards: vec![Guard::Unchanged { key: key.clone(), mod_revision: revision }],
            writes: vec![Write::put(key, documents::write(record))],
        };
        match self.context.store.commit_decided(&txn).await {
            Ok(Verdict::Committed(_) | Verdict::Refused { .. }) => Ok(()),
            Err(error) => {
                log_store_error(self.partition, &error);
                Err(RETRY)
            }
        }
    }

    /// The agent stops and nobody else took the partition: the next start is to be quick.
    async fn stopped(&self) {
        self.set_intake(None);
        let keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeping) = keeping {
            let last = keeping.last::<HuntGame>(&self.context.snapshots);
            if tokio::time::timeout(LAST_SNAPSHOT, last).await.is_err() {
                tracing::warn!(partition = %self.partition, "no time left for a last snapshot");
            }
        }
    }

    fn set_intake(&self, intake: Option<Intake>) {
        *self.intake.lock().unwrap_or_else(PoisonError::into_inner) = intake;
    }
}

fn log_store_error(partition: PartitionId, error: &StoreError) {
    tracing::warn!(%partition, error = %chain(error), "cannot write the partition's record");
}

async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
