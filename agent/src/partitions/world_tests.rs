//! Agents without gateways on an in-memory etcd and one data directory: for tests of how
//! partitions are taken, moved and handed over, written from where a controller stands.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{LogKind, Reader as _};
use config_schemas::documents::{FORMAT, Meta, Owner, PartitionRecord, write};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Epoch, HuntName, NodeName, Offset, PartitionId, Warm};
use events::{Event, EventId, HuntGame, Kind, Machine, OutcomeRecord};
use prometheus::Registry;
use store::sim::SimEtcd;
use store::{Store, StoreOptions};
use telemetry::tasks::Tasks;
use tempfile::TempDir;

use super::log::Log;
use super::outbox::Forward;
use super::plane::{self, Plane, PlaneOptions, Source};
use crate::config::view::View;
use crate::core::{self, Core, CoreOptions};
use crate::metrics::PlaneMetrics;

/// The partition that everything here is about.
pub(super) const P: PartitionId = PartitionId(0);
/// Far above what anything here takes; a test that hangs ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Wait before something is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(super) struct Node {
    pub(super) me: Owner,
    pub(super) plane: Plane,
    pub(super) tasks: Tasks,
    pub(super) core: Core,
    pub(super) log: Log,
}

pub(super) struct World {
    pub(super) etcd: SimEtcd,
    pub(super) data: TempDir,
    keys: HuntKeys,
    at: std::net::SocketAddr,
}

/// One partition: everything goes back to it.
struct Back(Arc<Mutex<Option<Plane>>>);

impl Forward for Back {
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        let plane = self.0.lock().unwrap().clone();
        Box::pin(async move {
            let count = events.len();
            let Some(plane) = plane else { return vec![false; count] };
            vec![plane.append(P, events, Source::Outbox).await.is_ok(); count]
        })
    }
}

/// That life of that node, whether it lives or not.
pub(super) fn life_of(name: &str, life: u32) -> Owner {
    Owner { node: NodeName::new(name).unwrap(), incarnation: format!("{name}-{life}") }
}

fn hunt() -> HuntName {
    HuntName::new("default", "harbour").unwrap()
}

impl World {
    pub(super) async fn new() -> World {
        let etcd = SimEtcd::new();
        let (at, _) = etcd.serve_tcp().await.unwrap();
        let keys = HuntKeys::new(&hunt());
        let world = World { etcd, data: tempfile::tempdir().unwrap(), keys, at };
        world.cut(&[1], None);
        world
    }

    /// Says into how many partitions the hunt was cut, the last of which is in force, and is to be.
    pub(super) fn cut(&self, counts: &[u32], next: Option<u32>) {
        let (partitions, before) = counts.split_last().unwrap();
        let meta = Meta {
            format: FORMAT,
            store_epoch: "epoch".to_owned(),
            uid: "5f3a".to_owned(),
            partitions: *partitions,
            before: before.to_vec(),
            next,
            hash: "murmur2".to_owned(),
            cluster: None,
            broker: Default::default(),
        };
        self.put(&Key::Meta, &write(&meta));
    }

    pub(super) fn node(&self, name: &str, life: u32) -> Node {
        self.node_with::<HuntGame>(name, life)
    }

    pub(super) fn node_with<M: Machine>(&self, name: &str, life: u32) -> Node {
        let me = life_of(name, life);
        let store = Store::open(StoreOptions::plain([format!("http://{}", self.at)])).unwrap();
        let (registry, tasks) = (Registry::new(), Tasks::default());
        let log = Log::new(self.data.path().to_owned(), hunt());
        let options = CoreOptions {
            hunt: hunt(),
            me: me.clone(),
            instance: format!("{name}-instance"),
            directory: None,
            http: "127.0.0.1:1".to_owned(),
            grpc: "127.0.0.1:1".to_owned(),
        };
        let core = core::start(options, &store, log.retune(), &registry, &tasks).unwrap();
        let options = PlaneOptions { hunt: hunt(), me: me.clone() };
        let metrics = PlaneMetrics::register(&registry, core.meters.clone()).unwrap();
        let plane = plane::new::<M>(options, &core, log.clone(), metrics);
        let back = Arc::new(Back(Arc::new(Mutex::new(Some(plane.clone())))));
        plane.serve(&store, &core, back, &tasks);
        Node { me, plane, tasks, core, log }
    }

    pub(super) fn own(&self, owner: &Owner, epoch: u64) {
        self.own_of(P, owner, epoch);
    }

    pub(super) fn own_of(&self, partition: PartitionId, owner: &Owner, epoch: u64) {
        let record = PartitionRecord::Own { owner: owner.clone(), epoch: Epoch(epoch) };
        self.put(&Key::Partition(partition), &write(&record));
    }

