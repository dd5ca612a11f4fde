//! `kubectl apply` to a hunt that says `Converged`, with a hundred agents: on a real API server, a
//! real etcd and the operator's own process. Each stage has an observer of its own, all read one
//! clock; what a stage takes is the time since the stage before, so that their sum exceeds the whole
//! by as much as an observer heard late. I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use config_schemas::documents::{self, Ack, Rollout};
use config_schemas::keys::Key;
use config_schemas::{Config, HuntName};
use crds::{ConditionKind, TreasureHunt, Truth};
use futures::StreamExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use serde_json::{Value as Json, json};
use servers::{KubeApi, KubePrograms};
use tokio::task::JoinHandle;

use super::fleet::{Connections, Fleet};
use super::numbers::{median, millis, rank};
use super::operator::{Operator, Source};
use super::raw::{RawWatches, written};
use super::sightings::Sightings;
use super::{Row, STEP_LIMIT, Scene, Setting, within};

const AGENTS: usize = 100;
const APPLIES: usize = 200;
/// Each starts a process, which costs more than all the rest.
const KUBECTL_APPLIES: usize = 20;
const HUNT: &str = "harbour";
const FIRST_VALUE: u64 = 10_000;
const GOAL_MILLIS: f64 = 250.0;
const SUM_GOAL_PERCENT: f64 = 5.0;
/// The new kind is served a moment after its definition is taken.
const KIND_LIMIT: Duration = Duration::from_secs(30);
const STAGES: [&str; 5] = [
    "API write",
    "to the commit in etcd",
    "to in effect at all",
    "to acked by all",
    "to Converged",
];

struct Run {
    api: KubeApi,
    hunts: Api<TreasureHunt>,
    fleet: Fleet,
    observed: Observed,
    next_value: u64,
    generation: u64,
    /// Kept for their drop: they end with the run.
    _watches: [RawWatches; 2],
    status: JoinHandle<()>,
    operator: Operator,
    _etcd: (Scene, Scene),
}

/// Who sees what.
#[derive(Clone)]
struct Observed {
    /// The generation in the rollout.
    rollout: Arc<Sightings>,
    /// `buffers.events` at each worker.
    workers: Arc<Sightings>,
    /// The generation in each ack.
    acks: Arc<Sightings>,
    /// The generation that the status calls converged.
    status: Arc<Sightings>,
}

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let agents = setting.agents(AGENTS);
    let folder = tempfile::tempdir().context("making a folder")?;
    let mut run = Run::start(setting, agents, folder.path()).await?;
    let mut whole = Vec::new();
    let mut stages: [Vec<f64>; 5] = Default::default();
    for _ in 0..setting.scaled(APPLIES) {
        let (all, each) = run.patch().await?;
        whole.push(all);
        stages.iter_mut().zip(each).for_each(|(stage, took)| stage.push(took));
    }
    let (mut by_kubectl, mut kubectl_alone) = (Vec::new(), Vec::new());
    for _ in 0..setting.scaled(KUBECTL_APPLIES) {
        by_kubectl.push(run.kubectl().await?);
        kubectl_alone.push(run.kubectl_unchanged().await?);
    }
    run.end().await?;
    let off: Vec<f64> = (whole.iter().enumerate())
        .map(|(apply, whole)| {
            let sum: f64 = stages.iter().map(|stage| stage[apply]).sum();
            (sum / whole - 1.0).abs() * 100.0
        })
        .collect();
    rows.extend([
        Row::new(format!("{agents} agents: apply sent to Converged, p50"), median(&whole), "ms"),
        Row::new("apply sent to Converged, p99", rank(&whole, 0.99), "ms").at_most(GOAL_MILLIS),
        Row::new("sum of an apply's stages, off its whole by, p99", rank(&off, 0.99), "%")
            .at_most(SUM_GOAL_PERCENT),
    ]);
    for (name, stage) in STAGES.iter().zip(&stages) {
        rows.push(Row::new(format!("stage: {name}, p50"), median(stage), "ms"));
        rows.push(Row::new(format!("stage: {name}, p99"), rank(stage, 0.99), "ms"));
    }
    rows.extend([
        Row::new("kubectl started to Converged, p50", median(&by_kubectl), "ms"),
        Row::new("kubectl started to Converged, worst", rank(&by_kubectl, 1.0), "ms"),
        Row::new("kubectl apply that changes nothing, p50", median(&kubectl_alone), "ms"),
    ]);
    Ok(())
}

