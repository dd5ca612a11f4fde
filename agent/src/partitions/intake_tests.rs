//! The way into a partition: whose credits return when.

use std::time::Duration;

use broker::Tuning;
use config_schemas::keys::Key;
use futures::FutureExt as _;

use super::answer::{NotTaken, Source};
use super::world_tests::{Node, P, PATIENCE, World, moves, until};
use crate::capacity::credits::Size;

/// Far longer than anything that is to happen before the log writes.
const LINGER: Duration = Duration::from_secs(3);

fn used(node: &Node) -> Size {
    node.core.queues.used()[&P]
}

#[tokio::test]
async fn the_credits_of_an_append_whose_producer_went_away_stay_with_its_bytes() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(0..1)).await;
    until("nothing waits", || used(&a).events == 0).await;
    let log = a.log.embedded().unwrap();
    log.retune(Tuning { linger: LINGER, ..Tuning::default() });
    let events = a.core.live.snapshot().config.buffers.events;
    let all = u32::try_from(events).unwrap();
    let append = a.plane.append(P, moves(1..all), Source::Producer).now_or_never();
    assert!(append.is_none(), "it waits for the disk");
    assert_eq!(used(&a).events, events - 1);
    let more = a.plane.append(P, moves(all..all + 2), Source::Producer).await;
    assert!(matches!(more, Err(NotTaken::Full { .. })), "{more:?}");
    a.outcomes(events + 1).await;
    until("the credits are back", || used(&a) == Size::default()).await;
    a.stop().await;
}

#[tokio::test]
async fn what_no_log_takes_is_refused_as_such_and_is_no_trouble_of_the_log() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(0..1)).await;
    let mut large = moves(1..3);
    large[1].payload_json = Some("x".repeat(2 << 20));
    let append = a.plane.append(P, large, Source::Producer).await;
    assert!(matches!(append, Err(NotTaken::TooLarge { bytes }) if bytes > 2 << 20), "{append:?}");
    assert!(a.core.meters.troubles().standing().is_empty());
    a.publish(moves(1..2)).await;
    assert_eq!(a.outcomes(3).await.len(), 3, "nothing of the refused batch is there");
    until("the credits are back", || used(&a) == Size::default()).await;
    a.stop().await;
}

#[tokio::test]
async fn a_trouble_is_over_when_what_was_given_up_is_durable_and_nothing_more_comes() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(0..1)).await;
    world.put(&Key::Override("hunt/workers/timeout".to_owned()), b"100ms");
    let mut live = a.core.live.clone();
    let hasty = async {
        while live.load().config.workers.timeout >= LINGER {
            live.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, hasty).await.unwrap();
    let log = a.log.embedded().unwrap();
    log.retune(Tuning { linger: LINGER, ..Tuning::default() });
    let troubles = || a.core.meters.troubles().standing();
    let append = a.plane.append(P, moves(1..5), Source::Producer).await;
    assert!(matches!(append, Err(NotTaken::Log { .. })), "{append:?}");
    assert!(troubles().contains_key(&P));
    a.outcomes(6).await;
    until("it is told no more", || troubles().is_empty()).await;
    a.stop().await;
}
