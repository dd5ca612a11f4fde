//! A machine for tests of what runs machines: what it does with an event stands in the event. Used
//! by this crate's tests and by the agent's.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use events::{
    Decision, Event, EventId, Field, Input, Kind, KindRule, Machine, OUTCOME_BYTES_MAX, Outcome,
    OutcomeRecord, Vocabulary,
};

/// What the machine does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Counts it.
    Count,
    /// Counts it after [`A_WHILE`], until its test is in a hurry.
    Linger,
    /// Says itself that it cannot.
    Refuse,
    /// Panics when it decides.
    PanicDeciding,
    /// Decides on something that it panics on when it folds that.
    PanicFolding,
    /// Has much to say.
    Talk,
    /// Has more to say than any log keeps.
    TalkTooMuch,
    /// Forwards an event that has no key.
    ForwardNowhere,
}

/// How long it lingers over an event.
pub(crate) const A_WHILE: Duration = Duration::from_millis(5);

/// Counts what it folds.
pub(crate) struct Scripted;

const STEP: KindRule = KindRule {
    kind: "step",
    key: Field::Player,
    player: true,
    treasure: false,
    clue: false,
    internal: false,
    ordered: true,
};

/// An event of `test`, on which the machine does that.
pub(crate) fn step(id: impl Into<String>, test: &str, does: Does) -> Event {
    Event {
        player: Some(test.to_owned()),
        payload_json: Some(format!("{does:?}")),
        ..Event::new(EventId::new(id).unwrap(), Kind::Custom(STEP.kind.to_owned()), 1)
    }
}

static HURRIED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on the machine lingers over nothing of that test.
pub(crate) fn hurry(test: &str) {
    HURRIED.lock().unwrap_or_else(PoisonError::into_inner).insert(test.to_owned());
}

fn is_hurried(test: &str) -> bool {
    HURRIED.lock().unwrap_or_else(PoisonError::into_inner).contains(test)
}

impl Machine for Scripted {
    type State = u64;
    type Rules = ();

    fn vocabulary() -> Vocabulary {
        Vocabulary { kinds: &[STEP] }
    }

    fn rules(_: &config_schemas::Rules) {}

    fn decide(_: &u64, input: &Input<'_>, (): &()) -> Decision {
        let custom = |data_json: String| {
            Decision::only(Outcome::Custom { name: "counted".to_owned(), data_json })
        };
        let does = |does: Does| input.event.payload_json == Some(format!("{does:?}"));
        if does(Does::Linger) && !is_hurried(input.event.player.as_deref().unwrap_or_default()) {
            std::thread::sleep(A_WHILE);
        }
        assert!(!does(Does::PanicDeciding), "cannot decide on {}", input.event.id);
        if does(Does::Refuse) {
            return Decision::dead_letter(&"x".repeat(10_000));
        }
        if does(Does::PanicFolding) {
            return custom(UNFOLDABLE.to_owned());
        }
        if does(Does::Talk) {
            return custom("x".repeat(6_000));
        }
        if does(Does::TalkTooMuch) {
            return custom("x".repeat(OUTCOME_BYTES_MAX + 1));
        }
        if does(Does::ForwardNowhere) {
            return custom("1".to_owned()).forwarding(input.caused(input.event.kind.clone()));
        }
        custom("1".to_owned())
    }

    fn fold(count: &mut u64, record: &OutcomeRecord) {
        *count += 1;
        if let Outcome::Custom { data_json, .. } = &record.outcome {
            assert!(data_json != UNFOLDABLE, "cannot fold");
        }
    }

    /// It counts events whatever their key.
    fn part(_: &u64, _: &dyn Fn(&str) -> bool) -> u64 {
        0
    }

    fn absorb(_: &mut u64, _: u64) {}
}

const UNFOLDABLE: &str = "break";
