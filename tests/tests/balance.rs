//! Partitions follow load and health on real agents: off a node that is slow while its lease still
//! runs, onto one that joins, away from a key that fills a node; and people retune all of it live.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use config_schemas::documents::{self, NodeRecord, PartitionRecord};
use config_schemas::hot::hash;
use config_schemas::keys::Key;
use config_schemas::{Load, NodeName};
use serde_json::json;
use tests::demand::{Demand, Rate, moves, player_of};
use tests::http::metric;
use tests::wait::{timed, until};
use tests::world::{Place, Setup, World, place};
use tokio::time::Instant;

/// Reports come each 5 s, and a few rounds have to follow them on a machine that compiles besides.
const SOON: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 24;
const ROUND: Duration = Duration::from_secs(2);
/// What an event takes, in microseconds: a node with one worker does 100 a second at most, so that
/// a machine with many other things to do can send as many.
const TOIL: u64 = 10_000;

/// Agents with one worker each, whose events take [`TOIL`].
async fn toiling(agents: usize) -> Setup {
    let programs = place().await.unwrap();
    let programs = Place { agent: env!("CARGO_BIN_EXE_toil").into(), ..programs };
    let setup = Setup { programs: Some(programs), ..Setup::agents(agents) };
    setup
        .with("heartbeat", "interval", "1s")
        .with("heartbeat", "misses", 10)
        .with("workers", "concurrency", 1)
        .with("workers", "batch", 4)
        .with("workers", "turn", "40ms")
        .with("rules", "treasurePoints", TOIL)
        .with("partitions", "count", PARTITIONS)
        .with("partitions", "round", format!("{}s", ROUND.as_secs()))
        .with("partitions", "budget", 100)
        .with("routing", "hot", 5)
}

async fn report(world: &World, node: &str) -> Result<Load> {
    let key = Key::Load(NodeName::new(node)?);
    let entry = world.entry(&key).await?.with_context(|| format!("{node} reports nothing"))?;
    documents::read(&entry.value).map_err(anyhow::Error::msg)
}

/// Who owns what, those on the move counted where they go.
async fn owned(world: &World) -> Result<BTreeMap<String, Vec<u32>>> {
    let mut owned: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (id, record) in world.partitions().await? {
        let owner = match &record {
            PartitionRecord::Mov { to, .. } => Some(to),
            other => other.owner(),
        };
        let name = owner.map(|owner| owner.node.to_string()).unwrap_or_default();
        owned.entry(name).or_default().push(id);
    }
    Ok(owned)
}

async fn count(world: &World, node: &str) -> Result<usize> {
    Ok(owned(world).await?.get(node).map_or(0, Vec::len))
}

async fn incarnation(world: &World, node: &str) -> Result<String> {
    let entry = world.entry(&Key::Node(NodeName::new(node)?)).await?.context("it is gone")?;
    let record: NodeRecord = documents::read(&entry.value).map_err(anyhow::Error::msg)?;
    Ok(record.incarnation)
}

