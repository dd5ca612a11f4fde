//! A whole TreasureHunt on the real servers: etcd, perhaps the Kubernetes API, operators, agents;
//! on loopback, and gone with the test. In: a setup. Out: a world to act in and to look at. I/O.

mod install;
mod node;
mod place;
mod sight;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Config, HuntName, read_sections};
use serde_json::{Value as Json, json};
use servers::{Etcd, EtcdCluster, EtcdOptions, EtcdPrograms, KubeApi, KubePrograms};
use store::{Store, StoreOptions, Txn, Verdict, Write};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use install::OPERATOR;
pub use node::{AgentSetup, Node};
pub use place::{BINARIES, Place, place, root};
pub use sight::Status;

use crate::http::Http;
use crate::wait::{recovery, timed, until};

/// Worlds that run at once in one test process: servers are heavy, machines are small.
const WORLDS_AT_ONCE: usize = 2;
/// A world starts in a second or two, beside a compiler in tens.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Keeps each world's folder, to read its logs.
const KEEP: &str = "TREASUREHUNT_TEST_KEEP";

/// Where hunts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A directory of YAML files.
    Directory,
    /// The Kubernetes API.
    Kubernetes,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Agents, named `agent-1` and so on.
    pub agents: usize,
    /// Operators; one of them leads.
    pub operators: usize,
    /// Where hunts come from.
    pub source: Source,
    /// Three members of etcd instead of one.
    pub cluster: bool,
    /// A single etcd waits for the disk on each write, as by default; tests need not.
    pub durable: bool,
    /// The programs, if not those that are built for this test.
    pub programs: Option<Place>,
    /// The hunt's `spec`.
    pub spec: Json,
}

impl Setup {
    /// One etcd, one operator on a directory, `agents` agents with the shortest lease.
    pub fn agents(agents: usize) -> Setup {
        let spec = json!({
            "heartbeat": {"interval": "300ms", "misses": 6},
            "partitions": {"count": 12},
            "buffers": {"events": 1000},
            "rules": {"cooldown": "0s", "clues": 2},
        });
        Setup {
            agents,
            operators: 1,
            source: Source::Directory,
            cluster: false,
            durable: false,
            programs: None,
            spec,
        }
    }

    /// With its events in this Kafka, given by its bootstrap servers.
    #[must_use]
    pub fn on_kafka(self, bootstrap: &str) -> Setup {
        let bootstrap: Vec<&str> = bootstrap.split(',').collect();
        self.with("broker", "kind", "kafka").with("kafka", "bootstrap", bootstrap)
    }

    /// With this in the hunt's spec, as `section.field`.
    #[must_use]
    pub fn with(mut self, section: &str, field: &str, value: impl Into<Json>) -> Setup {
        self.spec[section][field] = value.into();
        self
    }
}

/// The etcd of a world.
#[derive(Debug)]
pub enum Members {
    /// A single member.
    One(Box<Etcd>),
    /// A cluster of three.
    Three(EtcdCluster),
}

/// A running world. Its processes end when it is dropped, etcd last.
pub struct World {
    /// The agents, in the order of their names.
    pub agents: Vec<Node>,
    /// The operators.
    pub operators: Vec<Node>,
    /// The Kubernetes API, if hunts come from there.
    pub api: Option<KubeApi>,
    /// etcd.
    pub members: Members,
    /// The hunt.
    pub hunt: HuntName,
    /// Its keys.
    pub keys: HuntKeys,
    /// A person's own way to etcd.
    pub store: Store,
    /// A client of the admin ports.
    pub http: Http,
    /// The hunt's spec as last applied.
    pub spec: Json,
    place: Place,
    folder: TempDir,
    as_operator: Option<PathBuf>,
    _permit: SemaphorePermit<'static>,
}

impl World {
    /// Starts everything and waits until every agent runs the hunt's first generation.
    pub async fn start(setup: Setup) -> Result<World> {
        let mut world = World::bare(&setup).await?;
        world.begin(&setup).await?;
        Ok(world)
    }

    /// Lets a hunt begin on bare servers.
    pub async fn begin(&mut self, setup: &Setup) -> Result<()> {
        self.apply().await?;
        for number in 1..=setup.operators {
            self.start_operator(&format!("operator-{number}"))?;
        }
        for number in 1..=setup.agents {
            self.start_agent(&format!("agent-{number}"))?;
        }
        self.converged(START_LIMIT).await;
        Ok(())
    }

