//! Carries out a seat's orders: loads the state for a move, takes the partition over, hands it over.
//! In: orders, level by level. Out: an open partition while ordered to serve; the record in etcd
//! flipped when handed over. I/O.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{AnyBroker, AnyOwned, Broker as _, Claim, LogKind, Owned as _, Reader as _};
use config_schemas::documents::{self, Owner, PartitionRecord};
use config_schemas::keys::Key;
use config_schemas::{Epoch, PartitionId, Revision};
use events::Machine;
use store::{Guard, StoreError, Txn, Verdict, Write};
use tokio::sync::watch;
use tokio::time::Instant;

use super::dead_letters::Condemned;
use super::intake::Intake;
use super::ownership::Order;
use super::rebuild::{RebuildError, Rebuilt};
use super::seat::{Door, SeatContext};
use super::snapshots::Keeping;
use crate::config::road::chain;
use crate::load::troubles::Troubles;

/// Wait before a take-over or a hand-over that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(200);
/// The same after a worker was told that the partition is no longer its own: the record that says so
/// is on its way, or there is none, as when a barrier of our own arrived late.
pub(super) const RETRY_FENCED: Duration = Duration::from_secs(2);
/// The same for damage that trying again does not mend: no crash loop, and no silence either.
pub(super) const RETRY_CORRUPT: Duration = Duration::from_secs(10);
/// Longest wait for a snapshot when the agent stops: well under the time that tasks are given.
const LAST_SNAPSHOT: Duration = Duration::from_secs(5);

/// What the orders of a watch say next.
pub(super) type Orders = watch::Receiver<Option<Order>>;
/// Tells when the log is another's.
pub(super) type GivenUp = watch::Receiver<u64>;

/// Keeps one partition.
pub(crate) struct Keeper<M: Machine> {
    pub(super) context: Arc<SeatContext>,
    pub(super) partition: PartitionId,
    door: Door,
    /// While it is served: how far its snapshots reach.
    keeping: Mutex<Option<Keeping>>,
    /// Taken over, and not open: its log could not be read. Trying again need not take it again,
    /// which leaves files behind each time.
    taken: Mutex<Option<AnyOwned>>,
    /// The epoch in which it was taken last: one far above it was never granted.
    served: Mutex<Option<Epoch>>,
    /// The event on which the machine failed last.
    condemned: Mutex<Option<Condemned>>,
    machine: PhantomData<fn() -> M>,
}

