//! Three times what one agent can take, for a minute: its memory, what it tells its producers, how
//! soon it is as before, and whether anything was lost, doubled or reordered.
//!
//! The agent is the real one in a process of its own. An event takes 100 us of it, waited and not
//! burned (`work`), so that "what it can take" is a number and not this machine's mood. I/O.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hunt::http::Http;
use hunt::load::cast::{Cast, Game};
use hunt::load::checker::{Checker, Finding, count};
use hunt::load::outcomes::Reader;
use hunt::load::sender::{self, Beside, Script, Sent};
use hunt::load::shape::{Shape, Step};
use hunt::load::tally::Tally;
use servers::ProcessStat;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Row, Setting, work};
use crate::say;
use crate::world::{AgentSetup, Node, Setup, World};

/// What an event takes of the agent: 10,000 of them each second.
const SERVICE: Duration = Duration::from_micros(100);
const CAPACITY: f64 = 10_000.0;
/// As before and after: half of what it can take.
const NORMAL: f64 = 0.5;
const OVERLOAD: f64 = 3.0;
const BEFORE: Duration = Duration::from_secs(10);
const LASTS: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(20);
/// Few, so that what they remember by design (65,536 ids each, about 4 MB) is full before the
/// base is measured.
const PARTITIONS: u32 = 4;
/// Bytes that may wait in front of each partition's worker.
const BUFFER: u64 = 2 << 20;
/// The game's own state stays as it is: so many players and treasures, and no more.
const PLAYERS: u32 = 2_000;
const TREASURES: u32 = 2_000;
const FILL: Duration = Duration::from_secs(40);
const FILL_RATE: f64 = 0.85;
/// Over the configured bytes.
const SPARE: u64 = 64 << 20;
const NORMAL_AGAIN: Duration = Duration::from_secs(5);
/// Latency is as before when it is so for this many seconds.
const IN_A_ROW: usize = 3;
/// What a second's p99 is when all is well, if it was not more before.
const WELL_MILLIS: f64 = 50.0;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(60);
const MIB: f64 = 1024.0 * 1024.0;

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let world = start(setting).await?;
    let agent = world.agents.first().context("an agent")?;
    let (pid, address) = (agent.pid(), format!("127.0.0.1:{}", agent.http));
    let fresh = rss(pid)?;
    let fill = Shape {
        rate: CAPACITY * FILL_RATE,
        lasts: setting.lasting(FILL),
        steps: Vec::new(),
        ramp: Duration::ZERO,
    };
    play("fill", &address, fill, false).await?;
    let noted = work::noted(&agent.data_dir, &agent.name.parse()?);
    let times = Times::of(setting);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(BaseAndMost::default().watch(pid, times, stop.clone()));
    let mut sent = play("load", &address, times.shape(), true).await?;
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let memory = watching.await??;
    for decided in work::decided(&agent.data_dir, &agent.name.parse()?, noted)? {
        let (due, after) = decided.span(sent.began_millis);
        sent.tally.played(due, after);
    }
    // Not before: a page of outcomes takes memory too.
    let mut reader = Reader::new(&Http::new(), std::slice::from_ref(&address), "");
    let judged = reader
        .judge(Checker::of_run("load").with_refused(sent.refused.clone()), &sent.told, LIMIT)
        .await;
    let (findings, read) = judged.map_err(failed)?;
    told(rows, &sent, times);
    remembered(rows, &memory, fresh);
    judge(rows, &sent, &findings, read)
}

#[derive(Debug, Clone, Copy)]
struct Times {
    before: Duration,
    lasts: Duration,
    after: Duration,
}

impl Times {
    fn of(setting: &Setting) -> Times {
        let of = |time| setting.lasting(time);
        Times { before: of(BEFORE), lasts: of(LASTS), after: of(AFTER).max(NORMAL_AGAIN * 2) }
    }

    fn end(&self) -> Duration {
        self.before + self.lasts
    }

    fn shape(&self) -> Shape {
        let times = OVERLOAD / NORMAL;
        Shape {
            rate: CAPACITY * NORMAL,
            lasts: self.end() + self.after,
            steps: vec![Step { times, at: self.before, lasts: Some(self.lasts) }],
            ramp: Duration::ZERO,
        }
    }
}

