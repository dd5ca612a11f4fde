//! One run: five seconds as before, the step, some seconds as before. In: a land, a mode. Out:
//! what producers and partitions saw. I/O; what the notes mean is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::documents::PartitionRecord;
use hunt::http::Http;
use hunt::load::cast::{Cast, Game};
use hunt::load::sender::{self, Beside, Script, Sent};
use hunt::load::shape::{Shape, Step};
use hunt::load::tally::{BOUNDS, Counts, Tally};
use tokio::time::{Instant, sleep};

use super::super::work::{self, Decided};
use super::super::{Row, Setting};
use super::land::Land;
use super::{OURS_MILLIS, SERVICE, STEP, Times, rate};

const PLAYERS: u32 = 100_000;
const PLAYER_ZIPF: f64 = 0.5;
const TREASURES: u32 = 100_000;
/// The hottest treasure is in 19 of 100 sightings.
const ZIPF: f64 = 1.2;
const SIGHTS: f64 = 0.9;
/// Longest wait for the backlog of a run to be worked off.
const BACKLOG: Duration = Duration::from_secs(40);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How partitions are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As many for each agent, for ever.
    Static,
    /// By load, and hot keys are spread.
    Ours,
}

/// What a run brought.
pub(super) struct Ran {
    agents: usize,
    mode: Mode,
    times: Times,
    tally: Tally,
    /// Cores that the agents used in the step.
    cores: f64,
    /// Share of its time that each agent worked at the end of the step.
    busy: Vec<f64>,
    /// Partitions that are elsewhere after the run.
    moved: usize,
    /// Changes of owner at the end of the step.
    moves_settled: u64,
}

pub(super) async fn run(land: &Land, mode: Mode, setting: &Setting) -> anyhow::Result<Ran> {
    if mode == Mode::Ours {
        land.let_move().await?;
    }
    let times = Times::of(mode, setting.quick);
    let names = land.names()?;
    let from: Vec<u64> = names.iter().map(|name| work::noted(&land.data(), name)).collect();
    let owners = owners(land).await?;
    let name = if mode == Mode::Static { "static" } else { "ours" };
    let sending = send(land, name, times);
    let (sent, cores, moves_settled) =
        tokio::join!(sending, cores(land, times), moves_settled(land, times));
    let mut sent = sent?;
    let accepted = sent.tally.total().accepted as usize;
    let deadline = Instant::now() + BACKLOG;
    let notes = loop {
        let notes = names.iter().zip(&from);
        let notes = notes.map(|(name, from)| work::decided(&land.data(), name, *from));
        let notes = notes.collect::<anyhow::Result<Vec<_>>>()?;
        if notes.iter().map(Vec::len).sum::<usize>() >= accepted || Instant::now() >= deadline {
            break notes;
        }
        sleep(ASK_EVERY).await;
    };
    let moved = changed(&owners, &self::owners(land).await?);
    for decided in notes.iter().flatten() {
        let (due, after) = decided.span(sent.began_millis);
        sent.tally.played(due, after);
    }
    let busy = notes.iter().map(|notes| busy(notes, sent.began_millis, times)).collect();
    let (agents, tally, moves_settled) = (land.agents, sent.tally, moves_settled?);
    Ok(Ran { agents, mode, times, tally, cores, busy, moved, moves_settled })
}

async fn send(land: &Land, name: &str, times: Times) -> anyhow::Result<Sent> {
    let run = format!("{name}{}", land.agents);
    let step = Step { times: STEP, at: times.before, lasts: Some(times.step) };
    let shape = Shape {
        rate: rate(land.agents),
        lasts: times.all(),
        steps: vec![step],
        ramp: Duration::ZERO,
    };
    let cast = Cast::new(Game {
        run: run.clone(),
        players: PLAYERS,
        player_zipf: PLAYER_ZIPF,
        treasures: TREASURES,
        zipf: ZIPF,
        sights: SIGHTS,
        clues: 2,
        cooldown: Duration::ZERO,
        seed: land.agents as u64,
    });
    let phases = shape.phases();
    let script = Script::game(cast, shape, PLAYERS);
    let beside = Beside::default();
    let to = land.gateways();
    sender::run(&Http::new(), &to, (&run, script, phases), beside, |_| ())
        .await
        .map_err(|failure| anyhow::anyhow!(failure.message))
}

