//! Moves of a partition between two nodes, and what can go wrong with one: what was acknowledged
//! is played once and in order, by the one who owns it, and nobody serves beside the owner.

use std::time::Duration;

use broker::Tuning;
use config_schemas::keys::Key;
use events::{Outcome, OutcomeRecord};

use super::answer::{NotTaken, Source};
use super::ownership::WARM_LIMIT;
use super::world_tests::{Node, P, World, life_of, moves, until};

/// Time for a move to end, as operators set it by default.
const DRAIN: Duration = Duration::from_secs(10);
/// Longer than any test: nobody hands over for want of patience.
const LONG: Duration = Duration::from_secs(600);

/// A node that serves the partition and has played something.
async fn served() -> (World, Node) {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(0..100)).await;
    a.outcomes(101).await;
    (world, a)
}

/// Every move up to `count` was played once, in order.
fn in_order(outcomes: &[OutcomeRecord], count: u32) {
    let played = outcomes.iter().filter_map(|record| match &record.outcome {
        Outcome::Moved { moves, .. } => Some(*moves),
        _ => None,
    });
    let expected: Vec<u64> = (1..=u64::from(count)).collect();
    assert_eq!(played.collect::<Vec<_>>(), expected);
}

fn said_warm(world: &World) -> bool {
    world.at(&Key::Warm(P)).is_some()
}

