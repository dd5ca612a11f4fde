//! How fast the bare embedded log is: appends by many producers to 1 and to 64 partitions, each
//! answered when durable, then everything read back. Prints a table.
//! `cargo run -p broker --release --example append -- [seconds per row] [directory]`
#![allow(clippy::print_stdout, reason = "prints its findings")]

use std::path::Path;
use std::time::{Duration, Instant};

use broker::{
    Broker, Claim, Embedded, EmbeddedOptions, EmbeddedOwned, LogKind, Owned, Reader, Records,
};
use config_schemas::{Epoch, HuntName, Offset, PartitionId};

/// As large as an event of the hunt in its log.
const RECORD_BYTES: usize = 100;

struct Row {
    partitions: u32,
    /// Appends under way at once, over all partitions.
    producers: usize,
    /// Records per append.
    batch: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(Ok(3.0), |text| text.parse::<f64>())?;
    let parent = args.next().map_or_else(std::env::temp_dir, Into::into);
    println!(
        "partitions producers batch   appends/s   records/s  records/sync  append p50    p99   read records/s"
    );
    for row in [
        Row { partitions: 1, producers: 1, batch: 1 },
        Row { partitions: 1, producers: 64, batch: 1 },
        Row { partitions: 1, producers: 1024, batch: 1 },
        Row { partitions: 1, producers: 8, batch: 1000 },
        Row { partitions: 64, producers: 64, batch: 1 },
        Row { partitions: 64, producers: 1024, batch: 1 },
        Row { partitions: 64, producers: 64, batch: 1000 },
    ] {
        let dir = parent.join(format!("append-bench-{}", std::process::id()));
        let measured = measure(&dir, &row, Duration::from_secs_f64(seconds)).await;
        std::fs::remove_dir_all(&dir)?;
        println!("{}", measured?);
    }
    Ok(())
}

async fn measure(dir: &Path, row: &Row, time: Duration) -> anyhow::Result<String> {
    let broker = Embedded::open(EmbeddedOptions::new(dir, HuntName::new("bench", "append")?))?;
    let mut owned = Vec::new();
    for partition in 0..row.partitions {
        let claim = Claim { epoch: Epoch(1), owner: "bench".into(), incarnation: "1".into() };
        owned.push(broker.take(PartitionId(partition), claim).await?);
    }
    let start = Instant::now();
    let tasks = (0..row.producers).map(|producer| {
        let owned = owned[producer % owned.len()].clone();
        tokio::spawn(produce(owned, row.batch, start + time))
    });
    let mut waits = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        waits.extend(task.await??);
    }
    let appended = start.elapsed().as_secs_f64();
    waits.sort();
    let records = waits.len() * row.batch;
    let syncs: u64 = owned.iter().map(|owned| owned.groups(LogKind::Events)).sum();
    let start = Instant::now();
    let read = read_all(&broker, row.partitions).await?;
    anyhow::ensure!(read == records, "{records} were appended and {read} read");
    Ok(format!(
        "{:>10} {:>9} {:>5} {:>11.0} {:>11.0} {:>13.1} {:>8.2} ms {:>5.1} ms {:>12.0}",
        row.partitions,
        row.producers,
        row.batch,
        waits.len() as f64 / appended,
        records as f64 / appended,
        records as f64 / syncs as f64,
        waits[waits.len() / 2].as_secs_f64() * 1e3,
        waits[waits.len() * 99 / 100].as_secs_f64() * 1e3,
        read as f64 / start.elapsed().as_secs_f64(),
    ))
}

async fn produce(
    owned: EmbeddedOwned,
    batch: usize,
    until: Instant,
) -> Result<Vec<Duration>, broker::Error> {
    let mut records = Records::new();
    (0..batch).for_each(|_| records.push(&[b'x'; RECORD_BYTES]));
    let mut waits = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        owned.append(LogKind::Events, records.clone()).await?;
        waits.push(start.elapsed());
    }
    Ok(waits)
}

async fn read_all(broker: &Embedded, partitions: u32) -> Result<usize, broker::Error> {
    let mut read = 0;
    for partition in 0..partitions {
        let mut reader = broker.reader(PartitionId(partition), LogKind::Events);
        let mut next = Offset(0);
        loop {
            let chunk = reader.read(next, 1 << 20).await?;
            if chunk.records.is_empty() {
                break;
            }
            read += chunk.records.len();
            next = chunk.next;
        }
    }
    Ok(read)
}
