//! The steps about Kafka. Players play meanwhile, and everything they were told is judged; what the
//! status claims is asked of the tools of the distribution as well. `topics` holds the steps about
//! topics, `retunes` those about our clients' settings, `clients` the one about clients of others,
//! `brokers` the one about a broker that dies; `described` reads what the tools say. I/O.

mod brokers;
mod clients;
mod described;
mod retunes;
mod topics;

use std::time::Duration;

use config_schemas::{Config, TopicRole};

use self::described::{Topics, declared};
use crate::dev::world::World;
use crate::failure::Failure;

pub(super) use brokers::broker_dies;
pub(super) use clients::other_clients;
pub(super) use retunes::{refused_cluster, retuned};
pub(super) use topics::{
    begin_small, hunt_cut, make_small_topic, partitions_raised, replicas_raised, topics_declared,
};

/// Topics are made in a second; replicas are copied in some.
const TOPICS_LIMIT: Duration = Duration::from_secs(60);
/// Before the status or a tool is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

async fn described(world: &World) -> Result<Topics, Failure> {
    let all = all_topics(world);
    let text = world.kafka_tool("kafka-topics", &["--describe", "--topic", &all], None).await?;
    let mut topics = described::topics(&text);
    let args = ["--describe", "--entity-type", "topics"];
    described::configs(&world.kafka_tool("kafka-configs", &args, None).await?, &mut topics);
    Ok(topics)
}

fn topic(world: &World, role: TopicRole) -> String {
    Config::default().topics.name(role, &world.layout.hunt)
}

/// A pattern of all topics of the hunt.
fn all_topics(world: &World) -> String {
    format!("{}[.]{}[.].*", world.layout.hunt.namespace, world.layout.hunt.name)
}
