//! The wall that static placement runs into: 8, 15, 32 and 64 agents get twenty times the load of
//! before, each agent as much as ever, with keys as unequal as in a game. First with as many
//! partitions for each agent and nothing that moves or spreads, which is what hashing the key
//! modulo the nodes does; then the same agents with placement by load and hot keys spread.
//!
//! Real: agents as processes, operator, etcd, gateways, logs, load reports, moves, back-pressure,
//! the open loop of `hunt load`. Modelled: each event takes 13 ms of its node, waited, not burned
//! (`bench::work`), since two cores are no 64 nodes; logs are in memory where the system has a folder for
//! that, since the disk is one for all. I/O.

mod land;
mod run;

use std::time::Duration;

use self::land::Land;
use self::run::{Mode, Ran};
use super::{Row, Setting};
use crate::say;

/// Agents.
const SIZES: [usize; 4] = [8, 15, 32, 64];
const SIZES_QUICK: [usize; 2] = [3, 6];
/// What an event takes of its agent.
const SERVICE: Duration = Duration::from_millis(13);
const STEP: f64 = 20.0;
/// Of the capacity of all agents, what the step asks for. From a quarter on placement goes by
/// load; more than this the two cores do not carry for 64 agents.
const ASKED: f64 = 0.26;
/// What we promise.
const OURS_MILLIS: f64 = 50.0;

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    told();
    let sizes = if setting.quick { &SIZES_QUICK[..] } else { &SIZES[..] };
    for agents in sizes.iter().copied().filter(|agents| *agents <= setting.agents_max) {
        let land = Land::open(setting, agents).await?;
        for mode in [Mode::Static, Mode::Ours] {
            let ran = run::run(&land, mode, setting).await?;
            say(&ran.line());
            rows.extend(ran.rows());
        }
        land.close().await;
    }
    Ok(())
}

/// What is real and what is modelled, and the heading of the lines to come.
fn told() {
    let (service, capacity) = (SERVICE.as_millis(), capacity());
    say(&format!(
        "\nmodelled: an event takes {service} ms of its agent, waited and not burned: {capacity:.0}/s \
         each; the step asks for {:.0} % of all\nreal: all else, on the cores of this machine; logs \
         in memory. Times in ms from due to decided by its owner, p99",
        ASKED * 100.0
    ));
    say(&Ran::heading());
}

/// Events that an agent can take each second.
fn capacity() -> f64 {
    1.0 / SERVICE.as_secs_f64()
}

/// Events per second before and after the step.
fn rate(agents: usize) -> f64 {
    agents as f64 * capacity() * ASKED / STEP
}

/// The times of a run.
#[derive(Debug, Clone, Copy)]
struct Times {
    before: Duration,
    step: Duration,
    after: Duration,
    /// The end of the step, when placement has had its rounds.
    settled: Duration,
}

impl Times {
    fn of(mode: Mode, quick: bool) -> Times {
        let secs = Duration::from_secs;
        let (step, settled) = match (mode, quick) {
            (Mode::Static, false) => (secs(15), secs(10)),
            (Mode::Ours, false) => (secs(35), secs(10)),
            (_, true) => (secs(8), secs(4)),
        };
        Times { before: secs(5), step, after: secs(8), settled }
    }

    fn all(&self) -> Duration {
        self.before + self.step + self.after
    }
}