    /// The same with hunts from Kubernetes; `None`, said aloud, where it cannot be had.
    pub async fn kubernetes(setup: Setup) -> Result<Option<World>> {
        match KubePrograms::shared().await {
            Ok(_) => {}
            Err(left_out) if !left_out.is_fault => {
                crate::say(&format!("left out: {left_out}"));
                return Ok(None);
            }
            Err(fault) => bail!("{fault}"),
        }
        World::start(Setup { source: Source::Kubernetes, ..setup }).await.map(Some)
    }

    /// Servers only: no hunt, no operator, no agent.
    pub async fn bare(setup: &Setup) -> Result<World> {
        static PERMITS: OnceLock<Semaphore> = OnceLock::new();
        let permits = PERMITS.get_or_init(|| Semaphore::new(WORLDS_AT_ONCE));
        let permit = permits.acquire().await?;
        let place = match setup.programs.clone() {
            Some(programs) => programs,
            None => place().await?,
        };
        let folder = tempfile::Builder::new().prefix("world-").tempdir()?;
        std::fs::create_dir_all(folder.path().join("hunts"))?;
        let programs = EtcdPrograms::shared().await?;
        let members = match setup.cluster {
            false if setup.durable => {
                let options = EtcdOptions::in_dir(&folder.path().join("etcd"))?;
                Members::One(Box::new(Etcd::start(programs, options).await?))
            }
            false => Members::One(Box::new(Etcd::temporary(programs).await?)),
            true => Members::Three(EtcdCluster::temporary(programs).await?),
        };
        let endpoints = members.endpoints();
        let api = match setup.source {
            Source::Directory => None,
            Source::Kubernetes => Some(install::api(&endpoints[0]).await?),
        };
        let (api, as_operator) = api.unzip();
        let hunt = HuntName::new("default", "harbour")?;
        Ok(World {
            agents: Vec::new(),
            operators: Vec::new(),
            api,
            store: Store::open(StoreOptions::plain(endpoints))?,
            members,
            keys: HuntKeys::new(&hunt),
            hunt,
            http: Http::default(),
            spec: setup.spec.clone(),
            place,
            folder,
            as_operator,
            _permit: permit,
        })
    }

    /// Starts one more operator.
    pub fn start_operator(&mut self, name: &str) -> Result<()> {
        let endpoints = self.members.endpoints().join(",");
        self.start_operator_on(name, &endpoints)
    }

    /// The same with another way to etcd.
    pub fn start_operator_on(&mut self, name: &str, endpoints: &str) -> Result<()> {
        let path = |rest: &str| self.folder.path().join(rest);
        let source = match &self.as_operator {
            Some(config) => ["--kubeconfig".to_owned(), text(config)].to_vec(),
            None => [("directory", "hunts"), ("secrets", "secrets")]
                .map(|(flag, folder)| format!("--{flag}={}", text(&path(folder))))
                .into_iter()
                .chain(["--source=directory".to_owned()])
                .collect(),
        };
        let program = self.place.operator.clone();
        let log = path(&format!("{name}.log"));
        self.operators.push(Node::operator(name, program, endpoints, &source, log)?);
        Ok(())
    }

    /// Starts one more agent, on the data directory that all share.
    pub fn start_agent(&mut self, name: &str) -> Result<()> {
        let endpoints = self.members.endpoints().join(",");
        self.start_agent_on(name, &endpoints)
    }

    /// The same with another way to etcd.
    pub fn start_agent_on(&mut self, name: &str, endpoints: &str) -> Result<()> {
        let setup = AgentSetup { endpoints: endpoints.to_owned(), ..self.agent_setup(name) };
        self.agents.push(Node::agent(setup)?);
        Ok(())
    }

    /// What an agent of that name is started with.
    pub fn agent_setup(&self, name: &str) -> AgentSetup {
        let path = |rest: &str| self.folder.path().join(rest);
        AgentSetup {
            name: name.to_owned(),
            hunt: self.hunt.to_string(),
            endpoints: self.members.endpoints().join(","),
            data_dir: path("data"),
            secrets: path("secrets"),
            log: path(&format!("{name}.log")),
            program: self.place.agent.clone(),
        }
    }

