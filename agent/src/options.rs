//! What an agent is started with. In: flags and environment. Out: checked options.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use config_schemas::{HuntName, NodeName};
use store::EtcdFlags;
use telemetry::traces::TraceFlags;

/// A node of a treasure hunt: takes events in, plays them by the rules, and takes every setting
/// over from etcd while it runs.
#[derive(Debug, Clone, Parser)]
#[command(name = "treasurehunt-agent", version)]
pub struct Options {
    /// How to reach etcd.
    #[command(flatten)]
    pub etcd: EtcdFlags,
    /// The hunt that this node belongs to, as NAMESPACE/NAME; a bare name is in "default".
    #[arg(long, env = "TREASUREHUNT_HUNT")]
    pub hunt: HuntName,
    /// This node's name: one agent at a time may bear it.
    #[arg(long, env = "TREASUREHUNT_NODE")]
    pub node: NodeName,
    /// Where events and outcomes are kept; agents of one machine share it.
    #[arg(long, env = "TREASUREHUNT_DATA_DIR", default_value = "treasurehunt-data")]
    pub data_dir: PathBuf,
    /// Where passwords and certificates are, each as a file SECRET/KEY below it, as Kubernetes mounts
    /// Secrets. Looked at every second while they are in use.
    #[arg(long, env = "TREASUREHUNT_SECRETS")]
    pub secrets: Option<PathBuf>,
    /// Address of HTTP: events, outcomes, metrics, health, what this node runs.
    #[arg(long, env = "TREASUREHUNT_HTTP", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Address of gRPC: treasurehunt.v1.
    #[arg(long, env = "TREASUREHUNT_GRPC", default_value = "127.0.0.1:8081")]
    pub grpc: SocketAddr,
    /// Most connections of clients over HTTP and gRPC together. When there are so many, those that
    /// have been idle the longest are closed to make room; when none is idle, new ones are not
    /// taken. Fewer if the limit of open files asks for it.
    #[arg(long, env = "TREASUREHUNT_CONNECTIONS", default_value_t = 12_288,
        value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub connections: u32,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceFlags,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_option_is_described() {
        let mut command = Options::command();
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
