//! One simulated world: an etcd, two operators, agents, players; a schedule of faults; then all is
//! healed and has to come to rest. In: a seed and what to break. Out: what was wrong. All hosts run
//! on this thread, on simulated time, network and disks.

mod ended;
mod faults;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use config_schemas::HuntName;
use config_schemas::keys::HuntKeys;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use store::sim::SimEtcd;
use tempfile::TempDir;
use tokio::sync::watch;
use turmoil::Sim;

pub use self::ended::Ended;
use crate::agent::Agent;
use crate::operator::{Applied, Operator};
use crate::players::{CLUES, Players, Receipts};
use crate::records::Records;
use crate::schedule::{Fault, Size, Who, any};
use crate::verdict::Judge;

/// How far a host's clock runs before the next host has its turn.
const TICK: Duration = Duration::from_millis(20);
/// Time for the first placement.
const QUIET: Duration = Duration::from_secs(2);
/// Faults happen until then.
const TROUBLE: Duration = Duration::from_secs(13);
/// After healing everything is at rest within this long: a broken connection is noticed within
/// 9 s, a lease lapses within 4 s, forced moves wait for another, a move may be called off after
/// its deadline and rests.
const RESTS_WITHIN: Duration = Duration::from_secs(60);
/// When records and players are at rest, all is played within this long: what is on its way from
/// one partition to another is sent again in bounded time.
const PLAYED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether all is well.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lines of the schedule that a failure shows.
const SHOWN: usize = 24;
/// Partitions that the hunt begins with, and what it is cut into while it is played, in a few worlds one
/// after the other before the first cut is over.
const PARTITIONS: u32 = 8;
const CUTS: [u32; 2] = [16, 48];
/// Agents from the beginning; one more joins.
const AGENTS: usize = 3;
const OPERATORS: usize = 2;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broken {
    /// Of the log.
    pub log: broker::sim::Sabotage,
    /// Of the agents.
    pub agents: agent::sim::Sabotage,
}

struct World<'a> {
    sim: Sim<'a>,
    etcd: SimEtcd,
    keys: HuntKeys,
    agents: Vec<Agent>,
    operators: Vec<telemetry::sim::Host>,
    applied: watch::Sender<Applied>,
    receipts: Receipts,
    records: Records,
    judge: Judge,
    rng: SmallRng,
    /// When the hunt is to be cut into how many partitions, and how many it is to have.
    cuts: Vec<(Duration, u32)>,
    partitions: u32,
    revision: i64,
    ends: Vec<(Duration, Fault)>,
    log: VecDeque<String>,
    faults: usize,
    _data: TempDir,
}

/// Runs one world to its end.
pub fn simulate(seed: u64, broken: Broken) -> Result<Ended> {
    telemetry::sim::set_clock(turmoil::sim_elapsed);
    agent::sim::set_sabotage(broken.agents);
    let panics = watch_panics();
    let mut world = World::new(seed, broken)?;
    let done = world.run().and_then(|ended| match panics.load(Ordering::Relaxed) {
        0 => Ok(ended),
        count => Err(anyhow!("{count} panics")),
    });
    done.map_err(|error| anyhow!("{error:#}\n{}", world.shown()))
}

/// Counts panics: tokio keeps those of tasks to itself.
fn watch_panics() -> Arc<AtomicUsize> {
    let (count, told) = (Arc::<AtomicUsize>::default(), std::panic::take_hook());
    let counted = count.clone();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::Relaxed);
        told(panic);
    }));
    count
}

