//! What a producer sees of partitions that change hands under steady load, with whole agents in
//! processes of their own and an etcd that waits for its disk: planned moves, a rolling restart of
//! all agents, SIGKILL of one. A probe on each partition sends one event after the other, so many
//! in all that the machine is about half busy; what was acknowledged is judged at the end. I/O.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::machine::Usage;
use super::numbers::{median, millis, rank};
use super::{Row, Setting, within};
use crate::checker::{check, tally};
use crate::http::metric;
use crate::players::outcomes;
use crate::probes::{Probes, Seen, Take, changes, gaps};
use crate::world::{Setup, World};

const AGENTS: usize = 16;
/// Enough that some stay when some leave.
const AGENTS_QUICK: usize = 3;
const PARTITIONS_PER_AGENT: usize = 4;
/// In each, an eighth of the partitions move to the next agent.
const ROUNDS: usize = 24;
const ROUNDS_QUICK: usize = 3;
const PARTS: usize = 8;
/// Between two events on a partition that is about to move: as fine as gaps can be seen.
const PAUSE: Duration = Duration::from_millis(10);
/// On the others meanwhile, and on all while agents end: enough for gaps of a second.
const PAUSE_AT_EASE: Duration = Duration::from_millis(150);
/// How long there are fine gaps before a move, to compare with.
const BEFORE: Duration = Duration::from_millis(300);
/// Between two rounds: what a move leaves behind is not to weigh on the next.
const SETTLE: Duration = Duration::from_millis(500);
/// The settings' own default, and the lease that follows from it.
const HEARTBEAT: (&str, u64) = ("1s", 5);
const LEASE: Duration = Duration::from_secs(5);
const P50_GOAL_MILLIS: f64 = 50.0;
const P99_GOAL_MILLIS: f64 = 250.0;
const ROLLING_GOAL: Duration = Duration::from_secs(1);
/// Beyond the lease.
const CRASH_GOAL: Duration = Duration::from_secs(2);
/// What any step may take; processes start one beside the other on few cores.
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is asked whether something has happened.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What agents tell of their moves, in its order: while the first lasts the old owner still serves.
const STAGES: [&str; 5] = ["warm", "drain", "flip", "claim", "load"];

/// When what was done.
struct Times {
    /// Of each round of moves, beginning and end.
    rounds: Vec<(Instant, Instant)>,
    rolling: Instant,
    killed: Instant,
    /// The partitions of the agent that was killed.
    orphans: Vec<usize>,
}

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let agents = if setting.quick { AGENTS_QUICK } else { AGENTS.min(setting.agents_max.max(2)) };
    let partitions = agents * PARTITIONS_PER_AGENT;
    let mut world = start(setting, agents, partitions).await?;
    let probes = Probes::start(&world, u32::try_from(partitions)?, PAUSE_AT_EASE);
    all_take(&probes, Instant::now()).await?;
    let (mut rounds, used) = (Vec::new(), Usage::now()?);
    for round in 0..if setting.quick { ROUNDS_QUICK } else { ROUNDS } {
        probes.pace(|partition| if moves(partition, round) { PAUSE } else { PAUSE_AT_EASE });
        let began = Instant::now();
        sleep(BEFORE).await;
        pin_to_next(&world, round).await?;
        rounds.push((began, Instant::now()));
        sleep(SETTLE).await;
    }
    let busy = used.busy_since()?;
    probes.pace(|_| PAUSE_AT_EASE);
    world.unedit("hunt/partitions/pins").await?;
    let stages = stages(&world).await?;
    let rolling = Instant::now();
    for index in 0..agents {
        roll(&mut world, index).await?;
    }
    all_take(&probes, Instant::now()).await?;
    let (killed, orphans) = kill(&mut world).await?;
    served(&world).await?;
    all_take(&probes, Instant::now()).await?;
    let seen = within(LIMIT, "the probes' end", probes.finish()).await??;
    told(rows, agents, &seen, &Times { rounds, rolling, killed, orphans });
    rows.extend(stages);
    rows.push(Row::new("the machine's processors meanwhile, by all processes", busy, "%"));
    judged(&world, &seen, rows).await
}

async fn start(setting: &Setting, agents: usize, partitions: usize) -> anyhow::Result<World> {
    let programs = setting.programs()?;
    let (interval, misses) = HEARTBEAT;
    let setup = Setup { durable: true, programs: Some(programs), ..Setup::agents(agents) }
        .with("heartbeat", "interval", interval)
        .with("heartbeat", "misses", misses)
        .with("partitions", "count", partitions);
    let mut world = World::bare(&setup).await?;
    world.apply().await?;
    world.start_operator("operator-1")?;
    for number in 1..=agents {
        world.start_agent(&format!("agent-{number}"))?;
    }
    served(&world).await?;
    Ok(world)
}

