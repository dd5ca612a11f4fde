//! One partition at this node, from first order to last: where orders and events go in. What is
//! done about them is in `keeper` and `tenure`. In: orders, level by level; events. Out: durable
//! places, or why not.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::documents::Owner;
use config_schemas::keys::HuntKeys;
use config_schemas::{Cuts, PartitionId};
use events::{Event, Machine};
use store::Store;
use telemetry::tasks::Tasks;
use tokio::sync::{Semaphore, watch};

use super::answer::{Accepted, NotTaken, Source};
use super::intake::Intake;
use super::keeper::Keeper;
use super::log::Log;
use super::outbox::Forward;
use super::ownership::Order;
use super::warmth::Warmth;
use crate::capacity::queues::Queues;
use crate::capacity::turns::Turns;
use crate::config::live::Live;
use crate::config::switched::Board;
use crate::metrics::PlaneMetrics;

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
    /// Into what the hunt is cut; never taken back.
    pub(crate) cuts: watch::Receiver<Arc<Cuts>>,
    /// Into what it is cut by the marker in etcd, which may be an older one.
    pub(crate) marker: watch::Receiver<Arc<Cuts>>,
    pub(crate) forward: Arc<dyn Forward>,
    pub(crate) metrics: PlaneMetrics,
    pub(crate) tasks: Tasks,
    /// Where it is said what is loaded for a move.
    pub(crate) warmth: Warmth,
    /// How many states may be loaded for a move at the same time.
    pub(crate) loads: Semaphore,
    /// How many snapshots may be made at the same time.
    pub(crate) snapshots: Semaphore,
}

/// Longest wait of an append for a partition that is being opened here: about what a take-over takes
/// whose state is loaded. Who waits need not ask again and again.
const OPENING_MAX: Duration = Duration::from_millis(500);

/// The way into a partition, while it is served.
pub(crate) type Door = Arc<watch::Sender<Option<Intake>>>;

/// A partition's seat.
pub(crate) struct Seat {
    orders: watch::Sender<Option<Order>>,
    door: Door,
}

impl Seat {
    /// Starts with `order`; ends when ordered nothing.
    pub(crate) fn start<M: Machine>(
        context: Arc<SeatContext>,
        partition: PartitionId,
        order: Order,
    ) -> Arc<Seat> {
        let (orders, receiver) = watch::channel(Some(order));
        let seat = Arc::new(Seat { orders, door: Arc::new(watch::Sender::new(None)) });
        let keeper = Keeper::<M>::new(context.clone(), partition, seat.door.clone());
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
        match self.entrance().await {
            Some(intake) => intake.append(events, source).await,
            None => Err(NotTaken::NotMine { epoch: None }),
        }
    }

    /// The way in, once it is open; `None` if it is not to be, or not soon.
    async fn entrance(&self) -> Option<Intake> {
        let open = self.door.borrow().clone();
        if open.is_some() {
            return open;
        }
        let elsewhere = |order: &Option<Order>| !matches!(order, Some(Order::Serve { .. }));
        let (mut door, mut orders) = (self.door.subscribe(), self.orders.subscribe());
        tokio::select! {
            biased;
            opened = door.wait_for(Option::is_some) => opened.ok()?.clone(),
            _ = orders.wait_for(elsewhere) => None,
            () = tokio::time::sleep(OPENING_MAX) => None,
        }
    }
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
