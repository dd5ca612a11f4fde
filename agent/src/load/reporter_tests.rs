//! What a node reports on an in-memory etcd: nothing new at rest, each window under load, what is
//! busy and what was shed, and that it did not run.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::documents::{FORMAT, Meta, Owner, PartitionRecord, read, write};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{
    Config, Epoch, HuntName, LOAD_WINDOW, Load, NodeName, PartitionId, Rest, SlowCode,
};
use events::{Event, EventId, HuntGame, Kind};
use prometheus::{Registry, TextEncoder};
use store::sim::SimEtcd;
use store::{Session, SessionOptions, Store, StoreOptions};
use telemetry::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fold::Figures;
use super::meter::Meters;
use super::reporter::{Reporter, first};
use crate::capacity::queues::Queues;
use crate::config::live::{Publisher, channel};
use crate::core::{self, Core, CoreOptions, Standing};
use crate::hotkeys::HotKeys;
use crate::metrics::PlaneMetrics;
use crate::partitions::log::Log;
use crate::partitions::outbox::Forward;
use crate::partitions::plane::{self, NotTaken, Plane, PlaneOptions, Source};

/// Far above what anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short windows, where nothing of the test depends on their length.
const WINDOW: Duration = Duration::from_millis(20);
/// Windows in which a node that wrote in each of them would have written many times.
const WINDOWS: usize = 50;
/// The partition that has much to do.
const BUSY: PartitionId = PartitionId(2);

fn hunt() -> HuntName {
    HuntName::new("default", "harbour").unwrap()
}

fn load_key() -> String {
    HuntKeys::new(&hunt()).key(&Key::Load(NodeName::new("a").unwrap()))
}

/// The report in etcd, and how often it was written.
fn report(etcd: &SimEtcd) -> Option<(Load, i64)> {
    etcd.look(|store| {
        let key = load_key();
        let entry = store.entries().find(|entry| entry.key == key.as_bytes())?;
        assert!(entry.lease != 0, "a report goes with its node");
        Some((read(&entry.value).unwrap(), entry.version))
    })
}

async fn store_on(etcd: &SimEtcd) -> Store {
    let (at, _) = etcd.serve_tcp().await.unwrap();
    Store::open(StoreOptions::plain([format!("http://{at}")])).unwrap()
}

/// A reporter alone: what is counted is up to the test.
struct Alone {
    etcd: SimEtcd,
    meters: Meters,
    figures: watch::Receiver<Arc<Figures>>,
    tasks: Tasks,
    standing: watch::Sender<Standing>,
    _settings: Publisher,
}

impl Alone {
    async fn registered() -> Alone {
        let alone = Alone::start().await;
        alone.standing.send_replace(Standing::Registered);
        alone
    }

    async fn start() -> Alone {
        let etcd = SimEtcd::new();
        let store = store_on(&etcd).await;
        let heartbeat =
            SessionOptions { ttl: Duration::from_secs(60), interval: Duration::from_secs(20) };
        let (settings, live) = channel(Config::default());
        let (figures, seen) = watch::channel(Arc::new(first("life", &live)));
        let (standing, registered) = watch::channel(Standing::Registering);
        let (meters, tasks) = (Meters::default(), Tasks::default());
        let reporter = Reporter {
            hot: HotKeys::new(Instant::now()),
            incarnation: "life".to_owned(),
            key: load_key(),
            session: Session::start(&store, heartbeat),
            standing: registered,
            meters: meters.clone(),
            queues: Queues::new(&Config::default().buffers),
            live,
            figures,
            window: WINDOW,
        };
        tasks.spawn("load", reporter.run(tasks.stopping()));
        Alone { etcd, meters, figures: seen, tasks, standing, _settings: settings }
    }

    /// Lets so many windows pass.
    async fn windows(&mut self, count: usize) {
        for _ in 0..count {
            tokio::time::timeout(PATIENCE, self.figures.changed()).await.unwrap().unwrap();
        }
    }

