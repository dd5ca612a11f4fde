//! Plans on a cluster on paper: tables for single decisions, and properties for whole ways there:
//! a plan applied again and again converges, and nothing on its way does harm.

mod model;
mod waits;
mod ways;

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::PartitionId;
use tokio::time::Instant;

use self::model::{Model, replicas, topic};
use super::super::seen::{BrokerId, Spot};
use super::super::wanted::{IN_SYNC_MIN, TopicsWanted};
use super::*;

fn wanted(topics: &[TopicWanted]) -> TopicsWanted {
    TopicsWanted { topics: topics.to_vec() }
}

/// Three brokers on three racks, with a topic whose partitions have these replicas.
fn three(partitions: &[&[i32]]) -> Model {
    let mut model = Model::new(&[(1, "a"), (2, "b"), (3, "c")]);
    model.put("t", partitions);
    model
}

/// The steps that a fresh look leads to.
fn check(model: &Model, wanted: &TopicsWanted, expected: &[Step]) -> Plan {
    let mut memory = Memory::default();
    let now = Instant::now();
    memory.see(wanted, &model.seen, now);
    let plan = plan(wanted, &model.seen, &memory, now);
    assert_eq!(plan.steps, expected, "{plan:?}");
    plan
}

fn to(moves: &[(u32, &[i32])]) -> Step {
    let spot = |(id, to): &(u32, &[i32])| (Spot::new("t", PartitionId(*id)), replicas(to));
    Step::Move(moves.iter().map(spot).collect())
}

#[test]
fn a_new_topic_is_spread_over_brokers_and_so_are_those_who_would_fall_heir() {
    let model = Model::new(&[(1, "a"), (2, "b"), (3, "c")]);
    let placed: [&[i32]; 4] = [&[1, 2, 3], &[2, 1, 3], &[3, 1, 2], &[1, 3, 2]];
    let create = Step::Create {
        topic: "t".to_owned(),
        replicas: placed.iter().map(|ids| replicas(ids)).collect(),
        configs: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
    };
    check(&model, &wanted(&[topic("t", 4, 3, &[("a", "1")])]), &[create]);
}

#[test]
fn replicas_lie_on_different_racks_before_they_lie_evenly() {
    let model = Model::new(&[(1, "a"), (2, "a"), (3, "b")]);
    let placed: [&[i32]; 3] = [&[1, 3], &[2, 3], &[3, 1]];
    let create = Step::Create {
        topic: "t".to_owned(),
        replicas: placed.iter().map(|ids| replicas(ids)).collect(),
        configs: BTreeMap::new(),
    };
    check(&model, &wanted(&[topic("t", 3, 2, &[])]), &[create]);
}

#[test]
fn without_enough_brokers_nothing_is_made_or_moved_and_it_is_told() {
    let few = |of: &str| Trouble::TooFewBrokers { topic: of.to_owned(), wanted: 4, brokers: 3 };
    let told =
        check(&three(&[&[1]]), &wanted(&[topic("t", 1, 4, &[]), topic("u", 1, 4, &[])]), &[]);
    assert!(told.troubles.contains(&few("t")) && told.troubles.contains(&few("u")), "{told:?}");
}

#[test]
fn partitions_are_raised_and_never_lowered() {
    let model = three(&[&[1], &[2]]);
    let raise = Step::Raise { topic: "t".to_owned(), from: 2, to: 5 };
    check(&model, &wanted(&[topic("t", 5, 1, &[])]), &[raise]);
    let told = check(&model, &wanted(&[topic("t", 1, 1, &[])]), &[]);
    let many = Trouble::TooManyPartitions { topic: "t".to_owned(), has: 2, wanted: 1 };
    assert_eq!(told.troubles, [many]);
    let raise = Step::Raise { topic: "t".to_owned(), from: 2, to: 2 + RAISE_MAX };
    check(&model, &wanted(&[topic("t", 4096, 1, &[])]), &[raise]);
}

#[test]
fn replicas_are_added_behind_those_that_are_there() {
    let model = three(&[&[1], &[2]]);
    check(&model, &wanted(&[topic("t", 2, 2, &[])]), &[to(&[(0, &[1, 3]), (1, &[2, 1])])]);
}

#[test]
fn only_a_few_partitions_move_at_a_time() {
    let model = three(&[[1].as_slice(); 20]);
    let plan =
        plan(&wanted(&[topic("t", 20, 3, &[])]), &model.seen, &Memory::default(), Instant::now());
    let Some(Step::Move(moves)) = plan.steps.first() else { panic!("{plan:?}") };
    assert_eq!(moves.len(), MOVES_MAX);
    let (done, of, under_way) = (0, 20, MOVES_MAX);
    let told = Progress::Replicas { topic: "t".to_owned(), wanted: 3, done, of, under_way };
    assert_eq!(plan.progress, [told]);
}

#[test]
fn fewer_replicas_never_cost_the_leader_nor_what_an_append_asks_for() {
    let mut model = three(&[&[1, 2, 3]]);
    let one = wanted(&[topic("t", 1, 1, &[])]);
    model.part("t", 0).leader = Some(BrokerId(2));
    check(&model, &one, &[to(&[(0, &[2])])]);
    model.set("t", IN_SYNC_MIN, "2");
    check(&model, &one, &[]);
    let two = wanted(&[topic("t", 1, 2, &[(IN_SYNC_MIN, "2")])]);
    model.part("t", 0).in_sync = [BrokerId(2), BrokerId(3)].into();
    check(&model, &two, &[to(&[(0, &[2, 3])])]);
    model.part("t", 0).in_sync = [BrokerId(2)].into();
    check(&model, &two, &[]);
}