/// Whether the partition moves in that round.
fn moves(partition: usize, round: usize) -> bool {
    partition % PARTS == round % PARTS
}

/// Moves some of the partitions, each to the agent after its present one.
async fn pin_to_next(world: &World, round: usize) -> anyhow::Result<()> {
    let names: Vec<&str> = world.agents.iter().map(|agent| agent.name.as_str()).collect();
    let mut pins = Vec::new();
    for (id, record) in world.partitions().await? {
        if !moves(id as usize, round) {
            continue;
        }
        let owner = record.owner().context("a partition without an owner")?;
        let at = names.iter().position(|name| *name == owner.node.as_str());
        let next = names[(at.context("an owner of no name")? + 1) % names.len()];
        pins.push((id, next));
    }
    let written: Vec<String> = pins.iter().map(|(id, next)| format!("{id}={next}")).collect();
    world.edit("hunt/partitions/pins", json!(written).to_string()).await?;
    soon("the pinned partitions at their places", async || {
        let records = world.partitions().await?;
        for (id, next) in &pins {
            let there = records.get(id).and_then(|record| record.owner());
            ensure!(there.is_some_and(|owner| owner.node.as_str() == *next), "partition {id}");
        }
        world.is_served().await
    })
    .await
}

/// Tells one agent to end, and starts it again.
async fn roll(world: &mut World, index: usize) -> anyhow::Result<()> {
    let mut agent = world.agents.remove(index);
    agent.terminate()?;
    let status = agent.ended(LIMIT).await?;
    ensure!(status.success(), "{} ended with {status}", agent.name);
    agent.restart()?;
    world.agents.insert(index, agent);
    let port = world.agents[index].http;
    soon("the agent back", async || {
        ensure!(world.http.status(port, "/readyz").await? == 200, "not ready");
        world.is_served().await
    })
    .await
}

/// SIGKILL of the agent that owns most; when, and what it owned.
async fn kill(world: &mut World) -> anyhow::Result<(Instant, Vec<usize>)> {
    let mut owned = vec![Vec::new(); world.agents.len()];
    for (id, record) in world.partitions().await? {
        let is_its = |name: &str| record.owner().is_some_and(|owner| owner.node.as_str() == name);
        let at = world.agents.iter().position(|agent| is_its(&agent.name));
        owned[at.context("a partition without an owner")?].push(id as usize);
    }
    let most = (0..owned.len()).max_by_key(|index| owned[*index].len()).unwrap_or(0);
    let mut victim = world.agents.remove(most);
    let killed = Instant::now();
    victim.kill();
    Ok((killed, owned.swap_remove(most)))
}

/// How long each stage of the moves so far took on average, as the agents measured it.
async fn stages(world: &World) -> anyhow::Result<Vec<Row>> {
    let mut texts = Vec::new();
    for agent in &world.agents {
        texts.push(world.http.text(agent.http, "/metrics").await?);
    }
    let sum = |what: &str, stage: &str| -> f64 {
        let series = format!("treasurehunt_agent_move_seconds_{what}{{stage=\"{stage}\"}}");
        texts.iter().filter_map(|text| metric(text, &series)).sum()
    };
    let mean = |stage| sum("sum", stage) * 1e3 / sum("count", stage).max(1.0);
    let row = |stage| Row::new(format!("a planned move's stage {stage}, mean"), mean(stage), "ms");
    Ok(STAGES.map(row).into())
}

async fn served(world: &World) -> anyhow::Result<()> {
    soon("every partition served", async || world.is_served().await).await
}

async fn all_take(probes: &Probes, since: Instant) -> anyhow::Result<()> {
    soon("every partition accepting", async || {
        let silent = probes.silent_since(Some(since));
        ensure!(silent.is_empty(), "partitions {silent:?} take nothing in");
        Ok(())
    })
    .await
}

/// Asks until it is so; the last answer when it never is.
pub(super) async fn soon(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("not within {LIMIT:?}: {what}"));
            }
            Err(_) => sleep(ASK_EVERY).await,
        }
    }
}

