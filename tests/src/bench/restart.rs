//! A thousand agents whose etcd is killed and comes back with the same data: nothing is applied
//! anew, each proves itself current again, and they do not all come at once. I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use store::{KeyRange, Phase};
use tokio::time::Instant;

use super::fleet::{Connections, Fleet};
use super::numbers::{median, rank};
use super::{Row, Scene, Setting, within};

const AGENTS: usize = 1000;
const GOAL: Duration = Duration::from_secs(30);
/// Beyond the goal, so that a miss has a number.
const LIMIT: Duration = Duration::from_secs(180);
/// How fine arrivals are counted.
const BIN_MILLIS: u128 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Followers audit and renew in this time if they are to do it at all.
const AFTERMATH: Duration = Duration::from_secs(5);

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut scene = Scene::open().await?;
    let agents = setting.agents(AGENTS);
    let nothing = Arc::new(|_: usize, _: &config_schemas::Config| ());
    let fleet = Fleet::start(&scene.etcd.endpoint(), agents, Connections::Own, nothing).await?;
    // Something that could be applied anew.
    fleet.put(&fleet.edit_key("buffers", "events"), "10000".to_owned()).await?;
    // A pause in the acks of a thousand agents is not yet their end.
    let applied = async {
        while fleet.changes() < agents as f64 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    within(LIMIT, "the edit at every agent", applied).await?;
    fleet.quiet().await?;
    let before = Counts::of(&fleet);
    scene.etcd.kill();
    let killed = Instant::now();
    scene.etcd.restart().await?;
    let back = Instant::now();
    let proven = within(LIMIT, "proof at every agent", proven_after(&fleet, killed)).await??;
    tokio::time::sleep(AFTERMATH).await;
    let after = Counts::of(&fleet);
    let nodes = KeyRange::prefix(&format!("{}node/", fleet.keys.prefix()));
    let missing = agents as u64 - fleet.store.count(&nodes).await?.min(agents as u64);
    fleet.stop().await;
    let seconds: Vec<f64> =
        proven.iter().map(|at| at.saturating_duration_since(back).as_secs_f64()).collect();
    rows.extend([
        Row::new(
            format!("{agents} agents: applies after the restart"),
            after.applies - before.applies,
            "",
        )
        .at_most(0.0),
        Row::new("all proven current, after etcd answered again", rank(&seconds, 1.0), "s")
            .at_most(GOAL.as_secs_f64()),
        Row::new("proven current, p50", median(&seconds), "s"),
        Row::new("proven current, p10", rank(&seconds, 0.1), "s"),
        Row::new("etcd was away", back.duration_since(killed).as_secs_f64(), "s"),
        Row::new("agents proven in the fullest 100 ms", peak(&proven) as f64, "agents"),
        Row::new("watches opened again", after.reconnects - before.reconnects, ""),
        Row::new("whole ranges listed again", after.relists - before.relists, ""),
        Row::new("nodes missing from etcd", missing as f64, "nodes").at_most(0.0),
    ]);
    Ok(())
}

struct Counts {
    applies: f64,
    reconnects: f64,
    relists: f64,
}

impl Counts {
    fn of(fleet: &Fleet) -> Counts {
        let counts = fleet.agents.iter().map(|agent| agent.core.freshness.borrow().counts);
        let (reconnects, relists) = counts.fold((0, 0), |(reconnects, relists), counts| {
            (reconnects + counts.reconnects, relists + counts.relists)
        });
        Counts { applies: fleet.changes(), reconnects: reconnects as f64, relists: relists as f64 }
    }
}

/// When each agent first proved itself current after `moment`.
async fn proven_after(fleet: &Fleet, moment: Instant) -> anyhow::Result<Vec<Instant>> {
    let each = fleet.agents.iter().map(|agent| {
        let mut status = agent.core.freshness.clone();
        tokio::spawn(async move {
            let proof = status.wait_for(|status| {
                status.phase == Phase::Watching && status.proven_at.is_some_and(|at| at > moment)
            });
            let at = proof.await?.proven_at.unwrap_or(moment);
            anyhow::Ok(at)
        })
    });
    try_join_all(each).await?.into_iter().collect()
}

/// The most that came within one bin.
fn peak(times: &[Instant]) -> usize {
    let Some(first) = times.iter().min() else { return 0 };
    let mut bins: BTreeMap<u128, usize> = BTreeMap::new();
    for at in times {
        *bins.entry(at.duration_since(*first).as_millis() / BIN_MILLIS).or_default() += 1;
    }
    bins.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_the_fullest_bin() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(peak(&[at(0), at(150), at(160), at(199), at(900)]), 3);
        assert_eq!(peak(&[]), 0);
    }
}
