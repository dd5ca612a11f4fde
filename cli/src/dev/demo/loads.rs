//! The steps about load and health: a hot key appears and is split, a node is slowed and loses its
//! partitions while its lease still runs. Each applies its example and takes it back. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::NodeName;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::examples::{self, applied, back};
use super::faults::{EVENTS, EVENTS_LIMIT, address, begin, fleet, pid};
use super::slow::Slowed;
use super::tour::{Seen, Tour};
use super::verdict::judged;
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::load::request::publish;
use crate::load::tally::Answer;
use crate::shown::elapsed;

/// A key is split within a second on a machine that has nothing else to do.
const SPLIT_LIMIT: Duration = Duration::from_secs(10);
/// Events of the hot key: so many, so often, make 2,000 a second.
const SIGHTS: usize = 40;
const SIGHTS_EVERY: Duration = Duration::from_millis(20);
/// The key, and a player whose moves keep their order meanwhile.
const TREASURE: &str = "the-great-chest";
/// A node says each five seconds how well it does; a round of placement follows.
const SLOW_LIMIT: Duration = Duration::from_secs(60);
/// It has to be well for six rounds before it gets anything.
const WELL_LIMIT: Duration = Duration::from_secs(120);
const SLOWED: &str = "agent-2";

/// A treasure that all see at once: events that need no order come through several partitions.
pub(super) async fn hot_key(world: &World, tour: &mut Tour) {
    let work = async {
        let applied = applied(world, "hot-key.yaml").await?;
        let at = address(world, 0);
        let began = Instant::now();
        let mut places: BTreeMap<u32, Duration> = BTreeMap::new();
        let mut ticks = interval(SIGHTS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sent = 0;
        while began.elapsed() < SPLIT_LIMIT && !is_split(&places, began.elapsed()) {
            ticks.tick().await;
            for place in sights(world, &at, sent).await {
                places.entry(place).or_insert_with(|| began.elapsed());
            }
            sent += SIGHTS;
        }
        let firsts: BTreeSet<Duration> = places.values().copied().collect();
        let Some(took) = firsts.iter().nth(1).copied() else {
            return Err(Failure::failed(format!(
                "{sent} events of one key within {SPLIT_LIMIT:?}, and all in one partition"
            )));
        };
        let shown = world.http.get(&at, "/partitions").await?.json()?;
        let hot = shown["hot"].as_array().and_then(|all| all.first()).cloned().unwrap_or_default();
        back(world).await?;
        let what = format!(
            "{sent} events of one key: one partition at first, {} from {} on\nthe gateway saw \
             {:.0} % of its events ask for it{applied}",
            places.len(),
            elapsed(took),
            hot["share"].as_f64().unwrap_or_default() * 1e2
        );
        Ok(Seen { what, took })
    };
    let mut command = examples::command(world, "hot-key.yaml");
    command += "  # and players who all see one treasure";
    tour.step("a hot key appears and is split", &command, work).await;
}

/// Whether it goes to several partitions, and had the time to go to all.
fn is_split(places: &BTreeMap<u32, Duration>, after: Duration) -> bool {
    let last = places.values().max().copied().unwrap_or_default();
    places.len() > 1 && after > last + Duration::from_millis(500)
}

/// Sends a batch of sightings; the partitions of those that were accepted.
async fn sights(world: &World, at: &str, from: usize) -> Vec<u32> {
    let line = |number: usize| {
        let id = format!("sight-{}-{number}", world.layout.etcd.client);
        json!({"id": id, "kind": "sight", "player": id, "treasure": TREASURE}).to_string()
    };
    let lines: Vec<_> = (from..from + SIGHTS).map(line).collect();
    let replies = publish(&world.http, at, lines.iter().map(String::as_str)).await;
    let accepted = replies.into_iter().filter(|reply| reply.answer == Answer::Accepted);
    accepted.map(|reply| reply.partition).collect()
}

/// An agent runs for a third of the time only: others take its partitions, and give them back.
pub(super) async fn slowed(world: &World, tour: &mut Tour) {
    let stream = begin(world, "tour-slow");
    let process = pid(world, SLOWED);
    let work = async {
        let applied = applied(world, "slow-node.yaml").await?;
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let node = NodeName::new(SLOWED).map_err(|e| Failure::caused("naming an agent", &e))?;
        let before = fleet(world).await?;
        let life = before.nodes.get(&node).map(|record| record.incarnation.clone());
        let had = before.owned(&node);
        let began = Instant::now();
        let slowed = Slowed::agent(world, SLOWED)?;
        let lost = || async {
            let now = fleet(world).await?;
            let alive = now.nodes.get(&node).map(|record| record.incarnation.clone()) == life;
            if !alive {
                return Err(Failure::bad_input(format!("{SLOWED} lost its lease")));
            }
            Ok((now.owned(&node) == 0).then_some(()))
        };
        tokio::select! {
            lost = until(SLOW_LIMIT, "a slow node without partitions", lost) => lost?,
            failure = slowed.run() => return Err(failure),
        }
        let took = began.elapsed();
        drop(slowed);
        let again = Instant::now();
        let has = || async { Ok((fleet(world).await?.owned(&node) * 2 >= had).then_some(())) };
        until(WELL_LIMIT, "partitions on the node that is well again", has).await?;
        let back_after = again.elapsed();
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let what = format!(
            "its {had} partitions were owned by others after {}, and its lease never lapsed\nwell \
             again, it had partitions after {}{applied}\n{}",
            elapsed(took),
            elapsed(back_after),
            judged(world, &stream.finish().await).await?
        );
        back(world).await?;
        Ok(Seen { what, took })
    };
    let command =
        format!("{}; {}", examples::command(world, "slow-node.yaml"), Slowed::command(&process));
    tour.step("a node is slowed and loses its partitions", &command, work).await;
}
