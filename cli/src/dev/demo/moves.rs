//! The steps about agents that come and go as planned, under load: one joins and gets its share;
//! all are restarted, one after the other. I/O.

use std::time::Duration;

use config_schemas::NodeName;
use config_schemas::documents::PartitionRecord;
use servers::{Detached, Stopped};
use tokio::time::Instant;

use super::examples::{self, applied};
use super::faults::{EVENTS, EVENTS_LIMIT, begin, fleet, pid};
use super::stream::Stream;
use super::tour::{Seen, Tour};
use super::verdict::judged;
use crate::dev::up::converged;
use crate::dev::world::{GRACE, World, until};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::shown::elapsed;

/// A node that joins has its share after three or four rounds of placement, of ten seconds each.
const SHARE_LIMIT: Duration = Duration::from_secs(90);
/// Of the mean, what counts as a share: partitions do not weigh the same.
const SHARE_PERCENT: usize = 75;

/// One more agent is started; partitions move to it while players play.
pub(super) async fn node_joins(world: &mut World, tour: &mut Tour) {
    let agents = world.layout.agents.len() + 1;
    let name = format!("agent-{agents}");
    let command =
        format!("{}; treasurehunt-agent --node {name} ...", examples::command(world, "join.yaml"));
    let stream = begin(world, "tour-join");
    let work = async {
        let applied = applied(world, "join.yaml").await?;
        let agents =
            u16::try_from(agents).map_err(|error| Failure::caused("counting agents", &error))?;
        world.layout.grow(agents)?;
        world.layout.remember(&world.place.state)?;
        world.write_targets()?;
        let mut seen = joins(world, &name, &stream).await?;
        seen.what += &applied;
        seen.what += &format!("\n{}", judged(world, &stream.finish().await).await?);
        Ok(seen)
    };
    tour.step("a node joins and gets its share", &command, work).await;
}

async fn joins(world: &World, name: &str, stream: &Stream) -> Result<Seen, Failure> {
    stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
    let node = NodeName::new(name).map_err(|e| Failure::caused("naming an agent", &e))?;
    let launch = world.layout.agent_launch(&world.place, name)?;
    let began = Instant::now();
    world.launch(name, &launch)?;
    let some = || async {
        let owned = fleet(world).await?.owned(&node);
        Ok((owned > 0).then(|| began.elapsed()))
    };
    let first = until(SHARE_LIMIT, "its first partition", some).await?;
    let share = || async {
        let fleet = fleet(world).await?;
        let owned = fleet.owned(&node);
        Ok(has_share(owned, &fleet).then_some((owned, fleet.partitions.len())))
    };
    let (owned, all) = until(SHARE_LIMIT, "its share of the partitions", share).await?;
    let took = began.elapsed();
    stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
    let (first, shared) = (elapsed(first), elapsed(took));
    let what = format!("its first partition after {first}, {owned} of {all} after {shared}");
    Ok(Seen { what, took })
}

/// Whether so many are a share of all, among the nodes that live.
fn has_share(owned: usize, fleet: &Fleet) -> bool {
    let (all, nodes) = (fleet.partitions.len(), fleet.nodes.len());
    all > 0 && owned * nodes * 100 >= all * SHARE_PERCENT
}

/// Every agent is told to end and started again, one after the other, while players play.
pub(super) async fn rolling_restart(world: &World, tour: &mut Tour) {
    let names: Vec<_> = world.layout.agents().map(|(name, _)| name).collect();
    let first = names.first().map(|name| pid(world, name)).unwrap_or_default();
    let command = format!(
        "{}; kill -TERM {first}  # and so on, each started again before the next",
        examples::command(world, "rolling-restart.yaml")
    );
    let stream = begin(world, "tour-roll");
    let work = async {
        let applied = applied(world, "rolling-restart.yaml").await?;
        let began = Instant::now();
        let handed = restart_all(world, &names, &stream).await?;
        let took = began.elapsed();
        let played = stream.finish().await;
        let longest = played.longest;
        let what = format!(
            "{} agents restarted; each handed all of its partitions over before it ended, after at \
             most {}\nlongest wait of an event for its acknowledgement: {}{applied}\n{}",
            names.len(),
            elapsed(handed),
            elapsed(longest),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    tour.step("a rolling restart under load", &command, work).await;
}

/// The longest that an agent took to hand over and end.
async fn restart_all(
    world: &World,
    names: &[String],
    stream: &Stream,
) -> Result<Duration, Failure> {
    let mut longest = Duration::ZERO;
    for name in names {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        longest = longest.max(end(world, name).await?);
        let launch = world.layout.agent_launch(&world.place, name)?;
        world.launch(name, &launch)?;
        converged(world, None).await?;
    }
    stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
    Ok(longest)
}

/// Tells an agent to end and sees that it leaves nothing behind; how long it took.
async fn end(world: &World, name: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    let (records, process) = (world.records(), name.to_owned());
    let stop = tokio::task::spawn_blocking(move || Detached::stop(&records, &process, GRACE));
    let ending = format!("ending {name}");
    let stopped = stop.await.map_err(|error| Failure::caused(&ending, &error))?;
    let stopped = stopped.map_err(|error| Failure::caused(&ending, &error))?;
    let took = began.elapsed();
    if stopped != Stopped::Ended {
        return Err(Failure::failed(format!("{name} did not end by itself within {GRACE:?}")));
    }
    let fleet = fleet(world).await?;
    let is_its =
        |record: &&PartitionRecord| record.owner().is_some_and(|o| o.node.as_str() == name);
    match fleet.partitions.values().filter(is_its).count() {
        0 => Ok(took),
        left => Err(Failure::failed(format!("{name} ended with {left} partitions of its own"))),
    }
}
