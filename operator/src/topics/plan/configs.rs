//! Settings of a topic: exactly those whose own value differs from what the hunt names are changed.
//! Never by the value in effect: that may be inherited and equal, and would be set for ever again
//! (strimzi#7391). Pure.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::super::seen::SeenTopic;
use super::super::wanted::{IN_SYNC_MIN, TopicWanted};
use super::{Change, Memory, Plan, Progress, Step, Stray, What};

/// Plans the changes, and tells of settings that the hunt does not name.
pub(super) fn configure(
    topic: &TopicWanted,
    found: &SeenTopic,
    memory: &Memory,
    now: Instant,
    plan: &mut Plan,
) {
    let mut changes: Vec<Change> = Vec::new();
    for (key, to) in &topic.configs {
        let was = found.configs.get(key);
        if was == Some(to) || (key == IN_SYNC_MIN && waits(topic, found, plan)) {
            continue;
        }
        let by_hand = memory.stood(&topic.name, key) == Some(to);
        changes.push(Change { key: key.clone(), was: was.cloned(), to: Some(to.clone()), by_hand });
    }
    for (key, value) in found.configs.iter().filter(|(key, _)| !topic.configs.contains_key(*key)) {
        if is_ours(topic, memory, key, value) {
            let (key, was) = (key.clone(), Some(value.clone()));
            changes.push(Change { key, was, to: None, by_hand: false });
        } else {
            let (topic, key, value) = (topic.name.clone(), key.clone(), value.clone());
            plan.strays.push(Stray { topic, key, value });
        }
    }
    changes.retain(|change| {
        let what = What::Config(topic.name.clone(), change.key.clone());
        memory.may_try(&what, change.to.as_deref().unwrap_or_default(), now)
    });
    let step = |changes| Step::Configure { topic: topic.name.clone(), changes };
    if memory.is_singly(&topic.name) {
        plan.steps.extend(changes.into_iter().map(|change| step(vec![change])));
    } else if !changes.is_empty() {
        plan.steps.push(step(changes));
    }
}

/// The settings with which a topic is made when not all of them were taken.
pub(super) fn without_which_none(topic: &TopicWanted) -> BTreeMap<String, String> {
    let own = topic.configs.iter().filter(|(key, _)| OWN.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Settings without which a topic must not be used: with the first record it would be too late.
const OWN: [&str; 3] = [IN_SYNC_MIN, "cleanup.policy", "unclean.leader.election.enable"];

/// With more in-sync replicas asked for than a partition has, nobody could append to it: the setting
/// waits for the replicas. Less than now is asked for at once.
fn waits(topic: &TopicWanted, found: &SeenTopic, plan: &mut Plan) -> bool {
    let wanted = topic.in_sync_min();
    let now = found.effective.get(IN_SYNC_MIN).and_then(|text| text.parse().ok());
    let has = found.partitions.iter().map(|partition| partition.in_sync.len()).min();
    let has = has.unwrap_or_default();
    let waits = has < wanted && now.is_none_or(|now: usize| now < wanted);
    if waits {
        let topic = topic.name.clone();
        plan.progress.push(Progress::InSyncWaits { topic, wanted, has });
    }
    waits
}

/// Whether a setting that the hunt does not name is one that it named before, still as it was then.
fn is_ours(topic: &TopicWanted, memory: &Memory, key: &str, value: &str) -> bool {
    let formerly = topic.formerly.get(key).is_some_and(|values| values.contains(value));
    formerly || memory.had_set(&topic.name).any(|(k, v)| k == key && v == value)
}
