//! A steady demand for a hunt: so many events per second of each of a few keys, sent on time
//! whatever the answers are. In: rates by key. Out: how many were taken, and where they went. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config_schemas::PartitionId;
use events::partition_of;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::world::World;

/// Between two requests: short beside everything that is measured.
const TICK: Duration = Duration::from_millis(50);
/// Requests that may wait for their answers: on a machine that cannot keep up, further ones are not
/// sent, and count as refused.
const UNDER_WAY_MAX: usize = 32;

/// Events of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// `move` has to stay in order, `sight` has not.
    pub kind: &'static str,
    /// The player of a `move`, the treasure of a `sight`.
    pub key: String,
    /// Events per second.
    pub per_second: f64,
}

/// What became of it so far.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Events that are durable.
    pub accepted: usize,
    /// Those that somebody was told to send again, or that nobody answered.
    pub refused: usize,
    /// Where events of each key went, and how long after the start the first one went there.
    pub places: BTreeMap<String, BTreeMap<u32, Duration>>,
}

/// A demand; it ends when dropped.
#[derive(Debug)]
pub struct Demand {
    task: JoinHandle<()>,
    taken: Arc<Mutex<Taken>>,
}

/// A player whose partition, of so many, is that one.
pub fn player_of(partition: u32, partitions: u32) -> String {
    let names = (0..).map(|number| format!("player-{number}"));
    let mut of = names.filter(|name| partition_of(name, partitions) == PartitionId(partition));
    of.next().unwrap_or_default()
}

/// `per_second` moves of one player in each partition.
pub fn moves(partitions: u32, per_second: impl Fn(u32) -> f64) -> Vec<Rate> {
    let one =
        |id| Rate { kind: "move", key: player_of(id, partitions), per_second: per_second(id) };
    (0..partitions).map(one).collect()
}

impl Demand {
    /// Begins, through all agents of the world in turn; `name` tells its events from another's.
    pub fn start(world: &World, name: &str, rates: Vec<Rate>) -> Demand {
        let ports: Vec<u16> = world.agents.iter().map(|agent| agent.http).collect();
        let taken = Arc::new(Mutex::new(Taken::default()));
        let (http, noted, name) = (world.http.clone(), taken.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            let mut due = vec![0.0; rates.len()];
            let (mut sent, began) = (0_usize, Instant::now());
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut last = began;
            let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
            for turn in 0.. {
                let now = ticks.tick().await;
                let passed = now.duration_since(last).as_secs_f64();
                last = now;
                let (mut lines, mut keys) = (String::new(), Vec::new());
                for (rate, due) in rates.iter().zip(&mut due) {
                    *due += rate.per_second * passed;
                    while *due >= 1.0 {
                        *due -= 1.0;
                        sent += 1;
                        lines += &(event(rate, &format!("{name}-{sent}")).to_string() + "\n");
                        keys.push(rate.key.clone());
                    }
                }
                if keys.is_empty() {
                    continue;
                }
                let Ok(permit) = room.clone().try_acquire_owned() else {
                    note(&noted, &keys, "", began.elapsed());
                    continue;
                };
                // On time: an answer that takes long must not slow the demand down.
                let (http, port) = (http.clone(), ports[turn % ports.len()]);
                let noted = noted.clone();
                tokio::spawn(async move {
                    let answer = http.post(port, "/v1/events", lines).await;
                    let text = answer.map(|(_, text)| text).unwrap_or_default();
                    note(&noted, &keys, &text, began.elapsed());
                    drop(permit);
                });
            }
        });
        Demand { task, taken }
    }

    /// What became of it so far.
    pub fn taken(&self) -> Taken {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where events of `key` went so far.
    pub fn places(&self, key: &str) -> BTreeSet<u32> {
        self.taken().places.get(key).into_iter().flatten().map(|(id, _)| *id).collect()
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn event(rate: &Rate, id: &str) -> Json {
    match rate.kind {
        "sight" => json!({"id": id, "kind": "sight", "player": id, "treasure": rate.key}),
        kind => json!({"id": id, "kind": kind, "player": rate.key}),
    }
}

fn note(taken: &Mutex<Taken>, keys: &[String], answers: &str, after: Duration) {
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let answers: Vec<Json> =
        answers.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (index, key) in keys.iter().enumerate() {
        let place = answers.get(index).and_then(|answer| answer["partition"].as_u64());
        match place.and_then(|place| u32::try_from(place).ok()) {
            Some(place) => {
                taken.accepted += 1;
                taken.places.entry(key.clone()).or_default().entry(place).or_insert(after);
            }
            None => taken.refused += 1,
        }
    }
}
