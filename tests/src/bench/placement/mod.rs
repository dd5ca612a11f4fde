//! How evenly the planner places a drifting hunt, how much it moves for it and how long it thinks,
//! beside the ways that others are known for: 4,096 partitions on 16, 64 and 256 nodes of mixed
//! capacity, 200 rounds, the same seeds each time. Prints a table of all; the rows hold ours. In
//! memory, no servers.

mod ours;
mod random;
mod rivals;
mod score;
mod trace;

use std::fmt::Write as _;

use self::rivals::Rival;
use self::score::{Fleet, Score, Who};
use self::trace::Trace;
use super::numbers::{median, rank};
use super::{Row, Setting};

/// Jumps that nobody can foresee fill a twentieth of all rounds: with few traces the 95th percentile is
/// luck.
const SEEDS: u64 = 4;
/// Seeds of traces and of fleets; any numbers do.
const TRACES: u64 = 11;
const FLEETS: u64 = 99;
const ZIPF: [f64; 2] = [1.1, 1.2];
/// Nodes, and what the median and the 95th percentile of the spread should be at most.
const GOALS: [(usize, f64, f64); 3] = [(16, 1.12, 1.30), (64, 1.15, 1.45), (256, 1.20, 1.50)];
/// Moves in a round of constant load, as a share of the partitions: none that shows on 256 nodes.
const STILL: [f64; 3] = [0.0, 0.0, 0.0005];
/// Milliseconds of a decision on 256 nodes.
const DECISION: f64 = 5.0;
/// Partitions that may move after a loss, of those that were lost; load that may move after a
/// join, of what is fair.
const LOSS_MOVES: f64 = 1.5;
const JOIN_MOVES: f64 = 2.0;

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let seeds = if setting.quick { 1 } else { SEEDS };
    let (table, found) = tokio::task::spawn_blocking(move || measure(seeds)).await??;
    show(&table);
    rows.extend(found);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "a table of all is more than rows can say")]
fn show(table: &str) {
    println!("\n{table}");
}

fn everybody() -> impl Iterator<Item = (&'static str, Who)> {
    let rivals = Rival::ALL.into_iter().map(|(name, rival)| (name, Who::Rival(rival)));
    rivals.chain([("ours", Who::Ours)])
}

fn measure(seeds: u64) -> anyhow::Result<(String, Vec<Row>)> {
    let mut table = String::from(HEAD);
    let mut rows = Vec::new();
    for (index, goal) in GOALS.iter().enumerate() {
        let nodes = goal.0;
        let still = scores(1.1, nodes, Fleet::Stays, seeds)?;
        for zipf in ZIPF {
            let drifting = scores(zipf, nodes, Fleet::Changes, seeds)?;
            for ((name, still), (_, score)) in still.iter().zip(&drifting) {
                line(&mut table, (zipf, nodes, name), score, still);
            }
            let Some((_, ours)) = drifting.last() else { continue };
            let about = format!("{nodes} nodes, Zipf {zipf}");
            balance(&mut rows, &about, goal, ours);
            changes(&mut rows, &about, ours);
        }
        let Some((_, ours)) = still.last() else { continue };
        let what = format!("{nodes} nodes, constant load, noise 10 %: moved in a round");
        rows.push(Row::new(what, mean(&ours.moved) * 100.0, "%").at_most(STILL[index] * 100.0));
        let took = |part| rank(&ours.took, part) * 1e3;
        let what = format!("{nodes} nodes, 4,096 partitions: decision p50");
        rows.push(Row::new(what, took(0.5), "ms"));
        let row =
            Row::new(format!("{nodes} nodes, 4,096 partitions: decision p99"), took(0.99), "ms");
        rows.push(if nodes == 256 { row.at_most(DECISION) } else { row });
    }
    Ok((table, rows))
}

/// Everybody's score, ours last.
fn scores(
    zipf: f64,
    nodes: usize,
    fleet: Fleet,
    seeds: u64,
) -> anyhow::Result<Vec<(&'static str, Score)>> {
    let mut scores: Vec<_> = everybody().map(|(name, _)| (name, Score::default())).collect();
    for seed in 0..seeds {
        let trace = Trace::new(zipf, nodes, fleet == Fleet::Changes, TRACES + seed);
        for ((_, score), (_, who)) in scores.iter_mut().zip(everybody()) {
            score.add(who, &trace, nodes, fleet, FLEETS + seed)?;
        }
    }
    Ok(scores)
}

fn balance(rows: &mut Vec<Row>, about: &str, goal: &(usize, f64, f64), ours: &Score) {
    let row = |what: &str, value| Row::new(format!("{about}: max/mean {what}"), value, "x");
    rows.push(row("median", median(&ours.spread)).at_most(goal.1));
    rows.push(row("p95", rank(&ours.spread, 0.95)).at_most(goal.2));
}

fn changes(rows: &mut Vec<Row>, about: &str, ours: &Score) {
    let drift = Row::new(format!("{about}: moved in a round"), mean(&ours.moved) * 100.0, "%");
    let loss = mean(&ours.moved_by_loss) / mean(&ours.lost);
    let join = mean(&ours.moved_by_join) / mean(&ours.fair_join);
    rows.push(drift);
    rows.push(
        Row::new(format!("{about}: moved after a loss, of what was lost"), loss, "x")
            .at_most(LOSS_MOVES),
    );
    rows.push(
        Row::new(format!("{about}: load moved after a join, of what is fair"), join, "x")
            .at_most(JOIN_MOVES),
    );
}

const HEAD: &str = "\
| Zipf | nodes | way | max/mean median | p95 | moved in a round | at constant load | \
after a loss (lost) | rounds over 1.25 x bound | load after a join (fair) |
|---|---|---|---|---|---|---|---|---|---|
";

fn line(table: &mut String, (zipf, nodes, name): (f64, usize, &str), score: &Score, still: &Score) {
    let percent = |of: &[f64]| mean(of) * 100.0;
    let _ = writeln!(
        table,
        "| {zipf} | {nodes} | {name} | {:.2} | {:.2} | {:.2} % | {:.2} % | {:.1} % ({:.1}) | {:.0} | {:.1} % ({:.1}) |",
        median(&score.spread),
        rank(&score.spread, 0.95),
        percent(&score.moved),
        percent(&still.moved),
        percent(&score.moved_by_loss),
        percent(&score.lost),
        mean(&score.unwell),
        percent(&score.moved_by_join),
        percent(&score.fair_join),
    );
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len().max(1) as f64
}
