//! Topics on a real cluster of three brokers: made, raised, set, moved and led as wanted, confirmed
//! by the tools of Kafka's own distribution.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeMap;

use broker::kafka::Connection;
use operator::topics::admin::{Admin, Answer};
use operator::topics::plan::{Memory, plan};
use operator::topics::wanted::{TopicWanted, TopicsWanted};
use servers::{KafkaCluster, KafkaPrograms};
use tokio::time::Instant;

fn topic(name: &str, partitions: u32, replicas: u16, configs: &[(&str, &str)]) -> TopicWanted {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    TopicWanted {
        name: name.to_owned(),
        partitions,
        replicas,
        configs: configs.collect(),
        formerly: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_as_declared() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let cluster = KafkaCluster::temporary(programs).await.unwrap();
    let admin =
        Admin::connect(&Connection::plain(cluster.bootstrap().parse().unwrap())).await.unwrap();
    let configs = [("min.insync.replicas", "2"), ("retention.ms", "60000")];
    let wanted = TopicsWanted { topics: vec![topic("a.b.events", 16, 3, &configs)] };
    let mut memory = Memory::default();
    let seen = admin.look(&["a.b.events"], None).await.unwrap();
    assert_eq!(seen.cluster, cluster.options().cluster_id);
    memory.see(&wanted, &seen, Instant::now());
    let plan1 = plan(&wanted, &seen, &memory, Instant::now());
    assert_eq!(plan1.steps.len(), 1, "{plan1:?}");
    for step in &plan1.steps {
        let answers = admin.carry_out(step).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Taken(..))), "{answers:?}");
    }
    let seen = admin.look(&["a.b.events"], None).await.unwrap();
    memory.see(&wanted, &seen, Instant::now());
    let plan2 = plan(&wanted, &seen, &memory, Instant::now());
    println!(
        "{}",
        cluster.tool("kafka-topics", &["--describe", "--topic", "a.b.events"]).await.unwrap()
    );
    assert!(plan2.is_settled(), "{plan2:?} {seen:?}");
    println!("{:?}", admin.sizes(&seen).await);
}
