//! A thousand retunes of all kinds under 20,000 records a second, every tenth of them impossible: the
//! possible ones are carried out, the others refused, and no record notices. I/O.

use std::time::Duration;

use broker::KafkaBroker;
use broker::kafka::{ClientSettings, Compression, Connection, KafkaTrouble, Retuned};
use servers::{KafkaCluster, KafkaPrograms};
use tokio::time::Instant;

use super::super::numbers::{millis, rank};
use super::super::{Row, Setting};
use super::load::{Load, judged};
use super::readers::Readers;
use super::{cluster, take as take_partition, topics};

const PARTITIONS: u32 = 16;
const RATE: u64 = 20_000;
/// What has to come of it although each retune shuts the way for a moment.
const RATE_LEAST: f64 = 0.9 * RATE as f64;
const RETUNES: usize = 1_000;
/// One of so many is impossible.
const IMPOSSIBLE_EVERY: usize = 10;
/// What waits for a port on which nobody listens waits no longer than it may be told to.
const PROOF: Duration = Duration::from_secs(1);
/// Sizes of the queue, of which the smallest holds half a second of the load beside the largest
/// batches; each is another than the one before.
const QUEUES: [u32; 5] = [16 << 20, 96 << 20, 32 << 20, 8 << 20, 64 << 20];

pub(in super::super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let stranger = stranger().await?;
    let options = topics(&cluster, "retunes", PARTITIONS).await?;
    let broker = KafkaBroker::connect(options.clone()).await?;
    let mut partitions = Vec::new();
    for partition in 0..PARTITIONS {
        partitions.push(take_partition(&broker, partition, 1).await?);
    }
    let (load, begun) = (Load::start(partitions, RATE), Instant::now());
    let readers = Readers::following(&broker, PARTITIONS);
    let others = Others {
        nobody: Connection::plain(format!("127.0.0.1:{}", servers::free_port()?).parse()?),
        stranger: Connection::plain(stranger.bootstrap().parse()?),
    };
    let mut seen = Seen::default();
    let mut settings = ClientSettings::default();
    for round in 0..setting.scaled(RETUNES) {
        let began = Instant::now();
        if let Some(impossible) = impossible(round) {
            let (connection, settings) = others.of(impossible, &options.connection, &settings);
            seen.impossible(impossible, broker.retune(connection, settings).await);
        } else {
            changed(&mut settings, round);
            let retuned = broker.retune(options.connection.clone(), settings.clone()).await;
            seen.possible(retuned, began);
        }
    }
    let switches = readers.stop().await?;
    let (_, sent) = load.stop().await?;
    let lasted = begun.elapsed().as_secs_f64();
    seen.told(setting.scaled(RETUNES), rows);
    rows.push(Row::new("swaps of consumers that readers saw", switches.len() as f64, ""));
    let (lost, doubled, disordered) = judged(&broker, &sent).await?;
    let records: u64 = sent.iter().map(|(_, count)| count).sum();
    rows.push(Row::new("records over all retunes", records as f64, ""));
    let rate = Row::new("of them a second, with all stalls", records as f64 / lasted, "records/s");
    rows.push(rate.at_least(RATE_LEAST));
    for (what, count) in [("lost", lost), ("doubled", doubled), ("out of order", disordered)] {
        rows.push(Row::new(format!("of them {what}"), count as f64, "").at_most(0.0));
    }
    Ok(())
}

/// Another cluster, of a single broker.
async fn stranger() -> anyhow::Result<KafkaCluster> {
    let programs = KafkaPrograms::shared().await;
    let programs = programs.map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let one = |options: &mut servers::KafkaOptions| options.nodes.truncate(1);
    Ok(KafkaCluster::temporary_with(programs, one).await?)
}

/// What cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Impossible {
    /// Nobody listens on that port.
    Nobody,
    /// Brokers of another cluster.
    Stranger,
    /// A setting out of its bounds.
    Bounds,
}

fn impossible(round: usize) -> Option<Impossible> {
    const KINDS: [Impossible; 3] = [Impossible::Nobody, Impossible::Stranger, Impossible::Bounds];
    let is = round % IMPOSSIBLE_EVERY == IMPOSSIBLE_EVERY - 1;
    is.then(|| KINDS[round / IMPOSSIBLE_EVERY % KINDS.len()])
}

struct Others {
    nobody: Connection,
    stranger: Connection,
}

impl Others {
    fn of(
        &self,
        what: Impossible,
        good: &Connection,
        now: &ClientSettings,
    ) -> (Connection, ClientSettings) {
        let mut settings = now.clone();
        settings.session.proof = PROOF;
        match what {
            Impossible::Nobody => (self.nobody.clone(), settings),
            Impossible::Stranger => (self.stranger.clone(), settings),
            Impossible::Bounds => {
                settings.producer.in_flight = 6;
                (good.clone(), settings)
            }
        }
    }
}

