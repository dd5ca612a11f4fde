//! A broker that dies under load, in a cluster with short timeouts: how long each partition waits
//! for its next acknowledgement, and whether anything is lost or doubled. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::KafkaBroker;
use tokio::time::{Instant, sleep};

use super::super::{Row, Setting};
use super::load::{Answered, Load, judged};
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
    let (worst, silent) = waits(&answers, PARTITIONS, killed, over);
    let (worst, silent) = (worst.as_secs_f64(), silent as f64);
    rows.push(Row::new("broker killed: longest wait of a partition", worst, "s").at_most(5.0));
    rows.push(Row::new("partitions that never served again", silent, "").at_most(0.0));
    let (lost, doubled, disordered) = judged(&broker, &sent).await?;
    let records: u64 = sent.iter().map(|(_, count)| count).sum();
    rows.push(Row::new("records over kill and return", records as f64, ""));
    for (what, count) in [("lost", lost), ("doubled", doubled), ("out of order", disordered)] {
        rows.push(Row::new(format!("of them {what}"), count as f64, "").at_most(0.0));
    }
    Ok(())
}

/// While the broker was dead: the longest that one of the partitions waited for its next answer, to
/// the end of that time where none came; and how many had none at all. `answers` in order of time.
fn waits(
    answers: &[Answered],
    partitions: u32,
    killed: Instant,
    over: Instant,
) -> (Duration, usize) {
    let begun = (killed, Duration::ZERO);
    let mut gaps: BTreeMap<u32, (Instant, Duration)> =
        (0..partitions).map(|partition| (partition, begun)).collect();
    for one in answers.iter().filter(|one| (killed..over).contains(&one.at)) {
        let (last, gap) = gaps.entry(one.partition).or_insert(begun);
        *gap = (*gap).max(one.at - *last);
        *last = one.at;
    }
    let worst = gaps.values().map(|(last, gap)| (over - *last).max(*gap)).max();
    let silent = gaps.values().filter(|(last, _)| *last == killed).count();
    (worst.unwrap_or_default(), silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers are (partition, seconds after the kill); the broker is back after ten.
    fn check(answers: &[(u32, f64)], worst: f64, silent: usize) {
        let killed = Instant::now() + Duration::from_secs(60);
        let at = |seconds: f64| match seconds {
            before if before < 0.0 => killed - Duration::from_secs_f64(-before),
            after => killed + Duration::from_secs_f64(after),
        };
        let answered = |&(partition, seconds): &(u32, f64)| Answered {
            partition,
            at: at(seconds),
            waited: Duration::ZERO,
        };
        let answers: Vec<_> = answers.iter().map(answered).collect();
        let found = waits(&answers, 2, killed, at(10.0));
        assert_eq!(found, (Duration::from_secs_f64(worst), silent), "{answers:?}");
    }

    #[test]
    fn a_partition_that_is_silent_while_the_broker_is_dead_is_counted_with_all_that_time() {
        check(&[], 10.0, 2);
        check(&[(0, -1.0), (1, -1.0), (0, 11.0), (1, 12.0)], 10.0, 2);
        check(&[(1, -1.0), (0, 3.0), (0, 9.0)], 10.0, 1);
    }

    #[test]
    fn the_longest_of_all_gaps_counts_also_the_last() {
        check(&[(0, 3.0), (1, 2.0), (1, 4.0), (0, 9.0), (1, 9.0)], 6.0, 0);
        check(&[(0, 1.0), (1, 1.0), (0, 5.0), (1, 8.0)], 7.0, 0);
        check(&[(0, 1.0), (0, 2.0), (1, 3.0), (1, 9.0)], 8.0, 0);
    }
}
