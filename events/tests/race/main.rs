//! The whole game over several partitions, under any interleaving of publishing, deciding,
//! delivering, delivering twice and losing the memory: one winner per treasure, points once, one
//! record per event, and a state that is nothing but the fold of its records.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::{Epoch, Offset, PartitionId};
use events::{Event, HuntGame, Input, Machine, Outcome, OutcomeRecord, PartitionState};
use proptest::prelude::*;
use world::{Partition, RULES, World, step};

fn check_winners(world: &World) {
    let (mut winners, mut claimed, mut scored) =
        (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    for record in world.records() {
        match &record.outcome {
            Outcome::ClaimSent { treasure, .. } => {
                claimed.insert(treasure.clone());
            }
            Outcome::Won { treasure, player, .. } => {
                let before = winners.insert(treasure.clone(), player.clone());
                assert_eq!(before, None, "{treasure} was won twice");
            }
            Outcome::Scored { treasure, player, .. } => {
                let before = scored.insert(treasure.clone(), player.clone());
                assert_eq!(before, None, "{treasure} was paid twice");
            }
            _ => {}
        }
    }
    assert_eq!(winners.keys().cloned().collect::<BTreeSet<_>>(), claimed, "claimed, so won");
    assert_eq!(scored, winners, "won, so paid");
}

fn check_scores(world: &World) {
    for partition in &world.partitions {
        for (name, player) in &partition.state.game().players {
            let clues: u64 = player.clues.values().map(|clues| u64::from(*clues)).sum();
            let earned =
                clues * RULES.points_per_clue + player.won.len() as u64 * RULES.points_per_treasure;
            assert_eq!(player.score, earned, "{name}");
        }
    }
}

fn check_records(world: &World) {
    for partition in &world.partitions {
        let sources = partition.outcomes.iter().filter_map(|record| record.source_offset);
        let expected: Vec<Offset> = (0..partition.events.len() as u64).map(Offset).collect();
        assert_eq!(sources.collect::<Vec<_>>(), expected, "one record per event, in order");
        let played = partition.outcomes.iter().filter(|record| {
            record.event_id.is_some() && !matches!(record.outcome, Outcome::Duplicate { .. })
        });
        let ids: Vec<_> = played.map(|record| &record.event_id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id is played once");
        let rebuilt = partition.rebuilt();
        assert_eq!(rebuilt.game(), partition.state.game());
        assert_eq!(rebuilt.ledger(), partition.state.ledger());
    }
    for record in world.records() {
        let mut bytes = Vec::new();
        record.clone().encode(&mut bytes);
        assert_eq!(&OutcomeRecord::decode(&bytes).unwrap(), record);
        let json = serde_json::to_string(record).unwrap();
        assert_eq!(&serde_json::from_str::<OutcomeRecord>(&json).unwrap(), record, "{json}");
    }
}

/// A snapshot after any record, and the fold of the records after it, is the fold of all.
fn check_snapshot(partition: &Partition, cut: usize) {
    let (before, after) = partition.outcomes.split_at(cut);
    let mut state = PartitionState::<HuntGame>::default();
    before.iter().for_each(|record| {
        state.fold(record);
    });
    let bytes = state.to_snapshot().unwrap();
    let mut restored = PartitionState::<HuntGame>::from_snapshot(&bytes).unwrap();
    after.iter().for_each(|record| {
        restored.fold(record);
    });
    let whole = partition.rebuilt();
    assert_eq!(restored.game(), whole.game(), "cut at {cut}");
    assert_eq!(restored.ledger(), whole.ledger(), "cut at {cut}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn one_winner_whatever_happens(
        steps in prop::collection::vec(step(), 0..160),
        cut in any::<usize>(),
    ) {
        let mut world = World::new();
        // players who are ready to claim, so that most schedules race
        for player in 0..3 {
            world.publish(0, player, 0);
            world.publish(2, player, 0);
            world.publish(2, player, 1);
        }
        steps.into_iter().for_each(|step| world.take(step));
        for partition in &world.partitions {
            check_snapshot(partition, cut % (partition.outcomes.len() + 1));
        }
        world.settle();
        check_winners(&world);
        check_scores(&world);
        check_records(&world);
    }
}

/// The schedules above do reach what they are meant to test.
#[test]
fn a_claim_goes_to_the_treasure_and_its_verdict_comes_back() {
    let mut world = World::new();
    for player in 0..2 {
        world.publish(0, player, 0);
        world.publish(2, player, 0);
        world.publish(3, player, 0);
        world.settle();
    }
    let won = world.records().filter(|r| matches!(r.outcome, Outcome::Won { .. })).count();
    let lost = world.records().filter(|r| matches!(r.outcome, Outcome::ClaimLost { .. })).count();
    assert_eq!((won, lost), (1, 1));
}

#[test]
fn a_snapshot_can_be_taken_after_any_record_also_with_forwards_on_their_way() {
    let mut world = World::new();
    for (kind, player) in [(0, 0), (2, 0), (3, 0), (0, 1), (2, 1), (3, 1)] {
        world.publish(kind, player, 0);
    }
    for at in 0..world.partitions.len() {
        while let Some(record) = world.decide(at) {
            world.partitions[at].outcomes.push(record);
        }
    }
    let waiting = |partition: &Partition| partition.state.ledger().outbox_len();
    assert!(world.partitions.iter().map(waiting).sum::<usize>() > 0);
    world.settle();
    for partition in &world.partitions {
        (0..=partition.outcomes.len()).for_each(|cut| check_snapshot(partition, cut));
    }
}

#[test]
fn a_snapshot_of_another_format_or_version_is_not_read() {
    let good = PartitionState::<HuntGame>::default().to_snapshot().unwrap();
    let check = |at: usize, said: &str| {
        let mut bytes = good.clone();
        bytes[at] += 1;
        let error = PartitionState::<HuntGame>::from_snapshot(&bytes).err().unwrap();
        assert!(error.to_string().contains(said), "{error}");
    };
    check(0, "format 2");
    check(4, "version 2");
    for cut in 0..good.len() {
        assert!(PartitionState::<HuntGame>::from_snapshot(&good[..cut]).is_err(), "cut at {cut}");
    }
}

/// What the game itself remembers for ever, when the window of recent ids is long past.
#[test]
fn a_claim_and_a_verdict_that_come_again_after_ages_change_nothing() {
    let mut world = World::new();
    world.publish(0, 0, 0);
    world.publish(2, 0, 0);
    world.publish(3, 0, 0);
    world.settle();
    for partition in &world.partitions {
        let state = partition.state.game();
        for (offset, event) in partition.events.iter().enumerate() {
            let input = Input { offset: Offset(offset as u64), event };
            let decision = HuntGame::decide(state, &input, &RULES);
            let harmless =
                matches!(decision.outcome, Outcome::Refused(_) | Outcome::Duplicate { .. });
            assert!(harmless && decision.forwards.is_empty(), "{:?}", decision);
        }
    }
}

/// Long after a partition has forgotten their ids, as they would arrive then: at another time.
#[test]
fn what_comes_again_after_ages_wins_and_scores_nothing_but_who_lost_is_told_so_again() {
    let mut world = World::new();
    for player in [0, 1] {
        world.publish(0, player, 0);
        world.publish(2, player, 0);
        world.publish(3, player, 0);
        world.publish(1, player, 0);
        world.settle();
    }
    let mut anew = Vec::new();
    for partition in &world.partitions {
        for (offset, event) in partition.events.iter().enumerate() {
            let mut game = partition.state.game().clone();
            let later = event.received_millis + 86_400_000;
            let event = Event { received_millis: later, ..event.clone() };
            let input = Input { offset: Offset(offset as u64), event: &event };
            let decision = HuntGame::decide(&game, &input, &RULES);
            if matches!(decision.outcome, Outcome::Refused(_) | Outcome::Duplicate { .. }) {
                continue;
            }
            let name = format!("{} of {}", event.kind, event.player.as_deref().unwrap_or_default());
            HuntGame::fold(&mut game, &record(&event, decision));
            anew.push(name);
            assert_eq!(game.winners, partition.state.game().winners);
            for (player, before) in &partition.state.game().players {
                let after = &game.players[player];
                assert_eq!((after.score, &after.won), (before.score, &before.won));
            }
        }
    }
    anew.sort();
    let lost =
        ["claim", "claim.forwarded", "claim.verdict"].map(|kind| format!("{kind} of player1"));
    let moved = ["player0", "player1"].map(|player| format!("move of {player}"));
    let mut expected = [lost.as_slice(), &moved].concat();
    expected.sort();
    assert_eq!(anew, expected);
}

fn record(event: &Event, decision: events::Decision) -> OutcomeRecord {
    OutcomeRecord {
        partition: PartitionId(0),
        epoch: Epoch(1),
        source_offset: Some(Offset(0)),
        event_id: Some(event.id.clone()),
        at_millis: event.received_millis,
        config_revision: 0,
        outcome: decision.outcome,
        forwards: decision.forwards,
    }
}