/// Processor time of the agents over that of the clock, in the step.
async fn cores(land: &Land, times: Times) -> f64 {
    sleep(times.before).await;
    let (began, before) = (Instant::now(), land.cpu());
    sleep(times.step).await;
    (land.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// Each change of owner raises an epoch by one.
async fn moves_settled(land: &Land, times: Times) -> anyhow::Result<u64> {
    let epochs = async || -> anyhow::Result<u64> {
        Ok(owners(land).await?.values().map(|record| record.epoch().0).sum())
    };
    sleep(times.before + times.step - times.settled).await;
    let before = epochs().await?;
    sleep(times.settled).await;
    Ok(epochs().await?.saturating_sub(before))
}

async fn owners(land: &Land) -> anyhow::Result<BTreeMap<u32, PartitionRecord>> {
    land.world.partitions().await
}

/// Partitions that are not where they were.
fn changed(
    before: &BTreeMap<u32, PartitionRecord>,
    after: &BTreeMap<u32, PartitionRecord>,
) -> usize {
    let node = |record: Option<&PartitionRecord>| {
        record.and_then(PartitionRecord::owner).map(|owner| owner.node.clone())
    };
    before.keys().filter(|id| node(before.get(id)) != node(after.get(id))).count()
}

/// The share of its time that an agent worked in the settled part of the step.
fn busy(notes: &[Decided], began_millis: u64, times: Times) -> f64 {
    let until = times.before + times.step;
    let from = until - times.settled;
    let at =
        |decided: &Decided| Duration::from_micros(decided.at.saturating_sub(began_millis * 1_000));
    let count = notes.iter().filter(|decided| (from..until).contains(&at(decided))).count();
    count as f64 * SERVICE.as_secs_f64() / times.settled.as_secs_f64()
}

impl Ran {
    fn part(&self, from: Duration, until: Duration) -> Counts {
        self.tally.between(from, until)
    }

    fn step(&self) -> Counts {
        self.part(self.times.before, self.times.before + self.times.step)
    }

    fn settled(&self) -> Counts {
        let until = self.times.before + self.times.step;
        self.part(until - self.times.settled, until)
    }

    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Static => "static",
            Mode::Ours => "ours",
        }
    }

    /// Percent of what was due.
    fn refused(counts: &Counts) -> f64 {
        100.0 * counts.all_refused() as f64 / (counts.due as f64).max(1.0)
    }

    fn above(&self, bound: Duration) -> f64 {
        self.tally.above(bound, |counts| &counts.outcomes).as_secs_f64()
    }

    /// The fullest agent, and how many times the mean that is.
    fn fullest(&self) -> (f64, f64) {
        let mean = self.busy.iter().sum::<f64>() / (self.busy.len() as f64).max(1.0);
        let most = self.busy.iter().copied().fold(0.0, f64::max);
        (most, most / mean.max(f64::MIN_POSITIVE))
    }

    pub(super) fn heading() -> String {
        "agents         before   step  its end  after   p50 step   refused  no answer  >50ms  >500ms  \
         fullest (of mean)  moved (at end)  cores"
            .to_owned()
    }

    /// One line of the table.
    pub(super) fn line(&self) -> String {
        let before = self.part(Duration::ZERO, self.times.before);
        let (step, settled) = (self.step(), self.settled());
        let after = self.part(self.times.before + self.times.step, self.times.all());
        let total = self.tally.total();
        let (fullest, of_mean) = self.fullest();
        let p50 = step.outcomes.latency().map_or(0.0, |latency| latency.p50);
        format!(
            "{:>2} {:<8} {:>9.0} {:>6.0} {:>8.0} {:>6.0} {:>10.0} {:>7.1} % {:>10} {:>4.0} s {:>5.0} s \
             {:>10.0} % ({of_mean:.2}) {:>6} {:>8} {:>6.2}",
            self.agents,
            self.name(),
            before.outcomes.p99(),
            step.outcomes.p99(),
            settled.outcomes.p99(),
            after.outcomes.p99(),
            p50,
            Self::refused(&step),
            total.all_unanswered() + total.unsent,
            self.above(BOUNDS[0]),
            self.above(BOUNDS[1]),
            100.0 * fullest,
            self.moved,
            self.moves_settled,
            self.cores,
        )
    }

    /// The same as figures.
    pub(super) fn rows(&self) -> Vec<Row> {
        let named = |what: &str| format!("{} agents, {}: {what}", self.agents, self.name());
        let (step, settled, total) = (self.step(), self.settled(), self.tally.total());
        let end = Row::new(named("p99 at the end of the step"), settled.outcomes.p99(), "ms");
        let (fullest, of_mean) = self.fullest();
        let due = step.due as f64 / self.times.step.as_secs_f64();
        vec![
            Row::new(named("due in the step"), due, "/s"),
            match self.mode {
                Mode::Ours => end.at_most(OURS_MILLIS),
                Mode::Static => end,
            },
            Row::new(named("p99 over the whole step"), step.outcomes.p99(), "ms"),
            Row::new(named("p99 to the acknowledgement, step"), step.answers.p99(), "ms"),
            Row::new(named("refused in the step"), Self::refused(&step), "%"),
            Row::new(named("refused at its end"), Self::refused(&settled), "%"),
            Row::new(named("without an answer"), total.all_unanswered() as f64, "events"),
            Row::new(named("never sent by the bench"), total.unsent as f64, "events"),
            Row::new(named("seconds with p99 above 50 ms"), self.above(BOUNDS[0]), "s"),
            Row::new(named("seconds with p99 above 500 ms"), self.above(BOUNDS[1]), "s"),
            Row::new(named("fullest agent, of its capacity"), 100.0 * fullest, "%"),
            Row::new(named("fullest agent, of the mean"), of_mean, "times"),
            Row::new(named("partitions moved"), self.moved as f64, ""),
            Row::new(named("moves at the end of the step"), self.moves_settled as f64, ""),
            Row::new(named("real processor time of all agents, step"), self.cores, "cores"),
        ]
    }
}
