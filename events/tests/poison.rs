//! A machine that fails: by a word of its own, by a panic, by an outcome that nobody can keep. The
//! event becomes a dead letter, the partition goes on.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod scripted;

use config_schemas::{Epoch, Offset, PartitionId};
use events::{DEAD_LETTER_WHY_MAX, Event, Outcome, OutcomeRecord, PartitionState, Stamp};
use scripted::{Does, Scripted, step};

const STAMP: Stamp = Stamp { partition: PartitionId(0), epoch: Epoch(1), config_revision: 0 };

fn event(does: Does) -> Event {
    step(format!("e-{does:?}"), "poison", does)
}

#[test]
fn an_event_on_which_the_machine_fails_becomes_a_dead_letter_and_the_next_one_is_played() {
    let mut state = PartitionState::<Scripted>::default();
    let mut check = |does: Does, said: &str| {
        let offset = state.ledger().next_offset();
        let before = *state.game();
        let record = state.decide(offset, &event(does), &(), STAMP).unwrap();
        let Outcome::DeadLetter { why } = &record.outcome else { panic!("{record:?}") };
        assert!(why.contains(said) && why.len() <= DEAD_LETTER_WHY_MAX, "{why}");
        let mut bytes = Vec::new();
        record.clone().encode(&mut bytes);
        assert_eq!(OutcomeRecord::decode(&bytes).unwrap(), record);
        state.try_fold(&record).unwrap();
        assert_eq!((*state.game(), record.forwards.len()), (before, 0), "nothing else is left");
        let again = state.decide(offset.next(), &event(does), &(), STAMP).unwrap();
        assert_eq!(again.outcome, Outcome::Duplicate { of_source_offset: offset });
    };
    check(Does::Refuse, "xxx");
    check(Does::PanicDeciding, "panicked: cannot decide on e-PanicDeciding");
    check(Does::TalkTooMuch, "at most 524288");
    check(Does::ForwardNowhere, "no key");
    let offset = state.ledger().next_offset();
    let record = state.decide(offset, &event(Does::Count), &(), STAMP).unwrap();
    state.try_fold(&record).unwrap();
    assert_eq!(*state.game(), 1);
}

#[test]
fn an_outcome_that_cannot_be_folded_is_told_and_can_be_replaced_by_a_dead_letter() {
    let mut state = PartitionState::<Scripted>::default();
    let event = event(Does::PanicFolding);
    let record = state.decide(Offset(0), &event, &(), STAMP).unwrap();
    let error = state.try_fold(&record).unwrap_err();
    let mut state = PartitionState::<Scripted>::default();
    let why = error.to_string();
    let letter = state.dead_letter(Offset(0), Some(event.id), &why, 1, STAMP).unwrap();
    state.try_fold(&letter).unwrap();
    assert_eq!(state.ledger().next_offset(), Offset(1));
    assert!(why.contains("cannot fold"), "{why}");
}
