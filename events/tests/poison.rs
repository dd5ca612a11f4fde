//! A machine that fails: by a word of its own, by a panic, by an outcome that nobody can keep. The
//! event becomes a dead letter, the partition goes on.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use config_schemas::{Epoch, Offset, PartitionId};
use events::{
    DEAD_LETTER_WHY_MAX, Decision, Event, EventId, HuntGame, Input, Kind, Machine,
    OUTCOME_BYTES_MAX, Outcome, OutcomeRecord, PartitionState, Stamp, Vocabulary,
};

const STAMP: Stamp = Stamp { partition: PartitionId(0), epoch: Epoch(1), config_revision: 0 };

/// Counts; what it does with an event stands in the event's player.
struct Fragile;

impl Machine for Fragile {
    type State = u64;
    type Rules = ();

    fn vocabulary() -> Vocabulary {
        HuntGame::vocabulary()
    }

    fn rules(_: &config_schemas::Rules) {}

    fn decide(_: &u64, input: &Input<'_>, (): &()) -> Decision {
        let custom = |data_json: String| {
            Decision::only(Outcome::Custom { name: "counted".to_owned(), data_json })
        };
        match input.event.player.as_deref() {
            Some("says") => Decision::dead_letter(&"x".repeat(10_000)),
            Some("panics") => panic!("cannot decide on {}", input.event.id),
            Some("talks") => custom("x".repeat(OUTCOME_BYTES_MAX + 1)),
            Some("forwards") => custom("1".to_owned()).forwarding(input.caused(Kind::Join)),
            Some("breaks") => custom("break".to_owned()),
            _ => custom("1".to_owned()),
        }
    }

    fn fold(count: &mut u64, record: &OutcomeRecord) {
        *count += 1;
        if let Outcome::Custom { data_json, .. } = &record.outcome {
            assert!(data_json != "break", "cannot fold");
        }
    }
}

fn event(player: &str) -> Event {
    let id = EventId::new(format!("e-{player}")).unwrap();
    Event { player: Some(player.to_owned()), ..Event::new(id, Kind::Move, 1) }
}

#[test]
fn an_event_on_which_the_machine_fails_becomes_a_dead_letter_and_the_next_one_is_played() {
    let mut state = PartitionState::<Fragile>::default();
    let mut check = |player: &str, said: &str| {
        let offset = state.ledger().next_offset();
        let before = *state.game();
        let record = state.decide(offset, &event(player), &(), STAMP).unwrap();
        let Outcome::DeadLetter { why } = &record.outcome else { panic!("{record:?}") };
        assert!(why.contains(said) && why.len() <= DEAD_LETTER_WHY_MAX, "{why}");
        let mut bytes = Vec::new();
        record.clone().encode(&mut bytes);
        assert_eq!(OutcomeRecord::decode(&bytes).unwrap(), record);
        state.try_fold(&record).unwrap();
        assert_eq!((*state.game(), record.forwards.len()), (before, 0), "nothing else is left");
        let again = state.decide(offset.next(), &event(player), &(), STAMP).unwrap();
        assert_eq!(again.outcome, Outcome::Duplicate { of_source_offset: offset });
    };
    check("says", "xxx");
    check("panics", "panicked: cannot decide on e-panics");
    check("talks", "at most 524288");
    check("forwards", "no key");
    let offset = state.ledger().next_offset();
    let record = state.decide(offset, &event("plays"), &(), STAMP).unwrap();
    state.try_fold(&record).unwrap();
    assert_eq!(*state.game(), 1);
}

#[test]
fn an_outcome_that_cannot_be_folded_is_told_and_can_be_replaced_by_a_dead_letter() {
    let mut state = PartitionState::<Fragile>::default();
    let event = event("breaks");
    let record = state.decide(Offset(0), &event, &(), STAMP).unwrap();
    let error = state.try_fold(&record).unwrap_err();
    let mut state = PartitionState::<Fragile>::default();
    let why = error.to_string();
    let letter = state.dead_letter(Offset(0), Some(event.id), &why, 1, STAMP).unwrap();
    state.try_fold(&letter).unwrap();
    assert_eq!(state.ledger().next_offset(), Offset(1));
    assert!(why.contains("cannot fold"), "{why}");
}
