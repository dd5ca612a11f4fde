//! A take-over starts from a snapshot and what came after it, and from the whole log when the
//! snapshot is of no use.

use std::os::unix::fs::FileExt as _;

use broker::LogKind;
use events::Outcome;

use super::world_tests::{Node, World, first_segment, moves, until};

/// Enough for a snapshot at the stop.
const MANY: u32 = 6_000;

/// A partition that was played and whose owner stopped.
async fn played() -> World {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    publish(&a, 0..MANY).await;
    assert_eq!(a.outcomes(u64::from(MANY) + 1).await.len(), MANY as usize + 1);
    a.stop().await;
    assert_eq!(world.files("state").len(), 1, "a snapshot is made when the agent stops");
    world
}

async fn publish(node: &Node, numbers: std::ops::Range<u32>) {
    for start in numbers.clone().step_by(1000) {
        node.publish(moves(start..numbers.end.min(start + 1000))).await;
    }
}

/// The next life goes on where the last one ended: with its ids and its state.
async fn goes_on(world: &World) {
    let a = world.node("a", 2);
    world.own(&a.me, 2);
    a.publish(moves(MANY - 1..MANY + 1)).await;
    let outcomes = a.outcomes(u64::from(MANY) + 3).await;
    let [.., again, new] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(matches!(again.outcome, Outcome::Duplicate { .. }), "{again:?}");
    let moved = Outcome::Moved { player: "ana".to_owned(), moves: u64::from(MANY) + 1 };
    assert_eq!(new.outcome, moved);
    a.stop().await;
}

#[tokio::test]
async fn a_take_over_replays_only_what_came_after_the_snapshot() {
    let world = played().await;
    // what is read again would be seen to be damaged
    let old = first_segment(&world.folder(), LogKind::Outcomes);
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    file.write_all_at(b"damage", 200).unwrap();
    let a = world.node("a", 2);
    world.own(&a.me, 2);
    a.publish(moves(MANY..MANY + 1)).await;
    let mut reader = a.plane.outcomes(super::world_tests::P).unwrap();
    let last = config_schemas::Offset(u64::from(MANY) + 1);
    broker::Reader::wait_beyond(&mut reader, last).await.unwrap();
    let chunk = broker::Reader::read(&mut reader, last, 1).await.unwrap();
    let record = events::OutcomeRecord::decode(&chunk.records[0].payload).unwrap();
    let moved = Outcome::Moved { player: "ana".to_owned(), moves: u64::from(MANY) + 1 };
    assert_eq!(record.outcome, moved);
    a.stop().await;
}

#[tokio::test]
async fn a_damaged_a_newer_or_no_snapshot_means_a_full_replay() {
    goes_on(&played().await).await;
    for (at, what) in [(100, "damaged"), (8, "newer")] {
        let world = played().await;
        let path = world.folder().join(world.files("state").remove(0));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[9], at).unwrap();
        eprintln!("{what}");
        goes_on(&world).await;
    }
    let world = played().await;
    std::fs::remove_file(world.folder().join(world.files("state").remove(0))).unwrap();
    goes_on(&world).await;
}

#[tokio::test]
async fn snapshots_are_made_while_it_is_served_and_old_ones_go() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    let mut seen = std::collections::BTreeSet::new();
    // Few enough that the state stays small: a large one is written down less often.
    for round in 0..3 {
        publish(&a, round * 9_000..(round + 1) * 9_000).await;
        until("another snapshot is there", || {
            world.files("state").iter().any(|name| !seen.contains(name))
        })
        .await;
        seen.extend(world.files("state"));
        assert!(world.files("state").iter().filter(|name| name.ends_with("snapshot")).count() <= 3);
    }
    a.stop().await;
    assert_eq!(world.files("state").len(), 2);
}
