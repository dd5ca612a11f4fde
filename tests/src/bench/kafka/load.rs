//! A steady load on the outcomes of some partitions, and what became of it. In: held partitions.
//! Out: how long each batch waited for its answer, and whether all of it is there in order. I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::kafka::KafkaSubmitted;
use broker::{Broker as _, KafkaBroker, KafkaOwned, LogKind, Owned as _, Reader as _, Records};
use config_schemas::Offset;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes of a record: about an outcome.
const RECORD_BYTES: usize = 200;
/// Read at once.
const READ_BYTES: usize = 1 << 20;

/// One batch that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) partition: u32,
    pub(super) at: Instant,
    pub(super) waited: Duration,
}

/// Batches under way on some partitions, until stopped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<anyhow::Result<(KafkaOwned, u64, Vec<Answered>)>>,
}

impl Load {
    /// `rate` records a second over all partitions.
    pub(super) fn start(partitions: Vec<KafkaOwned>, rate: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let every = Duration::from_millis(20);
        let batch = rate * 20 / 1_000 / partitions.len().max(1) as u64;
        let mut tasks = JoinSet::new();
        for owned in partitions {
            tasks.spawn(run(owned, batch.max(1), every, Arc::clone(&stop)));
        }
        Load { stop, tasks }
    }

    /// Out: every answer, in the order of time, and how many records each partition has.
    pub(super) async fn stop(mut self) -> anyhow::Result<(Vec<Answered>, Vec<(KafkaOwned, u64)>)> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut all, mut sent) = (Vec::new(), Vec::new());
        while let Some(ended) = self.tasks.join_next().await {
            let (owned, count, answers) = ended??;
            all.extend(answers);
            sent.push((owned, count));
        }
        all.sort_by_key(|answer| answer.at);
        Ok((all, sent))
    }
}

async fn run(
    owned: KafkaOwned,
    batch: u64,
    every: Duration,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<(KafkaOwned, u64, Vec<Answered>)> {
    let (answers, mut waiting) = tokio::sync::mpsc::channel(4_096);
    let partition = owned.partition().0;
    let collected = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some((sent, answer)) = waiting.recv().await {
            let answer: KafkaSubmitted = answer;
            let _offsets = answer.await?;
            let at = Instant::now();
            all.push(Answered { partition, at, waited: at - sent });
        }
        anyhow::Ok(all)
    });
    let mut ticks = tokio::time::interval(every);
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let mut records = Records::new();
        for _ in 0..batch {
            records.push_with(|into| into.extend(format!("{number:RECORD_BYTES$}").bytes()));
            number += 1;
        }
        // when it was due, not when there was room for it
        let due = Instant::now();
        let submitted = owned.submit(LogKind::Outcomes, records).await?;
        anyhow::ensure!(answers.send((due, submitted)).await.is_ok(), "an append failed");
    }
    drop(answers);
    Ok((owned, number, collected.await??))
}

/// Lost, doubled, out of order: of `sent` numbered records.
pub(super) async fn judged(
    broker: &KafkaBroker,
    sent: &[(KafkaOwned, u64)],
) -> anyhow::Result<(u64, u64, u64)> {
    let (mut lost, mut doubled, mut disordered) = (0, 0, 0);
    for (owned, count) in sent {
        let mut reader = broker.reader(owned.partition(), LogKind::Outcomes);
        let (mut next, end) = (Offset(0), reader.end().await?);
        let (mut seen, mut last) = (vec![false; *count as usize], None);
        while next < end {
            let chunk = reader.read(next, READ_BYTES).await?;
            for record in &chunk.records {
                let number: usize = std::str::from_utf8(&record.payload)?.trim().parse()?;
                doubled += u64::from(std::mem::replace(&mut seen[number], true));
                disordered += u64::from(last.is_some_and(|last| number < last));
                last = Some(number);
            }
            anyhow::ensure!(chunk.next > next, "nothing at {next}");
            next = chunk.next;
        }
        lost += seen.iter().filter(|seen| !**seen).count() as u64;
    }
    Ok((lost, doubled, disordered))
}
