//! Many agents in this process, without ports: what they do with etcd and with settings is real,
//! and each has one worker that says when it runs by a new configuration. I/O.

use std::sync::Arc;
use std::time::Duration;

use agent::config::components::RetuneLog;
use agent::core::{Core, CoreOptions, Standing, start};
use anyhow::Context as _;
use config_schemas::documents::Owner;
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Config, HuntName, NodeName, PartitionId, Revision};
use prometheus::Registry;
use store::{Store, StoreOptions, Txn, Verdict, Write};
use telemetry::tasks::Tasks;
use tokio::time::Instant;

use super::within;

/// How agents reach etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    /// Each by connections of its own, as agents in processes of their own do.
    Own,
    /// All by the same.
    Shared,
}

/// Called by each agent's worker as soon as it runs by a configuration.
pub(super) type OnSwitch = Arc<dyn Fn(usize, &Config) + Send + Sync>;

/// Agents of one hunt.
pub(super) struct Fleet {
    pub(super) agents: Vec<Member>,
    pub(super) keys: HuntKeys,
    /// For the one who makes edits.
    pub(super) store: Store,
    tasks: Tasks,
}

/// One of them.
pub(super) struct Member {
    pub(super) core: Core,
    registry: Registry,
}

/// A thousand agents that register at once keep two cores busy for a while.
const START_LIMIT: Duration = Duration::from_secs(240);
/// Nothing was written for this long: what follows an edit is over.
const QUIET: Duration = Duration::from_millis(40);
const QUIET_LIMIT: Duration = Duration::from_secs(30);

impl Fleet {
    /// Starts `count` agents; returns when all are registered and live.
    pub(super) async fn start(
        endpoint: &str,
        count: usize,
        connections: Connections,
        on_switch: OnSwitch,
    ) -> anyhow::Result<Fleet> {
        Self::of_hunt(HuntName::new("bench", "harbour")?, endpoint, count, connections, on_switch)
            .await
    }

    pub(super) async fn of_hunt(
        hunt: HuntName,
        endpoint: &str,
        count: usize,
        connections: Connections,
        on_switch: OnSwitch,
    ) -> anyhow::Result<Fleet> {
        // As the agent's binary does.
        let reach = StoreOptions { one_connection: true, ..StoreOptions::plain([endpoint]) };
        let open = || Store::open(reach.clone()).context("opening a store");
        let (store, shared) = (open()?, open()?);
        let tasks = Tasks::default();
        let mut agents = Vec::with_capacity(count);
        for index in 0..count {
            let store = match connections {
                Connections::Own => open()?,
                Connections::Shared => shared.clone(),
            };
            let registry = Registry::new();
            let log: RetuneLog = Arc::new(|_| ());
            let core = start(options(&hunt, index)?, &store, log, &registry, &tasks)?;
            tasks.spawn("worker", work(index, &core, on_switch.clone(), &tasks));
            agents.push(Member { core, registry });
        }
        let fleet = Fleet { agents, keys: HuntKeys::new(&hunt), store, tasks };
        within(START_LIMIT, "registering all agents", fleet.registered()).await??;
        fleet.quiet().await?;
        Ok(fleet)
    }

    async fn registered(&self) -> anyhow::Result<()> {
        for agent in &self.agents {
            let mut standing = agent.core.standing.clone();
            let standing = standing.wait_for(|now| *now != Standing::Registering).await?.clone();
            anyhow::ensure!(standing == Standing::Registered, "an agent is {standing:?}");
        }
        Ok(())
    }

    /// The key of a live edit for the whole hunt.
    pub(super) fn edit_key(&self, section: &str, field: &str) -> String {
        self.keys.key(&Key::Override(format!("hunt/{section}/{field}")))
    }

    /// Writes `value`, without a guard, as `etcdctl put` does.
    pub(super) async fn put(&self, key: &str, value: String) -> anyhow::Result<Revision> {
        let txn = Txn { guards: Vec::new(), writes: vec![Write::put(key, value)] };
        match self.store.commit(&txn).await? {
            Verdict::Committed(revision) => Ok(revision),
            Verdict::Refused { .. } => anyhow::bail!("a write without guards was refused"),
        }
    }

    /// Waits until nobody writes any more: all acks of an edit are there.
    pub(super) async fn quiet(&self) -> anyhow::Result<()> {
        let quiet = async {
            let mut last = self.store.revision().await?;
            let mut since = Instant::now();
            while since.elapsed() < QUIET {
                tokio::time::sleep(QUIET / 4).await;
                let now = self.store.revision().await?;
                if now != last {
                    (last, since) = (now, Instant::now());
                }
            }
            anyhow::Ok(())
        };
        within(QUIET_LIMIT, "an end of all writes", quiet).await?
    }

    /// Changes of what runs, over all agents, as their metrics count them.
    pub(super) fn changes(&self) -> f64 {
        const NAME: &str = "treasurehunt_agent_config_changes_total";
        let families = self.agents.iter().flat_map(|agent| agent.registry.gather());
        let counters = families.filter(|family| family.name() == NAME);
        counters
            .flat_map(|family| family.get_metric().to_vec())
            .map(|m| m.get_counter().get_value())
            .sum()
    }

    pub(super) async fn stop(self) {
        self.tasks.finish().await;
    }
}

fn options(hunt: &HuntName, index: usize) -> anyhow::Result<CoreOptions> {
    let name = format!("agent-{index}");
    Ok(CoreOptions {
        hunt: hunt.clone(),
        me: Owner { node: NodeName::new(&name)?, incarnation: format!("{name}-first-life") },
        instance: format!("{name}-instance"),
        directory: None,
        http: "127.0.0.1:1".to_owned(),
        grpc: "127.0.0.1:1".to_owned(),
    })
}

/// A worker without events: it takes each configuration over and says so.
fn work(
    index: usize,
    core: &Core,
    on_switch: OnSwitch,
    tasks: &Tasks,
) -> impl Future<Output = ()> + Send + 'static {
    let mut live = core.live.clone();
    let mut line = core.board.join(PartitionId(0), live.load().version);
    let stopping = tasks.stopping();
    async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = live.changed() => {}
            }
            let running = live.load();
            on_switch(index, &running.config);
            let version = running.version;
            line.switched(version);
        }
    }
}
