//! The figures of the Kafka broker, each beside a bare client or a steady one on the same three
//! brokers in the same run. In: a setting. Out: rows. I/O.

pub(super) mod killed;
pub(super) mod live;
mod load;
pub(super) mod moved;
pub(super) mod play;
mod readers;
pub(super) mod retunes;
pub(super) mod swaps;

use std::time::Duration;

use anyhow::Context as _;
use broker::kafka::{ClientSettings, Connection};
use broker::{AnyBroker, AnyOwned, Broker as _, Claim, KafkaBroker, KafkaOptions};
use config_schemas::{Epoch, PartitionId};
use servers::{KafkaCluster, KafkaPrograms};

use super::Setting;
use crate::world::{Setup, World};

/// Until a new hunt's partitions are served, topics made.
const SERVED_WITHIN: Duration = Duration::from_secs(300);

/// A cluster for one figure.
async fn cluster() -> anyhow::Result<KafkaCluster> {
    let programs = KafkaPrograms::shared().await;
    let programs = programs.map_err(|missing| anyhow::anyhow!("{missing}"))?;
    Ok(KafkaCluster::temporary(programs).await?)
}

/// A hunt on the cluster, with the release binaries, once every partition is served.
async fn world_on(
    cluster: &KafkaCluster,
    setting: &Setting,
    setup: Setup,
) -> anyhow::Result<World> {
    let programs = setting.programs()?;
    let setup = Setup { durable: true, programs: Some(programs), ..setup }
        .on_kafka(&cluster.bootstrap())
        .with("buffers", "wait", "5s");
    let world = World::start(setup).await?;
    world.served(SERVED_WITHIN).await;
    Ok(world)
}

/// Makes the topics of a hunt, on all three brokers.
async fn topics(
    cluster: &KafkaCluster,
    hunt: &str,
    partitions: u32,
) -> anyhow::Result<KafkaOptions> {
    let options = KafkaOptions {
        events: format!("{hunt}.events"),
        outcomes: format!("{hunt}.outcomes"),
        snapshots: format!("{hunt}.snapshots"),
        dead: format!("{hunt}.dead"),
        partitions,
        cluster: None,
        client_id: "bench".to_owned(),
        connection: Connection::plain(cluster.bootstrap().parse()?),
        settings: ClientSettings::default(),
    };
    let count = partitions.to_string();
    for topic in [&options.events, &options.outcomes, &options.snapshots, &options.dead] {
        let args = ["--create", "--topic", topic, "--partitions", &count];
        let replicas = ["--replication-factor", "3", "--config", "min.insync.replicas=2"];
        cluster.tool("kafka-topics", &[args.as_slice(), &replicas].concat()).await?;
    }
    Ok(options)
}

async fn take(
    broker: &KafkaBroker,
    partition: u32,
    epoch: u64,
) -> anyhow::Result<broker::KafkaOwned> {
    let incarnation = format!("bench-{epoch}");
    let claim = Claim { epoch: Epoch(epoch), owner: "bench".to_owned(), incarnation };
    let taken = AnyBroker::Kafka(broker.clone()).take(PartitionId(partition), claim).await;
    match taken.context("taking a partition")? {
        AnyOwned::Kafka(owned) => Ok(owned),
        AnyOwned::Embedded(_) => anyhow::bail!("another broker's"),
    }
}
