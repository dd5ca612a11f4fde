//! One ownership of a partition: intake, worker, outbox and snapshots side by side, until ordered
//! away. In: an open log, a state, orders. Out: the partition drained and handed over. I/O.

use std::collections::VecDeque;
use std::time::Duration;

use broker::{AnyOwned, Broker as _, LogKind, Owned as _};
use config_schemas::documents::Owner;
use config_schemas::{Epoch, Revision};
use events::{Event, Machine};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cutting::tell_cuts;
use super::dead_letters::Condemned;
use super::intake::Intake;
use super::keeper::{GivenUp, Keeper, Orders, RETRY, RETRY_CORRUPT, RETRY_FENCED};
use super::outbox::Outbox;
use super::ownership::Order;
use super::rebuild::Rebuilt;
use super::snapshots::Keeping;
use super::trial::Trial;
use super::worker::{Worker, WorkerEnd};
use crate::config::road::chain;

/// A move away that this tenure has seen.
struct Leaving {
    revision: Revision,
    since: Instant,
    /// When its drain began. A drain is tied to the move: it goes on whatever becomes of the
    /// destination's word, and ends only when the move is called off.
    drains: Option<Instant>,
}

impl Leaving {
    /// When whoever leads has called the move off, or nobody leads. A drain that begins late, since
    /// etcd was away or this agent was frozen, has that much time too.
    fn end(&self, limit: Duration) -> Instant {
        self.drains.map_or(self.since + limit, |drains| drains.max(self.since + limit)) + UNATTENDED
    }
}

/// A move's order, taken apart.
struct Move {
    epoch: Epoch,
    to: Owner,
    warm: bool,
    patience: Duration,
    limit: Duration,
}

impl<M: Machine> Keeper<M> {
    /// Serves until ordered otherwise. Dropping the worker or the outbox at any point loses
    /// nothing: what counts is in the log.
    pub(super) async fn serve(
        &self,
        owned: AnyOwned,
        rebuilt: Rebuilt<M>,
        mut given_up: GivenUp,
        orders: &mut Orders,
    ) -> Result<(), Duration> {
        let log = self.context.log.broker().ok_or(RETRY)?;
        let queue = self.context.queues.join(self.partition);
        let keeping = Keeping::new(&log, &owned, &rebuilt, self.context.live.clone());
        let outbox = Outbox::new(self.context.forward.clone());
        outbox.send(rebuilt.state.ledger().outbox().cloned().collect::<Vec<Event>>());
        let intake = Intake::new(
            owned.clone(),
            queue.credits.clone(),
            self.context.live.clone(),
            self.context.metrics.clone(),
            M::vocabulary(),
            self.context.cuts.clone(),
        );
        let (asked, copies) = mpsc::channel(1);
        let (due, cuts_due) = mpsc::channel(1);
        let mut cuts = self.context.cuts.clone();
        let cut = rebuilt.state.ledger().cut();
        intake.is_cut(cut);
        let mut live = self.context.live.clone();
        let version = live.load().version;
        let worker = Worker::<M> {
            owned: owned.clone(),
            events: log.reader(self.partition, LogKind::Events),
            trial: self.condemned().map(|_| Trial::new(&rebuilt.state)),
            state: rebuilt.state,
            durable: rebuilt.next,
            condemned: self.condemned(),
            intake: intake.clone(),
            outbox: outbox.clone(),
            line: self.context.board.join(self.partition, version),
            live,
            turns: self.context.turns.clone(),
            metrics: self.context.metrics.clone(),
            flights: VecDeque::new(),
            copies,
            cuts: cuts.clone(),
            cuts_due,
            due: None,
        };
        self.set_door(Some(intake.clone()));
        self.set_keeping(Some(keeping.clone()));
        self.context.metrics.served.inc();
        tracing::info!(partition = %self.partition, epoch = %owned.epoch(), "serving");
        let ended = tokio::select! {
            Ok(()) = given_up.changed() => Err(Duration::ZERO),
            end = worker.run() => self.worker_ended(end, orders),
            () = intake.disowned() => self.worker_ended(WorkerEnd::Fenced, orders),
            () = outbox.run() => Ok(()),
            () = intake.count_lag() => Ok(()),
            () = tell_cuts(cut, &mut cuts, &intake, due) => Ok(()),
            () = keeping.run::<M>(&owned, asked, &self.context.snapshots) => Ok(()),
            ended = self.until_ordered_away(&owned, &intake, orders) => ended,
        };
        self.set_door(None);
        self.set_keeping(None);
        self.context.metrics.served.dec();
        if tokio::time::timeout(CLOSE_LIMIT, owned.release()).await.is_err() {
            tracing::warn!(partition = %self.partition, "the log is left with writes under way");
        }
        tracing::info!(partition = %self.partition, epoch = %owned.epoch(), "no longer serving");
        ended
    }