#[tokio::test]
async fn the_destination_loads_first_and_goes_on_where_the_owner_ended() {
    let (world, a) = served().await;
    let b = world.node("b", 1);
    world.mov(&a.me, &b.me, 1, LONG);
    world.owned_by(&b.me, 2).await;
    b.publish(moves(100..150)).await;
    in_order(&b.outcomes(151).await, 150);
    assert!(!a.serves().await, "the former owner takes nothing in");
    until("the word that it is loaded goes", || !said_warm(&world)).await;
    // and back, under load
    world.mov(&b.me, &a.me, 2, LONG);
    b.publish(moves(150..160)).await;
    world.owned_by(&a.me, 3).await;
    a.publish(moves(160..170)).await;
    in_order(&a.outcomes(171).await, 170);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn an_epoch_that_nobody_granted_is_told_and_never_claimed() {
    let (world, a) = served().await;
    world.own(&a.me, 1 << 53);
    let told = || a.plane.metrics().meters.troubles().standing();
    until("it is told", || told().get(&P).is_some_and(|why| why.contains("never granted"))).await;
    world.own(&a.me, 2);
    a.publish(moves(100..110)).await;
    in_order(&a.outcomes(111).await, 110);
    assert!(told().is_empty());
    // nobody served it here before: neither is the number believed then
    let b = world.node("b", 1);
    world.own(&b.me, 1 << 53);
    until("it is told", || !b.plane.metrics().meters.troubles().standing().is_empty()).await;
    world.own(&b.me, 3);
    b.publish(moves(110..120)).await;
    in_order(&b.outcomes(121).await, 120);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_owner_serves_until_the_destination_says_that_it_is_warm() {
    let (world, a) = served().await;
    let b = life_of("b", 1);
    world.mov(&a.me, &b, 1, LONG);
    a.sees_move().await;
    a.publish(moves(100..110)).await;
    world.say_warm(&b, 7);
    a.sees_warm().await;
    a.publish(moves(110..120)).await;
    assert!(a.serves().await, "a word about another move is no word");
    world.say_warm(&b, 1);
    world.owned_by(&b, 2).await;
    assert!(!a.serves().await);
    in_order(&a.outcomes(121).await, 120);
    a.stop().await;
}

#[tokio::test]
async fn an_owner_does_not_wait_for_ever_for_a_destination_that_cannot_load() {
    let (world, a) = served().await;
    let drain = Duration::from_millis(600);
    assert!(drain / 2 < WARM_LIMIT);
    world.mov(&a.me, &life_of("b", 1), 1, drain);
    world.owned_by(&life_of("b", 1), 2).await;
    a.stop().await;
}

#[tokio::test]
async fn a_log_that_is_stuck_does_not_keep_a_move_open_that_nobody_calls_off() {
    let (world, a) = served().await;
    let ack = Key::Ack(a.me.node.clone());
    until("its own settings are in effect, and not still to come", || world.at(&ack).is_some())
        .await;
    // what is appended from now on is never written
    a.log.embedded().unwrap().retune(Tuning { linger: LONG, ..Tuning::default() });
    let plane = a.plane.clone();
    let stuck =
        tokio::spawn(async move { plane.append(P, moves(100..101), Source::Producer).await });
    until("it waits for the disk", || a.core.queues.used()[&P].events == 1).await;
    world.mov(&a.me, &life_of("b", 1), 1, Duration::from_millis(600));
    world.owned_by(&life_of("b", 1), 2).await;
    assert!(!a.serves().await);
    let answer = stuck.await.unwrap();
    assert!(matches!(answer, Err(NotTaken::Log { .. })), "not acknowledged: {answer:?}");
    a.stop().await;
}

#[tokio::test]
async fn a_destination_that_dies_before_the_flip_costs_the_owner_nothing() {
    let (world, a) = served().await;
    world.mov(&a.me, &life_of("b", 1), 1, LONG);
    a.sees_move().await;
    a.publish(moves(100..110)).await;
    world.own(&a.me, 1);
    a.publish(moves(110..120)).await;
    in_order(&a.outcomes(121).await, 120);
    a.stop().await;
}

#[tokio::test]
async fn a_destination_whose_move_is_called_off_keeps_nothing() {
    let (world, a) = served().await;
    a.stop().await;
    let (a, b) = (life_of("a", 1), world.node("b", 1));
    world.mov(&a, &b.me, 1, DRAIN);
    until("b is warm", || said_warm(&world)).await;
    assert!(!b.serves().await, "warm is not yet served");
    let drafts = || world.files("").iter().filter(|name| name.ends_with(".tmp")).count();
    assert_eq!(drafts(), 2, "files lie ready for taking over");
    world.own(&a, 1);
    until("b keeps nothing", || !said_warm(&world)).await;
    assert!(!b.serves().await);
    b.stop().await;
}

#[tokio::test]
async fn a_word_that_vanishes_is_said_again() {
    let (world, a) = served().await;
    a.stop().await;
    let b = world.node("b", 1);
    world.mov(&life_of("a", 1), &b.me, 1, LONG);
    for _ in 0..3 {
        until("b is warm", || said_warm(&world)).await;
        world.delete(&Key::Warm(P));
    }
    b.stop().await;
}

#[tokio::test]
async fn an_owner_that_dies_is_replaced_by_a_destination_that_has_followed_it() {
    let (world, a) = served().await;
    let b = world.node("b", 1);
    // A does not hear of the move: as if it were cut off, and still serves
    let cut_off = life_of("a", 0);
    world.mov(&cut_off, &b.me, 1, LONG);
    until("b is warm", || said_warm(&world)).await;
    world.own(&b.me, 2);
    b.publish(moves(100..110)).await;
    let outcomes = b.outcomes(111).await;
    in_order(&outcomes, 110);
    let epochs = outcomes.iter().map(|record| record.epoch.0);
    assert!(epochs.is_sorted(), "nothing of the old owner after the new one");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn nothing_is_drained_while_etcd_is_away() {
    let (world, a) = served().await;
    world.mov(&a.me, &life_of("b", 1), 1, Duration::from_millis(400));
    a.sees_move().await;
    world.etcd.faults(|faults| faults.leader = false);
    // long after its patience has ended
    for number in 0..20 {
        a.publish(moves(100 + number..101 + number)).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
        assert!(a.serves().await);
    }
    world.etcd.faults(|faults| faults.leader = true);
    world.owned_by(&life_of("b", 1), 2).await;
    in_order(&a.outcomes(121).await, 120);
    a.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_told_and_tried_again_until_it_can() {
    let world = World::new().await;
    let in_the_way = world.data.path().join("hunts");
    std::fs::write(&in_the_way, "a file where a folder has to be").unwrap();
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    let trouble = || a.core.meters.troubles().standing().remove(&P).unwrap_or_default();
    until("it is told", || trouble().contains("the hunt's log cannot be opened")).await;
    assert!(!a.serves().await);
    // nothing in etcd changes meanwhile
    std::fs::remove_file(&in_the_way).unwrap();
    a.publish(moves(0..10)).await;
    until("the trouble is over", || trouble().is_empty()).await;
    in_order(&a.outcomes(11).await, 10);
    a.stop().await;
}
