//! Agents of the wall in processes of their own, an operator, an etcd. In: how many. Out: a world
//! in which every partition is served. I/O.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use config_schemas::NodeName;
use serde_json::json;
use servers::ProcessStat;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::super::{Setting, work};
use super::SERVICE;
use crate::world::{AgentSetup, Node, Setup, World};

/// As many as a hunt should have for each node.
const PARTITIONS_PER_AGENT: usize = 16;
/// Agents that take events in from producers, who are connected to few of many.
const GATEWAYS: usize = 2;
/// What any step may take; 64 processes start on few cores.
const LIMIT: Duration = Duration::from_secs(180);
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Where files are in memory, if the system has it.
const MEMORY: &str = "/dev/shm";

/// A world.
pub(super) struct Land {
    pub(super) world: World,
    pub(super) agents: usize,
    data: TempDir,
}

impl Land {
    /// Starts it and waits until every partition is served.
    pub(super) async fn open(setting: &Setting, agents: usize) -> anyhow::Result<Land> {
        let programs = setting.programs()?;
        let setup = Setup { durable: true, programs: Some(programs), ..Setup::agents(agents) }
            // Two cores that are full must not look like nodes that are gone.
            .with("heartbeat", "interval", "2s")
            .with("heartbeat", "misses", 8)
            .with("partitions", "count", agents * PARTITIONS_PER_AGENT)
            .with("partitions", "round", "1s")
            .with("partitions", "paused", true)
            .with("routing", "spread", false)
            // Each gateway sees half of all.
            .with("routing", "hot", 4)
            .with("buffers", "events", 512)
            // A node works on one event at a time, and says so after each.
            .with("workers", "concurrency", 1)
            .with("workers", "batch", 1)
            .with("workers", "turn", "12ms");
        let mut world = World::bare(&setup).await?;
        let data = match Path::new(MEMORY).is_dir() {
            true => tempfile::Builder::new().prefix("wall-").tempdir_in(MEMORY)?,
            false => tempfile::Builder::new().prefix("wall-").tempdir()?,
        };
        let program = work::program(&world.path(""), SERVICE)?;
        world.apply().await?;
        for number in 1..=agents {
            let setup = world.agent_setup(&format!("agent-{number}"));
            let data_dir = data.path().to_owned();
            let setup = AgentSetup { program: program.clone(), data_dir, ..setup };
            world.agents.push(Node::agent(setup)?);
        }
        let land = Land { world, agents, data };
        // All are there before partitions are given out, so that each gets as many.
        land.soon("every agent answers", async || land.answer().await).await?;
        let mut land = land;
        land.world.start_operator("operator-1")?;
        land.soon("every partition served", async || land.world.is_served().await).await?;
        Ok(land)
    }

    async fn answer(&self) -> anyhow::Result<()> {
        let all = store::KeyRange::prefix(self.world.keys.prefix());
        let nodes = self
            .world
            .store
            .list(&all)
            .await?
            .entries
            .iter()
            .filter(|e| e.key.contains("/node/"))
            .count();
        ensure!(nodes == self.agents, "{nodes} of {} are registered", self.agents);
        Ok(())
    }

    /// Where events are published.
    pub(super) fn gateways(&self) -> Vec<String> {
        let address = |agent: &Node| format!("127.0.0.1:{}", agent.http);
        self.world.agents.iter().take(GATEWAYS).map(address).collect()
    }

    /// Where the agents keep logs and notes.
    pub(super) fn data(&self) -> PathBuf {
        self.data.path().to_owned()
    }

    /// The agents' names.
    pub(super) fn names(&self) -> anyhow::Result<Vec<NodeName>> {
        self.world.agents.iter().map(|agent| Ok(NodeName::new(&agent.name)?)).collect()
    }

    /// Processor time of all agents so far.
    pub(super) fn cpu(&self) -> Duration {
        let cpu = |agent: &Node| ProcessStat::read(agent.pid()).map(|stat| stat.cpu_time());
        self.world.agents.iter().filter_map(cpu).sum()
    }

    /// Lets partitions move and hot keys spread, live, and waits until all agents know.
    pub(super) async fn let_move(&self) -> anyhow::Result<()> {
        self.world.edit("hunt/partitions/paused", json!(false).to_string()).await?;
        let revision = self.world.edit("hunt/routing/spread", json!(true).to_string()).await?;
        self.soon("all agents run the edits", async || {
            for agent in &self.world.agents {
                let acked = self.world.ack(&agent.name).await?.revision;
                let acked = acked.map_or(0, |revision| revision.get());
                ensure!(acked >= revision, "{} acked revision {acked}", agent.name);
            }
            Ok(())
        })
        .await
    }

    async fn soon(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match look().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("not within {LIMIT:?}: {what}"));
                }
                Err(_) => sleep(ASK_EVERY).await,
            }
        }
    }

    /// Ends all of it.
    pub(super) async fn close(self) {
        // The log of a process that is killed is of no use to anybody.
        drop(self.world);
        drop(self.data);
    }
}