    fn worker_ended(&self, end: WorkerEnd, orders: &mut Orders) -> Result<(), Duration> {
        match end {
            // We closed the log ourselves to hand over, and the worker, which had a delivery to note,
            // saw it first: that order stands.
            WorkerEnd::Fenced if matches!(*orders.borrow(), Some(Order::HandOver { .. })) => {
                orders.mark_changed();
                Ok(())
            }
            // Somebody newer owns it, and the record will say so. If it goes on to say that it is
            // ours, it is taken again, which tells whose it is.
            WorkerEnd::Fenced => Err(RETRY_FENCED),
            WorkerEnd::Failed(error) => {
                self.troubles().begin(self.partition, chain(&error));
                // the same batch is too large again, until a setting or a topic is put back
                let same = matches!(error, broker::Error::TooLarge { .. });
                Err(if same { RETRY_CORRUPT } else { RETRY })
            }
            WorkerEnd::Poisoned(condemned) => {
                let Condemned { offset, why } = &condemned;
                tracing::error!(partition = %self.partition, %offset, %why, "an event is a dead letter");
                let text = format!("opened anew without the event at offset {offset}: {why}");
                self.troubles().begin(self.partition, text);
                self.condemn(condemned);
                Err(Duration::ZERO)
            }
        }
    }

    /// Returns when the partition is to be closed: another epoch, nothing, or handed over.
    async fn until_ordered_away(
        &self,
        owned: &AnyOwned,
        intake: &Intake,
        orders: &mut Orders,
    ) -> Result<(), Duration> {
        let mut leaving: Option<Leaving> = None;
        loop {
            let order = orders.borrow_and_update().clone();
            match order {
                Some(Order::Serve { epoch, .. }) if epoch == owned.epoch() => {
                    leaving = None;
                    intake.open();
                    if orders.changed().await.is_err() {
                        return Ok(());
                    }
                }
                Some(Order::HandOver { epoch, to, revision, warm, patience, limit })
                    if epoch == owned.epoch() =>
                {
                    let now = Instant::now();
                    let seen = leaving.take_if(|leaving| leaving.revision == revision);
                    let seen = seen.unwrap_or(Leaving { revision, since: now, drains: None });
                    let seen = leaving.insert(seen);
                    let moving = Move { epoch, to, warm, patience, limit };
                    if let Some(ended) = self.leave(owned, intake, seen, &moving, orders).await {
                        return ended;
                    }
                }
                _ => {
                    orders.mark_changed();
                    return Ok(());
                }
            }
        }
    }

    /// One look at a move: waits for the destination, drains, hands over. `None` when the orders
    /// have to be looked at again.
    async fn leave(
        &self,
        owned: &AnyOwned,
        intake: &Intake,
        leaving: &mut Leaving,
        moving: &Move,
        orders: &mut Orders,
    ) -> Option<Result<(), Duration>> {
        if leaving.drains.is_none() {
            intake.open();
            let until = leaving.since + moving.patience;
            if !moving.warm && Instant::now() < until {
                return tokio::select! {
                    changed = orders.changed() => changed.is_err().then_some(Ok(())),
                    () = tokio::time::sleep_until(until) => None,
                };
            }
            if !self.still_stands(leaving.revision).await {
                return tokio::select! {
                    changed = orders.changed() => changed.is_err().then_some(Ok(())),
                    () = tokio::time::sleep(RETRY) => None,
                };
            }
        }
        let began = *leaving.drains.get_or_insert_with(Instant::now);
        let end = leaving.end(moving.limit);
        tokio::select! {
            biased;
            changed = orders.changed() => return changed.is_err().then_some(Ok(())),
            () = drained(intake) => {}
            () = tokio::time::sleep_until(end) => {}
        }
        if tokio::time::timeout_at(end, owned.release()).await.is_err() {
            // What is still under way is not acknowledged: the next owner's claim fences it.
            tracing::warn!(partition = %self.partition, epoch = %moving.epoch, to = %moving.to.node,
                "the move's time is over and nobody called it off; handing over by force");
        }
        self.set_door(None);
        let drained = began.elapsed();
        let ended = self.hand_over(moving.epoch, &moving.to, leaving.revision).await;
        let stages = [
            ("warm", began - leaving.since),
            ("drain", drained),
            ("flip", began.elapsed() - drained),
        ];
        for (stage, took) in stages {
            self.context.metrics.moved(stage, took);
        }
        tracing::info!(
            partition = %self.partition, epoch = %moving.epoch, to = %moving.to.node,
            warm = moving.warm, done = ended.is_ok(), waited = ?(began - leaving.since),
            ?drained, took = ?began.elapsed(), "handed over"
        );
        Some(ended)
    }
}

/// How long a partition is shut for what was taken in to be played here (placement.md, section 6,
/// step 3): the longest pause that a planned move should show. Nothing that is left is lost or
/// reordered, as it stands in the log.
const DRAIN_SOFT: Duration = Duration::from_millis(250);

/// Whoever leads calls a move off at its deadline. So long after it nobody leads, and the owner ends
/// the move by itself, lest a log that is stuck keep the partition shut for ever.
const UNATTENDED: Duration = Duration::from_secs(2);

/// Longest wait for a log that is closed to finish what was begun on it: whoever waits for an append
/// has its answer from the log, not from here.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Returns when what was taken in is played, or has to be left to the next owner.
async fn drained(intake: &Intake) {
    #[cfg(feature = "sim")]
    if crate::sim::sabotage().undrained {
        return;
    }
    intake.drain(DRAIN_SOFT).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_has_its_time_however_late_it_begins() {
        let since = Instant::now();
        let secs = Duration::from_secs;
        let check = |drains: Option<u64>, limit: u64, expected: u64| {
            let drains = drains.map(|after| since + secs(after));
            let leaving = Leaving { revision: Revision::FIRST, since, drains };
            assert_eq!(leaving.end(secs(limit)), since + secs(expected) + UNATTENDED);
        };
        check(Some(1), 10, 10);
        check(Some(60), 10, 60);
        check(Some(60), 0, 60);
        check(None, 10, 10);
    }
}
