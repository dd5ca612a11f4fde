//! How a hunt's topics stand, for its status, and what is told of the steps that were taken. In: a
//! look and its plan, or why there was none. Out: a verdict in words, notes. Pure.

use std::collections::BTreeSet;

use config_schemas::HuntName;
use crds::Truth;

use super::admin::AdminError;
use super::plan::{Change, Plan, Progress, Step, Trouble};
use crate::evaluate::list;
use crate::plan::Note;

/// How a hunt's topics stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The cluster that answers, if one does.
    pub cluster: Option<String>,
    /// Whether all topics are as wanted.
    pub truth: Truth,
    /// Why, as a word.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub message: String,
    /// Partitions that every topic has, as far as they were looked at.
    pub partitions: Option<u32>,
    /// Partitions that are still to be copied or are being copied.
    pub moves_left: usize,
    /// A person should look at it.
    pub is_trouble: bool,
    /// The topics are deleted, as was asked for.
    pub removed: bool,
}

impl Standing {
    /// Reasons for which topics are not ready yet, and nobody needs to look at it.
    pub const UNDER_WAY: [&'static str; 5] =
        ["Binding", "Deleting", "Looking", "Moving", "Settling"];

    /// Nobody has looked yet.
    pub fn looking() -> Standing {
        let message = "the cluster has not been asked yet".to_owned();
        let standing = Standing::trouble(None, "Looking", message);
        Standing { truth: Truth::Unknown, is_trouble: false, ..standing }
    }

    fn trouble(cluster: Option<String>, reason: &'static str, message: String) -> Standing {
        Standing {
            cluster,
            truth: Truth::False,
            reason,
            message,
            partitions: None,
            moves_left: 0,
            is_trouble: true,
            removed: false,
        }
    }

    /// The cluster could not be asked.
    pub fn unreachable(error: &AdminError) -> Standing {
        let reason = match error {
            AdminError::Unreachable { .. } => "Unreachable",
            AdminError::Login { .. } => "WrongPassword",
            AdminError::Certificate { .. } => "Certificate",
            AdminError::NoClient { .. } => "NoClient",
            AdminError::Refused { .. } => "Refused",
            AdminError::Busy { .. } => "Busy",
        };
        Standing::trouble(None, reason, error.to_string())
    }

    /// There is no way to connect.
    pub fn no_access(message: String) -> Standing {
        Standing::trouble(None, "NoAccess", message)
    }

    /// Another cluster answers than the one that has the hunt's topics.
    pub fn wrong_cluster(found: &str, bound: &str) -> Standing {
        let message = format!(
            "that is the cluster {found}, and the hunt's topics are in {bound}; nothing is done there"
        );
        Standing::trouble(Some(found.to_owned()), "WrongCluster", message)
    }

    /// Another hunt has one of the topics.
    pub fn taken(cluster: &str, topic: &str, by: &HuntName) -> Standing {
        let message = format!(
            "{topic} is a topic of the hunt {by}; each hunt needs its own, and nothing is done here"
        );
        Standing::trouble(Some(cluster.to_owned()), "TopicTaken", message)
    }

    /// It is not known yet whether this cluster is the hunt's.
    pub fn unbound(cluster: &str) -> Standing {
        Standing::waits(cluster, "Binding", format!("cluster {cluster} is to have the topics"))
    }

    /// The topics are being deleted, or are gone.
    pub fn removing(cluster: &str, removed: bool) -> Standing {
        let standing = Standing::waits(cluster, "Deleting", "topics are being deleted".to_owned());
        Standing { removed, ..standing }
    }

    /// The same, said with the topics that stay because other hunts name them.
    #[must_use]
    pub fn sparing(self, spared: &BTreeSet<String>) -> Standing {
        if spared.is_empty() {
            return self;
        }
        let spared: Vec<&str> = spared.iter().map(String::as_str).collect();
        let message = format!("{}; other hunts name {}: kept", self.message, list(&spared));
        Standing { message, ..self }
    }

    fn waits(cluster: &str, reason: &'static str, message: String) -> Standing {
        let cluster = Some(cluster.to_owned());
        Standing { is_trouble: false, ..Standing::trouble(cluster, reason, message) }
    }

    /// What a plan means.
    pub fn of(cluster: &str, topics: usize, plan: &Plan) -> Standing {
        let moves_left = plan.progress.iter().map(left).sum();
        let strays: Vec<String> =
            plan.strays.iter().map(|s| stray(&s.topic, &s.key, &s.value)).collect();
        let strays: Vec<&str> = strays.iter().map(String::as_str).collect();
        let beside = if strays.is_empty() {
            String::new()
        } else {
            format!("; set by others and left alone: {}", list(&strays))
        };
        if plan.is_settled() {
            let message = format!("{topics} topics are as declared in cluster {cluster}{beside}");
            let standing = Standing::waits(cluster, "AsDeclared", message);
            return Standing { truth: Truth::True, ..standing };
        }
        let gravest = plan.troubles.iter().max_by_key(|trouble| gravity(trouble));
        let mut said: Vec<String> = plan.troubles.iter().map(trouble_said).collect();
        said.extend(plan.progress.iter().map(progress_said));
        if said.is_empty() {
            said.extend(plan.steps.iter().map(step_said));
        }
        if said.is_empty() {
            said.push("waiting until the cluster shows what it has taken".to_owned());
        }
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let moves = plan.progress.iter().any(|it| !matches!(it, Progress::Busy { .. }));
        let reason = match gravest {
            Some(trouble) => trouble_reason(trouble),
            None if moves => "Moving",
            None => "Settling",
        };
        let standing = Standing::waits(cluster, reason, format!("{}{beside}", list(&said)));
        Standing { moves_left, is_trouble: gravest.is_some(), ..standing }
    }
}

/// What is told of a step that the cluster has taken.
pub fn told(step: &Step) -> Vec<Note> {
    match step {
        Step::Create { topic, replicas, .. } => {
            let count = replicas.len();
            let copies = replicas.first().map_or(0, Vec::len);
            let text = format!("{topic} is made, with {count} partitions of {copies} replicas");
            vec![Note::normal("TopicMade", topic.clone(), text)]
        }
        Step::Raise { topic, from, to } => {
            let text = format!("{topic} has {to} partitions now, {from} before");
            vec![Note::normal("PartitionsRaised", topic.clone(), text)]
        }
        Step::Configure { topic, changes } => {
            changes.iter().map(|change| change_told(topic, change)).collect()
        }
        Step::Move(moves) => {
            let spots: Vec<String> = moves.keys().map(ToString::to_string).collect();
            let spots: Vec<&str> = spots.iter().map(String::as_str).collect();
            let text = format!("replicas move: {}", list(&spots));
            let topics: BTreeSet<&str> = moves.keys().map(|spot| spot.topic.as_str()).collect();
            let about = topics.first().copied().unwrap_or_default();
            vec![Note::normal("ReplicasMove", about, text)]
        }
        Step::Cancel(spots) => {
            let first = spots.first().map(|spot| spot.topic.clone()).unwrap_or_default();
            let spots: Vec<String> = spots.iter().map(ToString::to_string).collect();
            let spots: Vec<&str> = spots.iter().map(String::as_str).collect();
            let text = format!("moves to a broker that stays away are given up: {}", list(&spots));
            vec![Note::warning("MovesGivenUp", first, text)]
        }
        Step::Elect(spots) => {
            let first = spots.first().map(|spot| spot.topic.clone()).unwrap_or_default();
            let text = format!("{} partitions are led by their first replica again", spots.len());
            vec![Note::normal("LeadersElected", first, text)]
        }
    }
}

fn change_told(topic: &str, change: &Change) -> Note {
    let Change { key, was, to, by_hand } = change;
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
    let (was, to) = (value(was), value(to));
    let about = format!("{topic} {key}");
    if *by_hand {
        let text = format!("{topic}: {key} was changed by hand to {was} and is put back to {to}");
        return Note::warning("TopicPutBack", about, text);
    }
    Note::normal("TopicConfigured", about, format!("{topic}: {key} is {to} now, {was} before"))
}

fn step_said(step: &Step) -> String {
    match step {
        Step::Create { topic, .. } => format!("{topic} is to be made"),
        Step::Raise { topic, from, to } => format!("{topic} goes from {from} to {to} partitions"),
        Step::Configure { topic, changes } => {
            let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
            format!("{topic}: {} to be set", list(&keys))
        }
        Step::Cancel(spots) => format!("{} partitions stay where they are", spots.len()),
        Step::Move(moves) => format!("{} partitions are to move", moves.len()),
        Step::Elect(spots) => format!("{} partitions get back their first leader", spots.len()),
    }
}

fn progress_said(progress: &Progress) -> String {
    match progress {
        Progress::Replicas { topic, wanted, done, of, under_way } => format!(
            "{topic}: {done} of {of} partitions have {wanted} replicas, {under_way} under way"
        ),
        Progress::Spreading { topic, under_way } => {
            format!("{topic}: {under_way} partitions move to even the load out")
        }
        Progress::InSyncWaits { topic, wanted, has } => format!(
            "{topic}: min.insync.replicas={wanted} waits for replicas, a partition has {has}"
        ),
        Progress::Busy { what, why } => format!("{what}: not now: {why}"),
    }
}

fn left(progress: &Progress) -> usize {
    match progress {
        Progress::Replicas { done, of, .. } => of - done,
        Progress::Spreading { under_way, .. } => *under_way,
        Progress::InSyncWaits { .. } | Progress::Busy { .. } => 0,
    }
}

/// The gravest says what the condition's reason is.
fn gravity(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::NoLeader { .. } => 4,
        Trouble::TooFewBrokers { .. } => 3,
        Trouble::Refused { .. } => 2,
        Trouble::TooManyPartitions { .. } => 1,
        Trouble::BrokerAway { .. } => 0,
    }
}

fn trouble_reason(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::NoLeader { .. } => "NoLeader",
        Trouble::TooFewBrokers { .. } => "TooFewBrokers",
        Trouble::Refused { .. } => "Refused",
        Trouble::TooManyPartitions { .. } => "TooManyPartitions",
        Trouble::BrokerAway { .. } => "BrokerAway",
    }
}

fn trouble_said(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Refused { what, why } => format!("{what}: the cluster refuses: {why}"),
        Trouble::TooFewBrokers { topic, wanted, brokers } => {
            format!("{topic}: {wanted} replicas are wanted, and {brokers} brokers serve")
        }
        Trouble::TooManyPartitions { topic, has, wanted } => {
            format!("{topic} has {has} partitions, and {wanted} are wanted: Kafka takes none away")
        }
        Trouble::NoLeader { topic, partitions } => {
            format!("{topic}: nobody leads {partitions} partitions")
        }
        Trouble::BrokerAway { broker, topic, replicas } => {
            format!("broker {broker} is away, and with it {replicas} replicas of {topic}")
        }
    }
}

/// What somebody else wrote is shown short and escaped.
fn stray(topic: &str, key: &str, value: &str) -> String {
    format!("{topic}: {key}={}", config_schemas::excerpt(value))
}
