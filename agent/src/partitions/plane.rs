//! The data plane: every partition that this node serves, and the way in for events. In: orders
//! from the records in etcd, events from the gateway. Out: durable places of events. I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{AnyReader, Broker as _};
use config_schemas::documents::Owner;
use config_schemas::keys::HuntKeys;
use config_schemas::{Cuts, HuntName, PartitionId};
use events::{Event, Machine, Vocabulary};
use store::Store;
use telemetry::tasks::Tasks;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub use super::answer::{Accepted, NotTaken, Source};
use super::believed::Believed;
use super::log::Log;
use super::outbox::Forward;
use super::ownership::{Order, orders};
use super::routes::{Routes, routes};
use super::seat::{Seat, SeatContext};
use super::warmth::{Warmth, Writer};
use crate::config::live::Live;
use crate::config::road::chain;
use crate::config::shared::ViewReader;
use crate::config::view::View;
use crate::core::Core;
use crate::metrics::PlaneMetrics;

/// States that are loaded for moves at the same time: enough that a node that is filled does not
/// wait for single files, few enough that what it serves already goes on.
const LOADS_AT_ONCE: usize = 4;
/// How soon it is told that the broker cannot be reached, and that it can again.
const BROKER_LOOK: Duration = Duration::from_secs(1);
/// Snapshots that are made at the same time: each holds a second copy of its partition's state.
const SNAPSHOTS_AT_ONCE: usize = 1;

/// Whose events, and who this node is.
#[derive(Debug, Clone)]
pub struct PlaneOptions {
    /// The hunt.
    pub hunt: HuntName,
    /// Name and life of this node.
    pub me: Owner,
}

/// The data plane. Cheap to clone.
#[derive(Clone)]
pub struct Plane(Arc<Inner>);

struct Inner {
    options: PlaneOptions,
    live: Live,
    view: ViewReader,
    routes: watch::Sender<Arc<Routes>>,
    log: Log,
    /// As this node goes by.
    cuts: watch::Sender<Arc<Cuts>>,
    /// As the marker says.
    marker: watch::Sender<Arc<Cuts>>,
    seats: Mutex<BTreeMap<PartitionId, Arc<Seat>>>,
    metrics: PlaneMetrics,
    vocabulary: Vocabulary,
    /// Starts a seat that runs the hunt's machine.
    start: fn(Arc<SeatContext>, PartitionId, Order) -> Arc<Seat>,
}

/// A plane that runs `M` on every partition. It does not serve yet: its gateway has to be there
/// first.
pub fn new<M: Machine>(
    options: PlaneOptions,
    core: &Core,
    log: Log,
    metrics: PlaneMetrics,
) -> Plane {
    Plane(Arc::new(Inner {
        options,
        live: core.live.clone(),
        view: core.view.clone(),
        routes: watch::Sender::new(Arc::default()),
        log,
        cuts: watch::Sender::new(Arc::default()),
        marker: watch::Sender::new(Arc::default()),
        seats: Mutex::default(),
        metrics,
        vocabulary: M::vocabulary(),
        start: Seat::start::<M>,
    }))
}

impl Plane {
    /// The hunt.
    pub fn hunt(&self) -> &HuntName {
        &self.0.options.hunt
    }

    /// The kinds of events that the hunt's machine understands.
    pub fn vocabulary(&self) -> Vocabulary {
        self.0.vocabulary.clone()
    }

    /// The configuration to work by.
    pub fn live(&self) -> Live {
        self.0.live.clone()
    }

