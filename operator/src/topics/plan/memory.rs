//! What has to be remembered between two looks at a cluster, because the present one does not show
//! it: what we had set, what was refused and when to try again, since when leaders are astray and
//! brokers are waited for. A fold over looks and answers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::super::seen::{BrokerId, Seen, Spot};
use super::super::wanted::TopicsWanted;
use super::{MOVES_EVERY, Progress, Trouble, said};

/// What was refused is tried again after this, then after twice as long, and so on: a person may
/// have given a permission or added a broker meanwhile.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// No longer than this.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// What the cluster cannot do just now is tried again every [`RETRY_MIN`], and told as refused only
/// after this: elections and throttling are over by then.
const BUSY_FOR: Duration = Duration::from_secs(20);
/// What the cluster has taken shows at the next look, or a little later: brokers hear of it at
/// different times, and each look may ask another one. After so long it is done again.
const ECHO_WITHIN: Duration = Duration::from_secs(3);

/// Something that can be refused by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A new topic.
    Create(String),
    /// More partitions.
    Raise(String),
    /// One setting of a topic.
    Config(String, String),
    /// Other replicas of a partition.
    Move(Spot),
    /// No other replicas of a partition.
    Cancel(Spot),
    /// Another leader of a partition.
    Elect(Spot),
}

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried, so that another try at something else need not wait.
    pub tried: String,
    /// It is about a setting.
    pub of_setting: bool,
    /// In the cluster's words.
    pub why: String,
}

/// What is remembered of one hunt's topics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Settings that stood as they were wanted, by topic and key.
    stood: BTreeMap<(String, String), String>,
    refused: BTreeMap<What, Refused>,
    /// What was taken and has not been seen yet: what, and when.
    taken: BTreeMap<What, (String, Instant)>,
    /// Topics of which a setting was refused among others, since when: theirs go one by one.
    singly: BTreeMap<String, Instant>,
    /// Since when partitions could be led by who is to lead them, and are not.
    astray: BTreeMap<Spot, Instant>,
    /// Since when brokers are away that partitions move to.
    awaited: BTreeMap<BrokerId, Instant>,
    /// When the cluster took the last move.
    moved: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    refusal: Refusal,
    times: u32,
    again_at: Instant,
    /// Since when the cluster says that it cannot do so just now; it does not say no.
    busy_since: Option<Instant>,
}

impl Memory {
    /// Takes a look in, before a plan is made of it.
    pub fn see(&mut self, wanted: &TopicsWanted, seen: &Seen, now: Instant) {
        for topic in &wanted.topics {
            let Some(found) = seen.topics.get(&topic.name) else { continue };
            let as_wanted =
                |(key, value): &(&String, &String)| found.configs.get(*key) == Some(value);
            for (key, value) in topic.configs.iter().filter(as_wanted) {
                self.stood.insert((topic.name.clone(), key.clone()), value.clone());
            }
        }
        let names: BTreeSet<&str> = wanted.names().collect();
        self.stood.retain(|(topic, _), _| names.contains(topic.as_str()));
        self.refused.retain(|what, refused| {
            names.contains(what.topic()) && !shows(seen, what, &refused.refusal.tried)
        });
        self.taken.retain(|what, (tried, at)| {
            names.contains(what.topic())
                && !shows(seen, what, tried)
                && now.saturating_duration_since(*at) < ECHO_WITHIN
        });
        let is_refused = |topic: &String| {
            self.refused.keys().any(|what| matches!(what, What::Config(t, _) if t == topic))
        };
        self.singly.retain(|topic, since| {
            names.contains(topic.as_str())
                && (is_refused(topic) || now.saturating_duration_since(*since) < RETRY_MAX)
        });
        let astray = super::leaders::could_return(seen);
        self.astray.retain(|spot, _| astray.contains(spot));
        for spot in astray {
            self.astray.entry(spot).or_insert(now);
        }
        let awaited = seen.awaited();
        self.awaited.retain(|broker, _| awaited.contains(broker));
        for broker in awaited {
            self.awaited.entry(broker).or_insert(now);
        }
    }

    /// The cluster took it.
    pub fn taken(&mut self, what: What, tried: String, now: Instant) {
        self.refused.remove(&what);
        if matches!(what, What::Move(_)) {
            self.moved = Some(now);
        }
        self.taken.insert(what, (tried, now));
    }

    /// The cluster said no.
    pub fn refused(&mut self, what: What, refusal: Refusal, now: Instant) {
        let before = self.refused.get(&what).filter(|r| r.refusal.tried == refusal.tried);
        let times = before.map_or(0, |refused| refused.times) + 1;
        let again_at = now + (RETRY_MIN * (1 << times.min(6) >> 1)).min(RETRY_MAX);
        self.refused.insert(what, Refused { refusal, times, again_at, busy_since: None });
    }

    /// The cluster said not now.
    pub fn busy(&mut self, what: What, refusal: Refusal, now: Instant) {
        let before = self.refused.get(&what).filter(|r| r.refusal.tried == refusal.tried);
        let times = before.map_or(0, |refused| refused.times);
        let busy_since = before.and_then(|refused| refused.busy_since).or(Some(now));
        let again_at = now + RETRY_MIN;
        self.refused.insert(what, Refused { refusal, times, again_at, busy_since });
    }

    /// One of several settings of the topic was refused, nobody knows which.
    pub fn go_singly(&mut self, topic: &str, now: Instant) {
        self.singly.insert(topic.to_owned(), now);
    }

    /// Whether the topic's settings go one by one.
    pub(super) fn is_singly(&self, topic: &str) -> bool {
        self.singly.contains_key(topic)
    }

