//! The real servers (etcd, Kubernetes' API server, Kafka, Prometheus, Alertmanager) on this machine, without containers:
//! found on PATH, or made once from pinned Go modules and Maven packages; then started, frozen,
//! killed, wiped and restored. Also a TCP proxy that injects network faults, and our own binaries
//! run as guarded children (tests) or as detached processes (`hunt dev`). Everything listens on
//! 127.0.0.1 only. All I/O.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let programs = servers::EtcdPrograms::shared().await?;
//! let mut etcd = servers::Etcd::temporary(programs).await?;
//! println!("{}", etcd.endpoint());
//! etcd.kill();
//! etcd.restart().await?;
//! # Ok(())
//! # }
//! ```

mod programs;

mod certificates;
mod etcd;
mod kafka;
mod kube;
mod prometheus;
mod proxy;

mod process;

mod poll;
mod port;

pub use certificates::{Certificate, Certificates, Usage};
pub use etcd::{Etcd, EtcdCluster, EtcdOptions, Restore};
pub use kafka::{KafkaCluster, KafkaNode, KafkaOptions, KafkaPorts, KafkaSecurity};
pub use kube::{KubeApi, KubeOptions};
pub use poll::ServerError;
pub use port::free_port;
pub use process::detached::{Detached, DetachedError, Stopped};
pub use process::guarded::Guarded;
pub use process::launch::{Launch, ProcessError};
pub use process::server::ServerProcess;
pub use process::stat::{ProcessStat, ProcessState};
pub use programs::{
    AlertmanagerPrograms, EtcdPrograms, KafkaPrograms, KubePrograms, PicturePrograms, Places,
    Programs, ProgramsError, Progress, PrometheusPrograms, PythonPrograms, Step, Unavailable,
    Version,
};
pub use prometheus::{AlertmanagerOptions, Prometheus, PrometheusOptions};
pub use proxy::{Direction, FaultProxy};