async fn start(setting: &Setting) -> anyhow::Result<World> {
    let programs = setting.programs()?;
    let setup = Setup { durable: true, programs: Some(programs), ..Setup::agents(1) }
        .with("heartbeat", "interval", "1s")
        .with("partitions", "count", PARTITIONS)
        .with("buffers", "events", 4_096)
        .with("buffers", "bytes", BUFFER)
        .with("workers", "concurrency", 1)
        .with("rules", "cooldown", "1h")
        .with("rules", "clues", 0);
    let mut world = World::bare(&setup).await?;
    world.apply().await?;
    let program = work::program(&world.path(""), SERVICE)?;
    let agent = AgentSetup { program, ..world.agent_setup("agent-1") };
    world.agents.push(Node::agent(agent)?);
    world.start_operator("operator-1")?;
    let deadline = Instant::now() + LIMIT;
    while let Err(error) = world.is_served().await {
        ensure!(Instant::now() < deadline, "not every partition is served: {error:#}");
        sleep(LOOK_EVERY).await;
    }
    Ok(world)
}

async fn play(run: &str, address: &str, shape: Shape, keep: bool) -> anyhow::Result<Sent> {
    let cast = Cast::new(Game {
        run: run.to_owned(),
        players: PLAYERS,
        player_zipf: 0.5,
        treasures: TREASURES,
        zipf: 0.0,
        sights: 0.5,
        clues: 0,
        // One claim each, and then they only move about: the game's state stays as large.
        cooldown: Duration::from_secs(3_600),
        seed: 1,
    });
    let phases = shape.phases();
    let script = Script::game(cast, shape, PLAYERS);
    let beside = Beside { keep, ..Beside::default() };
    let to = [address.to_owned()];
    let sent = sender::run(&Http::new(), &to, (run, script, phases), beside, |_| ()).await;
    sent.map_err(failed)
}

fn failed(failure: hunt::failure::Failure) -> anyhow::Error {
    anyhow::anyhow!(failure.message)
}

fn rss(pid: u32) -> anyhow::Result<u64> {
    Ok(ProcessStat::read(pid).context("the agent is gone")?.rss_bytes())
}

/// Resident memory at the end of the time before, and the most of it from then on.
#[derive(Debug, Default)]
struct BaseAndMost {
    base: u64,
    most: u64,
}

impl BaseAndMost {
    async fn watch(
        mut self,
        pid: u32,
        times: Times,
        stop: CancellationToken,
    ) -> anyhow::Result<BaseAndMost> {
        let began = Instant::now();
        while !stop.is_cancelled() {
            let now = rss(pid)?;
            if began.elapsed() < times.before {
                self.base = now;
            }
            self.most = self.most.max(now);
            sleep(LOOK_EVERY).await;
        }
        Ok(self)
    }
}

fn told(rows: &mut Vec<Row>, sent: &Sent, times: Times) {
    let before = sent.tally.between(Duration::ZERO, times.before);
    let step = sent.tally.between(times.before, times.end());
    let total = sent.tally.total();
    let typed = total.refused.get("OVERLOADED").copied().unwrap_or(0);
    let (again, relapses) = again(&sent.tally, times);
    let share = |count: u64| 100.0 * count as f64 / (step.due as f64).max(1.0);
    say(&format!("refusals: {:?}; no answer: {:?}", total.refused, total.unanswered));
    say(&format!("p99 to decided, each second: {:?}", course(&sent.tally)));
    rows.extend([
        Row::new("what the agent can take (modelled)", CAPACITY, "/s"),
        Row::new("offered for a minute", step.due as f64 / times.lasts.as_secs_f64(), "/s"),
        Row::new("accepted", step.accepted as f64 / times.lasts.as_secs_f64(), "/s"),
        Row::new("refused with a delay", share(step.all_refused()), "%"),
        Row::new(
            "refused without OVERLOADED or without a delay",
            (total.all_refused() - typed) as f64,
            "events",
        )
        .at_most(0.0),
        Row::new("without an answer", total.all_unanswered() as f64, "events").at_most(0.0),
        Row::new("never sent by the bench", total.unsent as f64, "events"),
        Row::new("p99 from due to decided: before", before.outcomes.p99(), "ms"),
        Row::new("the same under overload", step.outcomes.p99(), "ms"),
        Row::new("p99 from due to acknowledged: before", before.answers.p99(), "ms"),
        Row::new("the same under overload", step.answers.p99(), "ms"),
        Row::new("p99 of a second that is as before, at most", normal(&sent.tally, times), "ms"),
        Row::new("after the end: as before again", again.as_secs_f64(), "s")
            .at_most(NORMAL_AGAIN.as_secs_f64()),
        Row::new("seconds after that which are not", relapses as f64, "s"),
    ]);
}

