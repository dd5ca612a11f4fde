//! Watches what agents run, all the time, while a test hurts the servers. In: the agents' ports.
//! Out: each different thing that each agent ran, in order. I/O; what it means is `Record`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::http::Http;
use crate::world::World;

/// How often each agent is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// What an agent ran at some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The generation, `None` for defaults.
    pub generation: Option<u64>,
    /// Every field's value.
    pub values: BTreeMap<String, Json>,
}

/// What each agent ran, one entry per change.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// By the agent's name.
    pub agents: BTreeMap<String, Vec<Ran>>,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recorder {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<(String, Vec<Ran>)>>,
}

impl Recorder {
    /// Begins to watch every agent of the world.
    pub fn start(world: &World) -> Recorder {
        let stop = CancellationToken::new();
        let tasks = world.agents.iter().map(|agent| {
            let (name, port, stop) = (agent.name.clone(), agent.http, stop.clone());
            tokio::spawn(async move { (name, watch(port, stop).await) })
        });
        Recorder { tasks: tasks.collect(), stop }
    }

    /// Ends it; what was seen.
    pub async fn finish(self) -> Record {
        self.stop.cancel();
        let mut record = Record::default();
        for task in self.tasks {
            if let Ok((name, ran)) = task.await {
                record.agents.insert(name, ran);
            }
        }
        record
    }
}

async fn watch(port: u16, stop: CancellationToken) -> Vec<Ran> {
    let http = Http::default();
    let mut tick = interval(ASK_EVERY);
    let mut seen: Vec<Ran> = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return seen,
            _ = tick.tick() => {}
        }
        // An agent that is killed or frozen says nothing, which is no statement about what it runs.
        let Ok(config) = http.json(port, "/config").await else { continue };
        let ran = ran(&config);
        if seen.last() != Some(&ran) {
            seen.push(ran);
        }
    }
}

fn ran(config: &Json) -> Ran {
    let fields = config["fields"].as_object().into_iter().flatten();
    Ran {
        generation: config["generation"].as_u64(),
        values: fields.map(|(field, claim)| (field.clone(), claim["value"].clone())).collect(),
    }
}

impl Record {
    /// Every time that an agent went back to an older generation, or to none.
    pub fn steps_back(&self) -> Vec<String> {
        let of = |(name, ran): (&String, &Vec<Ran>)| {
            let back = |pair: &[Ran]| {
                let (from, to) = (pair[0].generation, pair[1].generation);
                (to < from).then(|| format!("{name}: generation {from:?}, then {to:?}"))
            };
            ran.windows(2).filter_map(back).collect::<Vec<_>>()
        };
        self.agents.iter().flat_map(of).collect()
    }

    /// The values that the field had on any agent, in the order of their first sight, per agent.
    pub fn values(&self, field: &str) -> BTreeMap<&str, Vec<&Json>> {
        let mut all = BTreeMap::new();
        for (name, ran) in &self.agents {
            let mut values: Vec<&Json> =
                ran.iter().filter_map(|ran| ran.values.get(field)).collect();
            values.dedup();
            all.insert(name.as_str(), values);
        }
        all
    }

    /// Fails unless every agent was seen and no agent ever ran something older, or a value of
    /// `field` that is not among `allowed`.
    pub fn check(&self, field: &str, allowed: &[Json]) -> anyhow::Result<()> {
        let back = self.steps_back();
        anyhow::ensure!(back.is_empty(), "older generations were applied: {back:?}");
        for (name, values) in self.values(field) {
            anyhow::ensure!(!values.is_empty(), "{name} was never seen");
            let odd: Vec<_> = values.iter().filter(|value| !allowed.contains(value)).collect();
            anyhow::ensure!(
                odd.is_empty(),
                "{name} ran {field} = {values:?}, allowed: {allowed:?}"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(generations: &[Option<u64>]) -> Record {
        let ran = |generation: &Option<u64>| {
            let values = [("buffers.events".to_owned(), json!(7))].into();
            Ran { generation: *generation, values }
        };
        Record { agents: [("a".to_owned(), generations.iter().map(ran).collect())].into() }
    }

    #[test]
    fn a_step_back_is_seen_and_so_is_a_value_that_nobody_allowed() {
        let check = |generations: &[Option<u64>], allowed: u64, good: bool| {
            let checked = record(generations).check("buffers.events", &[json!(allowed)]);
            assert_eq!(checked.is_ok(), good, "{generations:?}: {checked:?}");
        };
        check(&[None, Some(1), Some(1), Some(3)], 7, true);
        check(&[Some(2), Some(1), Some(2)], 7, false);
        check(&[Some(2), None], 7, false);
        check(&[Some(2)], 8, false);
        check(&[], 7, false);
    }
}