impl Run {
    async fn start(
        setting: &Setting,
        agents: usize,
        folder: &std::path::Path,
    ) -> anyhow::Result<Run> {
        let programs = KubePrograms::shared().await.context("finding Kubernetes")?;
        let (ours, theirs) = (Scene::open().await?, Scene::open().await?);
        let api = KubeApi::temporary(programs, &theirs.etcd.endpoint()).await?;
        api.apply(&crds::yaml()).await?;
        within(KIND_LIMIT, "serving TreasureHunts", kind_served(&api)).await?;
        let endpoint = ours.etcd.endpoint();
        let kubeconfig = api.kubeconfig();
        let log = folder.join("operator.log");
        let operator =
            Operator::start(setting, &endpoint, Source::Kubernetes(&kubeconfig), log).await?;
        let observed = Observed::new(agents);
        let workers = observed.workers.clone();
        let on_switch = Arc::new(move |agent: usize, config: &Config| {
            workers.saw(agent, config.buffers.events);
        });
        let hunt = HuntName::new("default", HUNT)?;
        let fleet = Fleet::of_hunt(hunt, &endpoint, agents, Connections::Own, on_switch).await?;
        let hunts = hunts(&api).await?;
        let watches = observed.watch_etcd(&endpoint, &fleet).await?;
        let status = tokio::spawn(watch_status(hunts.clone(), observed.status.clone()));
        let mut run = Run {
            api,
            hunts,
            fleet,
            observed,
            next_value: FIRST_VALUE,
            generation: 0,
            _watches: watches,
            status,
            operator,
            _etcd: (ours, theirs),
        };
        run.patch().await.context("the first apply")?;
        Ok(run)
    }

    /// One server-side apply, as kubectl sends it; all of it and its stages, in milliseconds.
    async fn patch(&mut self) -> anyhow::Result<(f64, [f64; 5])> {
        let manifest = self.changed();
        let sent = Instant::now();
        let params = PatchParams::apply("bench").force();
        let patched = self.hunts.patch(HUNT, &params, &Patch::Apply(&manifest)).await?;
        let answered = Instant::now();
        anyhow::ensure!(
            patched.metadata.generation == i64::try_from(self.generation).ok(),
            "the API server counts {:?}, this bench {}",
            patched.metadata.generation,
            self.generation
        );
        let ends = within(STEP_LIMIT, "Converged", self.observed.all()).await?;
        self.fleet.quiet().await?;
        let [rollout, workers, acks, status] = ends;
        // An observer may hear of a step before the one of the step before does.
        let mut stages = [0.0; 5];
        let mut reached = sent;
        for (stage, at) in stages.iter_mut().zip([answered, rollout, workers, acks, status]) {
            let at = at.max(reached);
            *stage = millis(at - reached);
            reached = at;
        }
        Ok((millis(status.saturating_duration_since(sent)), stages))
    }

    /// From starting kubectl to `Converged`, in milliseconds.
    async fn kubectl(&mut self) -> anyhow::Result<f64> {
        let manifest = self.changed().to_string();
        let started = Instant::now();
        self.api.apply(&manifest).await?;
        let ends = within(STEP_LIMIT, "Converged", self.observed.all()).await?;
        self.fleet.quiet().await?;
        Ok(ends
            .iter()
            .map(|end| millis(end.saturating_duration_since(started)))
            .fold(0.0, f64::max))
    }

