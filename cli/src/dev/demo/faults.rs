//! The steps about what dies: etcd, an agent. Players play all the while; at the end every
//! acknowledged event must have exactly one outcome. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::{NodeName, PartitionId};
use tokio::time::Instant;

use super::stream::{Played, Stream};
use super::tour::{Seen, Tour};
use super::verdict::judged;
use crate::dev::up::converged;
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::shown::elapsed;

/// Events that must be accepted before, during and after a fault.
pub(super) const EVENTS: usize = 150;
/// How long that may take.
pub(super) const EVENTS_LIMIT: Duration = Duration::from_secs(30);
/// From an agent's death to others owning its partitions: its lease, and room.
const TAKE_LIMIT: Duration = Duration::from_secs(30);
/// How often a setting was taken over by an agent's components.
const CHANGES: &str = "treasurehunt_agent_config_changes_total";
const VICTIM: &str = "agent-3";

/// etcd is killed and comes back; nobody stops working, nothing is applied again.
pub(super) async fn etcd_dies(world: &World, tour: &mut Tour) -> Played {
    let stream = begin(world, "tour-etcd");
    let work = async {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let before = standing(world).await?;
        let etcd = world.process("etcd")?;
        let began = Instant::now();
        etcd.kill().map_err(|error| Failure::caused("killing etcd", &error))?;
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let down = began.elapsed();
        let back = Instant::now();
        world.start_etcd().await?;
        converged(world, None).await?;
        let recovered = back.elapsed();
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let after = standing(world).await?;
        compare(&before, &after)?;
        let what = format!(
            "{EVENTS} events accepted in {} without etcd; all agents proved current {} after its \
             start\nno setting applied again, no partition moved",
            elapsed(down),
            elapsed(recovered)
        );
        Ok(Seen { what, took: recovered })
    };
    let command = format!("kill -9 {}", pid(world, "etcd"));
    tour.step("etcd killed and back: workers go on", &command, work).await;
    stream.finish().await
}

/// An agent is killed; the others take its partitions.
pub(super) async fn agent_dies(world: &World, tour: &mut Tour) -> Played {
    let stream = begin(world, "tour-kill");
    let mut command = format!("kill -9 {}", pid(world, VICTIM));
    command += &format!("  # {VICTIM}");
    let work = async {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let before = fleet(world).await?;
        let victim = NodeName::new(VICTIM).map_err(|e| Failure::caused("naming an agent", &e))?;
        let owned = before.owned(&victim);
        let began = Instant::now();
        let process = world.process(VICTIM)?;
        process.kill().map_err(|error| Failure::caused("killing an agent", &error))?;
        let taken = || async {
            let now = fleet(world).await?;
            let gone = !now.nodes.contains_key(&victim);
            Ok((gone && now.ownerless().is_empty()).then_some(()))
        };
        until(TAKE_LIMIT, "its partitions owned by others", taken).await?;
        let took = began.elapsed();
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let what = format!("its {owned} partitions are owned by the other two");
        Ok(Seen { what, took })
    };
    tour.step("an agent killed: others take its partitions", &command, work).await;
    let played = stream.finish().await;
    world.tell.line(&format!(
        "      {} acknowledged, {} refused and {} unanswered were sent again",
        played.told.len(),
        played.refused,
        played.unanswered
    ));
    played
}

/// Every acknowledged event has one outcome, and one only; the killed agent comes back.
pub(super) async fn nothing_lost(world: &World, tour: &mut Tour, games: &[Played]) {
    let command = format!("curl 'http://{}/v1/outcomes?partition=0&from=0'", address(world, 0));
    let work = async {
        let began = Instant::now();
        let mut what = String::new();
        for played in games {
            what += &format!("{}\n", judged(world, played).await?);
        }
        let took = began.elapsed();
        let launch = world.layout.agent_launch(&world.place, VICTIM)?;
        world.launch(VICTIM, &launch)?;
        converged(world, None).await?;
        what += &format!("{VICTIM} is back");
        Ok(Seen { what, took })
    };
    tour.step("nothing acknowledged is lost or played twice", &command, work).await;
}

/// What must not change when etcd comes back.
#[derive(Debug, PartialEq)]
struct Standing {
    changes: BTreeMap<String, f64>,
    hashes: BTreeMap<String, String>,
    owners: BTreeMap<PartitionId, (String, u64)>,
}

async fn standing(world: &World) -> Result<Standing, Failure> {
    let (mut changes, mut hashes) = (BTreeMap::new(), BTreeMap::new());
    for (name, address) in world.layout.agents() {
        let metrics = world.http.get(&address, "/metrics").await?;
        changes.insert(name.clone(), sum(&String::from_utf8_lossy(&metrics.body), CHANGES));
        let config = world.http.get(&address, "/config").await?.json()?;
        hashes.insert(name, config["hash"].as_str().unwrap_or_default().to_owned());
    }
    let fleet = fleet(world).await?;
    let owners = fleet.partitions.iter().filter_map(|(id, record)| {
        let owner = record.owner()?;
        Some((*id, (owner.incarnation.clone(), record.epoch().0)))
    });
    Ok(Standing { changes, hashes, owners: owners.collect() })
}

fn compare(before: &Standing, after: &Standing) -> Result<(), Failure> {
    if before.hashes != after.hashes {
        return Err(Failure::failed("an agent runs another configuration than before"));
    }
    if before.changes != after.changes {
        let (was, is) = (&before.changes, &after.changes);
        return Err(Failure::failed(format!("settings were applied again: {was:?}, now {is:?}")));
    }
    let moved = before.owners.iter().filter(|(id, was)| after.owners.get(id) != Some(was)).count();
    if moved > 0 {
        return Err(Failure::failed(format!("{moved} partitions moved")));
    }
    Ok(())
}

/// The sum of a counter's series in Prometheus' text form.
pub(super) fn sum(metrics: &str, name: &str) -> f64 {
    let series = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

pub(super) async fn fleet(world: &World) -> Result<Fleet, Failure> {
    world.etcd()?.fleet(&world.layout.hunt).await
}

pub(super) fn begin(world: &World, run: &str) -> Stream {
    let addresses: Vec<_> = world.layout.agents().map(|(_, address)| address).collect();
    Stream::begin(&world.http, run, &addresses)
}

pub(super) fn address(world: &World, index: usize) -> String {
    world.layout.agents().nth(index).map(|(_, address)| address).unwrap_or_default()
}

pub(super) fn pid(world: &World, name: &str) -> String {
    world.process(name).map(|process| process.pid.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_series_only() {
        let text = "# HELP x_total y\nx_total{a=\"1\"} 2\nx_total 3\nx_total_more 9\n";
        assert_eq!(sum(text, "x_total"), 5.0);
    }
}