#[test]
fn nobody_is_asked_for_more_in_sync_replicas_than_there_are() {
    let mut model = three(&[&[1]]);
    let told = check(
        &model,
        &wanted(&[topic("t", 1, 3, &[(IN_SYNC_MIN, "2")])]),
        &[to(&[(0, &[1, 2, 3])])],
    );
    assert!(told.progress.contains(&Progress::InSyncWaits {
        topic: "t".to_owned(),
        wanted: 2,
        has: 1
    }));
    model.put("t", &[&[1, 2, 3]]);
    let set = change(IN_SYNC_MIN, None, Some("2"));
    check(&model, &wanted(&[topic("t", 1, 3, &[(IN_SYNC_MIN, "2")])]), &[set]);
    model.set("t", IN_SYNC_MIN, "3");
    model.part("t", 0).in_sync = [BrokerId(1)].into();
    let less = change(IN_SYNC_MIN, Some("3"), Some("2"));
    check(&model, &wanted(&[topic("t", 1, 3, &[(IN_SYNC_MIN, "2")])]), &[less]);
}

fn change(key: &str, was: Option<&str>, to: Option<&str>) -> Step {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let change = Change { key: key.to_owned(), was: own(was), to: own(to), by_hand: false };
    Step::Configure { topic: "t".to_owned(), changes: vec![change] }
}

#[test]
fn only_what_differs_in_the_topic_itself_is_set_and_what_others_set_is_left_alone() {
    let mut model = three(&[&[1]]);
    model.set("t", "same", "1");
    model.set("t", "strange", "7");
    model.inherit("t", "inherited", "1");
    let configs = [("same", "1"), ("inherited", "1")];
    let told = check(
        &model,
        &wanted(&[topic("t", 1, 1, &configs)]),
        &[change("inherited", None, Some("1"))],
    );
    let (topic, key, value) = ("t".to_owned(), "strange".to_owned(), "7".to_owned());
    assert_eq!(told.strays, [Stray { topic, key, value }]);
}

#[test]
fn what_an_earlier_generation_set_is_taken_away_unless_somebody_changed_it() {
    let mut model = three(&[&[1]]);
    model.set("t", "ours", "1");
    model.set("t", "theirs", "2");
    let mut topic = topic("t", 1, 1, &[]);
    for key in ["ours", "theirs"] {
        topic.formerly.insert(key.to_owned(), ["1".to_owned()].into());
    }
    let told = check(&model, &wanted(&[topic]), &[change("ours", Some("1"), None)]);
    assert_eq!(told.strays.len(), 1, "{told:?}");
}

#[test]
fn what_stood_as_wanted_and_differs_now_was_changed_by_hand() {
    let mut model = three(&[&[1]]);
    let wish = wanted(&[topic("t", 1, 1, &[("a", "1")])]);
    let (mut memory, now) = (Memory::default(), Instant::now());
    model.set("t", "a", "1");
    memory.see(&wish, &model.seen, now);
    model.set("t", "a", "9");
    memory.see(&wish, &model.seen, now);
    let found = plan(&wish, &model.seen, &memory, now);
    let Some(Step::Configure { changes, .. }) = found.steps.first() else { panic!("{found:?}") };
    assert!(changes[0].by_hand && changes[0].was.as_deref() == Some("9"), "{changes:?}");
    let other = wanted(&[topic("t", 1, 1, &[("a", "2")])]);
    let found = plan(&other, &model.seen, &memory, now);
    let Some(Step::Configure { changes, .. }) = found.steps.first() else { panic!("{found:?}") };
    assert!(!changes[0].by_hand, "{changes:?}");
}

#[test]
fn a_leader_comes_back_once_its_broker_has_been_in_sync_for_a_while() {
    let mut model = three(&[&[1, 2, 3]]);
    model.part("t", 0).leader = Some(BrokerId(2));
    let wish = wanted(&[topic("t", 1, 3, &[])]);
    let (mut memory, begun) = (Memory::default(), Instant::now());
    let mut steps = |model: &Model, after: u64| {
        let now = begun + Duration::from_millis(after);
        memory.see(&wish, &model.seen, now);
        plan(&wish, &model.seen, &memory, now).steps
    };
    let elect = [Step::Elect([Spot::new("t", PartitionId(0))].into())];
    assert_eq!(steps(&model, 0), []);
    assert_eq!(steps(&model, 2000), elect);
    model.part("t", 0).in_sync.remove(&BrokerId(1));
    assert_eq!(steps(&model, 2500), []);
    model.part("t", 0).in_sync.insert(BrokerId(1));
    assert_eq!(steps(&model, 3000), []);
    assert_eq!(steps(&model, 5000), elect);
}

#[test]
fn nothing_moves_while_a_broker_is_away() {
    let mut model = three(&[&[1, 2], &[2, 1], &[1, 2], &[2, 1]]);
    model.seen.brokers.remove(&BrokerId(2));
    let told = check(&model, &wanted(&[topic("t", 4, 2, &[])]), &[]);
    let away = Trouble::BrokerAway { broker: BrokerId(2), topic: "t".to_owned(), replicas: 4 };
    assert_eq!(told.troubles, [away]);
}
