//! What goes from a partition to one that is cut from it: all of it, once, in pieces that fit.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use config_schemas::{Epoch, Offset, PartitionId};
use events::{
    Event, EventId, HuntGame, HuntRules, Kind, Outcome, OutcomeRecord, PartitionState, PartsError,
    Stamp, partition_of,
};
use proptest::prelude::*;

const OLD: PartitionId = PartitionId(0);

fn stamp(partition: PartitionId) -> Stamp {
    Stamp { partition, epoch: Epoch(1), config_revision: 1 }
}

/// A partition where so many players joined and moved once.
fn played(players: u32) -> PartitionState<HuntGame> {
    let mut state = PartitionState::default();
    for number in 0..2 * players {
        let kind = if number % 2 == 0 { Kind::Join } else { Kind::Move };
        let id = EventId::new(format!("e{number}")).unwrap();
        let player = Some(format!("p{}", number / 2));
        let event = Event { player, ..Event::new(id, kind, 1) };
        let offset = Offset(u64::from(number));
        let outcome = state.decide(offset, &event, &HuntRules::default(), stamp(OLD)).unwrap();
        state.fold(&outcome);
    }
    state
}

/// The state of the partition that is cut from `old`, and its records.
fn inherited(
    old: &PartitionState<HuntGame>,
    new: PartitionId,
    count: u32,
    bytes_max: usize,
) -> (PartitionState<HuntGame>, Vec<OutcomeRecord>) {
    let goes = |key: &str| partition_of(key, count) == new;
    let pieces = old.parts(&goes, bytes_max).unwrap();
    assert!(pieces.iter().all(|piece| piece.len() <= bytes_max), "a piece does not fit");
    let records = PartitionState::<HuntGame>::inherited(OLD, count, pieces, 1, stamp(new));
    let mut state = PartitionState::default();
    for record in &records {
        assert_eq!(state.ledger().cut(), None, "it is not whole before the last piece");
        let mut bytes = Vec::new();
        record.clone().encode(&mut bytes);
        state.fold(&OutcomeRecord::decode(&bytes).unwrap());
    }
    (state, records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_key_is_known_where_it_belongs_and_nowhere_else(
        players in 1_u32..200,
        count in 2_u32..5,
        bytes_max in 1_000_usize..20_000,
    ) {
        let old = played(players);
        for new in (1..count).map(PartitionId) {
            let (state, records) = inherited(&old, new, count, bytes_max);
            let known = &state.game().players;
            for player in old.game().players.keys() {
                let belongs = partition_of(player, count) == new;
                prop_assert_eq!(known.contains_key(player), belongs, "{}", player);
                if belongs {
                    prop_assert_eq!(&known[player], &old.game().players[player]);
                }
            }
            prop_assert_eq!(state.ledger().cut(), Some(count));
            prop_assert_eq!(state.ledger().next_offset(), Offset(0), "its own events are all new");
            for id in 0..2 * players {
                let id = EventId::new(format!("e{id}")).unwrap();
                prop_assert_eq!(state.ledger().seen(&id), old.ledger().seen(&id));
            }
            let mut twice = state.clone();
            records.iter().for_each(|record| { twice.fold(record); });
            prop_assert_eq!(twice.game(), state.game());
        }
    }
}

#[test]
fn a_key_that_fits_into_no_record_is_an_error_and_no_silence() {
    let old = played(3);
    let parts = old.parts(&|_| true, 16);
    assert!(matches!(parts, Err(PartsError::KeyTooLarge { bytes_max: 16, .. })), "{parts:?}");
}

#[test]
fn a_relayed_event_goes_on_under_its_own_id_and_is_not_handled_here() {
    let mut old = played(1);
    let event = Event {
        player: Some("p9".to_owned()),
        ..Event::new(EventId::new("late").unwrap(), Kind::Join, 5)
    };
    let home = PartitionId(1);
    let relayed = old.relay(Offset(7), event.clone(), home, stamp(OLD)).unwrap();
    assert_eq!(relayed.outcome, Outcome::Relayed { to: home });
    assert_eq!(relayed.forwards, std::slice::from_ref(&event));
    assert!(!relayed.outcome.is_first(), "its outcome stands elsewhere");
    old.fold(&relayed);
    assert!(old.relay(Offset(7), event.clone(), home, stamp(OLD)).is_none(), "handled");
    assert_eq!(old.ledger().seen(&event.id), None, "whose it is may take over what is known here");
    let again = old.relay(Offset(8), event, home, stamp(OLD)).unwrap();
    assert_eq!(again.outcome, Outcome::Relayed { to: home });
    old.fold(&again);
    assert_eq!(old.ledger().outbox().count(), 1, "it goes out once");
}