/// One kind of setting after the other; each round leads to settings that differ from those before.
fn changed(settings: &mut ClientSettings, round: usize) {
    let ClientSettings { producer, consumer, session } = settings;
    // each kind comes once in six rounds, so that this tells its own rounds apart
    let turn = round / 6;
    let step = |times: usize| u32::try_from(turn % times).unwrap_or_default();
    match round % 6 {
        0 => producer.linger = Duration::from_millis(1 + u64::from(step(7))),
        1 => {
            producer.batch_bytes = (64 << 10) * (1 + step(5));
            producer.batch_records = 5_000 + 1_000 * step(5);
        }
        2 => {
            let all = [Compression::Lz4, Compression::None, Compression::Zstd, Compression::Snappy];
            producer.compression = all[turn % all.len()];
        }
        3 => producer.queue_bytes = QUEUES[turn % QUEUES.len()],
        4 => {
            consumer.fetch_bytes_max = (4 << 20) * (1 + step(4));
            consumer.partition_bytes_max = (256 << 10) * (1 + step(5));
            consumer.fetch_wait = Duration::from_millis(20 + 10 * u64::from(step(6)));
        }
        _ => {
            session.socket_timeout = Duration::from_secs(10 + u64::from(step(5)));
            session.metadata_age = Duration::from_secs(30 + u64::from(step(3)));
        }
    }
}

/// What became of retunes.
#[derive(Debug, Default)]
struct Seen {
    took: Vec<f64>,
    /// Of each partition, by each new producer.
    stalls: Vec<f64>,
    producers: usize,
    consumers: usize,
    given_up: usize,
    refused: Vec<String>,
    rejected: usize,
    /// Impossible ones that were taken, or refused for another reason than theirs.
    wrong: Vec<String>,
}

impl Seen {
    fn possible(&mut self, result: Result<Retuned, broker::Error>, began: Instant) {
        match result {
            Ok(retuned) => {
                self.took.push(millis(began.elapsed()));
                self.consumers += usize::from(retuned.consumers);
                let Some(swapped) = retuned.producer else { return };
                self.producers += 1;
                self.given_up += usize::from(swapped.given_up);
                self.stalls.extend(swapped.stalls.into_iter().map(millis));
            }
            Err(error) => self.refused.push(error.to_string()),
        }
    }

    fn impossible(&mut self, what: Impossible, result: Result<Retuned, broker::Error>) {
        match (what, result) {
            (Impossible::Nobody, Err(broker::Error::Kafka(KafkaTrouble::Unreachable { .. })))
            | (
                Impossible::Stranger,
                Err(broker::Error::Kafka(KafkaTrouble::WrongCluster { .. })),
            )
            | (Impossible::Bounds, Err(broker::Error::Kafka(KafkaTrouble::Settings(_)))) => {
                self.rejected += 1;
            }
            (_, other) => self.wrong.push(format!("{what:?}: {other:?}")),
        }
    }

    fn told(&self, retunes: usize, rows: &mut Vec<Row>) {
        let impossible = (0..retunes).filter(|round| impossible(*round).is_some()).count();
        let possible = (retunes - impossible) as f64;
        let mut row = |what: &str, value: f64, unit| {
            rows.push(Row::new(what, value, unit));
        };
        row("retune: to new clients in effect, p50", rank(&self.took, 0.5), "ms");
        row("the same, p99", rank(&self.took, 0.99), "ms");
        row(
            "stall of a partition by one that swaps producers, p99",
            rank(&self.stalls, 0.99),
            "ms",
        );
        row("retunes that replaced producers", self.producers as f64, "");
        row("retunes that replaced consumers", self.consumers as f64, "");
        let counted = |what: &str, count: usize| Row::new(what, count as f64, "");
        rows.push(counted("retunes done", self.took.len()).at_least(possible));
        rows.push(
            counted("producers whose last records were given up", self.given_up).at_most(0.0),
        );
        let rejected = counted("impossible retunes rejected for what is wrong", self.rejected);
        rows.push(rejected.at_least(impossible as f64));
        if let Some(first) = self.refused.first() {
            rows.push(counted(&format!("possible ones refused: {first}"), self.refused.len()));
        }
        if let Some(first) = self.wrong.first() {
            rows.push(counted(&format!("impossible ones told wrongly: {first}"), self.wrong.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_retune_is_possible_and_changes_something_and_a_tenth_is_impossible() {
        let mut settings = ClientSettings::default();
        for round in (0..RETUNES).filter(|round| impossible(*round).is_none()) {
            let before = settings.clone();
            changed(&mut settings, round);
            assert_ne!(settings, before, "{round}");
            assert_eq!(settings.problems(), Vec::<String>::new(), "{round}");
            assert!(settings.producer.batch_bytes <= settings.producer.message_bytes, "{round}");
            assert!(settings.producer.message_bytes <= settings.producer.queue_bytes, "{round}");
        }
        assert_eq!((0..RETUNES).filter(|round| impossible(*round).is_some()).count(), 100);
    }

    #[test]
    fn an_impossible_one_counts_as_rejected_only_for_its_own_reason() {
        let settings = || broker::Error::Kafka(KafkaTrouble::Settings(vec!["6".to_owned()]));
        let mut seen = Seen::default();
        seen.impossible(Impossible::Bounds, Err(settings()));
        seen.impossible(Impossible::Nobody, Err(settings()));
        seen.possible(Err(settings()), Instant::now());
        assert_eq!((seen.rejected, seen.wrong.len(), seen.took.len()), (1, 1, 0));
        let mut rows = Vec::new();
        seen.told(20, &mut rows);
        let met: Vec<_> = rows.iter().filter_map(Row::met).collect();
        assert_eq!(met, [false, true, false], "{rows:?}");
    }
}