/// Whole milliseconds of each second's p99, for people.
fn course(tally: &Tally) -> Vec<u64> {
    tally.course(|counts| &counts.outcomes).into_iter().map(|millis| millis as u64).collect()
}

/// What a second's p99 has to be at most to be as before.
fn normal(tally: &Tally, times: Times) -> f64 {
    let course = tally.course(|counts| &counts.outcomes);
    let before = course.get(1..second(tally, times.before)).unwrap_or_default();
    before.iter().copied().fold(WELL_MILLIS, f64::max)
}

fn second(tally: &Tally, time: Duration) -> usize {
    (time.as_secs_f64() / tally.window().as_secs_f64()) as usize
}

/// How long after the overload the first of `IN_A_ROW` seconds begins that are as before, and how
/// many are not after those: the disk of a machine that is used by others stalls now and then,
/// before an overload as after it.
fn again(tally: &Tally, times: Times) -> (Duration, usize) {
    let normal = normal(tally, times);
    let course = tally.course(|counts| &counts.outcomes);
    let after = course.get(second(tally, times.end())..).unwrap_or_default();
    let well = |seconds: &[f64]| seconds.iter().all(|p99| *p99 <= normal);
    let first = after.windows(IN_A_ROW).position(well).unwrap_or(after.len());
    let relapses = after.iter().skip(first).filter(|p99| **p99 > normal).count();
    (tally.window() * u32::try_from(first).unwrap_or(u32::MAX), relapses)
}

fn remembered(rows: &mut Vec<Row>, memory: &BaseAndMost, fresh: u64) {
    let configured = BUFFER * u64::from(PARTITIONS);
    let mib = |bytes: u64| bytes as f64 / MIB;
    let over = memory.most.saturating_sub(memory.base);
    rows.extend([
        Row::new("resident memory just started", mib(fresh), "MiB"),
        Row::new(
            "the base: what partitions remember is full, normal load",
            mib(memory.base),
            "MiB",
        ),
        Row::new("configured: buffers.bytes of all partitions", mib(configured), "MiB"),
        Row::new("most over the base, against configured + 64 MiB", mib(over), "MiB")
            .at_most(mib(configured + SPARE)),
    ]);
}

fn judge(rows: &mut Vec<Row>, sent: &Sent, findings: &[Finding], read: u64) -> anyhow::Result<()> {
    let tally = count(findings);
    rows.extend([
        Row::new("events acknowledged", sent.told.len() as f64, "events"),
        Row::new("outcomes read", read as f64, ""),
        Row::new("acknowledged and lost", tally.lost as f64, "events").at_most(0.0),
        Row::new("played more than once", tally.doubled as f64, "events").at_most(0.0),
        Row::new("played out of their key's order", tally.reordered as f64, "events").at_most(0.0),
        Row::new("wrong in any other way", (tally.several_winners + tally.other) as f64, "")
            .at_most(0.0),
    ]);
    let first: Vec<_> = findings.iter().take(5).map(Finding::to_string).collect();
    ensure!(findings.is_empty(), "{} findings: {first:#?}", findings.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hunt::load::tally::Answer;

    #[test]
    fn it_is_as_before_from_the_first_of_three_good_seconds_on() {
        let secs = Duration::from_secs;
        let times = Times { before: secs(3), lasts: secs(2), after: secs(5) };
        let check = |slow: &[(u64, u64)], expected| {
            let mut tally = Tally::new(times.shape().phases());
            for second in 0..10 {
                let took = slow.iter().find(|(at, _)| *at == second).map_or(5, |(_, ms)| *ms);
                tally.answered(secs(second), &Answer::Accepted, secs(0));
                tally.played(secs(second), Duration::from_millis(took));
            }
            let (first, relapses) = expected;
            assert_eq!(again(&tally, times), (secs(first), relapses), "{slow:?}");
        };
        check(&[], (0, 0));
        check(&[(3, 900), (4, 900)], (0, 0));
        check(&[(5, 900), (6, 60)], (2, 0));
        // A second that is well between two that are not is no end.
        check(&[(5, 900), (7, 900)], (5, 0));
        check(&[(8, 900)], (0, 1));
        // As before is well enough.
        check(&[(1, 100), (6, 90)], (0, 0));
        // The first second warms up.
        check(&[(0, 100), (6, 90)], (2, 0));
    }
}
