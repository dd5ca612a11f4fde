//! Partitions that change hands with more in their log than was played by then.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use broker::LogKind;
use events::Event;

use super::answer::{NotTaken, Source};
use super::scripted::{Does, Scripted, hurry, step};
use super::world_tests::{Node, P, PATIENCE, World, first_segment, until};

/// So many that they take far longer than anything that is to happen before they are played.
const MANY: u32 = 1601;

/// Events over which the machine lingers until that test is in a hurry.
fn slow(test: &str, numbers: std::ops::Range<u32>) -> Vec<Event> {
    numbers.map(|number| step(format!("step-{number}"), test, Does::Linger)).collect()
}

/// Everything was played once and in order, the first of it under epoch 1, the last under 2.
async fn all_played(node: &Node) {
    let outcomes = node.outcomes(u64::from(MANY) - 1).await;
    let ids = outcomes.iter().map(|record| record.event_id.as_ref().unwrap().to_string());
    let expected = (1..MANY).map(|number| format!("step-{number}"));
    assert_eq!(ids.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let epochs: Vec<u64> = outcomes.iter().map(|record| record.epoch.0).collect();
    assert!(epochs.is_sorted() && (epochs[0], epochs[epochs.len() - 1]) == (1, 2), "{epochs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_does_not_wait_for_a_long_queue_and_the_next_owner_plays_the_rest_in_order() {
    let world = World::new().await;
    let (a, b) = (world.node_with::<Scripted>("a", 1), world.node_with::<Scripted>("b", 1));
    world.own(&a.me, 1);
    a.publish(slow("moved", 1..MANY)).await;
    world.mov(&a.me, &b.me, 1, Duration::from_secs(600));
    world.owned_by(&b.me, 2).await;
    hurry("moved");
    all_played(&b).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_event_that_is_to_be_played_keeps_its_partition_shut_until_it_is_mended() {
    let world = World::new().await;
    let a = world.node_with::<Scripted>("a", 1);
    world.own(&a.me, 1);
    a.publish(slow("mended", 1..MANY)).await;
    a.outcomes(1).await;
    a.stop().await;
    let file = first_segment(&world.folder(), LogKind::Events);
    let file = File::options().read(true).write(true).open(file).unwrap();
    let at = file.metadata().unwrap().len() * 9 / 10;
    let mut good = [0];
    file.read_exact_at(&mut good, at).unwrap();
    file.write_all_at(&[good[0] ^ 0x20], at).unwrap();
    let a = world.node_with::<Scripted>("a", 2);
    world.own(&a.me, 2);
    let trouble = || a.core.meters.troubles().standing().remove(&P).unwrap_or_default();
    until("the damage is told", || trouble().contains("is corrupt at byte")).await;
    let files = world.files("events").len();
    assert!(!a.serves().await, "what is taken in could not be played");
    assert_eq!(world.files("events").len(), files, "each try leaves files behind");
    file.write_all_at(&good, at).unwrap();
    hurry("mended");
    until("the partition is well again", || trouble().is_empty()).await;
    all_played(&a).await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_queue_refuses_before_it_is_full_and_takes_in_again_when_it_has_caught_up() {
    let world = World::new().await;
    let a = world.node_with::<Scripted>("a", 1);
    world.own(&a.me, 1);
    let mut next = MANY / 4;
    a.publish(slow("refused", 1..next)).await;
    let refused = async {
        loop {
            match a.plane.append(P, slow("refused", next..next + 1), Source::Producer).await {
                Ok(_) => next += 1,
                Err(NotTaken::Full { retry_after }) => return retry_after,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let retry_after = tokio::time::timeout(PATIENCE, refused).await.expect("refused");
    assert!(retry_after >= Duration::from_millis(50), "{retry_after:?}");
    let (used, room) = (a.core.queues.used()[&P].events, a.core.live.snapshot());
    assert!(used * 2 < room.config.buffers.events, "it is only full: {used} wait");
    hurry("refused");
    a.publish(slow("refused", next..next + 1)).await;
    a.outcomes(u64::from(next)).await;
    a.stop().await;
}