    /// Keeps a Secret's key where agents and operator look for it; as a whole, at once.
    pub fn keep_secret(&self, name: &str, key: &str, text: &str) -> Result<()> {
        let folder = self.path("secrets").join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("..draft"), text)?;
        std::fs::rename(folder.join("..draft"), folder.join(key))?;
        Ok(())
    }

    /// A path of this world, for a test's own files.
    pub fn path(&self, rest: &str) -> PathBuf {
        self.folder.path().join(rest)
    }

    /// Applies the hunt as `spec` says.
    pub async fn apply(&self) -> Result<()> {
        let manifest = json!({
            "apiVersion": "treasurehunt.dev/v1alpha1",
            "kind": "TreasureHunt",
            "metadata": {"namespace": self.hunt.namespace, "name": self.hunt.name},
            "spec": self.spec,
        });
        if let Some(api) = &self.api {
            api.apply(&manifest.to_string()).await?;
            return Ok(());
        }
        // As an editor saves: the operator must never read half a file.
        let draft = self.path("hunts/.harbour.new");
        std::fs::write(&draft, manifest.to_string())?;
        std::fs::rename(draft, self.path("hunts/harbour.yaml"))?;
        Ok(())
    }

    /// Changes one field of the spec and applies it.
    pub async fn change(
        &mut self,
        section: &str,
        field: &str,
        value: impl Into<Json>,
    ) -> Result<()> {
        self.spec[section][field] = value.into();
        self.apply().await
    }

    /// A live edit, as `etcdctl put` does it: `hunt/buffers/events`, `128`.
    pub async fn edit(&self, rest: &str, value: impl Into<bytes::Bytes>) -> Result<u64> {
        let key = self.keys.key(&Key::Override(rest.to_owned()));
        self.write(Write::put(key, value)).await
    }

    /// Takes a live edit back.
    pub async fn unedit(&self, rest: &str) -> Result<u64> {
        self.write(Write::delete(self.keys.key(&Key::Override(rest.to_owned())))).await
    }

    /// Writes without asking, as a person at the keyboard can; the revision.
    pub async fn write(&self, write: Write) -> Result<u64> {
        let txn = Txn { guards: Vec::new(), writes: vec![write] };
        match self.store.commit(&txn).await? {
            Verdict::Committed(revision) => Ok(revision.get()),
            Verdict::Refused { .. } => bail!("a write without a guard was refused"),
        }
    }

    /// The single member of etcd.
    pub fn etcd(&mut self) -> &mut Etcd {
        match &mut self.members {
            Members::One(etcd) => etcd,
            Members::Three(cluster) => &mut cluster.members()[0],
        }
    }

    /// Waits until all agents run the newest generation and the status says so.
    pub async fn converged(&self, within: Duration) {
        until("every agent runs the hunt", within, async || self.is_converged().await).await;
    }

    /// Waits until each partition is served by the agent that its record names.
    pub async fn served(&self, within: Duration) {
        until("every partition is served", within, async || self.is_served().await).await;
    }

    /// How long a node may be silent, by the spec as last applied.
    pub fn lease(&self) -> Duration {
        let sections = self.spec.as_object().cloned().unwrap_or_default();
        Config::from_values(&read_sections(&sections).values).heartbeat.lease()
    }

    /// Waits until every partition is served again after a fault that has just come, or is just
    /// over: as is promised, within the lease and 2 s.
    pub async fn recovers(&self, what: &str) {
        timed(what, recovery(self.lease()), async || self.is_served().await).await;
    }
}

impl Drop for World {
    /// What the processes said last, where the test's own message is not enough; with `KEEP` set,
    /// everything that they wrote stays.
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_some() {
            self.folder.disable_cleanup(true);
            crate::say(&format!("logs and data are kept in {}", self.folder.path().display()));
        }
        if std::thread::panicking() {
            for node in self.operators.iter().chain(&self.agents) {
                crate::say(&format!("--- end of {}'s log\n{}", node.name, node.log_tail()));
            }
        }
    }
}

impl Members {
    /// What clients connect to.
    pub fn endpoints(&self) -> Vec<String> {
        match self {
            Members::One(etcd) => vec![etcd.endpoint()],
            Members::Three(cluster) => cluster.endpoints(),
        }
    }
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
