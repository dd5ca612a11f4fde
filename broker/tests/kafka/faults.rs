//! Brokers that die while records are appended.

use std::time::Duration;

use broker::{Broker as _, KafkaOptions, LogKind, Owned as _, Reader as _};
use config_schemas::{Offset, PartitionId};
use servers::{KafkaCluster, KafkaPrograms};

use crate::world::{LIMIT, Load, batch, connect, hunt, numbers, options, read_all, take};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_and_back_loses_doubles_and_reorders_nothing() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let mut cluster = KafkaCluster::temporary(programs).await.unwrap();
    let broker = connect(&hunt(&cluster, "killed").await).await;
    let every = Duration::from_millis(4);
    let mut loads = Vec::new();
    for partition in 0..4 {
        let owned = take(&broker, partition, 1, "a").await;
        loads.push(Load { owned, log: LogKind::Outcomes, batch: 10, every });
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let until = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stopped| *stopped).await) }
    };
    let following = async {
        let mut reader = broker.reader(PartitionId(2), LogKind::Outcomes);
        let (mut read, mut next) = (Vec::new(), Offset(0));
        while !*stopped.borrow() {
            let grown =
                tokio::time::timeout(Duration::from_secs(1), reader.wait_beyond(next)).await;
            if grown.is_ok() {
                let Ok(chunk) = reader.read(next, 64 << 10).await else { continue };
                next = chunk.next;
                read.extend(numbers(&chunk.records));
            }
        }
        read
    };
    let faults = async {
        for node in [1, 2] {
            grown(&loads[0], 2_000).await;
            cluster.nodes()[node].kill();
            grown(&loads[0], 2_000).await;
            cluster.nodes()[node].restart().await.unwrap();
            cluster.ready().await.unwrap();
        }
        grown(&loads[0], 2_000).await;
        stop.send_replace(true);
    };
    let (a, b, c, d, followed, ()) = tokio::join!(
        loads[0].run(until()),
        loads[1].run(until()),
        loads[2].run(until()),
        loads[3].run(until()),
        following,
        faults
    );
    println!("longest answers {:?}", [a.1, b.1, c.1, d.1]);
    for (partition, (sent, _)) in [a, b, c, d].into_iter().enumerate() {
        assert!(sent > 6_000, "{sent}");
        let read = numbers(&read_all(&broker, partition as u32, LogKind::Outcomes).await);
        assert_eq!(read.len() as u64, sent, "partition {partition}");
        assert_eq!(read, (0..sent).collect::<Vec<_>>());
    }
    assert!(followed.len() > 4_000, "{}", followed.len());
    assert_eq!(followed, (0..followed.len() as u64).collect::<Vec<_>>());
    let other = connect(&options(&cluster, "killed")).await;
    let next = take(&other, 0, 2, "b").await;
    next.append(LogKind::Outcomes, batch([format!("{:>200}", a.0)])).await.unwrap();
    let read = numbers(&read_all(&other, 0, LogKind::Outcomes).await);
    assert_eq!(read, (0..=a.0).collect::<Vec<_>>());
}

/// Waits until so many more are acknowledged.
async fn grown(load: &Load, count: u64) {
    let from = load.owned.end(load.log).0;
    let grows = async {
        while load.owned.end(load.log).0 < from + count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, grows).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_gone_everybody_waits_and_goes_on_when_one_is_back() {
    let Some(programs) = KafkaPrograms::shared_or_left_out().await else { return };
    let mut cluster = KafkaCluster::temporary(programs).await.unwrap();
    let options = hunt(&cluster, "two").await;
    let broker = connect(&options).await;
    // snapshots that only the second broker has
    let alone = ["--create", "--topic", "two.alone", "--replica-assignment", "2,2,2,2"];
    cluster.tool("kafka-topics", &alone).await.unwrap();
    let alone = KafkaOptions { snapshots: "two.alone".to_owned(), ..options };
    let without_snapshots = connect(&alone).await;
    let owned = take(&broker, 0, 1, "a").await;
    owned.append(LogKind::Outcomes, batch([format!("{:>200}", 0)])).await.unwrap();
    cluster.nodes().iter_mut().take(2).for_each(|node| node.kill());
    let mut answers = Vec::new();
    let mut sent = 1_u64;
    // More than there is room for: who appends, waits; nobody is told that a queue is full.
    let waits = loop {
        let texts = (sent..sent + 1_000).map(|number| format!("{number:>200}"));
        let submit = owned.submit(LogKind::Outcomes, batch(texts));
        match tokio::time::timeout(Duration::from_millis(500), submit).await {
            Ok(answer) => answers.push(answer.unwrap()),
            Err(_) => break true,
        }
        sent += 1_000;
        if sent > 200_000 {
            break false;
        }
    };
    assert!(waits, "{sent} were taken in, and no end");
    cluster.nodes()[0].restart().await.unwrap();
    for answer in answers {
        tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    }
    let read = numbers(&read_all(&broker, 0, LogKind::Outcomes).await);
    assert_eq!(read, (0..sent).collect::<Vec<_>>());
    // Snapshots are a convenience: nobody waits for them who can read all outcomes.
    assert!(sent > 10_000, "or nobody would look for one");
    take(&without_snapshots, 0, 2, "b").await;
    let kept = without_snapshots.kept_snapshot(PartitionId(0), Ok).await.unwrap();
    assert_eq!(kept, None);
}
