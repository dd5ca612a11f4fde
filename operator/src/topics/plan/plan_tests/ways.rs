//! Whole ways: from any cluster and any topics to what is wanted, step by step, each step checked by
//! the model, and what has been reached is then left in peace.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::super::super::wanted::{IN_SYNC_MIN, TopicWanted, TopicsWanted};
use super::super::{Memory, Plan, Trouble, plan};
use super::model::{Model, topic};

/// Rounds within which everything is reached: 40 partitions by 8 at a time, a few times over.
const ROUNDS_MAX: usize = 80;

/// Rounds until nothing is left to do; what the last look says.
fn walk(model: &mut Model, wanted: &TopicsWanted) -> Plan {
    let (mut memory, mut now) = (Memory::default(), Instant::now());
    let mut last = Plan::default();
    for _ in 0..ROUNDS_MAX {
        now += Duration::from_secs(2);
        memory.see(wanted, &model.seen, now);
        last = plan(wanted, &model.seen, &memory, now);
        if last.steps.is_empty() && model.seen.moving.is_empty() && last.unseen == 0 {
            // A leader that is astray waits for a while before it is elected.
            now += Duration::from_secs(4);
            memory.see(wanted, &model.seen, now);
            last = plan(wanted, &model.seen, &memory, now);
            if last.steps.is_empty() {
                return last;
            }
        }
        for step in &last.steps {
            model.take(step, &mut memory, now);
        }
        model.arrive();
    }
    panic!("no end: {last:?}\n{:?}", model.seen);
}

fn as_wanted(model: &Model, wanted: &TopicWanted) {
    let found = &model.seen.topics[&wanted.name];
    assert!(found.count() >= wanted.partitions, "{found:?}");
    let racks = model.seen.racks(model.seen.brokers.keys()).len();
    for partition in &found.partitions {
        assert_eq!(partition.replicas.len(), usize::from(wanted.replicas), "{partition:?}");
        let spread = model.seen.racks(&partition.replicas).len();
        assert_eq!(spread, racks.min(partition.replicas.len()), "{partition:?}");
        assert_eq!(partition.leader, partition.preferred());
    }
    for (key, value) in wanted.configs.iter().filter(|(key, _)| !model.refuses.contains(*key)) {
        assert_eq!(found.configs.get(key), Some(value), "{key}");
    }
}

/// How far the most loaded broker is above the least.
fn gap(model: &Model, name: &str, leaders: bool) -> usize {
    let found = &model.seen.topics[name];
    let count = |broker| {
        let has = |p: &&crate::topics::seen::SeenPartition| {
            if leaders { p.leader == Some(broker) } else { p.replicas.contains(&broker) }
        };
        found.partitions.iter().filter(has).count()
    };
    let counts: Vec<usize> = model.seen.brokers.keys().map(|broker| count(*broker)).collect();
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

/// Brokers 1 to `count`, in so many racks, or each alone.
fn brokers(count: usize, racks: usize) -> Vec<(i32, &'static str)> {
    const RACKS: [&str; 3] = ["a", "b", "c"];
    let rack = |index: usize| if racks == 0 { "" } else { RACKS[index % racks] };
    (0..count).map(|index| (i32::try_from(index).unwrap() + 1, rack(index))).collect()
}

#[derive(Debug, Clone)]
struct Start {
    brokers: usize,
    racks: usize,
    /// By partition: where its replicas begin, and how many there are.
    before: Vec<(usize, usize)>,
    partitions: u32,
    replicas: u16,
    in_sync: usize,
    in_sync_before: usize,
}

fn starts() -> impl Strategy<Value = Start> {
    (1_usize..7, 0_usize..4).prop_flat_map(|(brokers, racks)| {
        let part = (0..brokers, 1..=brokers.min(3));
        (
            prop::collection::vec(part, 0..20),
            1_u32..40,
            1..=u16::try_from(brokers.min(3)).unwrap(),
            1_usize..=3,
            1_usize..=3,
        )
            .prop_map(move |(before, partitions, replicas, in_sync, in_sync_before)| {
                Start {
                    brokers,
                    racks,
                    before,
                    partitions,
                    replicas,
                    in_sync: in_sync.min(usize::from(replicas)),
                    in_sync_before,
                }
            })
    })
}

impl Start {
    fn model(&self) -> Model {
        let mut model = Model::new(&brokers(self.brokers, self.racks));
        let ids = |(first, count): &(usize, usize)| -> Vec<i32> {
            (0..*count).map(|n| i32::try_from((first + n) % self.brokers).unwrap() + 1).collect()
        };
        let parts: Vec<Vec<i32>> = self.before.iter().map(ids).collect();
        if !parts.is_empty() {
            model.put("t", &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let fewest = parts.iter().map(Vec::len).min().unwrap();
            model.set("t", IN_SYNC_MIN, &self.in_sync_before.min(fewest).to_string());
        }
        model
    }

    fn wanted(&self) -> TopicsWanted {
        let in_sync = self.in_sync.to_string();
        let configs = [(IN_SYNC_MIN, in_sync.as_str()), ("retention.ms", "5"), ("bad", "1")];
        TopicsWanted { topics: vec![topic("t", self.partitions, self.replicas, &configs)] }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The model fails on any step that does harm; here also: it ends, and where it should.
    #[test]
    fn every_way_ends_with_what_is_wanted_and_is_left_in_peace(start in starts()) {
        let (mut model, wanted) = (start.model(), start.wanted());
        let last = walk(&mut model, &wanted);
        as_wanted(&model, &wanted.topics[0]);
        let too_many = |t: &Trouble| matches!(t, Trouble::TooManyPartitions { .. });
        prop_assert!(last.troubles.iter().all(too_many), "{last:?}");
        let again = walk(&mut model.clone(), &wanted);
        prop_assert!(again.steps.is_empty());
    }

    /// A refused key stands in nobody's way, and is told.
    #[test]
    fn a_refused_key_blocks_no_other(start in starts()) {
        let (mut model, wanted) = (start.model(), start.wanted());
        model.refuses.insert("bad".to_owned());
        let last = walk(&mut model, &wanted);
        as_wanted(&model, &wanted.topics[0]);
        let named = |t: &Trouble| matches!(t, Trouble::Refused { what, .. } if what.contains("bad"));
        prop_assert!(last.troubles.iter().any(named), "{last:?}");
    }

    /// A new topic lies as evenly as it can where racks are alike.
    #[test]
    fn new_topics_lie_evenly(brokers_count in 1_usize..7, partitions in 1_u32..60, copies in 1_u16..4) {
        let copies = copies.min(u16::try_from(brokers_count).unwrap());
        let mut model = Model::new(&brokers(brokers_count, 0));
        let wanted = TopicsWanted { topics: vec![topic("t", partitions, copies, &[])] };
        walk(&mut model, &wanted);
        prop_assert!(gap(&model, "t", true) <= 1, "leaders: {:?}", model.seen.topics);
        prop_assert!(gap(&model, "t", false) <= 2, "replicas: {:?}", model.seen.topics);
    }

    /// Partitions that are added to a topic end up as even as if they had been there at first.
    #[test]
    fn added_partitions_are_spread(first in 1_u32..20, added in 1_u32..20, copies in 1_u16..4) {
        let mut model = Model::new(&brokers(4, 0));
        let wish = |partitions| TopicsWanted { topics: vec![topic("t", partitions, copies, &[])] };
        walk(&mut model, &wish(first));
        model.measure();
        walk(&mut model, &wish(first + added));
        prop_assert!(gap(&model, "t", true) <= 2 && gap(&model, "t", false) <= 2, "{:?}", model.seen.topics);
    }
}
