//! A take-over starts from a snapshot and what came after it, and from the whole log when the
//! snapshot is of no use.

use std::os::unix::fs::FileExt as _;

use std::time::Duration;

use broker::{
    AnyBroker, Broker as _, Claim, Embedded, EmbeddedOptions, LogKind, Owned as _, Records,
};
use config_schemas::keys::Key;
use config_schemas::{Config, Epoch, HuntName, Offset};
use events::{HuntGame, Machine as _, Outcome, PartitionState, Stamp};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::rebuild::Rebuilt;
use super::snapshots::{Asked, Copied, Keeping};
use super::world_tests::{Node, P, PATIENCE, World, first_segment, moves, until};
use crate::config::live::channel;

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
    let last = Offset(u64::from(MANY) + 1);
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

/// Whether a snapshot is kept within many hours of a partition that has two outcomes, where outcomes
/// stay for `retention`.
async fn is_kept(retention: Duration) -> bool {
    let data = tempfile::tempdir().unwrap();
    let hunt = HuntName::new("default", "harbour").unwrap();
    let embedded = Embedded::open(EmbeddedOptions::new(data.path().to_owned(), hunt)).unwrap();
    let log = AnyBroker::Embedded(embedded);
    let claim = Claim { epoch: Epoch(1), owner: "a".to_owned(), incarnation: "a-1".to_owned() };
    let owned = log.take(P, claim).await.unwrap();
    let stamp = Stamp { partition: P, epoch: Epoch(1), config_revision: 1 };
    let mut state = PartitionState::<HuntGame>::default();
    let rebuilt = Rebuilt::<HuntGame>::begin(&log, P).await.unwrap();
    let (mut events, mut records) = (Records::new(), Records::new());
    for (event, offset) in moves(0..1).iter().zip(0..) {
        let offset = Offset(offset);
        let rules = HuntGame::rules(&Config::default().rules);
        let outcome = state.decide(offset, event, &rules, stamp).unwrap();
        state.fold(&outcome);
        records.push_with(|into| outcome.encode(into));
        events.push_with(|into| event.clone().encode(into));
    }
    owned.append(LogKind::Events, events).await.unwrap();
    owned.append(LogKind::Outcomes, records).await.unwrap();
    let mut config = Config::default();
    config.topics.outcomesRetention = retention;
    let (_publisher, live) = channel(config);
    let (asked, mut copies) = mpsc::channel::<Asked<HuntGame>>(1);
    let worker = async {
        while let Some(asked) = copies.recv().await {
            let (durable, outcomes) = oneshot::channel();
            durable.send(owned.end(LogKind::Outcomes)).unwrap();
            assert!(asked.send(Copied { state: state.clone(), outcomes }).is_ok());
        }
    };
    let kept = async {
        // the disk does not know of hours that pass in no time
        let began = std::time::Instant::now();
        for hour in 0.. {
            let found = Rebuilt::<HuntGame>::begin(&log, P).await.unwrap();
            if found.kept > Offset(0) {
                assert_eq!(found.kept, Offset(2));
                return true;
            }
            if began.elapsed() > PATIENCE || (retention.is_zero() && hour > 100) {
                return false;
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        false
    };
    let (one, keeping) = (Semaphore::new(1), Keeping::new(&log, &owned, &rebuilt, live));
    tokio::select! {
        () = worker => false,
        () = keeping.run::<HuntGame>(&owned, asked, &one) => false,
        kept = kept => kept,
    }
}

#[tokio::test(start_paused = true)]
async fn where_outcomes_go_after_a_while_few_of_them_are_in_a_snapshot_before_that() {
    assert!(!is_kept(Duration::ZERO).await, "they stay for ever");
    assert!(is_kept(Duration::from_secs(4 * 3600)).await);
}

#[tokio::test]
async fn where_outcomes_go_after_a_while_a_stop_keeps_the_last_of_them() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.put(&Key::Override("hunt/topics/outcomesRetention".to_owned()), b"1h");
    let mut live = a.core.live.clone();
    let in_effect = async {
        while live.load().config.topics.outcomesRetention.is_zero() {
            live.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, in_effect).await.unwrap();
    world.own(&a.me, 1);
    publish(&a, 0..3).await;
    assert_eq!(a.outcomes(4).await.len(), 4);
    a.stop().await;
    assert_eq!(world.files("state").len(), 1);
}
