//! A partition with a hundred thousand keys that goes from one agent to the other and back, on Kafka
//! and under load: how long its producers wait. In: a setting. Out: rows. I/O.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use events::partition_of;
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::super::moves::{judged, soon};
use super::super::numbers::{millis, rank};
use super::super::{Row, Setting, within};
use super::{cluster, world_on};
use crate::probes::{Probes, changes, gaps};
use crate::world::{Setup, World};

const AGENTS: usize = 2;
const PARTITIONS: u32 = 4;
/// The one that moves.
const MOVES: u32 = 0;
const KEYS: usize = 100_000;
const ROUNDS: usize = 30;
/// Events that one request carries; well below what may wait for a partition.
const REQUEST: usize = 500;
/// Between two events on the partition that moves: as fine as its pause can be seen.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_ELSEWHERE: Duration = Duration::from_millis(150);
/// What a move leaves behind is not to weigh on the next.
const SETTLE: Duration = Duration::from_secs(1);
/// After a request that was not taken.
const AGAIN: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(300);
const P99_GOAL_MILLIS: f64 = 250.0;

pub(in super::super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let setup = Setup::agents(AGENTS).with("partitions", "count", PARTITIONS);
    let world = world_on(&cluster, setting, setup).await?;
    let keys = setting.scaled(KEYS);
    within(LIMIT, "all keys", filled(&world, keys)).await??;
    let probes = Probes::start(&world, PARTITIONS, PAUSE_ELSEWHERE);
    probes.pace(|partition| if partition == MOVES as usize { PAUSE } else { PAUSE_ELSEWHERE });
    for round in 0..setting.scaled(ROUNDS) {
        sleep(SETTLE).await;
        pin(&world, round).await?;
    }
    sleep(SETTLE).await;
    let seen = within(LIMIT, "the probes' end", probes.finish()).await??;
    let takes = &seen.takes[MOVES as usize];
    let moved: Vec<f64> = changes(takes).map(|(_, gap)| millis(gap)).collect();
    let between: Vec<f64> = gaps(takes).map(|(_, gap)| millis(gap)).collect();
    let moves = Row::new("moves of a partition", moved.len() as f64, "");
    rows.push(moves.at_least(setting.scaled(ROUNDS) as f64 - 1.0));
    rows.push(Row::new("keys that it has", keys as f64, ""));
    rows.push(Row::new("last accept at A to first accept at B, p50", rank(&moved, 0.5), "ms"));
    let late = rank(&moved, 0.99);
    rows.push(
        Row::new("last accept at A to first accept at B, p99", late, "ms").at_most(P99_GOAL_MILLIS),
    );
    rows.push(Row::new("between any two accepts, p50", rank(&between, 0.5), "ms"));
    judged(&world, &seen, rows).await
}

/// So many players join, all on the partition that moves.
async fn filled(world: &World, keys: usize) -> anyhow::Result<()> {
    let names = (0_u32..).map(|number| format!("key-{number}"));
    let its = names.filter(|name| partition_of(name, PARTITIONS).0 == MOVES).take(keys);
    let join = |name: String| json!({"id": name, "kind": "join", "player": name}).to_string();
    let all: Vec<String> = its.map(join).collect();
    for request in all.chunks(REQUEST) {
        let mut left: Vec<&str> = request.iter().map(String::as_str).collect();
        while !left.is_empty() {
            let body = left.join("\n");
            let (_, answers) = world.http.post(world.agents[0].http, "/v1/events", body).await?;
            let answers: Vec<Json> =
                answers.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            ensure!(answers.len() == left.len(), "{} answers", answers.len());
            let mut taken = answers.iter().map(|answer| answer["error"].is_null());
            left.retain(|_| !taken.next().unwrap_or(true));
            if !left.is_empty() {
                sleep(AGAIN).await;
            }
        }
    }
    Ok(())
}

/// Moves the partition to the agent that does not have it.
async fn pin(world: &World, round: usize) -> anyhow::Result<()> {
    let to = world.agents[round % AGENTS].name.as_str();
    world.edit("hunt/partitions/pins", json!([format!("{MOVES}={to}")]).to_string()).await?;
    soon("the partition at its place", async || {
        let records = world.partitions().await?;
        let owner = records.get(&MOVES).and_then(|record| record.owner()).context("no owner")?;
        ensure!(owner.node.as_str() == to, "it is at {}", owner.node);
        world.is_served().await
    })
    .await
}
