//! A hunt that is cut finer while it is played: what a key's partition knew goes with the key, nothing is
//! played twice or at two places, and no new partition begins without what is its own.

use config_schemas::PartitionId;
use events::{Event, EventId, Kind, Outcome, OutcomeRecord, partition_of};

use super::answer::{NotTaken, Source};
use super::world_tests::{Node, P, PATIENCE, World, until};

const NEW: PartitionId = PartitionId(1);

/// A player whose key is that partition's once there are two.
fn player_of(partition: PartitionId) -> String {
    let mut names = (0..).map(|number| format!("player-{number}"));
    names.find(|name| partition_of(name, 2) == partition).unwrap()
}

fn event(kind: Kind, player: &str, id: &str) -> Event {
    let id = EventId::new(format!("{player}.{id}")).unwrap();
    Event { player: Some(player.to_owned()), ..Event::new(id, kind, 1) }
}

fn movement(player: &str, number: u32) -> Event {
    event(Kind::Move, player, &number.to_string())
}

/// Publishes as a producer that goes by the cut in force and sends again what was not taken.
async fn publish(node: &Node, partition: PartitionId, events: Vec<Event>) {
    let publish = async {
        while node.plane.append(partition, events.clone(), Source::Producer).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, publish).await.expect("taken in");
}

/// How often that player was said to have moved, in the order of these outcomes.
fn moved(outcomes: &[OutcomeRecord], player: &str) -> Vec<u64> {
    let moved = outcomes.iter().filter_map(|record| match &record.outcome {
        Outcome::Moved { player: who, moves } if who == player => Some(*moves),
        _ => None,
    });
    moved.collect()
}

/// The outcomes of a partition, once that player has moved so often.
async fn until_moved(node: &Node, id: PartitionId, player: &str, times: u64) -> Vec<OutcomeRecord> {
    let mut count = 1;
    loop {
        let outcomes = node.outcomes_of(id, count).await;
        if moved(&outcomes, player).last() >= Some(&times) {
            return outcomes;
        }
        count = outcomes.len() as u64 + 1;
    }
}

/// A node that serves the only partition, where both players moved once.
async fn played() -> (World, Node, [String; 2]) {
    let world = World::new().await;
    let a = world.node("a", 1);
    world.own(&a.me, 1);
    let players = [player_of(P), player_of(NEW)];
    for player in &players {
        let both = vec![event(Kind::Join, player, "join"), movement(player, 1)];
        publish(&a, P, both).await;
    }
    a.outcomes(4).await;
    (world, a, players)
}

#[tokio::test]
async fn a_key_goes_to_its_new_partition_with_all_that_is_known_of_it() {
    let (world, a, [stays, goes]) = played().await;
    let b = world.node("b", 1);
    world.cut(&[1], Some(2));
    world.own_of(NEW, &b.me, 1);
    world.cut(&[1, 2], None);
    publish(&b, NEW, vec![movement(&goes, 2), movement(&goes, 3)]).await;
    publish(&a, P, vec![movement(&stays, 2)]).await;
    let new = until_moved(&b, NEW, &goes, 3).await;
    assert_eq!(moved(&new, &goes), [2, 3], "{new:?}");
    let old = until_moved(&a, P, &stays, 2).await;
    assert_eq!((moved(&old, &goes), moved(&old, &stays)), (vec![1], vec![1, 2]), "{old:?}");
    // sent once more, to where it belongs now
    publish(&b, NEW, vec![movement(&goes, 1)]).await;
    let again = b.outcomes_of(NEW, new.len() as u64 + 1).await;
    assert!(
        matches!(again.last().unwrap().outcome, Outcome::Duplicate { .. }),
        "what the old partition handled is known: {again:?}"
    );
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn an_owner_takes_in_no_key_that_is_another_s_since_the_cut() {
    let (world, a, [stays, goes]) = played().await;
    world.cut(&[1, 2], None);
    let refused = async || {
        let taken = a.plane.append(P, vec![movement(&goes, 2)], Source::Producer).await;
        matches!(taken, Err(NotTaken::NotMine { .. }))
    };
    let refuses = async {
        while !refused().await {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refuses).await.expect("refused in the end");
    publish(&a, P, vec![movement(&stays, 2)]).await;
    a.stop().await;
}

#[tokio::test]
async fn a_new_partition_serves_nobody_before_it_has_what_is_its_own() {
    let (world, a, [_, goes]) = played().await;
    let b = world.node("b", 1);
    world.cut(&[1], Some(2));
    world.own_of(NEW, &b.me, 1);
    let takes = b.plane.metrics().moves.with_label_values(&["load"]);
    until("it is open", || takes.get_sample_count() == 1).await;
    let early = b.plane.append(NEW, vec![movement(&goes, 2)], Source::Producer).await;
    assert_eq!(early, Err(NotTaken::NotMine { epoch: None }), "the cut is not in force");
    // its owner goes, and another takes up what it waits for
    b.stop().await;
    let c = world.node("c", 1);
    world.own_of(NEW, &c.me, 2);
    world.cut(&[1, 2], None);
    publish(&c, NEW, vec![movement(&goes, 2)]).await;
    assert_eq!(moved(&until_moved(&c, NEW, &goes, 2).await, &goes), [2]);
    // and once it is whole, it is for good
    a.stop().await;
    c.stop().await;
    let d = world.node("d", 1);
    world.own_of(NEW, &d.me, 3);
    publish(&d, NEW, vec![movement(&goes, 3)]).await;
    assert_eq!(moved(&until_moved(&d, NEW, &goes, 3).await, &goes), [2, 3]);
    d.stop().await;
}

#[tokio::test]
async fn a_partition_is_cut_again_and_again() {
    let (world, a, [_, goes]) = played().await;
    world.cut(&[1, 2], Some(4));
    world.own_of(NEW, &a.me, 1);
    publish(&a, NEW, vec![movement(&goes, 2)]).await;
    let home = partition_of(&goes, 4);
    for id in [PartitionId(2), PartitionId(3)] {
        world.own_of(id, &a.me, 1);
    }
    world.cut(&[1, 2, 4], None);
    publish(&a, home, vec![movement(&goes, 3)]).await;
    let outcomes = until_moved(&a, home, &goes, 3).await;
    assert_eq!(moved(&outcomes, &goes).last(), Some(&3), "{outcomes:?}");
    a.stop().await;
}