    async fn kubectl_unchanged(&self) -> anyhow::Result<f64> {
        let manifest = manifest(self.next_value - 1).to_string();
        let started = Instant::now();
        self.api.apply(&manifest).await?;
        Ok(millis(started.elapsed()))
    }

    /// The next manifest; everybody looks out for it from now on.
    fn changed(&mut self) -> Json {
        let value = self.next_value;
        self.next_value += 1;
        self.generation += 1;
        self.observed.expect(value, self.generation);
        manifest(value)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.status.abort();
        self.fleet.stop().await;
        self.operator.stop().await
    }
}

fn manifest(events: u64) -> Json {
    json!({
        "apiVersion": "treasurehunt.dev/v1alpha1",
        "kind": "TreasureHunt",
        "metadata": {"name": HUNT, "namespace": "default"},
        "spec": {"partitions": {"count": 16}, "buffers": {"events": events}},
    })
}

impl Observed {
    fn new(agents: usize) -> Observed {
        let new = |observers| Arc::new(Sightings::new(observers));
        Observed { rollout: new(1), workers: new(agents), acks: new(agents), status: new(1) }
    }

    fn expect(&self, value: u64, generation: u64) {
        self.workers.expect(value);
        for other in [&self.rollout, &self.acks, &self.status] {
            other.expect(generation);
        }
    }

    /// When the last of each kind saw it.
    async fn all(&self) -> [Instant; 4] {
        let last = async |seen: &Sightings| {
            seen.all().await.into_iter().max().unwrap_or_else(Instant::now)
        };
        [
            last(&self.rollout).await,
            last(&self.workers).await,
            last(&self.acks).await,
            last(&self.status).await,
        ]
    }

    async fn watch_etcd(&self, endpoint: &str, fleet: &Fleet) -> anyhow::Result<[RawWatches; 2]> {
        let rollout = self.rollout.clone();
        let rollout_key = fleet.keys.key(&Key::Rollout);
        let of_rollout = RawWatches::of_prefix(endpoint, &rollout_key, move |event| {
            let read = written(event).map(|(_, value)| documents::read::<Rollout>(value));
            if let Some(Ok(record)) = read {
                rollout.saw(0, record.stable.0);
            }
        });
        let acks = self.acks.clone();
        let keys = fleet.keys.clone();
        let prefix = format!("{}ack/", fleet.keys.prefix());
        let of_acks = RawWatches::of_prefix(endpoint, &prefix, move |event| {
            let Some((key, value)) = written(event) else { return };
            let Some(Key::Ack(node)) = keys.parse(key) else { return };
            let agent = node.as_str().strip_prefix("agent-").and_then(|rest| rest.parse().ok());
            let ack = documents::read::<Ack>(value);
            if let (Some(agent), Ok(Some(generation))) = (agent, ack.map(|ack| ack.generation)) {
                acks.saw(agent, generation.0);
            }
        });
        Ok([of_rollout.await?, of_acks.await?])
    }
}

async fn watch_status(hunts: Api<TreasureHunt>, seen: Arc<Sightings>) {
    let stream = watcher(hunts, watcher::Config::default()).default_backoff().applied_objects();
    let mut stream = std::pin::pin!(stream);
    while let Some(hunt) = stream.next().await {
        let status = hunt.ok().and_then(|hunt| hunt.status);
        let converged = status.as_ref().and_then(|all| all.condition(ConditionKind::Converged));
        if let Some(converged) = converged.filter(|one| one.status == Truth::True) {
            seen.saw(0, u64::try_from(converged.observed_generation).unwrap_or(0));
        }
    }
}

async fn kind_served(api: &KubeApi) {
    while api.kubectl(&["get", "treasurehunts", "-A"]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn hunts(api: &KubeApi) -> anyhow::Result<Api<TreasureHunt>> {
    let file = Kubeconfig::read_from(api.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Api::namespaced(kube::Client::try_from(config)?, "default"))
}
