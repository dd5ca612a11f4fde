//! An agent, or the operator, is killed with SIGKILL at each of its requests to etcd in turn: before
//! etcd hears it, and after etcd has carried it out. The next start finishes the work each time.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use config_schemas::documents::{self, Meta, NodeRecord, Rollout};
use config_schemas::keys::{Key, LEADER};
use config_schemas::{Generation, NodeName};
use serde_json::json;
use store::{KeyRange, Write};
use tests::players::{Players, judged};
use tests::recorder::Recorder;
use tests::trap::{Stop, Trap};
use tests::wait::until;
use tests::world::{Setup, World};

const SOON: Duration = Duration::from_secs(40);
/// Nothing has this many steps: past it the trap does not count what it should.
const STEPS_MAX: u32 = 60;
const BOTH: [Stop; 2] = [Stop::Before, Stop::After];

async fn incarnation(world: &World) -> Result<String> {
    let entry = world.entry(&Key::Node(NodeName::new("agent-1")?)).await?.context("no record")?;
    let record: NodeRecord = documents::read(&entry.value).map_err(anyhow::Error::msg)?;
    Ok(record.incarnation)
}

/// The agent is registered as a later life than `before`, runs and has acked `events`, serves every
/// partition, and the status says so.
async fn settled(world: &World, before: &str, events: u64) -> Result<()> {
    let now = incarnation(world).await?;
    ensure!(now != before, "still registered as an earlier life");
    let ack = world.ack("agent-1").await?;
    ensure!(ack.incarnation == now, "the ack is an earlier life's");
    world.all_run("buffers.events", &json!(events), 0).await?;
    world.is_served().await?;
    world.is_converged().await
}

/// Whether the trap sprang before the world was settled.
async fn sprang(trap: &Trap, world: &World, before: &str, events: u64) -> bool {
    let settles =
        until("settled, or at the step", SOON, async || settled(world, before, events).await);
    tokio::select! {
        biased;
        () = trap.sprung() => true,
        () = settles => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_at_any_request_of_its_start_or_of_an_apply_finishes_at_its_next_start() {
    let setup = Setup::agents(0).with("partitions", "count", 4);
    let mut world = World::start(setup).await.unwrap();
    let trap = Trap::in_front_of(&world.members.endpoints()[0]).await.unwrap();
    world.start_agent_on("agent-1", &trap.endpoint()).unwrap();
    let mut events = 1000;
    until("the agent plays", SOON, async || settled(&world, "", events).await).await;
    let players = Players::start(&world, "p", 4);
    players.goes_on(8, SOON).await;
    for stop in BOTH {
        for step in 1.. {
            assert!(step < STEPS_MAX, "a start without end");
            let before = incarnation(&world).await.unwrap();
            world.agents[0].kill();
            trap.reset();
            trap.arm(step, stop);
            world.agents[0].restart().unwrap();
            if !sprang(&trap, &world, &before, events).await {
                tests::say(&format!("a start has {} requests, killed {stop:?} each", step - 1));
                assert!(step > 5, "lease, name, list, watch, ack: {step}");
                break;
            }
            world.agents[0].kill();
            trap.reset();
            world.agents[0].restart().unwrap();
            until("the next start finishes the work", SOON, async || {
                settled(&world, &before, events).await
            })
            .await;
        }
        for step in 1.. {
            assert!(step < STEPS_MAX, "an apply without end");
            // Another lease too: the longest way that an apply can take.
            events += 1;
            let interval = if events % 2 == 0 { "300ms" } else { "900ms" };
            world.spec["heartbeat"]["interval"] = json!(interval);
            trap.reset();
            until("connected again", SOON, async || settled(&world, "", events - 1).await).await;
            let before = incarnation(&world).await.unwrap();
            trap.arm(step, stop);
            world.change("buffers", "events", events).await.unwrap();
            if !sprang(&trap, &world, "", events).await {
                tests::say(&format!("an apply has {} requests, killed {stop:?} each", step - 1));
                assert!(step > 2, "document and ack: {step}");
                break;
            }
            world.agents[0].kill();
            trap.reset();
            world.agents[0].restart().unwrap();
            until("the next start applies it", SOON, async || {
                settled(&world, &before, events).await
            })
            .await;
        }
        players.goes_on(8, SOON).await;
    }
    judged(&world, world.agents[0].http, &players.finish().await.unwrap()).await;
}

/// What the end of the dead leader's lease does three seconds later.
async fn free_the_lead(world: &World) {
    let leader = world.store.list(&KeyRange::prefix(LEADER)).await.unwrap();
    for entry in leader.entries {
        world.write(Write::delete(entry.key)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_killed_at_any_request_finishes_at_its_next_start() {
    let setup = Setup { operators: 0, ..Setup::agents(0).with("partitions", "count", 4) };
    let mut world = World::bare(&setup).await.unwrap();
    let trap = Trap::in_front_of(&world.members.endpoints()[0]).await.unwrap();
    world.start_agent("agent-1").unwrap();
    world.apply().await.unwrap();
    // A new hunt: each start gets one request further than the one before.
    trap.arm(1, Stop::Before);
    world.start_operator_on("operator-1", &trap.endpoint()).unwrap();
    let mut step = 1;
    while sprang(&trap, &world, "", 1000).await {
        world.operators[0].kill();
        trap.reset();
        free_the_lead(&world).await;
        step += 1;
        assert!(step < STEPS_MAX, "a hunt without end");
        trap.arm(step, BOTH[step as usize % 2]);
        world.operators[0].restart().unwrap();
    }
    tests::say(&format!("a new hunt was written with {} kills", step - 1));
    assert!(step > 6, "identity, lease, lead, hunt, partitions: {step}");
    let meta = world.entry(&Key::Meta).await.unwrap().unwrap();
    assert_eq!(meta.version, 1, "the root marker was written more than once");
    let uid = documents::read::<Meta>(&meta.value).unwrap().uid;

    let recorder = Recorder::start(&world);
    let mut events = 1000;
    for step in 1.. {
        assert!(step < STEPS_MAX, "a change without end");
        events += 1;
        world.operators[0].kill();
        trap.reset();
        free_the_lead(&world).await;
        world.change("buffers", "events", events).await.unwrap();
        trap.arm(step, BOTH[step as usize % 2]);
        world.operators[0].restart().unwrap();
        if !sprang(&trap, &world, "", events).await {
            tests::say(&format!("a change has {} requests, each with a kill", step - 1));
            break;
        }
        world.operators[0].kill();
        trap.reset();
        free_the_lead(&world).await;
        world.operators[0].restart().unwrap();
        until("the next start finishes the work", SOON, async || settled(&world, "", events).await)
            .await;
    }
    let rollout = world.entry(&Key::Rollout).await.unwrap().unwrap();
    let rollout: Rollout = documents::read(&rollout.value).unwrap();
    assert_eq!(rollout.stable, Generation(events - 999), "each change is one generation");
    let status = world.status().await.unwrap();
    assert_eq!((status.uid, status.generation), (uid, events - 999));
    let allowed: Vec<_> = (1000..=events).map(|events| json!(events)).collect();
    recorder.finish().await.check("buffers.events", &allowed).unwrap();
}