    /// Whether that may be tried now: not while it was just taken, nor soon after it was refused.
    /// Something else than what was tried always may.
    pub(super) fn may_try(&self, what: &What, tried: &str, now: Instant) -> bool {
        let refused = self.refused.get(what).filter(|refused| refused.refusal.tried == tried);
        refused.is_none_or(|refused| refused.again_at <= now)
            && self.taken.get(what).is_none_or(|(taken, _)| taken != tried)
    }

    /// Things that were taken and are not seen yet.
    pub(super) fn unseen(&self) -> usize {
        self.taken.len()
    }

    /// The value with which a setting last stood as it was wanted.
    pub(super) fn stood(&self, topic: &str, key: &str) -> Option<&str> {
        self.stood.get(&(topic.to_owned(), key.to_owned())).map(String::as_str)
    }

    /// Settings of a topic that we had set, with their values.
    pub(super) fn had_set<'a>(
        &'a self,
        topic: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let of_topic = self.stood.iter().filter(move |((t, _), _)| t == topic);
        of_topic.map(|((_, key), value)| (key.as_str(), value.as_str()))
    }

    /// Since when the partition could be led by its first replica, and is not.
    pub(super) fn since_astray(&self, spot: &Spot) -> Option<Instant> {
        self.astray.get(spot).copied()
    }

    /// Whether something is about to be done that only time is wanting for.
    pub fn is_restless(&self) -> bool {
        !self.astray.is_empty()
    }

    /// Since when a broker is away that partitions move to.
    pub(super) fn since_awaited(&self, broker: BrokerId) -> Option<Instant> {
        self.awaited.get(&broker).copied()
    }

    /// Whether moves have begun so lately that others wait.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.moved.is_some_and(|moved| now.saturating_duration_since(moved) < MOVES_EVERY)
    }

    /// What is refused and still wanted.
    pub(super) fn troubles(&self, wanted: &TopicsWanted, now: Instant) -> Vec<Trouble> {
        let refused = self.still_wanted(wanted).filter(|(_, refused)| !refused.is_busy(now));
        let trouble = |(what, refused): (&What, &Refused)| Trouble::Refused {
            what: what.said(&refused.refusal.tried),
            why: refused.refusal.why.clone(),
        };
        refused.map(trouble).collect()
    }

    /// What is still wanted and the cluster cannot do just now.
    pub(super) fn busy_with(&self, wanted: &TopicsWanted, now: Instant) -> Vec<Progress> {
        let busy = self.still_wanted(wanted).filter(|(_, refused)| refused.is_busy(now));
        let progress = |(what, refused): (&What, &Refused)| Progress::Busy {
            what: what.said(&refused.refusal.tried),
            why: refused.refusal.why.clone(),
        };
        busy.map(progress).collect()
    }

    fn still_wanted(&self, wanted: &TopicsWanted) -> impl Iterator<Item = (&What, &Refused)> {
        self.refused.iter().filter(|(what, refused)| {
            let What::Config(topic, key) = what else { return true };
            let topic = wanted.topics.iter().find(|wanted| wanted.name == *topic);
            let value = topic.and_then(|topic| topic.configs.get(key));
            value.map(String::as_str).unwrap_or_default() == refused.refusal.tried
        })
    }
}

impl Refused {
    fn is_busy(&self, now: Instant) -> bool {
        self.busy_since.is_some_and(|since| now.saturating_duration_since(since) < BUSY_FOR)
    }
}

/// Whether the cluster shows what was tried.
fn shows(seen: &Seen, what: &What, tried: &str) -> bool {
    let Some(topic) = seen.topics.get(what.topic()) else { return false };
    match what {
        What::Create(_) => true,
        What::Raise(_) => tried.parse().is_ok_and(|wanted: u32| topic.count() >= wanted),
        What::Config(_, key) if tried.is_empty() => !topic.configs.contains_key(key),
        What::Config(_, key) => topic.configs.get(key).is_some_and(|value| value == tried),
        What::Move(spot) => {
            let replicas = seen.partition(spot).map(|partition| said(&partition.replicas));
            seen.moving.contains_key(spot) || replicas.as_deref() == Some(tried)
        }
        What::Cancel(spot) => !seen.moving.contains_key(spot),
        What::Elect(spot) => {
            seen.partition(spot).is_some_and(|partition| partition.leader == partition.preferred())
        }
    }
}

impl What {
    /// The topic that it is about.
    pub fn topic(&self) -> &str {
        match self {
            What::Create(topic) | What::Raise(topic) | What::Config(topic, _) => topic,
            What::Move(spot) | What::Cancel(spot) | What::Elect(spot) => &spot.topic,
        }
    }

    fn said(&self, tried: &str) -> String {
        match self {
            What::Config(topic, key) if tried.is_empty() => format!("{topic}: {key} taken away"),
            What::Config(topic, key) => format!("{topic}: {key}={tried}"),
            What::Raise(topic) => format!("{topic}: {tried} partitions"),
            What::Create(_) | What::Move(_) | What::Cancel(_) | What::Elect(_) => self.to_string(),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Create(topic) => write!(f, "{topic}: to be made"),
            What::Raise(topic) => write!(f, "{topic}: more partitions"),
            What::Config(topic, key) => write!(f, "{topic}: {key}"),
            What::Move(spot) => write!(f, "{spot}: other replicas"),
            What::Cancel(spot) => write!(f, "{spot}: to stay where it is"),
            What::Elect(spot) => write!(f, "{spot}: its first replica to lead"),
        }
    }
}
