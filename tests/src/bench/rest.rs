//! What agents cost that have nothing to do: etcd's memory with a thousand of them less etcd's
//! memory without, and the processor time of the process that holds them. I/O.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use servers::ProcessStat;
use tokio::time::Instant;

use super::fleet::{Connections, Fleet};
use super::operator::{http_get, metric};
use super::{Row, Scene, Setting};

const AGENTS: usize = 1000;
/// etcd's garbage from the agents' start is collected and given back within about this time.
const SETTLE: Duration = Duration::from_secs(45);
/// Long against the second in which each agent renews and proves itself once.
const OBSERVED: Duration = Duration::from_secs(25);
const ETCD_BYTES_GOAL: f64 = 35.0;
const CPU_PERCENT_GOAL: f64 = 0.1;

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let agents = setting.agents(AGENTS);
    for connections in [Connections::Own, Connections::Shared] {
        rows.extend(at_rest(setting, agents, connections).await?);
    }
    Ok(())
}

/// etcd's memory: as the system counts it, as Go uses it (heap and stacks), and what of that is
/// still in use right after a collection: Go lets the heap grow to twice that before the next.
struct Memory {
    resident: f64,
    in_use: f64,
    live: f64,
}

async fn at_rest(
    setting: &Setting,
    agents: usize,
    connections: Connections,
) -> anyhow::Result<Vec<Row>> {
    let scene = Scene::open().await?;
    // One agent first: what etcd allocates once is no agent's.
    let endpoint = scene.etcd.endpoint();
    let first = Fleet::start(&endpoint, 1, connections, Arc::new(|_, _| ())).await?;
    first.stop().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = memory(&scene).await?;
    let starting = Instant::now();
    let fleet = Fleet::start(&endpoint, agents, connections, Arc::new(|_, _| ())).await?;
    let start = starting.elapsed().as_secs_f64();
    let started = memory(&scene).await?;
    tokio::time::sleep(setting.lasting(SETTLE)).await;
    let (own_before, etcd_before) = (own_cpu()?, scene.etcd.cpu_time());
    let since = Instant::now();
    tokio::time::sleep(setting.lasting(OBSERVED)).await;
    let wall = since.elapsed().as_secs_f64();
    let own = (own_cpu()? - own_before).as_secs_f64();
    let etcd = (scene.etcd.cpu_time() - etcd_before).as_secs_f64();
    let after = memory(&scene).await?;
    let resident_own = ProcessStat::read(std::process::id()).context("this process")?.rss_bytes();
    fleet.stop().await;
    let name = match connections {
        Connections::Own => "own connections",
        Connections::Shared => "one shared connection",
    };
    let of = |what: &str| format!("{agents} agents, {name}: {what}");
    let each = |bytes: f64| bytes / agents as f64 / 1e3;
    let percent = |seconds: f64| seconds / wall / agents as f64 * 100.0;
    Ok(vec![
        Row::new(of("etcd resident, per agent"), each(after.resident - before.resident), "kB")
            .at_most(ETCD_BYTES_GOAL),
        Row::new(
            of("etcd resident, right after start"),
            each(started.resident - before.resident),
            "kB",
        ),
        Row::new(of("etcd heap and stacks, per agent"), each(after.in_use - before.in_use), "kB"),
        Row::new(
            of("etcd heap after a collection, and stacks"),
            each(after.live - before.live),
            "kB",
        ),
        Row::new(of("of a core, per agent"), percent(own), "%").at_most(CPU_PERCENT_GOAL),
        Row::new(of("of a core in etcd, per agent"), percent(etcd), "%"),
        Row::new(of("all started at once, registered after"), start, "s"),
        Row::new(of("this process resident, per agent"), each(resident_own as f64), "kB"),
    ])
}

async fn memory(scene: &Scene) -> anyhow::Result<Memory> {
    let port = scene.etcd.options().client_port;
    let heap = metric(port, "go_memstats_heap_inuse_bytes").await?;
    let stacks = metric(port, "go_memstats_stack_inuse_bytes").await?;
    let resident = scene.etcd.rss_bytes() as f64;
    http_get(port, "/debug/pprof/heap?gc=1").await?;
    let live = metric(port, "go_memstats_heap_alloc_bytes").await?;
    Ok(Memory { resident, in_use: heap + stacks, live: live + stacks })
}

fn own_cpu() -> anyhow::Result<Duration> {
    Ok(ProcessStat::read(std::process::id()).context("this process")?.cpu_time())
}
