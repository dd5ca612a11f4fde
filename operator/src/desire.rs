//! What a resource asks for, checked again: rules of the API server can be off, and a directory
//! has none. In: the resource and what is running. Out: what to run, or all that is wrong. Pure.

use config_schemas::{BrokerKind, Generation, Problem, Values, excerpt};
use crds::{TreasureHuntSpec, asks, changed_fixed};
use serde_json::{Map, Value as Json};

use crate::state::{HuntView, Observed};

/// What a resource asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Desire {
    /// To run this.
    Run(Wanted),
    /// Something that cannot be; the running configuration stays.
    Refuse(Refusal),
    /// To be gone.
    Remove {
        /// Live edits stay.
        retain: bool,
        /// Topics in Kafka go.
        topics: bool,
    },
}

/// A valid generation of a hunt.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Which generation.
    pub generation: Generation,
    /// The resource's own id.
    pub uid: String,
    /// What the resource names.
    pub values: Values,
    /// Partitions of the hunt.
    pub partitions: u32,
    /// What keeps its events.
    pub broker: BrokerKind,
    /// Generations to keep.
    pub history: usize,
    /// Agents that the hunt is planned for, if it says so.
    pub agents: Option<usize>,
    /// Sections and fields that do not exist; they change nothing and are reported.
    pub unknown: Vec<Problem>,
}

/// Why a resource is not accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// As a word.
    pub reason: &'static str,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// What the resource asks for, judged against what runs.
pub fn desire(observed: &Observed, view: &HuntView<'_>) -> Desire {
    let spec = observed.spec();
    if observed.deleting {
        let topics = spec.as_ref().is_ok_and(|spec| !spec.keeps_topics());
        let retain = spec.is_ok_and(|spec| spec.keeps_edits());
        return Desire::Remove { retain, topics };
    }
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => return refuse("Undecodable", vec![undecodable(observed, &error)]),
    };
    if let Some(problem) = older(observed, view) {
        return refuse("OlderGeneration", vec![problem]);
    }
    let read = asks(&spec);
    let mut problems = read.problems;
    problems.extend(fixed(&read.values, observed, view));
    if !problems.is_empty() {
        problems.extend(read.unknown);
        return refuse("Invalid", problems);
    }
    Desire::Run(Wanted {
        generation: observed.generation,
        uid: observed.uid.clone(),
        partitions: partitions(&read.values),
        broker: config_schemas::Config::from_values(&read.values).broker.kind,
        history: spec.kept(),
        agents: planned_agents(&spec),
        values: read.values,
        unknown: read.unknown,
    })
}

impl Wanted {
    /// The document's `config`: one form for one set of values, whatever way the person wrote
    /// them, so that the same wish gives the same bytes.
    pub fn config(&self) -> Map<String, Json> {
        let mut config = Map::new();
        for (path, value) in &self.values {
            let section = config.entry(path.section()).or_insert_with(|| Json::Object(Map::new()));
            section[path.name()] = value.to_json();
        }
        config
    }
}

fn refuse(reason: &'static str, problems: Vec<Problem>) -> Desire {
    Desire::Refuse(Refusal { reason, problems })
}

fn undecodable(observed: &Observed, error: &str) -> Problem {
    Problem {
        field: "spec".to_owned(),
        value: excerpt(&observed.spec),
        allowed: format!("what this version can read ({})", excerpt(error)),
    }
}

/// A source that lags behind etcd shows an older generation of the same resource.
fn older(observed: &Observed, view: &HuntView<'_>) -> Option<Problem> {
    view.meta.value().filter(|meta| meta.uid == observed.uid)?;
    let stable = view.rollout.value()?.stable;
    let written = view.desired.get(&stable)?.value()?;
    (stable > observed.generation && written.uid == observed.uid).then(|| Problem {
        field: "metadata.generation".to_owned(),
        value: observed.generation.to_string(),
        allowed: format!("at least {stable}, which already runs; generations only rise"),
    })
}

fn planned_agents(spec: &TreasureHuntSpec) -> Option<usize> {
    usize::try_from(spec.agents.as_ref()?.replicas?).ok()
}

/// Fixed settings that differ from the newest older generation of the same resource.
fn fixed(values: &Values, observed: &Observed, view: &HuntView<'_>) -> Vec<Problem> {
    let before = view.desired.range(..observed.generation).rev().find_map(|(_, slot)| {
        slot.value().filter(|document| document.uid == observed.uid).map(|d| d.values().0)
    });
    before.map_or_else(Vec::new, |before| changed_fixed(&before, values))
}

fn partitions(values: &Values) -> u32 {
    let count = config_schemas::Config::from_values(values).partitions.count;
    // The table bounds it far below.
    u32::try_from(count).unwrap_or(u32::MAX)
}
