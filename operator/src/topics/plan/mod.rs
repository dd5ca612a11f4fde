//! What to do next so that a hunt's topics become as wanted, decided: bounded steps in order, and
//! what stands in the way. In: what is wanted, what was seen, what is remembered. Out: a plan that
//! leaves no choice to whoever carries it out; on what it brings about, it ends in no steps. Pure.

mod balance;
mod configs;
mod leaders;
mod loads;
mod memory;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::seen::{BrokerId, Seen, Spot};
use super::wanted::{TopicWanted, TopicsWanted};
use loads::Loads;
pub use memory::{Memory, Refusal, What};
pub(crate) use replicas::said;

/// Partitions of a hunt that are copied at the same time: each copy takes bandwidth and disk from
/// the events that go on.
pub const MOVES_MAX: usize = 4;
/// And no more are begun for so long after some were, to bring partitions to another number of
/// replicas. The controller answers to brokers that they are alive behind all that it has to write
/// down of moves: where small partitions followed each other as fast as they arrived, those answers
/// came late by more than a second, and a broker that gets none counts as dead, whose partitions stop.
pub const MOVES_EVERY: Duration = Duration::from_secs(1);
/// Leaders elected in one step: each makes its producers wait for some milliseconds.
pub const ELECTIONS_MAX: usize = 64;
/// Partitions that one step adds: a controller writes them in one batch.
pub const RAISE_MAX: u32 = 256;

/// What to do next, and what is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order; one that fails does not stand in the way of the others.
    pub steps: Vec<Step>,
    /// What keeps topics from being as wanted.
    pub troubles: Vec<Trouble>,
    /// What takes its time.
    pub progress: Vec<Progress>,
    /// Settings of the hunt's topics that somebody made and the hunt does not name: left alone.
    pub strays: Vec<Stray>,
    /// Things that the cluster has taken and does not show yet.
    pub unseen: usize,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A topic, with its settings; who has each partition, the first to lead it.
    Create {
        /// Its name.
        topic: String,
        /// By the partition's number.
        replicas: Vec<Vec<BrokerId>>,
        /// By Kafka's names.
        configs: BTreeMap<String, String>,
    },
    /// More partitions, placed by Kafka for now.
    Raise {
        /// Of which topic.
        topic: String,
        /// How many there are.
        from: u32,
        /// How many there are to be.
        to: u32,
    },
    /// Settings of one topic: all of them, or none when one is refused.
    Configure {
        /// Of which topic.
        topic: String,
        /// Each key once.
        changes: Vec<Change>,
    },
    /// Moves that are given up: their partitions stay where they were.
    Cancel(BTreeSet<Spot>),
    /// Partitions to other brokers, or in another order.
    Move(BTreeMap<Spot, Vec<BrokerId>>),
    /// Partitions whose first replica is to lead again.
    Elect(BTreeSet<Spot>),
}

/// One setting of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// By Kafka's name.
    pub key: String,
    /// What was set for this topic.
    pub was: Option<String>,
    /// What is to be; taken away when `None`.
    pub to: Option<String>,
    /// Somebody else had changed what we had set.
    pub by_hand: bool,
}

/// What keeps a topic from being as wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The cluster said no.
    Refused {
        /// To what, for people.
        what: String,
        /// In its own words.
        why: String,
    },
    /// More replicas are wanted than there are brokers.
    TooFewBrokers {
        /// Of which topic.
        topic: String,
        /// Replicas that are wanted.
        wanted: u16,
        /// Brokers that serve.
        brokers: usize,
    },
    /// Fewer partitions are wanted than there are. Kafka takes none away.
    TooManyPartitions {
        /// Of which topic.
        topic: String,
        /// How many there are.
        has: u32,
        /// How many are wanted.
        wanted: u32,
    },
    /// Partitions that nobody leads.
    NoLeader {
        /// Of which topic.
        topic: String,
        /// How many.
        partitions: usize,
    },
    /// A broker is away that holds replicas of this topic.
    BrokerAway {
        /// Which.
        broker: BrokerId,
        /// Of which topic.
        topic: String,
        /// How many replicas.
        replicas: usize,
    },
}

/// Something that takes its time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Replicas on their way to the wanted number.
    Replicas {
        /// Of which topic.
        topic: String,
        /// How many replicas each partition is to have.
        wanted: u16,
        /// Partitions that have them.
        done: usize,
        /// Of so many.
        of: usize,
        /// Of the others, partitions that are being copied.
        under_way: usize,
    },
    /// Replicas on their way to other brokers, for an even load.
    Spreading {
        /// Of which topic.
        topic: String,
        /// Partitions that are being copied or are about to be.
        under_way: usize,
    },
    /// A setting that waits for replicas.
    InSyncWaits {
        /// Of which topic.
        topic: String,
        /// In-sync replicas that are wanted.
        wanted: usize,
        /// The fewest that a partition has.
        has: usize,
    },
    /// What the cluster cannot do just now, and is asked for again.
    Busy {
        /// What, for people.
        what: String,
        /// In its own words.
        why: String,
    },
}

