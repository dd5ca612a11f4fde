//! The operator's binary: reads flags, starts, waits for a signal.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use operator::{CLEAN_UP_WITHIN, From, Fuse, Options, start};
use store::EtcdFlags;
use telemetry::traces::TraceFlags;
use tokio::signal::unix::{SignalKind, signal};

/// Brings TreasureHunts into etcd, places partitions, reports what agents run.
#[derive(Parser, Debug)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    etcd: EtcdFlags,
    /// Where TreasureHunts come from.
    #[arg(long, env = "TREASUREHUNT_SOURCE", default_value = "kubernetes")]
    source: Source,
    /// The directory of YAML files, with --source directory.
    #[arg(long, env = "TREASUREHUNT_DIRECTORY", required_if_eq("source", "directory"))]
    directory: Option<PathBuf>,
    /// A kubeconfig file; without it, what the environment says.
    #[arg(long, env = "TREASUREHUNT_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// One namespace instead of all.
    #[arg(long, env = "TREASUREHUNT_NAMESPACE")]
    namespace: Option<String>,
    /// Where /metrics, /healthz, /readyz, /hunts, /config and /partitions are served.
    #[arg(long, env = "TREASUREHUNT_LISTEN", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Where Secrets are, as DIRECTORY/NAME/KEY; without it, the Kubernetes API is asked for those
    /// that hunts name.
    #[arg(long, env = "TREASUREHUNT_SECRETS", value_name = "DIRECTORY")]
    secrets: Option<PathBuf>,
    /// Who this operator is, for people; host and process by default.
    #[arg(long, env = "TREASUREHUNT_IDENTITY")]
    identity: Option<String>,
    #[command(flatten)]
    traces: TraceFlags,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The Kubernetes API.
    Kubernetes,
    /// A directory of YAML files.
    Directory,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    telemetry::logs::init();
    let flags = Flags::parse();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let running = start(options(flags)?).await?;
    tracing::info!(admin = %running.admin, "the operator runs");
    let stopping = running.stopping();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = stopping.cancelled() => anyhow::bail!("a task ended that must not"),
    }
    running.stop().await;
    Ok(())
}

fn options(flags: Flags) -> anyhow::Result<Options> {
    let from = match flags.source {
        Source::Kubernetes => {
            From::Kubernetes { kubeconfig: flags.kubeconfig, namespace: flags.namespace }
        }
        Source::Directory => {
            From::Directory { path: flags.directory.context("--directory is missing")? }
        }
    };
    let identity = flags.identity.unwrap_or_else(|| format!("operator-{}", std::process::id()));
    Ok(Options {
        store: flags.etcd.options(),
        from,
        listen: flags.listen,
        identity: format!("{identity}/{}", uuid::Uuid::new_v4().simple()),
        fuse: Fuse::default(),
        traces: flags.traces,
        clean_up_within: CLEAN_UP_WITHIN,
        secrets: flags.secrets,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_option_is_described() {
        let mut command = Flags::command();
        command.build();
        assert!(command.get_about().is_some());
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{}", arg.get_id());
            for value in
                arg.get_possible_values().iter().filter(|_| arg.get_action().takes_values())
            {
                assert!(value.get_help().is_some(), "{}", value.get_name());
            }
        }
    }
}
