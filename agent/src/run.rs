//! A whole agent from start to stop: identity, store, core, data plane, ports, and an orderly end.
//! In: options. Out: nothing, or why it could not be. I/O.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use config_schemas::NodeName;
use config_schemas::documents::NodeMode;
use events::{HuntGame, Machine};
use prometheus::Registry;
use store::{Store, StoreError, StoreOptions};
use telemetry::admin::{self, Readiness};
use telemetry::tasks::Tasks;
use telemetry::traces::{TraceError, Traces, exporter};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Admin;
use crate::config::road::chain;
use crate::config::view::View;
use crate::core::{self, Core, CoreOptions, Logs, Standing, Telling};
use crate::gateway::listen::{Port, Speech};
use crate::gateway::{self, Connections, Gateway, GatewayMetrics};
use crate::identity::{self, IdentityError};
use crate::metrics::{ClientMetrics, MetricsError, PlaneMetrics, register_disk};
use crate::options::Options;
use crate::partitions::log::Log;
use crate::partitions::plane::{self, Plane, PlaneOptions};

/// Why an agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be that node.
    #[error("assuming the node's identity")]
    Identity(#[from] IdentityError),
    /// A port cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The store's options are of no use.
    #[error("opening the store")]
    Store(#[from] StoreError),
    /// Metrics clash.
    #[error("setting up metrics")]
    Metrics(#[from] MetricsError),
    /// Traces cannot go where they are to.
    #[error("setting up traces")]
    Traces(#[from] TraceError),
    /// Signals cannot be heard.
    #[error("listening for signals")]
    Signals(#[source] std::io::Error),
    /// There are no threads to run on.
    #[error("starting the threads")]
    Threads(#[source] std::io::Error),
    /// Another process bears the name.
    #[error("the name of this node is taken by {by}; start this agent under another name")]
    NameTaken {
        /// Who.
        by: String,
    },
    /// A task failed.
    #[error("a task of the agent failed; its last log line says why")]
    Task,
}

/// Longest wait, when all has ended, for threads that are in a call to the disk. What they do
/// nobody waits for any more, and a log bears being killed at any time: a disk that hangs must not
/// keep the process.
const THREADS_LIMIT: Duration = Duration::from_secs(3);

/// Runs an agent as all that its process does: returns when it has ended, whatever hangs.
pub fn alone(agent: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Runtime::new().map_err(RunError::Threads)?;
    let ended = runtime.block_on(agent);
    runtime.shutdown_timeout(THREADS_LIMIT);
    ended
}

/// Runs the built-in hunt until SIGTERM or SIGINT, then hands the partitions over and ends.
pub async fn run(options: Options) -> Result<(), RunError> {
    run_with::<HuntGame>(options).await
}

/// The same with another machine on every partition. All agents of a hunt run the same machine.
pub async fn run_with<M: Machine>(options: Options) -> Result<(), RunError> {
    let identity = identity::assume(&options.data_dir, &options.hunt, &options.node)?;
    let http = listen(options.http).await?;
    let grpc = listen(options.grpc).await?;
    let address = |listener: &TcpListener, wanted: SocketAddr| {
        listener.local_addr().unwrap_or(wanted).to_string()
    };
    let store = Store::open(StoreOptions { one_connection: true, ..options.etcd.options() })?;
    let registry = Registry::new();
    let tasks = Tasks::default();
    let log = Log::new(options.data_dir.clone(), options.hunt.clone());
    let core_options = CoreOptions {
        hunt: options.hunt.clone(),
        me: identity.me.clone(),
        instance: identity.instance.clone(),
        directory: Some(identity.directory.clone()),
        http: address(&http, options.http),
        grpc: address(&grpc, options.grpc),
    };
    log.count_by(ClientMetrics::register(&registry)?);
    let (embedded, kafka) = (log.retune(), log.retune_kafka());
    let logs = Logs { embedded, kafka, given_up: log.given_up(), secrets: options.secrets.clone() };
    let traces = traces(&options, &tasks)?;
    let telling = Telling { registry: &registry, traces: traces.clone() };
    let core = core::start(core_options, &store, logs, telling, &tasks)?;
    tracing::info!(
        node = %options.node,
        hunt = %options.hunt,
        http = %address(&http, options.http),
        grpc = %address(&grpc, options.grpc),
        "agent starts"
    );
    let plane_options = PlaneOptions { hunt: options.hunt.clone(), me: identity.me.clone() };
    let metrics = PlaneMetrics::register(&registry, core.meters.clone())?;
    register_disk(&registry, options.data_dir.clone())?;
    telemetry::metrics::process::register(&registry).map_err(MetricsError::from)?;
    let plane = plane::new::<M>(plane_options, &core, log, metrics);
    let gateway =
        Gateway::new(plane.clone(), core.hot.clone(), GatewayMetrics::register(&registry)?);
    gateway.hot().register(&registry).map_err(MetricsError::from)?;
    plane.serve(&store, &core, Arc::new(gateway.clone()), &tasks);
    let connections = Connections::new(
        gateway::connections_fitting(options.connections),
        gateway.metrics().clone(),
    );
    let ports = [(http, Speech::Http), (grpc, Speech::Grpc)].map(|(listener, speech)| Port {
        listener,
        speech,
        connections: connections.clone(),
    });
    // Their requests may wait for partitions on their way to other nodes: whatever follows the
    // routes goes on until they have ended.
    let open_ports = tasks.child();
    let common = |readiness| admin::routes(registry, &traces, readiness);
    serve(&core, &gateway, &identity.me, ports, common, &open_ports);
    let ended = until_end(&core, &open_ports).await;
    if ended.is_ok() {
        hand_over(&core, &plane, &identity.me.node).await;
    }
    open_ports.finish().await;
    tasks.finish().await;
    if let Err(error) = core.session.close().await {
        tracing::warn!(error = %chain(&error), "the lease could not be ended; it lapses by itself");
    }
    ended
}

/// Where this node tells of what it follows.
fn traces(options: &Options, tasks: &Tasks) -> Result<Traces, RunError> {
    let (traces, exporter) =
        exporter(&options.traces, "treasurehunt-agent", options.node.as_str())?;
    if let Some(exporter) = exporter {
        tasks.spawn("traces", exporter.run(tasks.stopping()));
    }
    Ok(traces.of_hunt(&options.hunt))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

fn serve(
    core: &Core,
    gateway: &Gateway,
    me: &config_schemas::documents::Owner,
    [http, grpc]: [Port; 2],
    common: impl FnOnce(Readiness) -> Router,
    tasks: &Tasks,
) {
    let standing = core.standing.clone();
    let freshness = core.freshness.clone();
    let (session, node_key) = (core.session.status(), core.node_key.clone());
    let readiness: Readiness = Arc::new(move || match &*standing.borrow() {
        Standing::Registered if session.borrow().astray.contains(&node_key) => {
            Err(format!("{node_key} was changed or deleted by hand and is not put back yet"))
        }
        // Absence of the store is no instruction: the workers go on.
        Standing::Registered => Ok(crate::admin::silence(&freshness.borrow())),
        Standing::Registering => Err("not registered in etcd yet".to_owned()),
        Standing::Refused { by } => Err(format!("the node's name is taken by {by}")),
    });
    let shown = Admin {
        me: me.clone(),
        report: core.report.clone(),
        view: core.view.clone(),
        freshness: core.freshness.clone(),
        queues: core.queues.clone(),
        figures: core.figures.clone(),
        troubles: core.meters.troubles().clone(),
        hot: gateway.hot().clone(),
    };
    let router = common(readiness)
        .merge(crate::admin::routes(shown))
        .merge(gateway::http::routes(gateway.clone(), tasks.stopping()));
    tasks.spawn("http", gateway::listen::serve(http, router, tasks.stopping()));
    let grpc = gateway::grpc::serve(grpc, gateway.clone(), tasks.stopping());
    tasks.spawn("grpc", async move {
        if let Err(error) = grpc.await {
            tracing::error!(error = %chain(&error), "gRPC ended");
        }
    });
}

/// Waits for a reason to end: a signal, a lost name, a failed task.
async fn until_end(core: &Core, tasks: &Tasks) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut standing = core.standing.clone();
    let refused = async {
        let wait = standing.wait_for(|standing| matches!(standing, Standing::Refused { .. }));
        match wait.await.as_deref() {
            Ok(Standing::Refused { by }) => by.clone(),
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        by = refused => Err(RunError::NameTaken { by }),
        () = tasks.stopping().cancelled_owned() => Err(RunError::Task),
    }
}

/// Longest wait for others to take the partitions over; what is left is taken when the lease ends.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for the word that this node leaves. With etcd away nobody hears it, and nobody
/// could take anything over: an agent can be ended then too.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(5);

async fn hand_over(core: &Core, plane: &Plane, me: &NodeName) {
    let others = could_take(&core.view.read(), me);
    tracing::info!(others, "agent stops");
    if !others {
        return;
    }
    match tokio::time::timeout(ANNOUNCE_LIMIT, core.drain()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "cannot announce the stop");
            return;
        }
        Err(_) => {
            tracing::warn!("etcd does not answer; others take over when it does");
            return;
        }
    }
    let mut view = core.view.clone();
    tokio::select! {
        () = plane.empty() => {}
        // they may all be told to stop at once
        () = view.wait_for(|view| !could_take(view, me)) => {
            tracing::info!("nobody is left who could take a partition");
        }
        () = tokio::time::sleep(HAND_OVER_LIMIT) => {
            tracing::warn!("partitions are left; others take them when the lease ends");
        }
    }
}

/// Whether another node lives that takes partitions.
fn could_take(view: &View, me: &NodeName) -> bool {
    view.nodes.iter().any(|(name, node)| name != me && node.mode == NodeMode::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::documents::NodeRecord;
    use std::sync::mpsc;

    /// Far above what anything here takes; a test that hangs ends.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn only_another_that_stays_can_take_over() {
        let name = |name: &str| NodeName::new(name).unwrap();
        let check = |nodes: &[(&str, NodeMode)], expected: bool| {
            let node = |(node, mode): &(&str, NodeMode)| {
                let record = NodeRecord {
                    format: 1,
                    incarnation: String::new(),
                    instance: String::new(),
                    http: String::new(),
                    grpc: String::new(),
                    mode: *mode,
                };
                (name(node), record)
            };
            let mut view = View::default();
            view.nodes = nodes.iter().map(node).collect();
            assert_eq!(could_take(&view, &name("a")), expected);
        };
        check(&[("a", NodeMode::Ready)], false);
        check(&[("a", NodeMode::Draining), ("b", NodeMode::Ready)], true);
        check(&[("a", NodeMode::Draining), ("b", NodeMode::Draining)], false);
    }

    #[test]
    fn a_thread_that_hangs_in_the_disk_does_not_keep_the_process() {
        let (done, ended) = mpsc::channel();
        let (_hangs_until_the_end, hang) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let agent = async move {
                let (began, begin) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = began.send(());
                    hang.recv()
                });
                let _ = begin.await;
                Err(RunError::Task)
            };
            let _ = done.send(alone(agent));
        });
        let ended = ended.recv_timeout(PATIENCE).expect("it waits for the thread");
        assert!(matches!(ended, Err(RunError::Task)), "{ended:?}");
    }
}
