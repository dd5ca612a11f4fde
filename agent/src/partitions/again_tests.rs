//! A partition whose holding ended, or whose log turned out to be another's, while its record stays
//! the same is taken again.

use broker::{Broker as _, Claim, LogKind};
use config_schemas::Epoch;
use config_schemas::documents::{FORMAT, Meta, write};
use config_schemas::keys::Key;

use super::world_tests::{P, World, first_segment, moves, until};

#[tokio::test]
async fn a_worker_that_is_disowned_while_the_record_stays_is_followed_by_another() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(0..1)).await;
    // it has nothing to do, and hears of nothing
    assert_eq!(a.outcomes(2).await.len(), 2);
    // the same owner in the same epoch once more, as a barrier of its own that arrives late
    let (owner, incarnation) = (a.me.node.to_string(), a.me.incarnation.clone());
    let claim = Claim { epoch: Epoch(1), owner, incarnation };
    let taken = a.log.embedded().unwrap().take(P, claim).await.unwrap();
    a.publish(moves(1..3)).await;
    assert_eq!(a.outcomes(4).await.len(), 4);
    drop(taken);
    a.stop().await;
}

#[tokio::test]
async fn a_hunt_that_was_made_anew_with_the_same_owner_in_the_same_epoch_is_played_in_its_log() {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(0..3)).await;
    assert_eq!(a.outcomes(4).await.len(), 4);
    let meta = Meta {
        format: FORMAT,
        store_epoch: "epoch".to_owned(),
        uid: "6b8c".to_owned(),
        partitions: 1,
        before: Vec::new(),
        next: None,
        hash: "murmur2".to_owned(),
        cluster: None,
        broker: Default::default(),
    };
    world.put(&Key::Meta, &write(&meta));
    world.own(&a.me, 1);
    // what is taken in until then is the old one's
    let takes = a.plane.metrics().moves.with_label_values(&["claim"]);
    until("it is taken in the new log", || takes.get_sample_count() == 2).await;
    a.publish(moves(0..1)).await;
    assert_eq!(a.outcomes(2).await.len(), 2, "nothing of the old one is known");
    let folder = world.data.path().join("hunts/6b8c/default.harbour").join(P.to_string());
    assert!(first_segment(&folder, LogKind::Events).exists());
    a.stop().await;
}
