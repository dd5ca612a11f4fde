//! An agent without its ports: it follows its hunt, registers on its lease, takes settings over
//! and acks. In: a store and an identity. Out: handles for those who serve partitions and ports.
//! Benchmarks run a thousand of these in one process.

use std::path::PathBuf;
use std::sync::Arc;

use config_schemas::documents::{self, Ack, FORMAT, NodeMode, NodeRecord, Owner};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{HuntName, LOAD_WINDOW};
use prometheus::Registry;
use store::{
    FollowOptions, FollowStatus, KeyRange, Session, SessionError, SessionOptions, Store, follow,
};
use telemetry::tasks::Tasks;
use telemetry::traces::Traces;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::capacity::queues::Queues;
use crate::capacity::turns::Turns;
use crate::config::clients::RetuneKafka;
use crate::config::clients::clients;
use crate::config::components::{Components, RetuneLog};
use crate::config::live::{Live, channel};
use crate::config::report::Report;
use crate::config::road::{Outlets, Road, Start, chain, initial};
use crate::config::shared::{ViewReader, share};
use crate::config::snapshot::{self, Snapshot};
use crate::config::switched::Board;
use crate::hotkeys::HotKeys;
use crate::load::fold::Figures;
use crate::load::meter::Meters;
use crate::load::reporter::{self, Reporter};
use crate::metrics::{LoadMetrics, MetricsError, RoadMetrics, SessionMetrics};
use crate::registration::Registration;
pub use crate::registration::Standing;

/// Who an agent is and where it is reached.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// The hunt.
    pub hunt: HuntName,
    /// Name and life of this node.
    pub me: Owner,
    /// The same for every life of this agent.
    pub instance: String,
    /// Where the snapshot is kept; `None` keeps none.
    pub directory: Option<PathBuf>,
    /// `host:port` of HTTP.
    pub http: String,
    /// `host:port` of gRPC.
    pub grpc: String,
}

/// Who takes over what concerns the log.
pub struct Logs {
    /// The embedded log's settings.
    pub embedded: RetuneLog,
    /// The clients of Kafka.
    pub kafka: RetuneKafka,
    /// Changes when the log that was open is given up, and Kafka's clients have to be made anew.
    pub given_up: watch::Receiver<u64>,
    /// Where Secrets are; none can be read without.
    pub secrets: Option<PathBuf>,
}

impl From<RetuneLog> for Logs {
    /// Of a process that cannot speak to Kafka.
    fn from(embedded: RetuneLog) -> Logs {
        let refuse = || Err("this process keeps its log on its own disk alone".to_owned());
        let kafka: RetuneKafka = Arc::new(move |_| Box::pin(std::future::ready(refuse())));
        Logs { embedded, kafka, given_up: watch::channel(0).1, secrets: None }
    }
}

/// Where an agent tells of itself.
pub struct Telling<'a> {
    /// Its figures.
    pub registry: &'a Registry,
    /// What it follows.
    pub traces: Traces,
}

impl<'a> From<&'a Registry> for Telling<'a> {
    /// Follows nothing.
    fn from(registry: &'a Registry) -> Telling<'a> {
        Telling { registry, traces: Traces::default() }
    }
}

/// What others need of a running core.
pub struct Core {
    /// The configuration to work by.
    pub live: Live,
    /// Where workers say what they run.
    pub board: Board,
    /// How many partitions may be worked on at once.
    pub turns: Turns,
    /// How much may wait.
    pub queues: Queues,
    /// Where workers count what partitions cost.
    pub meters: Meters,
    /// Keys that are hot at this node's gateway.
    pub hot: HotKeys,
    /// What the node carries, and how well it does.
    pub figures: watch::Receiver<Arc<Figures>>,
    /// The hunt as the store says.
    pub view: ViewReader,
    /// What runs, for the admin port.
    pub report: watch::Receiver<Arc<Report>>,
    /// How fresh the view is.
    pub freshness: watch::Receiver<FollowStatus>,
    /// The node's lease.
    pub session: Session,
    /// Whether the node is registered, and who has its name if not.
    pub standing: watch::Receiver<Standing>,
    /// The key that says that this node lives.
    pub node_key: String,
    record: NodeRecord,
}