    /// The report, once `is` holds for it.
    async fn until(&mut self, is: impl Fn(&Load) -> bool) -> (Load, i64) {
        let found = async {
            loop {
                self.windows(1).await;
                if let Some(found) = report(&self.etcd).filter(|(load, _)| is(load)) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }
}

#[tokio::test]
async fn at_rest_the_weight_is_written_once_and_then_nothing() {
    let mut alone = Alone::registered().await;
    alone.until(|_| true).await;
    alone.windows(WINDOWS).await;
    let (load, version) = report(&alone.etcd).unwrap();
    assert_eq!((version, load.next_ms, &*load.incarnation), (1, None, "life"));
    assert!(load.weight > 0.0 && load.cost.is_empty());
    alone.tasks.finish().await;
}

#[tokio::test]
async fn before_the_node_is_registered_it_measures_and_writes_nothing() {
    let mut alone = Alone::start().await;
    let meter = alone.meters.join(BUSY);
    meter.shed(7);
    let measured = alone.figures.wait_for(|figures| figures.load.shed == 7);
    drop(tokio::time::timeout(PATIENCE, measured).await.unwrap().unwrap());
    alone.windows(3).await;
    assert_eq!(report(&alone.etcd), None);
    alone.standing.send_replace(Standing::Registered);
    alone.until(|load| load.incarnation == "life").await;
    alone.tasks.finish().await;
}

#[tokio::test]
async fn a_node_that_works_reports_each_window_and_once_more_when_it_rests_again() {
    let mut alone = Alone::registered().await;
    let meter = alone.meters.join(BUSY);
    let _idle = alone.meters.join(PartitionId(1));
    let works = async {
        loop {
            meter.played(10, Duration::from_millis(50), Duration::from_millis(60));
            alone.windows(1).await;
            if let Some((load, 5..)) = report(&alone.etcd) {
                return load;
            }
        }
    };
    let load = tokio::time::timeout(PATIENCE, works).await.unwrap();
    assert_eq!((load.next_ms, load.rest), (Some(5000), Rest { partitions: 1, cost: 0.0 }));
    assert!(load.cost[&BUSY] > 0.0);
    let (_, at_rest) = alone.until(|load| load.next_ms.is_none()).await;
    alone.windows(WINDOWS).await;
    assert_eq!(report(&alone.etcd).unwrap().1, at_rest);
    alone.tasks.finish().await;
}

#[tokio::test]
async fn a_process_that_did_not_run_says_so_when_it_does_again() {
    let mut alone = Alone::registered().await;
    alone.windows(2).await;
    // What a pause of the process or a blocked event loop looks like from inside.
    std::thread::sleep(LOAD_WINDOW / 4);
    let (load, _) = alone.until(|load| load.slow.is_some()).await;
    assert_eq!(load.slow.map(|slow| slow.code), Some(SlowCode::Late));
    alone.until(|load| load.slow.is_none()).await;
    alone.tasks.finish().await;
}

/// No partition of this test sends anything to another.
struct Nowhere;

impl Forward for Nowhere {
    fn forward(
        &self,
        events: Vec<Event>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        Box::pin(async move { vec![true; events.len()] })
    }
}

/// A whole agent that serves four partitions, whose queues hold 64 events.
struct Whole {
    etcd: SimEtcd,
    registry: Registry,
    core: Core,
    plane: Plane,
    tasks: Tasks,
    _data: tempfile::TempDir,
}

impl Whole {
    async fn start() -> Whole {
        let etcd = SimEtcd::new();
        let me = Owner { node: NodeName::new("a").unwrap(), incarnation: "a-1".to_owned() };
        let keys = HuntKeys::new(&hunt());
        let meta = Meta {
            format: FORMAT,
            store_epoch: "epoch".to_owned(),
            uid: "5f3a".to_owned(),
            partitions: 4,
            before: Vec::new(),
            next: None,
            hash: "murmur2".to_owned(),
            cluster: None,
            broker: Default::default(),
        };
        let put = |key: &Key, value: &[u8]| {
            let value = std::str::from_utf8(value).unwrap();
            etcd.change(|store| store.write(&keys.key(key), value));
        };
        put(&Key::Meta, &write(&meta));
        put(&Key::Override("hunt/buffers/events".to_owned()), b"64");
        for number in 0..4 {
            let record = PartitionRecord::Own { owner: me.clone(), epoch: Epoch(1) };
            put(&Key::Partition(PartitionId(number)), &write(&record));
        }
        let store = store_on(&etcd).await;
        let data = tempfile::tempdir().unwrap();
        let (registry, tasks) = (Registry::new(), Tasks::default());
        let log = Log::new(data.path().to_owned(), hunt());
        let options = CoreOptions {
            hunt: hunt(),
            me: me.clone(),
            instance: "a-instance".to_owned(),
            directory: None,
            http: "127.0.0.1:1".to_owned(),
            grpc: "127.0.0.1:1".to_owned(),
        };
        let core = core::start(options, &store, log.retune(), &registry, &tasks).unwrap();
        let options = PlaneOptions { hunt: hunt(), me };
        let metrics = PlaneMetrics::register(&registry, core.meters.clone()).unwrap();
        let plane = plane::new::<HuntGame>(options, &core, log, metrics);
        plane.serve(&store, &core, Arc::new(Nowhere), &tasks);
        Whole { etcd, registry, core, plane, tasks, _data: data }
    }

    /// Publishes `count` events to `partition`, if there is room.
    async fn publish(&self, partition: PartitionId, first: usize, count: usize) {
        let event = |number: usize| {
            let id = EventId::new(format!("{partition}-{number}")).unwrap();
            // sightings need no order, and so may be played on any partition
            Event::new(id, Kind::Sight, 0)
        };
        let events = (first..first + count).map(event).collect();
        match self.plane.append(partition, events, Source::Producer).await {
            // Not served yet, at the beginning.
            Ok(_) | Err(NotTaken::Full { .. } | NotTaken::NotMine { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_busy_partition_is_the_heaviest_and_what_was_shed_is_told() {
    let whole = Whole::start().await;
    let mut figures = whole.core.figures.clone();
    let mut number = 0;
    let busy = async {
        while figures.borrow().load.shed == 0 {
            // Four producers of a partition whose queue has room for one of their batches.
            let batches = [0, 60, 120, 180].map(|more| whole.publish(BUSY, number + more, 60));
            futures::future::join_all(batches).await;
            whole.publish(PartitionId(1), number, 1).await;
            number += 240;
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.unwrap();
    let mine = figures.borrow_and_update().clone();
    let cost = |id: u32| mine.costs.get(&PartitionId(id)).copied().unwrap_or(0.0);
    assert!(cost(2) > 2.0 * cost(1) && cost(1) > 0.0 && cost(3) == 0.0, "{:?}", mine.costs);
    assert_eq!(mine.costs.len(), 4);
    let load = &mine.load;
    assert!(load.rate > 0.0 && load.latency_p99_ms > 0.0 && load.cpu > 0.0, "{load:?}");
    assert_eq!(load.next_ms, Some(5000));
    let written = async {
        while report(&whole.etcd).is_none_or(|(written, _)| written != *load) {
            tokio::time::sleep(WINDOW).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    let shown = TextEncoder::new().encode_to_string(&whole.registry.gather()).unwrap();
    for line in [
        format!("treasurehunt_agent_partition_cost{{partition=\"2\"}} {}", cost(2)),
        format!("treasurehunt_agent_load_weight {}", load.weight),
        "treasurehunt_agent_slow{code=\"Late\"} 0".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line} is missing in\n{shown}");
    }
    whole.tasks.finish().await;
}
