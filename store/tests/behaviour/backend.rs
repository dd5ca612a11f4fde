//! An etcd to test against, in memory or real, behind a proxy that injects network faults.

use std::time::Duration;

use servers::{Etcd, EtcdPrograms, FaultProxy, Restore};
use store::sim::{Backup, SimEtcd};
use store::{FollowOptions, Follower, KeyRange, Store, StoreOptions, Update, follow};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No case waits longer than this for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

enum Kind {
    InMemory { etcd: SimEtcd, at: std::net::SocketAddr, serving: JoinHandle<()> },
    Real { etcd: Box<Etcd>, folder: tempfile::TempDir },
}

enum Saved {
    InMemory(Box<Backup>),
    Real(std::path::PathBuf),
}

/// The etcd of one case.
pub(crate) struct Backend {
    kind: Kind,
    proxy: FaultProxy,
    saved: Option<Saved>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Kind::InMemory { serving, .. } = &self.kind {
            serving.abort();
        }
    }
}

impl Backend {
    pub(crate) async fn in_memory() -> Self {
        let etcd = SimEtcd::new();
        let (at, serving) = etcd.serve_tcp().await.expect("a port");
        let proxy = FaultProxy::start(at).await.expect("a proxy");
        Self { kind: Kind::InMemory { etcd, at, serving }, proxy, saved: None }
    }

    pub(crate) async fn real() -> Self {
        let programs = EtcdPrograms::shared().await.expect("an etcd");
        let etcd = Box::new(Etcd::temporary(programs).await.expect("etcd starts"));
        let proxy = FaultProxy::in_front_of(&etcd.endpoint()).await.expect("a proxy");
        let folder = tempfile::tempdir().expect("a folder");
        Self { kind: Kind::Real { etcd, folder }, proxy, saved: None }
    }

    pub(crate) fn endpoint(&self) -> String {
        match &self.kind {
            Kind::InMemory { at, .. } => format!("http://{at}"),
            Kind::Real { etcd, .. } => etcd.endpoint(),
        }
    }

    /// A store of its own connection, around the proxy.
    pub(crate) fn store(&self) -> Store {
        Store::open(StoreOptions::plain([self.endpoint()])).expect("good options")
    }

    /// A store that goes through the proxy.
    pub(crate) fn proxied(&self) -> Store {
        Store::open(StoreOptions::plain([self.proxy.endpoint()])).expect("good options")
    }

    pub(crate) fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    /// The bare client, for what the wire says.
    pub(crate) async fn raw(&self) -> etcd_client::Client {
        etcd_client::Client::connect([self.endpoint()], None).await.expect("a client")
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        let answer = self.raw().await.put(key, value, None).await.expect("a put");
        answer.header().expect("a header").revision()
    }

    pub(crate) async fn delete(&self, key: &str) -> i64 {
        let answer = self.raw().await.delete(key, None).await.expect("a delete");
        answer.header().expect("a header").revision()
    }

    pub(crate) async fn compact(&self, revision: i64) {
        self.raw().await.compact(revision, None).await.expect("a compaction");
    }

    pub(crate) async fn wipe(&mut self) {
        match &mut self.kind {
            Kind::InMemory { etcd, .. } => etcd.wipe(),
            Kind::Real { etcd, .. } => etcd.wipe().await.expect("wiped"),
        }
    }

    /// Ends all streams as a crash does, and comes back with the same data.
    pub(crate) async fn restart(&mut self) {
        match &mut self.kind {
            Kind::InMemory { etcd, .. } => etcd.cut_streams(),
            Kind::Real { etcd, .. } => etcd.restart().await.expect("restarted"),
        }
    }

    pub(crate) async fn save(&mut self) {
        self.saved = Some(match &self.kind {
            Kind::InMemory { etcd, .. } => Saved::InMemory(Box::new(etcd.backup())),
            Kind::Real { etcd, folder } => {
                let path = folder.path().join("backup.db");
                etcd.save_backup(&path).await.expect("saved");
                Saved::Real(path)
            }
        });
    }

    pub(crate) async fn restore(&mut self) {
        match (&mut self.kind, &self.saved) {
            (Kind::InMemory { etcd, .. }, Some(Saved::InMemory(backup))) => etcd.restore(backup),
            (Kind::Real { etcd, .. }, Some(Saved::Real(path))) => {
                etcd.restore_backup(path, Restore::Exact).await.expect("restored");
            }
            _ => panic!("nothing was saved"),
        }
    }

    pub(crate) async fn freeze(&mut self) {
        match &mut self.kind {
            Kind::InMemory { etcd, .. } => etcd.faults(|faults| faults.frozen = true),
            Kind::Real { etcd, .. } => etcd.freeze().await.expect("frozen"),
        }
    }

    pub(crate) async fn thaw(&mut self) {
        match &mut self.kind {
            Kind::InMemory { etcd, .. } => etcd.faults(|faults| faults.frozen = false),
            Kind::Real { etcd, .. } => etcd.thaw().await.expect("thawed"),
        }
    }
}

/// Follows everything under `/h/`, with the marker `/h/meta`.
pub(crate) fn following(store: &Store) -> Follower {
    let options = FollowOptions::new("test", KeyRange::prefix("/h/")).with_marker("/h/meta");
    follow(store, options)
}

/// The next update, or a failed test.
pub(crate) async fn next(follower: &mut Follower) -> Update {
    match timeout(PATIENCE, follower.next()).await {
        Ok(update) => update,
        Err(_) => panic!("no update; status {:?}", *follower.status().borrow()),
    }
}

/// Drives the follower until what it holds is as wanted; says which updates came on the way.
pub(crate) async fn until_held(follower: &mut Follower, wanted: &[(&str, &str)]) -> Vec<Update> {
    let mut updates = Vec::new();
    while held(follower) != wanted {
        updates.push(next(follower).await);
    }
    updates
}

/// What the follower holds, as texts.
pub(crate) fn held(follower: &Follower) -> Vec<(&str, &str)> {
    let text = |value| std::str::from_utf8(value).expect("text");
    follower.held().values().map(|e| (e.key.as_str(), text(&e.value))).collect()
}

/// Drives the follower for as long as `other` takes; it must emit nothing in that time.
pub(crate) async fn quiet_during<T>(follower: &mut Follower, other: impl Future<Output = T>) -> T {
    tokio::select! {
        done = other => done,
        update = follower.next() => panic!("emitted {update:?}"),
    }
}

/// Drives the follower until its status is as wanted; it must emit nothing on the way.
pub(crate) async fn until_status(
    follower: &mut Follower,
    wanted: impl FnMut(&store::FollowStatus) -> bool,
) {
    let mut status = follower.status();
    let reached = quiet_during(follower, timeout(PATIENCE, status.wait_for(wanted))).await;
    let reached = reached.is_ok_and(|status| status.is_ok());
    assert!(reached, "not reached: {:?}", *follower.status().borrow());
}
