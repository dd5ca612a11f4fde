//! Clients that are replaced under 20,000 records a second: how long a swap shuts the way into a
//! partition, beside what the same load waits for its acknowledgements with nothing else going on;
//! and how soon readers at that pace have the first record of the new consumer. I/O.

use std::time::Duration;

use broker::KafkaBroker;
use broker::kafka::{ClientSettings, Compression};
use tokio::time::{Instant, sleep};

use super::super::numbers::{millis, rank};
use super::super::{Row, Setting};
use super::load::{Load, judged};
use super::readers::Readers;
use super::{cluster, take as take_partition, topics};

const PARTITIONS: u32 = 16;
const RATE: u64 = 20_000;
const SWAPS: usize = 60;
const STEADY: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(300);
/// About five records each time on each partition: 20,000 a second together, for longer than all
/// swaps take. From what is there, so that nobody waits for a record that has not come yet.
const READ: (usize, Duration) = (1_000, Duration::from_millis(4));

pub(in super::super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let options = topics(&cluster, "swaps", PARTITIONS).await?;
    let broker = KafkaBroker::connect(options.clone()).await?;
    let mut partitions = Vec::new();
    for partition in 0..PARTITIONS {
        partitions.push(take_partition(&broker, partition, 1).await?);
    }
    let load = Load::start(partitions, RATE);
    sleep(setting.lasting(STEADY) / 3).await;
    let steady_from = Instant::now();
    sleep(setting.lasting(STEADY)).await;
    let steady_until = Instant::now();
    let (mut stalls, mut wholes, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..setting.scaled(SWAPS) {
        let settings = produced(round);
        let retuned = broker.retune(options.connection.clone(), settings).await?;
        if let Some(swapped) = retuned.producer {
            stalls.extend(swapped.stalls.into_iter().map(millis));
            wholes.push(millis(swapped.gate));
        }
        proofs.push(millis(retuned.proof));
        sleep(BETWEEN).await;
    }
    let steady_again = Instant::now();
    sleep(setting.lasting(STEADY)).await;
    let (answers, sent) = load.stop().await?;
    let readers = Readers::paced(&broker, PARTITIONS, READ);
    for round in 0..setting.scaled(SWAPS) {
        let settings = consumed(round);
        broker.retune(options.connection.clone(), settings).await?;
        sleep(BETWEEN).await;
    }
    let after = readers.stop().await?;
    let waited = |from: Instant, until: Instant| {
        let within = answers.iter().filter(move |one| (from..until).contains(&one.at));
        within.map(|one| millis(one.waited))
    };
    let again = waited(steady_again, steady_again + setting.lasting(STEADY));
    let steady: Vec<f64> = waited(steady_from, steady_until).chain(again).collect();
    let swapping: Vec<f64> = waited(steady_until, steady_again).collect();
    let acked = rank(&steady, 0.99);
    let mut row = |what: &str, value: f64, unit| rows.push(Row::new(what, value, unit));
    row("steady client at 20,000/s: acknowledgement p50", rank(&steady, 0.5), "ms");
    row("steady client at 20,000/s: acknowledgement p99", acked, "ms");
    row("while producers are swapped: acknowledgement p50", rank(&swapping, 0.5), "ms");
    row("while producers are swapped: acknowledgement p99", rank(&swapping, 0.99), "ms");
    row("producer swap: stalls of partitions", stalls.len() as f64, "");
    row("producer swap: a partition's stall p50", rank(&stalls, 0.5), "ms");
    row("producer swap: a partition's stall p99", rank(&stalls, 0.99), "ms");
    row("producer swap: until the last partition went over, p50", rank(&wholes, 0.5), "ms");
    row("producer swap: the longest of them", rank(&wholes, 1.0), "ms");
    row("new producer proves itself, p50", rank(&proofs, 0.5), "ms");
    let ratio = rank(&stalls, 0.99) / acked;
    rows.push(Row::new("producer swap: stall p99, of the ack's p99", ratio, "x").at_most(1.3));
    // each reader sees each swap, but for those that follow another too soon
    let seen_least = PARTITIONS as usize * setting.scaled(SWAPS) / 2;
    let seen = Row::new("consumer swaps that readers saw", after.len() as f64, "");
    rows.push(seen.at_least(seen_least as f64));
    rows.push(Row::new(
        "consumer swap: first record after the old's last, p50",
        rank(&after, 0.5),
        "ms",
    ));
    let late = rank(&after, 0.99);
    rows.push(Row::new("consumer swap: the same, p99", late, "ms").at_most(10.0));
    let (lost, doubled, disordered) = judged(&broker, &sent).await?;
    let records: u64 = sent.iter().map(|(_, count)| count).sum();
    rows.push(Row::new("records over all swaps", records as f64, ""));
    for (what, count) in [("lost", lost), ("doubled", doubled), ("out of order", disordered)] {
        rows.push(Row::new(format!("of them {what}"), count as f64, "").at_most(0.0));
    }
    Ok(())
}

fn produced(round: usize) -> ClientSettings {
    let mut settings = ClientSettings::default();
    let compressions = [Compression::Lz4, Compression::None, Compression::Zstd];
    settings.producer.compression = compressions[round % compressions.len()];
    settings.producer.linger = Duration::from_millis(1 + (round as u64 % 5));
    settings.producer.batch_records = 9_000 + round as u32;
    settings
}

fn consumed(round: usize) -> ClientSettings {
    let mut settings = produced(0);
    settings.consumer.fetch_wait = Duration::from_millis(50 + round as u64);
    settings
}