/// A setting that the hunt does not name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Of which topic.
    pub topic: String,
    /// By Kafka's name.
    pub key: String,
    /// What somebody set.
    pub value: String,
}

impl Step {
    /// As in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::Create { .. } => "create",
            Step::Raise { .. } => "raise",
            Step::Configure { .. } => "configure",
            Step::Cancel(_) => "cancel",
            Step::Move(_) => "move",
            Step::Elect(_) => "elect",
        }
    }
}

impl Plan {
    /// Whether all is as wanted.
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty()
            && self.troubles.is_empty()
            && self.progress.is_empty()
            && self.unseen == 0
    }
}

/// The next steps.
pub fn plan(wanted: &TopicsWanted, seen: &Seen, memory: &Memory, now: Instant) -> Plan {
    let mut plan = Plan::default();
    let mut loads = Loads::of(seen);
    for topic in &wanted.topics {
        match seen.topics.get(&topic.name) {
            None => create(topic, seen, memory, now, &mut loads, &mut plan),
            Some(found) => {
                raise(topic, found.count(), memory, now, &mut plan);
                configs::configure(topic, found, memory, now, &mut plan);
                standing(topic, seen, &mut plan);
            }
        }
    }
    let cancel = replicas::hopeless(seen, memory, now);
    if !cancel.is_empty() {
        plan.steps.push(Step::Cancel(cancel));
    }
    let moves = replicas::moves(wanted, (seen, memory), now, loads, &mut plan);
    if !moves.is_empty() {
        plan.steps.push(Step::Move(moves));
    }
    let elect = leaders::astray(seen, memory, now);
    if !elect.is_empty() {
        plan.steps.push(Step::Elect(elect));
    }
    plan.troubles.extend(memory.troubles(wanted, now));
    plan.progress.extend(memory.busy_with(wanted, now));
    plan.unseen = memory.unseen();
    plan
}

fn create(
    topic: &TopicWanted,
    seen: &Seen,
    memory: &Memory,
    now: Instant,
    loads: &mut Loads<'_>,
    plan: &mut Plan,
) {
    let brokers = seen.brokers.len();
    if brokers < usize::from(topic.replicas) {
        let (topic, wanted) = (topic.name.clone(), topic.replicas);
        plan.troubles.push(Trouble::TooFewBrokers { topic, wanted, brokers });
        return;
    }
    // Refused settings follow one by one, so that the others do not wait for them.
    let configs = if memory.is_singly(&topic.name) {
        configs::without_which_none(topic)
    } else {
        topic.configs.clone()
    };
    if !memory.may_try(&What::Create(topic.name.clone()), &format!("{configs:?}"), now) {
        return;
    }
    let place = |_| loads.place(&topic.name, topic.replicas);
    let replicas = (0..topic.partitions).map(place).collect();
    plan.steps.push(Step::Create { topic: topic.name.clone(), replicas, configs });
}

fn raise(topic: &TopicWanted, has: u32, memory: &Memory, now: Instant, plan: &mut Plan) {
    let (name, wanted) = (topic.name.clone(), topic.partitions);
    if has > wanted {
        plan.troubles.push(Trouble::TooManyPartitions { topic: name, has, wanted });
    } else if has < wanted {
        let to = wanted.min(has + RAISE_MAX);
        if memory.may_try(&What::Raise(name.clone()), &to.to_string(), now) {
            plan.steps.push(Step::Raise { topic: name, from: has, to });
        }
    }
}

/// What nobody can mend from here.
fn standing(topic: &TopicWanted, seen: &Seen, plan: &mut Plan) {
    let Some(found) = seen.topics.get(&topic.name) else { return };
    let leaderless = found.partitions.iter().filter(|p| p.leader.is_none()).count();
    if leaderless > 0 {
        let topic = topic.name.clone();
        plan.troubles.push(Trouble::NoLeader { topic, partitions: leaderless });
    }
    let mut away: BTreeMap<BrokerId, usize> = BTreeMap::new();
    let replicas = found.partitions.iter().flat_map(|partition| &partition.replicas);
    for broker in replicas.filter(|broker| !seen.serves(**broker)) {
        *away.entry(*broker).or_default() += 1;
    }
    let told = away.into_iter().map(|(broker, replicas)| Trouble::BrokerAway {
        broker,
        topic: topic.name.clone(),
        replicas,
    });
    plan.troubles.extend(told);
}

#[cfg(test)]
#[path = "plan_tests/mod.rs"]
mod tests;
