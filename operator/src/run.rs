//! Wires the operator up: etcd, the source of resources, the controller, the admin port. Every
//! task is spawned here. I/O.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use store::{FollowStatus, Store, StoreError, StoreOptions};
use telemetry::admin::{self, Readiness};
use telemetry::tasks::Tasks;
use telemetry::traces::{TraceError, TraceFlags, exporter};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{QUERIES_WAITING_MAX, routes};
use crate::controller::{Controller, Parts};
use crate::fuse::Fuse;
use crate::metrics::Metrics;
use crate::source::{EVENTS_WAITING_MAX, Outlet, SourceEvent, directory, kubernetes};
use crate::topics::{Keeper, SecretStore};

/// Without proof of etcd for this long, the operator is not ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Where TreasureHunts come from.
#[derive(Debug, Clone)]
pub enum From {
    /// The Kubernetes API.
    Kubernetes {
        /// A kubeconfig file; without it, what the environment says.
        kubeconfig: Option<PathBuf>,
        /// One namespace instead of all.
        namespace: Option<String>,
    },
    /// A directory of YAML files.
    Directory {
        /// Which.
        path: PathBuf,
    },
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// etcd.
    pub store: StoreOptions,
    /// Where TreasureHunts come from.
    pub from: From,
    /// Where the admin port listens.
    pub listen: SocketAddr,
    /// Who this operator is, for people.
    pub identity: String,
    /// Ends it between two writes, in tests.
    pub fuse: Fuse,
    /// Where traces go.
    pub traces: TraceFlags,
    /// How long a deleted resource waits for its keys to be removed; see
    /// [`crate::hunt::CLEAN_UP_WITHIN`].
    pub clean_up_within: Duration,
    /// Where Secrets are, as `<directory>/<name>/<key>`; without it, the Kubernetes API is asked,
    /// where there is one.
    pub secrets: Option<PathBuf>,
}

/// The operator could not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RunError {
    #[error("opening etcd")]
    Store(#[source] StoreError),
    #[error("reading the kubeconfig")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    #[error("finding the Kubernetes API")]
    Infer(#[source] kube::config::InferConfigError),
    #[error("making the Kubernetes client")]
    Client(#[source] kube::Error),
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("setting up traces")]
    Traces(#[source] TraceError),
    #[error("registering metrics")]
    Metrics(#[source] prometheus::Error),
}

/// A running operator.
#[derive(Debug)]
pub struct Running {
    /// Where the admin port listens.
    pub admin: SocketAddr,
    /// What is counted.
    pub metrics: Metrics,
    tasks: Tasks,
}

impl Running {
    /// Heard when the operator stops, for whatever reason.
    pub fn stopping(&self) -> CancellationToken {
        self.tasks.stopping()
    }

    /// Stops in order: the leadership is handed over.
    pub async fn stop(self) {
        self.tasks.finish().await;
    }
}

/// Starts the operator; returns when it listens.
pub async fn start(options: Options) -> Result<Running, RunError> {
    let metrics = Metrics::new().map_err(RunError::Metrics)?;
    let store = Store::open(options.store.clone()).map_err(RunError::Store)?;
    let (to, events) = mpsc::channel(EVENTS_WAITING_MAX);
    let (ask, queries) = mpsc::channel(QUERIES_WAITING_MAX);
    let tasks = Tasks::default();
    let (traces, exporter) = exporter(&options.traces, "treasurehunt-operator", &options.identity)
        .map_err(RunError::Traces)?;
    if let Some(exporter) = exporter {
        tasks.spawn("traces", exporter.run(tasks.stopping()));
    }
    let (outlet, secrets) = source(&options, &store, &metrics, to, &tasks).await?;
    let secrets = options.secrets.clone().map_or(secrets, SecretStore::Directory);
    let topics = Keeper::new(store.clone(), secrets, metrics.clone());
    let controller = Controller::new(Parts {
        store,
        identity: options.identity.clone(),
        events,
        queries,
        outlet,
        metrics: metrics.clone(),
        traces: traces.clone(),
        fuse: options.fuse.clone(),
        clean_up_within: options.clean_up_within,
        topics: Some(topics),
    });
    metrics.follow(controller.follow_status()).map_err(RunError::Metrics)?;
    let listener = listen(options.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|source| RunError::Listen { address: options.listen, source })?;
    let readiness = readiness(controller.follow_status());
    let router = admin::routes(metrics.registry.clone(), &traces, readiness).merge(routes(ask));
    let (fuse, stop) = (options.fuse, tasks.stopping());
    tasks.spawn("controller", async move {
        tokio::select! {
            () = controller.run(stop.clone()) => {}
            () = fuse.blown() => stop.cancel(),
        }
    });
    let stop = tasks.stopping();
    tasks.spawn("admin", async move {
        if let Err(error) = admin::serve(listener, router, stop).await {
            tracing::error!(error = %error, "the admin port ended");
        }
    });
    Ok(Running { admin: address, metrics, tasks })
}

async fn source(
    options: &Options,
    store: &Store,
    metrics: &Metrics,
    to: mpsc::Sender<SourceEvent>,
    tasks: &Tasks,
) -> Result<(Outlet, SecretStore), RunError> {
    let stop = tasks.stopping();
    match &options.from {
        From::Kubernetes { kubeconfig, namespace } => {
            let client = client(kubeconfig.as_ref()).await?;
            let (outlet, publish) =
                kubernetes::Outlet::new(client.clone(), &options.identity, metrics.clone());
            let secrets = SecretStore::Kubernetes(client.clone());
            let source = kubernetes::Source::new(client, namespace.clone(), metrics.clone());
            tasks.spawn("source", source.run(to, stop.clone()));
            tasks.spawn("events", async move {
                tokio::select! { () = publish => {} () = stop.cancelled() => {} }
            });
            Ok((Outlet::Kubernetes(outlet), secrets))
        }
        From::Directory { path } => {
            let (outlet, source) = directory::open(path.clone(), store.clone(), metrics.clone());
            tasks.spawn("source", source.run(to, stop));
            Ok((Outlet::Directory(outlet), SecretStore::None))
        }
    }
}

async fn client(kubeconfig: Option<&PathBuf>) -> Result<kube::Client, RunError> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(RunError::Kubeconfig)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(RunError::Kubeconfig)?
        }
        None => kube::Config::infer().await.map_err(RunError::Infer)?,
    };
    kube::Client::try_from(config).map_err(RunError::Client)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

/// Ready is who knows what stands in etcd. The Kubernetes API may be away: placement and live
/// edits go on without it.
fn readiness(status: watch::Receiver<FollowStatus>) -> Readiness {
    Arc::new(move || {
        let proven_at = status.borrow().proven_at;
        match proven_at {
            None => Err("etcd has not been read yet".to_owned()),
            Some(at) if Instant::now().saturating_duration_since(at) > READY_WITHIN => {
                Err(format!("etcd has not answered for more than {READY_WITHIN:?}"))
            }
            Some(_) => {
                Ok(status.borrow().silent_for(Instant::now()).map_or_else(String::new, |silent| {
                    format!("etcd has been silent for {} s", silent.as_secs())
                }))
            }
        }
    })
}