/// Starts following, registering and acking.
pub fn start<'a>(
    options: CoreOptions,
    store: &Store,
    logs: impl Into<Logs>,
    telling: impl Into<Telling<'a>>,
    tasks: &Tasks,
) -> Result<Core, MetricsError> {
    let Telling { registry, traces } = telling.into();
    let Logs { embedded: log, kafka, given_up, secrets } = logs.into();
    let keys = HuntKeys::new(&options.hunt);
    let start =
        Start { me: options.me.clone(), keys: keys.clone(), snapshot: kept_snapshot(&options) };
    let marker_seen = start.snapshot.as_ref().is_some_and(|kept| kept.view.meta.is_some());
    let first = initial(&start, telemetry::clock::now());
    let config = &first.effective.config;
    let heartbeat =
        SessionOptions { ttl: config.heartbeat.lease(), interval: config.heartbeat.interval };
    let session = Session::start(store, heartbeat);
    let turns = Turns::new(usize::try_from(config.workers.concurrency).unwrap_or(usize::MAX));
    let queues = Queues::new(&config.buffers);
    let board = Board::default();
    log(&config.broker);
    let node = &options.me.node;
    let (clients, keeper) = clients(config, &options.hunt, node, secrets, (kafka, given_up));
    tasks.spawn("kafka", keeper.run(tasks.stopping()));
    let (publisher, live) = channel(config.clone());
    let meters = Meters::following(traces.clone());
    let (figures_tx, figures) =
        watch::channel(Arc::new(reporter::first(&options.me.incarnation, &live)));
    let troubles = meters.troubles().clone();
    LoadMetrics::register(registry, figures.clone(), queues.clone(), troubles)?;
    let (outlets, inlets) = outlets(&start, &first);
    let (from, to) = keys.agent_span();
    let follower = follow(
        store,
        FollowOptions {
            marker_seen,
            ..FollowOptions::new(options.me.node.as_str(), KeyRange::span(&from, &to))
                .with_marker(keys.key(&Key::Meta))
        },
    );
    let freshness = follower.status();
    FollowStatus::register(registry, freshness.clone()).map_err(MetricsError::from)?;
    SessionMetrics::register(registry, session.status())?;
    let components = Components {
        publisher,
        board: board.clone(),
        turns: turns.clone(),
        queues: queues.clone(),
        session: session.clone(),
        log,
        clients,
    };
    let metrics = RoadMetrics::register(registry)?.following(traces, node);
    let road = Road::new(start, first, store.clone(), components, outlets, metrics);
    tasks.spawn("road", road.run(follower, tasks.stopping()));
    if let Some(directory) = options.directory.clone() {
        tasks.spawn("snapshot", keep_snapshots(directory, options.hunt.clone(), inlets.snapshot));
    }
    let record = NodeRecord {
        format: FORMAT,
        incarnation: options.me.incarnation.clone(),
        instance: options.instance.clone(),
        http: options.http.clone(),
        grpc: options.grpc.clone(),
        mode: NodeMode::Ready,
    };
    let node_key = keys.key(&Key::Node(options.me.node.clone()));
    let ack_key = keys.key(&Key::Ack(options.me.node.clone()));
    let (standing_tx, standing) = watch::channel(Standing::Registering);
    let registration = Registration {
        session: session.clone(),
        node_key: node_key.clone(),
        record: record.clone(),
        ack_key,
        acks: inlets.ack,
        standing: standing_tx,
    };
    let hot = HotKeys::new(Instant::now());
    let reporter = Reporter {
        incarnation: options.me.incarnation.clone(),
        key: keys.key(&Key::Load(options.me.node.clone())),
        session: session.clone(),
        standing: standing.clone(),
        meters: meters.clone(),
        hot: hot.clone(),
        queues: queues.clone(),
        live: live.clone(),
        figures: figures_tx,
        window: LOAD_WINDOW,
    };
    tasks.spawn("load", reporter.run(tasks.stopping()));
    tasks.spawn("registration", {
        let stopping = tasks.stopping();
        async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = registration.run() => {}
            }
        }
    });
    Ok(Core {
        live,
        board,
        turns,
        queues,
        meters,
        hot,
        figures,
        view: inlets.view,
        report: inlets.report,
        freshness,
        session,
        standing,
        node_key,
        record,
    })
}

impl Core {
    /// Tells everybody that this node hands its partitions over and takes no more.
    pub async fn drain(&self) -> Result<(), SessionError> {
        let record = NodeRecord { mode: NodeMode::Draining, ..self.record.clone() };
        self.session.update(self.node_key.clone(), documents::write(&record)).await.map(drop)
    }
}

struct Inlets {
    view: ViewReader,
    report: watch::Receiver<Arc<Report>>,
    ack: watch::Receiver<Option<Ack>>,
    snapshot: watch::Receiver<Option<Snapshot>>,
}

fn outlets(start: &Start, first: &crate::config::wanted::Wanted) -> (Outlets, Inlets) {
    let effective = Arc::new(first.effective.clone());
    let none = Default::default();
    let ack = crate::config::ack::ack(&start.me.incarnation, &effective, None, &none);
    let kept = start.snapshot.as_ref().map(|kept| kept.view.clone());
    let (view, view_in) = share(kept.unwrap_or_default());
    let (report, report_in) = watch::channel(Arc::new(Report {
        effective,
        ack: Arc::new(ack.clone()),
        rollback: first.rollback,
        from_snapshot: start.snapshot.as_ref().map(|kept| kept.saved_at),
    }));
    let (ack, ack_in) = watch::channel(Some(ack));
    let (snapshot, snapshot_in) = watch::channel(None);
    let inlets = Inlets { view: view_in, report: report_in, ack: ack_in, snapshot: snapshot_in };
    (Outlets { view, report, ack, snapshot }, inlets)
}

fn kept_snapshot(options: &CoreOptions) -> Option<Snapshot> {
    let directory = options.directory.as_ref()?;
    match snapshot::load(directory, &options.hunt) {
        Ok(kept) => {
            if let Some(kept) = &kept {
                tracing::info!(saved_at = %kept.saved_at, "starting from the snapshot on disk");
            }
            kept
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the snapshot on disk is of no use");
            None
        }
    }
}

/// Writes the newest snapshot each time there is one; ends when the road does.
async fn keep_snapshots(
    directory: PathBuf,
    hunt: HuntName,
    mut newest: watch::Receiver<Option<Snapshot>>,
) {
    while newest.changed().await.is_ok() {
        let Some(snapshot) = newest.borrow_and_update().clone() else { continue };
        let (directory, hunt) = (directory.clone(), hunt.clone());
        let saved =
            tokio::task::spawn_blocking(move || snapshot::save(&directory, &hunt, &snapshot)).await;
        match saved {
            Ok(Ok(())) => {}
            // A full disk must not stop a hunt; it runs from memory.
            Ok(Err(error)) => tracing::warn!(error = %chain(&error), "cannot keep a snapshot"),
            Err(_) => tracing::error!("writing a snapshot panicked"),
        }
    }
}
