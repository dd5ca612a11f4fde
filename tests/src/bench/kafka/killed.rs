//! A broker that dies under load, in a cluster with short timeouts: how long each partition waits
//! for its next acknowledgement, and whether anything is lost or doubled. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::KafkaBroker;
use tokio::time::{Instant, sleep};

use super::super::{Row, Setting};
use super::load::{Load, judged};
use super::{cluster, take as take_partition, topics};

const PARTITIONS: u32 = 16;
const RATE: u64 = 10_000;
const BEFORE: Duration = Duration::from_secs(8);
const DEAD: Duration = Duration::from_secs(15);

pub(in super::super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut cluster = cluster().await?;
    let options = topics(&cluster, "killed", PARTITIONS).await?;
    let broker = KafkaBroker::connect(options).await?;
    let mut partitions = Vec::new();
    for partition in 0..PARTITIONS {
        partitions.push(take_partition(&broker, partition, 1).await?);
    }
    let load = Load::start(partitions, RATE);
    sleep(BEFORE).await;
    let killed = Instant::now();
    cluster.nodes()[1].kill();
    sleep(DEAD).await;
    let over = Instant::now();
    cluster.nodes()[1].restart().await?;
    sleep(setting.lasting(DEAD)).await;
    let (answers, sent) = load.stop().await?;
    let mut gaps: BTreeMap<u32, (Instant, Duration)> = BTreeMap::new();
    for one in answers.iter().filter(|one| one.at < over) {
        let (last, gap) = gaps.entry(one.partition).or_insert((killed, Duration::ZERO));
        if one.at > killed {
            *gap = (*gap).max(one.at - *last);
            *last = one.at;
        }
    }
    let worst = gaps.values().map(|(_, gap)| gap.as_secs_f64()).fold(0.0, f64::max);
    let silent = PARTITIONS as usize - gaps.len();
    rows.push(Row::new("broker killed: longest wait of a partition", worst, "s").at_most(5.0));
    rows.push(Row::new("partitions that never served again", silent as f64, "").at_most(0.0));
    let (lost, doubled, disordered) = judged(&broker, &sent).await?;
    let records: u64 = sent.iter().map(|(_, count)| count).sum();
    rows.push(Row::new("records over kill and return", records as f64, ""));
    for (what, count) in [("lost", lost), ("doubled", doubled), ("out of order", disordered)] {
        rows.push(Row::new(format!("of them {what}"), count as f64, "").at_most(0.0));
    }
    Ok(())
}