/// Runs the process at `index` for a part of the time only, as a machine that is asked for too
/// much; ends when `work` does.
async fn throttled<T>(world: &mut World, index: usize, work: impl AsyncFnOnce(&World) -> T) -> T {
    let mut node = world.agents.remove(index);
    let throttle = async {
        loop {
            node.freeze().await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
            node.thaw().await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let done = tokio::select! {
        done = work(world) => done,
        () = throttle => unreachable!("it throttles for ever"),
    };
    node.thaw().await.unwrap();
    world.agents.insert(index, node);
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_slow_loses_its_partitions_before_its_lease_and_gets_them_back_when_well() {
    let setup = Setup::agents(3)
        .with("heartbeat", "interval", "1s")
        .with("heartbeat", "misses", 15)
        .with("partitions", "round", "1s")
        .with("partitions", "budget", 100);
    let mut world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    let life = incarnation(&world, "agent-3").await.unwrap();
    assert_eq!(count(&world, "agent-3").await.unwrap(), 4);
    throttled(&mut world, 2, async |world| {
        timed("a slow node has lost all of its partitions", SOON, async || {
            let left = count(world, "agent-3").await?;
            ensure!(
                left == 0,
                "{left} left; it reports {:?}",
                report(world, "agent-3").await?.slow
            );
            Ok(())
        })
        .await;
        let metrics = world.metrics(world.operators[0].http).await.unwrap();
        let placed = |cause: &str| {
            let series = format!("treasurehunt_operator_placements_total{{cause=\"{cause}\"}}");
            metric(&metrics, &series).unwrap_or(0.0)
        };
        assert!(placed("slow") >= 4.0 && placed("forced") == 0.0, "{metrics}");
        assert_eq!(incarnation(world, "agent-3").await.unwrap(), life, "its lease ran all along");
    })
    .await;
    timed("it is well and has its share again", SOON, async || {
        ensure!(count(&world, "agent-3").await? >= 4);
        world.is_served().await
    })
    .await;
    assert_eq!(incarnation(&world, "agent-3").await.unwrap(), life);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_gets_its_share_by_load_as_fast_as_the_live_budget_allows() {
    let setup = toiling(2).await.with("partitions", "budget", 1);
    let mut world = World::start(setup).await.unwrap();
    world.served(SOON).await;
    // Every sixth partition carries as much as the five others together.
    let demand =
        Demand::start(&world, "d", moves(PARTITIONS, |id| if id % 6 == 0 { 11.0 } else { 2.2 }));
    until("both nodes are at work and even", SOON, async || {
        for node in ["agent-1", "agent-2"] {
            let used = report(&world, node).await?.utilisation();
            ensure!((0.3..1.5).contains(&used), "{node} is used to {used}");
        }
        Ok(())
    })
    .await;
    // Paused for longer than a round, so that nothing has moved in the one that is then made to
    // last for all that follows: what moves first is the whole of its budget.
    world.edit("hunt/partitions/paused", "true").await.unwrap();
    world.start_agent("agent-3").unwrap();
    world.converged(SOON).await;
    let paused = Instant::now();
    until("a round has passed", SOON, async || {
        ensure!(paused.elapsed() > 4 * ROUND);
        Ok(())
    })
    .await;
    assert_eq!(count(&world, "agent-3").await.unwrap(), 0, "paused, and partitions moved");
    world.edit("hunt/partitions/round", "10m").await.unwrap();
    world.unedit("hunt/partitions/paused").await.unwrap();
    let few = until("the budget of a round has moved", SOON, async || {
        let few = count(&world, "agent-3").await?;
        ensure!(few > 0, "nothing moved");
        world.is_served().await?;
        Ok(few)
    })
    .await;
    assert!(few <= 3, "{few} of {PARTITIONS} are no 25 % of a node's share");
    world.edit("hunt/partitions/budget", "100").await.unwrap();
    world.edit("hunt/partitions/round", "1s").await.unwrap();
    timed("it has its share of the load", SOON, async || {
        let mut used = BTreeMap::new();
        for node in ["agent-1", "agent-2", "agent-3"] {
            used.insert(node, report(&world, node).await?.utilisation());
        }
        let mean = used.values().sum::<f64>() / 3.0;
        ensure!(mean > 0.1 && used["agent-3"] >= 0.75 * mean, "{used:?}");
        ensure!(used.values().all(|used| *used <= 1.4 * mean), "{used:?}");
        world.is_served().await
    })
    .await;
    let taken = demand.taken();
    assert!(taken.accepted > 20 * taken.refused, "{} of {}", taken.refused, taken.accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_of_a_hot_ordered_key_loses_all_else_and_the_status_names_the_bound() {
    let world = World::start(toiling(3).await).await.unwrap();
    world.served(SOON).await;
    let base = moves(PARTITIONS, |_| 1.6);
    let _base = Demand::start(&world, "base", base);
    let (hot, name) = (7, player_of(7, PARTITIONS));
    let rate = Rate { kind: "move", key: name.clone(), per_second: 60.0 };
    let demand = Demand::start(&world, "hot", vec![rate]);
    timed("the hot key's partition has its node for itself", SOON, async || {
        let owned = owned(&world).await?;
        let home = owned.iter().find(|(_, all)| all.contains(&hot)).context("nobody has it")?;
        ensure!(home.1.len() == 1, "{owned:?}");
        world.is_served().await
    })
    .await;
    let told = timed("the status names the bound", SOON, async || {
        let seen = world.status().await?;
        let told = seen.status.hot.iter().find(|told| told.partition == 7).cloned();
        let told = told.with_context(|| format!("there are {:?}", seen.status.hot))?;
        ensure!(told.apart, "{told:?}");
        ensure!(
            seen.has_event("HotKey", "partition 7: one ordered key takes"),
            "{:?}",
            seen.events
        );
        Ok(told)
    })
    .await
    .0;
    tests::say(&told.message);
    assert_eq!(told.key, hash(&name));
    assert!(told.message.contains("no placement can lower this"), "{}", told.message);
    assert!(told.percent_of_node >= 30, "{told:?}");
    assert_eq!(demand.places(&name), [hot].into(), "an ordered key is never split");
    let shown = format!("/partitions?hunt={}", world.hunt);
    let shown = world.http.json(world.operators[0].http, &shown).await.unwrap();
    assert_eq!(shown["hot"][0]["partition"], json!(7), "{}", shown["hot"]);
    // Figures are taken at the end of a look, the status is written in it.
    timed("the metric names the bound", SOON, async || {
        let metrics = world.metrics(world.operators[0].http).await?;
        ensure!(!metrics.contains(&name), "a key is somebody's name");
        ensure!(metrics.contains("treasurehunt_placement_hot_partition{"), "{metrics}");
        Ok(())
    })
    .await;
    drop(demand);
    timed("it has cooled: the node is filled again and nothing is told", SOON, async || {
        let seen = world.status().await?;
        ensure!(seen.status.hot.is_empty(), "{:?}", seen.status.hot);
        let owned = owned(&world).await?;
        ensure!(owned.len() == 3 && owned.values().all(|all| all.len() >= 4), "{owned:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_placement_live_holds_a_pin_back_until_it_is_taken_off() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    world.served(SOON).await;
    let owns = |all: &BTreeMap<String, Vec<u32>>| all["agent-1"].contains(&0);
    let to = if owns(&owned(&world).await.unwrap()) { "agent-2" } else { "agent-1" };
    world.edit("hunt/partitions/paused", "true").await.unwrap();
    until("it is paused", SOON, async || shows(&world, "paused", json!(true)).await).await;
    let before = world.partitions().await.unwrap();
    world.edit("hunt/partitions/pins", format!("[0={to}]")).await.unwrap();
    until("the pin is seen", SOON, async || {
        shows(&world, "pins", json!([format!("0={to}")])).await
    })
    .await;
    let looks = looks(&world).await.unwrap();
    until("the operator has looked at it", SOON, async || {
        // Any further edit makes it look.
        world.edit("hunt/workers/batch", "63").await?;
        world.unedit("hunt/workers/batch").await?;
        ensure!(self::looks(&world).await? >= looks + 3.0);
        Ok(())
    })
    .await;
    assert_eq!(world.partitions().await.unwrap(), before, "paused, and a partition moved");
    world.unedit("hunt/partitions/paused").await.unwrap();
    timed("the pinned partition is where it is wanted", SOON, async || {
        ensure!(owned(&world).await?[to].contains(&0));
        world.is_served().await
    })
    .await;
}

async fn shows(world: &World, what: &str, wanted: serde_json::Value) -> Result<()> {
    let path = format!("/partitions?hunt={}", world.hunt);
    let shown = world.http.json(world.operators[0].http, &path).await?;
    ensure!(shown[what] == wanted, "{what} is {}", shown[what]);
    Ok(())
}

/// How often the operator has looked at a hunt.
async fn looks(world: &World) -> Result<f64> {
    let metrics = world.metrics(world.operators[0].http).await?;
    let lines = metrics.lines().filter(|l| l.starts_with("controller_runtime_reconcile_total{"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