    /// Where each partition is served; changes live.
    pub fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.0.routes.subscribe()
    }

    /// The plane's figures.
    pub fn metrics(&self) -> &PlaneMetrics {
        &self.0.metrics
    }

    /// Appends `events` to a partition that this node serves. When it returns `Ok`, they are
    /// durable, in this order, at these places.
    pub async fn append(
        &self,
        partition: PartitionId,
        events: Vec<Event>,
        source: Source,
    ) -> Result<Vec<Accepted>, NotTaken> {
        let seat = self.seats().get(&partition).cloned();
        match seat {
            Some(seat) => seat.append(events, source).await,
            None => Err(NotTaken::NotMine { epoch: None }),
        }
    }

    /// A reader of a partition's outcomes, whoever owns it. `None` while the hunt is unknown.
    pub fn outcomes(&self, partition: PartitionId) -> Option<AnyReader> {
        self.0.log.broker().map(|log| log.follower(partition))
    }

    /// Serves partitions by the records until the tasks stop. `forward` carries events to other
    /// partitions.
    pub fn serve(&self, store: &Store, core: &Core, forward: Arc<dyn Forward>, tasks: &Tasks) {
        let context = Arc::new(SeatContext {
            me: self.0.options.me.clone(),
            keys: HuntKeys::new(&self.0.options.hunt),
            store: store.clone(),
            live: self.0.live.clone(),
            board: core.board.clone(),
            turns: core.turns.clone(),
            queues: core.queues.clone(),
            log: self.0.log.clone(),
            cuts: self.0.cuts.subscribe(),
            marker: self.0.marker.subscribe(),
            forward,
            metrics: self.0.metrics.clone(),
            tasks: tasks.clone(),
            warmth: Warmth::default(),
            loads: Semaphore::new(LOADS_AT_ONCE),
            snapshots: Semaphore::new(SNAPSHOTS_AT_ONCE),
        });
        let writer = Writer {
            me: context.me.clone(),
            keys: context.keys.clone(),
            store: store.clone(),
            session: core.session.status(),
        };
        let (warmth, view) = (context.warmth.clone(), self.0.view.clone());
        let stopping = tasks.stopping();
        tasks.spawn("warmth", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = warmth.keep(writer, view) => {}
            }
        });
        let plane = self.clone();
        let stopping = tasks.stopping();
        tasks.spawn("broker", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = plane.watch_broker() => {}
            }
        });
        let plane = self.clone();
        let stopping = tasks.stopping();
        tasks.spawn("partitions", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = plane.follow(context) => {}
            }
        });
    }

    /// Waits until this node serves no partition.
    pub async fn empty(&self) {
        let mut view = self.0.view.clone();
        let me = &self.0.options.me;
        let ours =
            |view: &View| orders(&view.partitions, &view.warm, me).values().any(Order::is_ours);
        view.wait_for(|view| !ours(view)).await;
    }

    async fn follow(&self, context: Arc<SeatContext>) {
        let mut view = self.0.view.clone();
        let mut believed = Believed::default();
        loop {
            let me = &self.0.options.me;
            let (meta, routes, orders) = {
                let view = view.read();
                let meta = view.meta.as_ref().map(|meta| meta.record.clone());
                let cuts = meta.as_ref().map_or(Arc::default(), |meta| believed.of(meta));
                let before = self.0.routes.borrow().clone();
                let routes = routes(&view, me, cuts.partitions(), &before);
                (meta.map(|meta| (meta, cuts)), routes, orders(&view.partitions, &view.warm, me))
            };
            if let Some((meta, cuts)) = &meta {
                tell(&self.0.cuts, cuts.clone());
                tell(&self.0.marker, Arc::new(Cuts::of(meta)));
            }
            let now = Instant::now();
            let again = meta.and_then(|(meta, _)| self.0.log.know(&meta, now));
            // first whose each key is, then who takes events in, then where they go
            self.order(&context, &orders);
            tell(&self.0.routes, Arc::new(routes));
            tokio::select! {
                more = view.changed() => if !more { return },
                () = until(again) => {}
            }
        }
    }

    /// Tells what ails the way to the broker, of every partition here: where nothing is appended,
    /// nobody would run into it.
    async fn watch_broker(&self) {
        let troubles = self.0.metrics.meters.troubles();
        let mut told = false;
        loop {
            tokio::time::sleep(BROKER_LOOK).await;
            let trouble = self.0.log.broker().and_then(|broker| broker.trouble());
            if trouble.is_none() && !told {
                continue;
            }
            told = trouble.is_some();
            let ours: Vec<PartitionId> = self.seats().keys().copied().collect();
            for partition in ours {
                match &trouble {
                    Some(error) => troubles.run_into(partition, chain(error)),
                    None => troubles.end(partition),
                }
            }
        }
    }

    /// Gives each seat its order; a seat without one ends.
    fn order(&self, context: &Arc<SeatContext>, orders: &BTreeMap<PartitionId, Order>) {
        let mut seats = self.seats();
        seats.retain(|partition, seat| {
            let order = orders.get(partition).cloned();
            let stays = order.is_some();
            seat.order(order);
            stays
        });
        for (partition, order) in orders {
            seats
                .entry(*partition)
                .or_insert_with(|| (self.0.start)(context.clone(), *partition, order.clone()));
        }
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartitionId, Arc<Seat>>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes nobody for the same again.
fn tell<T: PartialEq>(to: &watch::Sender<Arc<T>>, now: Arc<T>) {
    to.send_if_modified(|held| {
        let changed = *held != now;
        if changed {
            *held = now;
        }
        changed
    });
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