fn told(rows: &mut Vec<Row>, agents: usize, seen: &Seen, times: &Times) {
    let all = || seen.takes.iter();
    let planned = |moved: &(Instant, Duration)| moved.0 < times.rolling;
    let moves: Vec<f64> =
        all().flat_map(|t| changes(t).filter(planned)).map(|(_, gap)| millis(gap)).collect();
    let quiet: Vec<f64> =
        all().enumerate().flat_map(|(partition, takes)| unmoved(partition, takes, times)).collect();
    let rolling = |gap: &(Instant, Duration)| (times.rolling..times.killed).contains(&gap.0);
    // A gap that the kill has ended is the kill's.
    let out =
        all().flat_map(|t| gaps(t).filter(rolling).filter(|gap| gap.0 + gap.1 < times.killed));
    let out = out.map(|(_, gap)| gap).max().unwrap_or_default();
    let (count, again) = (seen.takes.len(), accepting_again(seen, times));
    let what = format!("{agents} agents, {count} partitions: planned moves");
    rows.extend([
        Row::new(what, moves.len() as f64, ""),
        Row::new("last accept at A to first accept at B, p50", median(&moves), "ms")
            .at_most(P50_GOAL_MILLIS),
        Row::new("last accept at A to first accept at B, p99", rank(&moves, 0.99), "ms")
            .at_most(P99_GOAL_MILLIS),
        Row::new("last accept at A to first accept at B, worst", rank(&moves, 1.0), "ms"),
        Row::new("between two accepts where nothing moves, p50", median(&quiet), "ms"),
        Row::new("between two accepts where nothing moves, p99", rank(&quiet, 0.99), "ms"),
        Row::new(
            "rolling restart of all: longest that a partition was out",
            out.as_secs_f64(),
            "s",
        )
        .at_most(ROLLING_GOAL.as_secs_f64()),
        Row::new("SIGKILL of one: all partitions accepting again", again.as_secs_f64(), "s")
            .at_most((LEASE + CRASH_GOAL).as_secs_f64()),
        Row::new("its lease", LEASE.as_secs_f64(), "s"),
        Row::new("its partitions", times.orphans.len() as f64, ""),
    ]);
}

/// Gaps without a change of owner in the rounds that the partition moves in, in milliseconds.
fn unmoved(partition: usize, takes: &[Take], times: &Times) -> Vec<f64> {
    let rounds = times.rounds.iter().enumerate().filter(|(round, _)| moves(partition, *round));
    let rounds: Vec<_> = rounds.map(|(_, round)| *round).collect();
    let within = |pair: &[Take]| {
        // The first event waits as long as at ease.
        rounds.iter().any(|(from, to)| *from + PAUSE_AT_EASE <= pair[0].at && pair[1].at <= *to)
    };
    let same = |pair: &&[Take]| pair[0].epoch == pair[1].epoch && within(pair);
    let gap = |pair: &[Take]| millis(pair[1].at.duration_since(pair[0].at));
    takes.windows(2).filter(same).map(gap).collect()
}

/// From the kill to the first event that the last of its partitions' new owners took in.
fn accepting_again(seen: &Seen, times: &Times) -> Duration {
    let again = |partition: &usize| {
        let takes = &seen.takes[*partition];
        let before = takes.iter().take_while(|take| take.at <= times.killed).last()?;
        let first = takes.iter().find(|take| take.epoch > before.epoch)?;
        Some(first.at.saturating_duration_since(times.killed))
    };
    // That each came back was waited for.
    times.orphans.iter().filter_map(again).max().unwrap_or_default()
}

/// Reads all outcomes until none is missing, and counts what is wrong.
pub(super) async fn judged(world: &World, seen: &Seen, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    let (lines, verdict) = loop {
        let lines = outcomes(&world.http, world.agents[0].http).await?;
        let verdict = check(&seen.acked, &lines);
        if verdict.is_ok() || Instant::now() >= deadline {
            break (lines, verdict);
        }
        sleep(SETTLE).await;
    };
    let tally = tally(&seen.acked, &lines);
    rows.extend([
        Row::new("events acknowledged", seen.acked.len() as f64, "events"),
        Row::new("acknowledged and lost", tally.lost as f64, "events").at_most(0.0),
        Row::new("played more than once", tally.doubled as f64, "events").at_most(0.0),
        Row::new("played out of their key's order", tally.reordered as f64, "events").at_most(0.0),
    ]);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_ends_with_the_last_first_accept_in_a_new_epoch() {
        let start = Instant::now();
        let take = |millis, epoch| Take { at: start + Duration::from_millis(millis), epoch };
        let seen = Seen {
            takes: vec![
                // acknowledged before the kill, heard of after it
                vec![take(90, 1), take(101, 1), take(400, 2), take(9_000, 3)],
                vec![take(95, 4), take(700, 5)],
                // another agent's
                vec![take(90, 1), take(5_000, 1)],
            ],
            acked: Vec::new(),
        };
        let killed = take(100, 0).at;
        let times = Times { rounds: Vec::new(), rolling: start, killed, orphans: vec![0, 1] };
        assert_eq!(accepting_again(&seen, &times), Duration::from_millis(600));
    }
}