    pub(super) fn mov(&self, from: &Owner, to: &Owner, epoch: u64, drain: Duration) {
        let since = telemetry::clock::now();
        let record = PartitionRecord::Mov {
            owner: from.clone(),
            epoch: Epoch(epoch),
            to: to.clone(),
            since,
            deadline: since + jiff::SignedDuration::try_from(drain).unwrap(),
        };
        self.put(&Key::Partition(P), &write(&record));
    }

    pub(super) fn put(&self, key: &Key, value: &[u8]) {
        let value = std::str::from_utf8(value).unwrap();
        self.etcd.change(|store| store.write(&self.keys.key(key), value));
    }

    pub(super) fn delete(&self, key: &Key) {
        self.etcd.change(|store| store.remove(&self.keys.key(key)));
    }

    /// What stands at a key.
    pub(super) fn at(&self, key: &Key) -> Option<String> {
        let key = self.keys.key(key).into_bytes();
        self.etcd.look(|store| {
            let found = store.entries().find(|entry| entry.key == key)?;
            Some(String::from_utf8(found.value.clone()).unwrap())
        })
    }

    /// Says for `owner` that it has loaded the partition for the move of `epoch`.
    pub(super) fn say_warm(&self, owner: &Owner, epoch: u64) {
        let warm = Warm { format: FORMAT, owner: owner.clone(), epoch: Epoch(epoch) };
        self.put(&Key::Warm(P), &write(&warm));
    }

    /// Waits until etcd says that `owner` has the partition under `epoch`.
    pub(super) async fn owned_by(&self, owner: &Owner, epoch: u64) {
        let record = PartitionRecord::Own { owner: owner.clone(), epoch: Epoch(epoch) };
        let expected = String::from_utf8(write(&record)).unwrap();
        until("the record names the new owner", || {
            self.at(&Key::Partition(P)).as_deref() == Some(&expected)
        })
        .await;
    }

    /// The partition's folder.
    pub(super) fn folder(&self) -> std::path::PathBuf {
        self.data.path().join("hunts/5f3a/default.harbour").join(P.to_string())
    }

    /// Names of the partition's files that begin so.
    pub(super) fn files(&self, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }
}

impl Node {
    /// Publishes until it is durable, as a producer that retries.
    pub(super) async fn publish(&self, events: Vec<Event>) {
        let publish = async {
            while self.plane.append(P, events.clone(), Source::Producer).await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, publish).await.expect("taken in");
    }

    pub(super) async fn serves(&self) -> bool {
        self.plane.append(P, Vec::new(), Source::Outbox).await.is_ok()
    }

    /// Waits until this node has heard of a move.
    pub(super) async fn sees_move(&self) {
        let moving = |view: &View| {
            let at = view.partitions.get(&P);
            at.is_some_and(|at| matches!(at.record, PartitionRecord::Mov { .. }))
        };
        tokio::time::timeout(PATIENCE, self.core.view.clone().wait_for(moving)).await.unwrap();
    }

    /// Waits until this node has heard that somebody is warm.
    pub(super) async fn sees_warm(&self) {
        let warm = |view: &View| view.warm.contains_key(&P);
        tokio::time::timeout(PATIENCE, self.core.view.clone().wait_for(warm)).await.unwrap();
    }

    /// All outcomes, once there are at least `count`.
    pub(super) async fn outcomes(&self, count: u64) -> Vec<OutcomeRecord> {
        self.outcomes_of(P, count).await
    }

    pub(super) async fn outcomes_of(
        &self,
        partition: PartitionId,
        count: u64,
    ) -> Vec<OutcomeRecord> {
        let mut reader = self.plane.outcomes(partition).expect("a log");
        let there = reader.wait_beyond(Offset(count - 1));
        tokio::time::timeout(PATIENCE, there).await.expect("played").unwrap();
        let (mut all, mut from) = (Vec::new(), Offset(0));
        loop {
            let chunk = reader.read(from, 1 << 20).await.unwrap();
            if chunk.records.is_empty() {
                return all;
            }
            let records = chunk.records.iter();
            all.extend(records.map(|record| OutcomeRecord::decode(&record.payload).unwrap()));
            from = chunk.next;
        }
    }

    pub(super) async fn stop(self) {
        self.tasks.finish().await;
    }
}

/// Waits until it is so.
pub(super) async fn until(what: &str, is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Moves of one player, numbered.
pub(super) fn moves(numbers: std::ops::Range<u32>) -> Vec<Event> {
    let event = |kind: Kind, id: String| Event {
        player: Some("ana".to_owned()),
        ..Event::new(EventId::new(id).unwrap(), kind, 1)
    };
    let join = (numbers.start == 0).then(|| event(Kind::Join, "join".to_owned()));
    let moves = numbers.map(|number| event(Kind::Move, format!("move-{number}")));
    join.into_iter().chain(moves).collect()
}

/// The log of that kind, oldest segment first.
pub(super) fn first_segment(folder: &Path, kind: LogKind) -> std::path::PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let prefix = format!("{}.", kind.as_str());
    let of_kind = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    };
    entries.filter(of_kind).min().unwrap()
}
