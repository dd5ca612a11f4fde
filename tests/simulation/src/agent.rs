//! An agent on a simulated host: the real core and data plane, life after life under one name.
//! In: what it is told to do. Out: nothing; what it does stands in etcd and in the logs. I/O.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::core::{self, Core, CoreOptions, Standing};
use agent::metrics::PlaneMetrics;
use agent::partitions::log::{Log, Opener};
use agent::partitions::plane::{self, Plane, PlaneOptions};
use broker::Embedded;
use broker::sim::{Sabotage, SimDisk};
use config_schemas::documents::Owner;
use config_schemas::{HuntName, NodeName};
use events::HuntGame;
use prometheus::Registry;
use store::StoreOptions;
use store::sim::turmoil_store;
use telemetry::sim::Host;
use telemetry::tasks::Tasks;
use tokio::sync::watch;

use crate::carry::Carry;

/// Where etcd listens.
pub(crate) const ETCD: &str = "http://etcd:2379";
/// Longest wait for others to take the partitions over, as in the real agent.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the word that it leaves.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(5);
/// Pause between a life that lost its name and the next.
const LIVES_APART: Duration = Duration::from_secs(1);

/// An agent, over all its lives. Clones are the same agent.
#[derive(Clone)]
pub(crate) struct Agent(Arc<Inner>);

struct Inner {
    name: String,
    hunt: HuntName,
    data: PathBuf,
    seed: u64,
    host: Host,
    disk: SimDisk,
    lives: AtomicU32,
    /// Whether it is to live.
    wanted: watch::Sender<bool>,
}

impl Agent {
    pub(crate) fn new(
        name: &str,
        hunt: &HuntName,
        data: PathBuf,
        seed: u64,
        sabotage: Sabotage,
    ) -> Agent {
        Agent(Arc::new(Inner {
            name: name.to_owned(),
            hunt: hunt.clone(),
            data,
            seed,
            host: Host::default(),
            disk: SimDisk::new(seed, sabotage),
            lives: AtomicU32::new(0),
            wanted: watch::Sender::new(true),
        }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Stops or lets go on everything in it.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.disk.freeze(frozen);
        if frozen { self.0.host.freeze() } else { self.0.host.thaw() }
    }

    pub(crate) fn skew(&self, millis: i64) {
        self.0.host.skew(millis);
    }

    /// Ends it in order, or begins its next life.
    pub(crate) fn want(&self, wanted: bool) {
        self.0.wanted.send_replace(wanted);
    }

    /// The host's software: life after life.
    pub(crate) async fn run(self) -> turmoil::Result {
        let host = self.0.host.clone();
        host.run(async move {
            let mut wanted = self.0.wanted.subscribe();
            loop {
                // its sender is ours
                let _ = wanted.wait_for(|wanted| *wanted).await;
                self.live(&mut wanted).await?;
                tokio::time::sleep(LIVES_APART).await;
            }
        })
        .await
    }

    async fn live(&self, wanted: &mut watch::Receiver<bool>) -> turmoil::Result {
        let life = self.0.lives.fetch_add(1, Ordering::Relaxed);
        let me = Owner {
            node: NodeName::new(self.0.name.clone())?,
            incarnation: format!("{}-{life}", self.0.name),
        };
        tracing::info!(node = self.0.name, life, "lives");
        let options = StoreOptions { one_connection: true, ..StoreOptions::plain([ETCD]) };
        let store = turmoil_store(options, self.0.seed.wrapping_add(u64::from(life)))?;
        let (registry, tasks) = (Registry::new(), Tasks::default());
        let log = Log::opened_by(self.0.data.clone(), self.0.hunt.clone(), self.opener());
        let options = CoreOptions {
            hunt: self.0.hunt.clone(),
            me: me.clone(),
            instance: self.0.name.clone(),
            directory: None,
            http: self.0.name.clone(),
            grpc: self.0.name.clone(),
        };
        let core = core::start(options, &store, log.retune(), &registry, &tasks)?;
        let metrics = PlaneMetrics::register(&registry, core.meters.clone())?;
        let options = PlaneOptions { hunt: self.0.hunt.clone(), me };
        let plane = plane::new::<HuntGame>(options, &core, log, metrics);
        let carry = Carry { plane: plane.clone() };
        plane.serve(&store, &core, Arc::new(carry.clone()), &tasks);
        let served = carry.serve(tasks.clone());
        let mut standing = core.standing.clone();
        // no borrow of what they wait for may outlive the wait
        let told = async { drop(wanted.wait_for(|wanted| !wanted).await) };
        let refused = async {
            drop(standing.wait_for(|standing| matches!(standing, Standing::Refused { .. })).await);
        };
        tokio::select! {
            served = served => served?,
            () = told => hand_over(&core, &plane).await,
            () = refused => tracing::warn!(node = self.0.name, life, "its name is taken"),
        }
        tasks.finish().await;
        // what cannot be closed lapses
        let _ = core.session.close().await;
        Ok(())
    }

    fn opener(&self) -> Opener {
        let disk = self.0.disk.clone();
        Arc::new(move |options| Embedded::open(options.simulated(disk.clone())))
    }
}

/// As the real agent does when it is told to end.
async fn hand_over(core: &Core, plane: &Plane) {
    if core.view.read().nodes.len() < 2 {
        return;
    }
    if let Ok(Ok(())) = tokio::time::timeout(ANNOUNCE_LIMIT, core.drain()).await {
        // what is left is taken when the lease ends
        let _ = tokio::time::timeout(HAND_OVER_LIMIT, plane.empty()).await;
    }
}