/// Why a partition is not open.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the hunt's log is not open yet")]
    NoLog,
    #[error("the hunt's log cannot be opened: {0}")]
    LogFailed(String),
    #[error(
        "the record's epoch {epoch} was never granted: the partition was last served in {known}; \
         a record written by hand is not followed"
    )]
    NeverGranted { epoch: Epoch, known: String },
    #[error(
        "the log knows epoch {holds} of {owner}, far above the record's {epoch}: one of them was \
         written by hand; take EPOCH/{holds:020} out of the partition's folder if it is that one",
        holds = .holds.0
    )]
    FarAbove { holds: Epoch, owner: String, epoch: Epoch },
    #[error("taking the partition over")]
    Take(#[source] broker::Error),
    #[error("following the partition's outcomes")]
    Follow(#[source] broker::Error),
    #[error("rebuilding the partition's state")]
    Rebuild(#[from] RebuildError),
}

impl OpenError {
    /// How long to wait before trying again.
    fn retry(&self) -> Duration {
        let corrupt = matches!(
            self,
            OpenError::Take(broker::Error::Corrupt { .. })
                | OpenError::Follow(broker::Error::Corrupt { .. })
                | OpenError::Rebuild(_)
                | OpenError::NeverGranted { .. }
                | OpenError::FarAbove { .. }
        );
        if corrupt { RETRY_CORRUPT } else { RETRY }
    }
}

impl<M: Machine> Keeper<M> {
    pub(crate) fn new(context: Arc<SeatContext>, partition: PartitionId, door: Door) -> Self {
        let (keeping, taken, served, condemned) = Default::default();
        let machine = PhantomData;
        Keeper { context, partition, door, keeping, taken, served, condemned, machine }
    }

    /// Carries out one order after the other.
    pub(crate) async fn run(&self, mut orders: Orders) {
        // Loaded for a move; whatever becomes of that, it stays true of its part of the log.
        let mut loaded = None;
        let mut given_up = self.context.log.given_up();
        loop {
            if given_up.has_changed().unwrap_or_default() {
                given_up.mark_unchanged();
                loaded = None;
                self.forget();
            }
            let order = orders.borrow_and_update().clone();
            let ended = match order {
                None => {
                    self.troubles().end(self.partition);
                    return;
                }
                Some(Order::Warm { epoch, revision }) => {
                    let given_up = given_up.clone();
                    self.warm_up(&mut loaded, (epoch, revision), given_up, &mut orders).await
                }
                Some(Order::Serve { epoch, revision }) => {
                    let begun = (loaded.take(), given_up.clone());
                    self.open_and_serve(begun, (epoch, revision), &mut orders).await
                }
                Some(Order::HandOver { epoch, to, revision, .. }) => {
                    self.let_go((epoch, revision), &to, given_up.clone(), &mut orders).await
                }
            };
            let wait = ended.err();
            tokio::select! {
                changed = orders.changed() => if changed.is_err() { return },
                () = pause(wait) => {}
            }
        }
    }

    /// Loads the state and follows it until ordered otherwise. Reads only: the partition is
    /// somebody else's.
    async fn warm_up(
        &self,
        loaded: &mut Option<Rebuilt<M>>,
        (epoch, revision): (Epoch, Revision),
        mut given_up: GivenUp,
        orders: &mut Orders,
    ) -> Result<(), Duration> {
        let follow = async {
            let log = self.log()?;
            let mut outcomes = log.reader(self.partition, LogKind::Outcomes);
            let turn = self.context.loads.acquire().await;
            let state = match loaded {
                Some(state) => state,
                None => loaded.insert(Rebuilt::begin(&log, self.partition).await?),
            };
            let end = outcomes.end().await.map_err(OpenError::Follow)?;
            state.catch_up(&mut outcomes, end).await?;
            // Nothing depends on it: without, taking over takes a little longer.
            if let Err(error) = log.prepare(self.partition).await {
                tracing::debug!(partition = %self.partition, error = %chain(&error), "not prepared");
            }
            drop(turn);
            tracing::info!(partition = %self.partition, %epoch, at = %state.next, "loaded for a move");
            let _ready = self.context.warmth.ready(self.partition, epoch, revision);
            loop {
                outcomes.wait_beyond(state.next).await.map_err(OpenError::Follow)?;
                let end = outcomes.end().await.map_err(OpenError::Follow)?;
                state.catch_up(&mut outcomes, end).await?;
            }
        };
        let failed: Result<(), OpenError> = tokio::select! {
            _ = orders.changed() => {
                orders.mark_changed();
                return Ok(());
            }
            Ok(()) = given_up.changed() => return Err(Duration::ZERO),
            failed = follow => failed,
        };
        failed.map_err(|error| {
            tracing::warn!(partition = %self.partition, error = %chain(&error), "cannot load for a move");
            error.retry()
        })
    }

    /// Opens, then serves until the order is no longer to serve in this epoch. The error is how
    /// long to wait before trying again.
    async fn open_and_serve(
        &self,
        (loaded, given_up): (Option<Rebuilt<M>>, GivenUp),
        (epoch, revision): (Epoch, Revision),
        orders: &mut Orders,
    ) -> Result<(), Duration> {
        match self.open(loaded, epoch).await {
            Ok((log, owned, mut rebuilt)) => {
                let taken = (&log, &owned, revision);
                let whole = self.inherit(taken, &mut rebuilt, given_up.clone(), orders).await;
                if whole != Ok(true) {
                    return whole.map(drop);
                }
                self.troubles().end(self.partition);
                tokio::select! {
                    ended = self.serve(owned, rebuilt, given_up, orders) => ended,
                    () = self.say_loaded(epoch, revision) => Err(RETRY),
                }
            }
            Err(OpenError::Take(broker::Error::Superseded { holds, owner }))
                if holds.is_last() || !holds.is_believable(Some(epoch)) =>
            {
                let error = OpenError::FarAbove { holds, owner, epoch };
                self.troubles().begin(self.partition, chain(&error));
                Err(error.retry())
            }
            Err(OpenError::Take(broker::Error::Superseded { holds, owner })) => {
                // etcd was wiped or restored from a backup: the log remembers a later ownership
                // than the record. The record is ours, so we may raise it.
                tracing::warn!(partition = %self.partition, %holds, %owner, record = %epoch,
                    "the log knows a later epoch than etcd; raising the record");
                let raised =
                    PartitionRecord::Own { owner: self.context.me.clone(), epoch: holds.next() };
                // each try leaves something behind in the log
                self.replace(revision, &raised).await.map_err(|_| RETRY_FENCED)
            }
            Err(OpenError::NoLog) => Err(RETRY),
            Err(error) => {
                self.troubles().begin(self.partition, chain(&error));
                Err(error.retry())
            }
        }
    }

    /// Takes the partition, then completes its state up to where no earlier owner can write.
    async fn open(
        &self,
        loaded: Option<Rebuilt<M>>,
        epoch: Epoch,
    ) -> Result<(AnyBroker, AnyOwned, Rebuilt<M>), OpenError> {
        self.believe(epoch)?;
        let log = self.log()?;
        let me = &self.context.me;
        let claim =
            Claim { epoch, owner: me.node.to_string(), incarnation: me.incarnation.clone() };
        let began = Instant::now();
        let owned = match self.set_taken(None).filter(|taken| taken.epoch() == epoch) {
            Some(taken) => taken,
            None => log.take(self.partition, claim).await.map_err(OpenError::Take)?,
        };
        let claimed = Instant::now();
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = Some(epoch);
        self.set_taken(Some(owned.clone()));
        let mut rebuilt = match loaded {
            Some(loaded) => loaded,
            None => Rebuilt::begin(&log, self.partition).await?,
        };
        let mut outcomes = log.reader(self.partition, LogKind::Outcomes);
        rebuilt.catch_up(&mut outcomes, owned.end(LogKind::Outcomes)).await?;
        let mut events = log.reader(self.partition, LogKind::Events);
        rebuilt.check_events(&mut events, owned.end(LogKind::Events)).await?;
        self.set_taken(None);
        self.context.metrics.moved("claim", claimed - began);
        self.context.metrics.moved("load", claimed.elapsed());
        #[cfg(feature = "sim")]
        crate::sim::sabotage().break_rebuilt(&mut rebuilt.state);
        Ok((log, owned, rebuilt))
    }

    /// A claim in the log is for good: one number written by hand would end all counting.
    fn believe(&self, epoch: Epoch) -> Result<(), OpenError> {
        let known = *self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch.is_believable(known) && !epoch.is_last() {
            return Ok(());
        }
        let known = known.map_or("none".to_owned(), |known| known.to_string());
        Err(OpenError::NeverGranted { epoch, known })
    }

    /// Ordered away while it is not served: before it was ever opened, or the hand-over did not
    /// reach etcd. If it does not now either, serving goes on: the record says that it is ours.
    async fn let_go(
        &self,
        (epoch, revision): (Epoch, Revision),
        to: &Owner,
        given_up: GivenUp,
        orders: &mut Orders,
    ) -> Result<(), Duration> {
        match self.hand_over(epoch, to, revision).await {
            Ok(()) => Ok(()),
            Err(_) => self.open_and_serve((None, given_up), (epoch, revision), orders).await,
        }
    }

    /// The owner's own transaction: release and grant in one write.
    pub(super) async fn hand_over(
        &self,
        epoch: Epoch,
        to: &Owner,
        revision: Revision,
    ) -> Result<(), Duration> {
        let next = PartitionRecord::Own { owner: to.clone(), epoch: epoch.next() };
        self.replace(revision, &next).await
    }

    /// Whether etcd answers, and still with that record: nothing is drained for nobody.
    pub(super) async fn still_stands(&self, revision: Revision) -> bool {
        let key = self.context.keys.key(&Key::Partition(self.partition));
        match self.context.store.read(&key).await {
            Ok(found) => found.is_some_and(|entry| entry.mod_revision == revision),
            Err(error) => {
                self.say_store(&error);
                false
            }
        }
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
                self.say_store(&error);
                Err(RETRY)
            }
        }
    }

    fn say_store(&self, error: &StoreError) {
        let error = chain(error);
        tracing::warn!(partition = %self.partition, %error, "cannot reach the partition's record");
    }

    pub(super) fn troubles(&self) -> &Troubles {
        self.context.metrics.meters.troubles()
    }

    fn log(&self) -> Result<AnyBroker, OpenError> {
        let log = &self.context.log;
        log.broker().ok_or_else(|| log.trouble().map_or(OpenError::NoLog, OpenError::LogFailed))
    }

    /// The agent stops and nobody else took the partition: the next start is to be quick.
    pub(crate) async fn stopped(&self) {
        self.set_door(None);
        let Some(keeping) = self.set_keeping(None) else { return };
        let last = keeping.last::<M>(&self.context.snapshots);
        if tokio::time::timeout(LAST_SNAPSHOT, last).await.is_err() {
            tracing::warn!(partition = %self.partition, "no time left for a last snapshot");
        }
    }

    /// The next worker makes a dead letter of it.
    pub(super) fn condemn(&self, event: Condemned) {
        *self.condemned.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
    }

    pub(super) fn condemned(&self) -> Option<Condemned> {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log is another's: nothing that is known of it is true.
    fn forget(&self) {
        self.set_taken(None);
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.condemned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn set_door(&self, intake: Option<Intake>) {
        self.door.send_replace(intake);
    }

    /// Out: what was there before.
    pub(super) fn set_taken(&self, taken: Option<AnyOwned>) -> Option<AnyOwned> {
        let mut held = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, taken)
    }

    /// Out: what was there before.
    pub(super) fn set_keeping(&self, keeping: Option<Keeping>) -> Option<Keeping> {
        let mut held = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, keeping)
    }
}

async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
