//! The figures of the README, each measured in one run on real servers. A figure takes a `Setting`
//! and hands back rows; `report` prints them. I/O.

mod apply;
mod effect;
mod fleet;
mod heartbeat;
mod hunts;
mod kafka;
mod machine;
mod moves;
mod numbers;
mod operator;
mod overload;
mod placement;
mod queue;
mod raw;
mod report;
mod rest;
mod restart;
mod sightings;
mod wall;
mod watching;
mod work;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use servers::{Etcd, EtcdOptions, EtcdPrograms};
use tempfile::TempDir;

use crate::world::Place;

pub use machine::Machine;
pub use report::{Goal, Row, Taken, json, table};
pub use work::{agent, is_agent};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// A queue that is resized under load, against a fixed one.
    Queue,
    /// A lease that changes its length while a node lives on it.
    Heartbeat,
    /// An edit's way from etcd to a worker, against a bare watch of the same key.
    Effect,
    /// What an agent costs that has nothing to do.
    Rest,
    /// What a thousand agents do when etcd comes back.
    Restart,
    /// `kubectl apply` to `Converged` at a hundred agents.
    Apply,
    /// What ten thousand unchanged hunts cost the operator.
    Hunts,
    /// What one partition's worker plays, beside what the bare log appends and reads.
    Worker,
    /// How evenly partitions are placed, beside other ways, and how long that takes.
    Placement,
    /// What producers see of moves, of a rolling restart and of a crash.
    Moves,
    /// Twenty times the load of before on 8 to 64 agents: static placement beside ours.
    Wall,
    /// Three times what an agent can take, for a minute.
    Overload,
    /// What a scrape costs, and what `hunt` takes for a thousand agents.
    Watching,
    /// On Kafka: what a partition's worker plays beside a bare client, and what it rebuilds.
    KafkaPlay,
    /// On Kafka: what a swap of producer or consumer costs under load.
    KafkaSwaps,
    /// On Kafka: a thousand retunes of all kinds under load, some of them impossible.
    KafkaRetunes,
    /// On Kafka: a broker that dies under load.
    KafkaKilled,
    /// On Kafka: a partition with a hundred thousand keys that moves.
    KafkaMoved,
    /// On Kafka: a hunt that is changed while it is played.
    KafkaLive,
}

/// Where events are kept while a figure is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum On {
    /// A log on this machine's disk.
    #[default]
    Embedded,
    /// Three brokers on this machine.
    Kafka,
}

impl Figure {
    /// The figures of a broker.
    #[must_use]
    pub fn all(on: On) -> Vec<Figure> {
        let kafka = [
            Figure::KafkaPlay,
            Figure::KafkaSwaps,
            Figure::KafkaRetunes,
            Figure::KafkaKilled,
            Figure::KafkaMoved,
            Figure::KafkaLive,
        ];
        match on {
            On::Kafka => kafka.to_vec(),
            On::Embedded => {
                let all = Figure::value_variants().iter().copied();
                all.filter(|figure| !kafka.contains(figure)).collect()
            }
        }
    }
}

/// How to measure.
#[derive(Debug, Clone)]
pub struct Setting {
    /// A tenth of the size: shows that it works; the numbers are no figures.
    pub quick: bool,
    /// The operator's binary.
    pub operator: PathBuf,
    /// Most agents at a time, for machines too small for a thousand.
    pub agents_max: usize,
}

impl Setting {
    /// `full`, or less of it when it has to be quick.
    fn scaled(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(1) } else { full }
    }

    fn agents(&self, full: usize) -> usize {
        self.scaled(full).min(self.agents_max)
    }

    /// The binaries that stand beside each other; an error if the agent's was not built.
    fn programs(&self) -> anyhow::Result<Place> {
        let agent = self.operator.with_file_name("treasurehunt-agent");
        anyhow::ensure!(agent.is_file(), "{} is not built", agent.display());
        Ok(Place { operator: self.operator.clone(), agent })
    }

    fn lasting(&self, full: Duration) -> Duration {
        if self.quick { full / 5 } else { full }
    }
}

impl Figure {
    /// Measures it. What was measured before something failed is in `rows` too.
    ///
    /// # Errors
    /// When a server cannot be started, or something that must happen does not within its limit.
    pub async fn take(self, setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        match self {
            Figure::Queue => queue::take(setting, rows).await,
            Figure::Heartbeat => heartbeat::take(setting, rows).await,
            Figure::Effect => effect::take(setting, rows).await,
            Figure::Rest => rest::take(setting, rows).await,
            Figure::Restart => restart::take(setting, rows).await,
            Figure::Apply => apply::take(setting, rows).await,
            Figure::Hunts => hunts::take(setting, rows).await,
            Figure::Worker => worker::take(setting, rows).await,
            Figure::Placement => placement::take(setting, rows).await,
            Figure::Moves => moves::take(setting, rows).await,
            Figure::Wall => wall::take(setting, rows).await,
            Figure::Overload => overload::take(setting, rows).await,
            Figure::Watching => watching::take(setting, rows).await,
            Figure::KafkaPlay => kafka::play::take(setting, rows).await,
            Figure::KafkaSwaps => kafka::swaps::take(setting, rows).await,
            Figure::KafkaRetunes => kafka::retunes::take(setting, rows).await,
            Figure::KafkaKilled => kafka::killed::take(setting, rows).await,
            Figure::KafkaMoved => kafka::moved::take(setting, rows).await,
            Figure::KafkaLive => kafka::live::take(setting, rows).await,
        }
    }
}

/// An etcd of its own for one figure, as it is by default: each write waits for the disk.
struct Scene {
    etcd: Etcd,
    _folder: TempDir,
}

impl Scene {
    async fn open() -> anyhow::Result<Scene> {
        let programs = EtcdPrograms::shared().await.context("finding etcd")?;
        let folder = tempfile::tempdir().context("making a folder")?;
        let mut options = EtcdOptions::in_dir(folder.path())?;
        // Lets a figure have the garbage collected before it counts.
        options.extra_args = vec!["--enable-pprof".to_owned()];
        let etcd = Etcd::start(programs, options).await?;
        Ok(Scene { etcd, _folder: folder })
    }
}

/// What one step of a figure may take before the figure is given up.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// `work`, or an error that says what did not happen.
async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .with_context(|| format!("{what} did not happen within {limit:?}"))
}