impl World<'_> {
    fn new(seed: u64, broken: Broken) -> Result<Self> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(25))
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let hunt = HuntName::new("default", "harbour")?;
        let data = tempfile::tempdir()?;
        let etcd = SimEtcd::new();
        let served = etcd.clone();
        sim.host("etcd", move || {
            let etcd = served.clone();
            async move { Ok(etcd.serve_turmoil(2379).await?) }
        });
        let (applied, spec) = watch::channel(first_spec(&mut rng));
        let operators: Vec<_> = (0..OPERATORS).map(|_| telemetry::sim::Host::default()).collect();
        for (number, host) in operators.iter().enumerate() {
            let name = Who::Operator(number).to_string();
            let operator = Operator {
                name: name.clone(),
                hunt: hunt.clone(),
                host: host.clone(),
                seed: rng.random(),
                applied: spec.clone(),
            };
            sim.host(name, move || operator.clone().run());
        }
        let mut agents = Vec::new();
        for number in 0..=AGENTS {
            let name = Who::Agent(number).to_string();
            let agent = Agent::new(&name, &hunt, data.path().to_owned(), rng.random(), broken.log);
            agent.want(number < AGENTS);
            let runs = agent.clone();
            sim.host(name, move || runs.clone().run());
            agents.push(agent);
        }
        let receipts = Receipts::default();
        let players = Players {
            count: 4,
            watchers: 1,
            agents: agents.iter().take(AGENTS).map(|agent| agent.name().to_owned()).collect(),
            seed,
            receipts: receipts.clone(),
        };
        sim.host("players", move || players.clone().run());
        let most = CUTS.into_iter().fold(PARTITIONS, u32::max);
        let judge = Judge::new(&data.path().join("hunts").join("5f3a"), &hunt, most)?;
        let count = rng.random_range(0..=CUTS.len());
        let mut cuts: Vec<_> =
            CUTS[..count].iter().map(|_| rng.random_range(QUIET..TROUBLE)).collect();
        cuts.sort();
        let cuts = cuts.into_iter().zip(CUTS).rev().collect();
        Ok(World {
            sim,
            etcd,
            keys: HuntKeys::new(&hunt),
            agents,
            operators,
            applied,
            receipts,
            records: Records::default(),
            judge,
            rng,
            cuts,
            partitions: PARTITIONS,
            revision: 0,
            ends: Vec::new(),
            log: VecDeque::new(),
            faults: 0,
            _data: data,
        })
    }

    fn run(&mut self) -> Result<Ended> {
        let size = Size { agents: AGENTS, operators: OPERATORS, partitions: PARTITIONS };
        let joins = self.rng.random_range(QUIET..TROUBLE);
        let mut next = QUIET;
        while self.sim.elapsed() < TROUBLE {
            self.step()?;
            if self.sim.elapsed() >= next {
                next +=
                    self.rng.random_range(Duration::from_millis(50)..Duration::from_millis(950));
                let (fault, lasts) = any(&mut self.rng, size);
                self.begin(fault, lasts);
            }
            let now = self.sim.elapsed();
            if let Some((_, partitions)) = self.cuts.pop_if(|(at, _)| now >= *at) {
                self.note(&format!("{partitions} partitions are wanted"));
                self.partitions = partitions;
                self.apply(|spec| spec["partitions"]["count"] = json!(partitions));
            }
            if now >= joins && now < joins + TICK {
                self.note("agent-3 joins");
                self.agents[AGENTS].want(true);
            }
        }
        self.heal();
        self.come_to_rest()
    }

    fn come_to_rest(&mut self) -> Result<Ended> {
        let mut unrest = anyhow!("nothing was looked at");
        let mut judged_until = None;
        let mut look_at = self.sim.elapsed() + LOOK_EVERY;
        while self.sim.elapsed() < TROUBLE + RESTS_WITHIN {
            self.step()?;
            if self.sim.elapsed() < look_at {
                continue;
            }
            look_at += LOOK_EVERY;
            if self.records.parked() {
                self.note("a new generation sets parked partitions free");
                self.apply(|_| {});
                look_at += LOOK_EVERY * 4;
            }
            if let Err(error) = self.rests() {
                unrest = error;
                continue;
            }
            let Err(wrong) = self.judge.judge(&self.receipts.all(), &self.records) else {
                return Ok(self.ended());
            };
            let now = self.sim.elapsed();
            if now >= *judged_until.get_or_insert(now + PLAYED_WITHIN) {
                return Err(wrong);
            }
            unrest = wrong;
        }
        Err(unrest.context(format!("not at rest {RESTS_WITHIN:?} after all was healed")))
    }

    fn rests(&self) -> Result<()> {
        if let Some(why) = self.records.unrest(self.partitions) {
            return Err(anyhow!(why));
        }
        let playing = self.receipts.playing();
        anyhow::ensure!(playing == 0, "{playing} players still wait for an acknowledgement");
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        self.sim.step().map_err(|error| anyhow!("{error}")).context("a host ended")?;
        let now = self.sim.elapsed();
        let over: Vec<Fault> =
            self.ends.extract_if(.., |(end, _)| *end <= now).map(|(_, fault)| fault).collect();
        for fault in over {
            self.end(fault);
        }
        let revision = self.etcd.look(|store| store.revision());
        if revision != self.revision {
            self.revision = revision;
            let (records, keys) = (&mut self.records, &self.keys);
            self.etcd.look(|store| {
                let entries = store.entries().map(|kv| (kv.key.as_slice(), kv.value.as_slice()));
                records.look(now, keys, entries);
            });
            self.report();
        }
        Ok(())
    }

    /// Keeps what a status would say of partitions, as the API server does.
    fn report(&self) {
        let Some((count, before)) = self.records.cut().split_last() else { return };
        let counts = json!({"count": count, "placed": 0, "moving": 0, "parked": 0});
        let status = json!({"partitions": counts, "cut": {"before": before}});
        self.applied.send_if_modified(|applied| {
            let changed = applied.status != status;
            applied.status = status;
            changed
        });
    }

    fn note(&mut self, what: &str) {
        if self.log.len() == SHOWN {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>8.2}s {what}", self.sim.elapsed().as_secs_f64()));
    }

    fn shown(&self) -> String {
        let mut text = String::from("the last of its schedule:");
        for line in &self.log {
            // writing to a string cannot fail
            let _ = write!(text, "\n  {line}");
        }
        text
    }
}

/// Leases and rounds of different lengths, all short.
fn first_spec(rng: &mut SmallRng) -> Applied {
    let interval = rng.random_range(400..800);
    let spec = json!({
        "heartbeat": {"interval": format!("{interval}ms"), "misses": 5},
        "partitions": {"count": PARTITIONS, "round": "1s", "drain": "3s"},
        "rules": {"cooldown": "0s", "clues": CLUES},
    });
    Applied { generation: 1, spec, status: json!({}) }
}
