//! What the distribution's own tools say of topics, and whether it is what a hunt declares. In:
//! texts of `kafka-topics` and `kafka-configs`, a manifest. Out: topics, or the first thing that
//! differs. Pure.

use std::collections::BTreeMap;

use config_schemas::{Config, HuntName, TopicRole, read_sections};
use serde_json::Value as Json;

use crate::failure::Failure;

/// A topic as the tools see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Topic {
    /// Replicas of each partition, in the partitions' order.
    pub(super) replicas: Vec<usize>,
    /// Those of them that have all records.
    pub(super) in_sync: Vec<usize>,
    /// What is set on the topic itself.
    pub(super) configs: BTreeMap<String, String>,
}

/// Topics by name.
pub(super) type Topics = BTreeMap<String, Topic>;

/// From `kafka-topics --describe`: a line for each partition.
pub(super) fn topics(text: &str) -> Topics {
    let mut all = Topics::new();
    for line in text.lines().filter(|line| line.contains("Partition: ")) {
        let field = |name: &str| {
            let found = line.split('\t').find_map(|part| part.trim().strip_prefix(name));
            found.unwrap_or_default().trim()
        };
        let count = |name: &str| field(name).split(',').filter(|id| !id.is_empty()).count();
        let topic = all.entry(field("Topic:").to_owned()).or_default();
        topic.replicas.push(count("Replicas:"));
        topic.in_sync.push(count("Isr:"));
    }
    all
}

/// From `kafka-configs --describe --entity-type topics`: a headline for each topic, a line for each
/// setting; into the topics that are known.
pub(super) fn configs(text: &str, into: &mut Topics) {
    let mut topic = None;
    for line in text.lines() {
        if let Some(rest) = line.split("configs for topic ").nth(1) {
            let name = rest.split(" are").next().unwrap_or_default().trim();
            topic = Some(name.to_owned());
        } else if let Some((key, value)) = line.trim().split_once('=') {
            let value = value.split(" sensitive=").next().unwrap_or_default();
            let known = topic.as_ref().and_then(|name| into.get_mut(name));
            known.and_then(|known| known.configs.insert(key.to_owned(), value.to_owned()));
        }
    }
}

/// The configuration that a manifest declares.
pub(super) fn declared(manifest: &str) -> Result<Config, Failure> {
    let whole: Json = serde_yaml::from_str(manifest)
        .map_err(|error| Failure::caused("reading the example", &error))?;
    // What is no section is the resource's own, such as how many agents there are to be.
    let sections = whole["spec"].as_object().map(read_sections).unwrap_or_default();
    Ok(Config::from_values(&sections.values))
}

/// Compares all topics of a hunt with what it declares; a line for each.
pub(super) fn told(declared: &Config, hunt: &HuntName, seen: &Topics) -> Result<String, String> {
    let lines = TopicRole::ALL.map(|role| {
        let name = declared.topics.name(role, hunt);
        let topic = seen.get(&name).ok_or_else(|| format!("there is no topic {name}"))?;
        let expected = expected(declared, role);
        for (key, value) in &expected {
            let found = topic.configs.get(key).map_or("not set", String::as_str);
            if found != value {
                return Err(format!("{name}: {key} is {found}, not {value}"));
            }
        }
        let (partitions, replicas) = (declared.partitions.count, declared.topics.replicationFactor);
        let is_right = |count: &usize| u64::try_from(*count) == Ok(replicas);
        if u64::try_from(topic.replicas.len()) != Ok(partitions)
            || !topic.replicas.iter().all(is_right)
            || topic.in_sync != topic.replicas
        {
            let (has, of, sync) = (topic.replicas.len(), &topic.replicas, &topic.in_sync);
            return Err(format!(
                "{name}: {has} partitions with replicas {of:?}, in sync {sync:?}, not {partitions} \
                 with {replicas}"
            ));
        }
        let settings: Vec<_> =
            expected.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let settings = settings.join(" ");
        Ok(format!("{name}: {partitions} partitions, {replicas} replicas, all in sync; {settings}"))
    });
    Ok(lines.into_iter().collect::<Result<Vec<_>, _>>()?.join("\n"))
}

/// What must stand on the topic itself, by Kafka's names.
fn expected(declared: &Config, role: TopicRole) -> BTreeMap<String, String> {
    let topics = &declared.topics;
    let millis = |time: std::time::Duration| match time.as_millis() {
        0 => "-1".to_owned(),
        millis => millis.to_string(),
    };
    let of_role = topics.configs.iter().filter(|entry| entry.topic == role);
    let mut all: BTreeMap<_, _> =
        of_role.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
    set("min.insync.replicas", topics.minInSync.to_string());
    match role {
        TopicRole::Events => set("retention.ms", millis(topics.eventsRetention)),
        TopicRole::Outcomes => set("retention.ms", millis(topics.outcomesRetention)),
        TopicRole::DeadLetters => set("retention.ms", millis(topics.deadLettersRetention)),
        TopicRole::Snapshots => set("cleanup.policy", "compact".to_owned()),
    };
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: &str = "Topic: h.a.events\tTopicId: x\tPartitionCount: 2\tReplicationFactor: 3\t\
        Configs: min.insync.replicas=2\n\tTopic: h.a.events\tPartition: 0\tLeader: 2\tReplicas: \
        2,3,1\tIsr: 2,3,1\tElr: \tLastKnownElr: \n\tTopic: h.a.events\tPartition: 1\tLeader: none\t\
        Replicas: 3,1\tIsr: 3\tElr: \tLastKnownElr: \n";
    const CONFIGS: &str = "Dynamic configs for topic h.a.events are:\n  retention.ms=604800000 \
        sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=604800000}\nDynamic configs for \
        topic other are:\n  retention.ms=1 sensitive=false synonyms={}\n";

    #[test]
    fn tools_are_read_partition_by_partition_and_key_by_key() {
        let mut found = topics(TOPICS);
        configs(CONFIGS, &mut found);
        let expected = Topic {
            replicas: vec![3, 2],
            in_sync: vec![3, 1],
            configs: [("retention.ms".to_owned(), "604800000".to_owned())].into(),
        };
        assert_eq!(found, [("h.a.events".to_owned(), expected)].into());
    }

    #[test]
    fn what_differs_from_the_declaration_is_named() {
        let mut declared = Config::default();
        declared.partitions.count = 2;
        let hunt = HuntName::new("h", "a").unwrap();
        let mut seen: Topics = TopicRole::ALL
            .map(|role| {
                let configs = expected(&declared, role);
                let topic = Topic { replicas: vec![3, 3], in_sync: vec![3, 3], configs };
                (declared.topics.name(role, &hunt), topic)
            })
            .into();
        let lines = told(&declared, &hunt, &seen).unwrap();
        assert_eq!(lines.lines().count(), 4, "{lines}");
        let check = |change: &dyn Fn(&mut Topic), expected: &str| {
            let mut seen = seen.clone();
            change(seen.get_mut("h.a.events").unwrap());
            let why = told(&declared, &hunt, &seen).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        check(&|topic| topic.replicas.truncate(1), "1 partitions");
        check(&|topic| topic.in_sync[1] = 2, "in sync [3, 2]");
        check(&|topic| topic.replicas = vec![2, 2], "replicas [2, 2]");
        check(&|topic| topic.configs.clear(), "min.insync.replicas is not set, not 2");
        seen.remove("h.a.dead");
        assert!(told(&declared, &hunt, &seen).unwrap_err().contains("no topic h.a.dead"));
    }
}
