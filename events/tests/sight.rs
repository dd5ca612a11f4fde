//! Sightings need no order: however they are spread and shuffled, their sum is the same.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use config_schemas::{Epoch, Offset, PartitionId};
use events::{
    Event, EventId, HuntGame, HuntRules, Kind, Machine as _, Outcome, PartitionState, Stamp,
};
use proptest::prelude::*;

fn sighting(number: usize, treasure: u8) -> Event {
    let id = EventId::new(format!("e{number}")).unwrap();
    Event {
        player: Some(format!("p{}", number % 7)),
        treasure: Some(format!("t{treasure}")),
        ..Event::new(id, Kind::Sight, 5)
    }
}

/// Plays `events` on `partitions`, each where it is told, and folds the outcomes once more.
fn played(partitions: usize, events: &[(usize, Event)]) -> Vec<PartitionState<HuntGame>> {
    let mut states = vec![PartitionState::<HuntGame>::default(); partitions];
    let mut again = states.clone();
    for (at, event) in events {
        let stamp = Stamp { partition: PartitionId(0), epoch: Epoch(1), config_revision: 1 };
        let offset = Offset(states[*at].ledger().next_offset().0);
        let record = states[*at].decide(offset, event, &HuntRules::default(), stamp).unwrap();
        let Outcome::Custom { name, .. } = &record.outcome else { panic!("{record:?}") };
        assert_eq!(name, "sighted");
        states[*at].fold(&record);
        again[*at].fold(&record);
    }
    for (state, again) in states.iter().zip(&again) {
        assert_eq!(state.game(), again.game(), "the fold of the outcomes is the state");
    }
    states
}

fn sum(states: &[PartitionState<HuntGame>], treasure: &str) -> u64 {
    states.iter().filter_map(|state| state.game().sightings.get(treasure)).sum()
}

proptest! {
    #[test]
    fn the_sum_is_the_same_however_a_treasure_is_spread(
        sightings in prop::collection::vec((0_usize..4, 0_u8..3), 0..60).prop_shuffle()
    ) {
        let spread: Vec<_> = sightings
            .iter()
            .enumerate()
            .map(|(number, (at, treasure))| (*at, sighting(number, *treasure)))
            .collect();
        let whole: Vec<_> = spread.iter().rev().map(|(_, event)| (0, event.clone())).collect();
        let (spread, whole) = (played(4, &spread), played(1, &whole));
        for treasure in ["t0", "t1", "t2"] {
            prop_assert_eq!(sum(&spread, treasure), sum(&whole, treasure));
        }
    }
}

#[test]
fn only_sightings_may_be_spread() {
    let vocabulary = HuntGame::vocabulary();
    let unordered: Vec<_> =
        vocabulary.kinds.iter().filter(|rule| !rule.ordered).map(|rule| rule.kind).collect();
    assert_eq!(unordered, ["sight"]);
    assert!(!vocabulary.is_ordered(&sighting(1, 1)));
    let unknown = Event { kind: Kind::Custom("dance".to_owned()), ..sighting(1, 1) };
    assert!(vocabulary.is_ordered(&unknown), "what is not known is not spread");
}
