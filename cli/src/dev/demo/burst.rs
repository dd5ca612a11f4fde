//! The step about a hunt that opens: twenty times the load of before, sent whether or not answers
//! come, while one agent gets a third of the time that it needs. Twice on the same agents: with
//! partitions dealt out evenly and left there, and placed as we do. Every event is judged. I/O; what
//! counts as seen is in `burst/table`.

mod table;

use std::time::Duration;

use servers::ProcessStat;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use self::table::{Ran, told};
use super::examples::{self, applied, back};
use super::faults::{fleet, pid, sum};
use super::slow::Slowed;
use super::tour::{Seen, Tour};
use super::{prefix, put_command};
use crate::commands::load::{Told, load_telling};
use crate::dev::up::{EDIT_LIMIT, edit};
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::load::args::LoadFlags;
use crate::load::shape::Step;
use crate::wait::Progress;

const RATE: f64 = 100.0;
const TIMES: f64 = 20.0;
const BEFORE: Duration = Duration::from_secs(4);
/// A node says each five seconds how well it does; a round of placement and the moves follow.
const STEP: Duration = Duration::from_secs(22);
const AFTER: Duration = Duration::from_secs(3);
/// What makes placement as static as the hash of a key modulo the nodes.
const STATIC: [(&str, &str); 2] =
    [("hunt/partitions/paused", "true"), ("hunt/routing/spread", "false")];
/// The agent that is slowed in both runs; producers are connected to the others.
const SLOWED: &str = "agent-3";
/// After the first run, until that agent holds itself to be well.
const WELL_LIMIT: Duration = Duration::from_secs(40);
/// Events that gateways held while their partition was between two owners.
const HELD: &str = "treasurehunt_agent_events_held_total";

/// Players play, twenty times as many events are due for a while, and then as before; twice.
pub(super) async fn twenty_times(world: &World, tour: &mut Tour) {
    let process = pid(world, SLOWED);
    let work = async {
        let began = Instant::now();
        let applied = applied(world, "twenty-x.yaml").await?;
        set(world, true).await?;
        let frozen = run(world, "static").await?;
        well(world).await?;
        set(world, false).await?;
        let ours = run(world, "ours").await?;
        let what = told(&frozen, &ours)? + &applied;
        back(world).await?;
        Ok(Seen { what, took: began.elapsed() })
    };
    let edits = STATIC.map(|(rest, value)| put_command(world, rest, value)).join("; ");
    let command = format!(
        "{}; {edits}  # static, then `etcdctl del` both\nhunt load --agents {} --rate {RATE} \
         --step {TIMES}x@{}s+{}s --for {}s --check  # both times, and in each step\n{}",
        examples::command(world, "twenty-x.yaml"),
        gateways(world).join(","),
        BEFORE.as_secs(),
        STEP.as_secs(),
        (BEFORE + STEP + AFTER).as_secs(),
        Slowed::command(&process),
    );
    tour.step("twenty times the load: static placement and ours", &command, work).await;
}

fn flags() -> LoadFlags {
    LoadFlags {
        rate: RATE,
        lasts: BEFORE + STEP + AFTER,
        steps: vec![Step { times: TIMES, at: BEFORE, lasts: Some(STEP) }],
        players: 5_000,
        ramp: None,
        zipf: 1.1,
        player_zipf: 0.5,
        treasures: 10_000,
        sights: 50,
        seed: 1,
        replay: None,
        report: None,
        check: true,
        watch: false,
    }
}

/// Those that producers are connected to.
fn gateways(world: &World) -> Vec<String> {
    let others = world.layout.agents().filter(|(name, _)| name != SLOWED);
    others.map(|(_, address)| address).collect()
}

/// Makes placement static, or takes that back.
async fn set(world: &World, frozen: bool) -> Result<(), Failure> {
    let etcd = world.etcd()?;
    for (rest, value) in STATIC {
        let (progress, _) = edit(world, &etcd, rest, frozen.then_some(value), EDIT_LIMIT).await?;
        if !matches!(progress, Progress::Done(_)) {
            let what = format!("{}override/{rest}", prefix(&world.layout));
            return Err(Failure::failed(format!("{what} is not in effect: {progress:?}")));
        }
    }
    Ok(())
}

/// Waits until no agent holds itself to be slow: both runs begin alike.
async fn well(world: &World) -> Result<(), Failure> {
    let all = || async {
        let fleet = fleet(world).await?;
        let slow = fleet.nodes.keys().filter_map(|node| fleet.load(node)).any(|l| l.slow.is_some());
        Ok((!slow).then_some(()))
    };
    until(WELL_LIMIT, "no agent slow any more", all).await
}

async fn run(world: &World, name: &'static str) -> Result<Ran, Failure> {
    let owned = owned(world).await?;
    let (gateways, flags) = (gateways(world), flags());
    let (begins, begun) = oneshot::channel();
    let tell = || {
        // Nobody listens any more when the step has failed already.
        let _ = begins.send(());
    };
    let loading = load_telling(&world.http, &gateways, &flags, Told::Nothing, tell);
    let (report, used) = tokio::join!(loading, step(world, &gateways, begun));
    let report = report?;
    let (cores, held, owned_then) = used?;
    Ok(Ran { name, report, cores, held, owned, owned_then })
}

/// Slows the agent in the step; the cores that all agents used, how many events were held, and the
/// partitions of each agent at its end.
async fn step(
    world: &World,
    gateways: &[String],
    begun: oneshot::Receiver<()>,
) -> Result<(f64, f64, Vec<usize>), Failure> {
    begun.await.map_err(|_| Failure::failed("the load did not begin"))?;
    sleep(BEFORE).await;
    let slowed = Slowed::agent(world, SLOWED)?;
    let (began, cpu, held) = (Instant::now(), cpu(world), self::held(world, gateways).await?);
    let failure = tokio::time::timeout(STEP, slowed.run()).await;
    let cores = self::cpu(world).saturating_sub(cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    drop(slowed);
    match failure {
        Ok(failure) => Err(failure),
        Err(_) => Ok((cores, self::held(world, gateways).await? - held, owned(world).await?)),
    }
}

/// Processor time of all agents so far.
fn cpu(world: &World) -> Duration {
    let pids = world.layout.agents().filter_map(|(name, _)| Some(world.process(&name).ok()?.pid));
    pids.filter_map(|pid| Some(ProcessStat::read(pid)?.cpu_time())).sum()
}

async fn held(world: &World, gateways: &[String]) -> Result<f64, Failure> {
    let mut all = 0.0;
    for address in gateways {
        let metrics = world.http.get(address, "/metrics").await?;
        all += sum(&String::from_utf8_lossy(&metrics.body), HELD);
    }
    Ok(all)
}

/// Partitions of each agent.
async fn owned(world: &World) -> Result<Vec<usize>, Failure> {
    let fleet = fleet(world).await?;
    Ok(fleet.nodes.keys().map(|node| fleet.owned(node)).collect())
}
