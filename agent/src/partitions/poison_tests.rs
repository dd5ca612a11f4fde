//! A machine that fails does not stop its partition: not when it decides, not when it folds, and not
//! when a node takes over what was played before.

use events::{Event, Outcome, OutcomeRecord};

use super::scripted::{Does, Scripted, step};
use super::world_tests::{Node, World};

/// It fails on every seventh event when it decides and on every tenth when it folds.
fn does(number: u32) -> Does {
    match number {
        number if number % 7 == 3 => Does::PanicDeciding,
        number if number % 10 == 5 => Does::PanicFolding,
        _ => Does::Count,
    }
}

fn steps(numbers: std::ops::Range<u32>) -> Vec<Event> {
    numbers.map(|number| step(format!("step-{number}"), "poison", does(number))).collect()
}

#[tokio::test]
async fn events_on_which_the_machine_fails_are_dead_letters_and_all_others_are_played() {
    let world = World::new().await;
    let a = world.node_with::<Scripted>("a", 1);
    world.own(&a.me, 1);
    a.publish(steps(1..41)).await;
    check(&a.outcomes(40).await);
    assert_eq!(openings(&a), 2, "however many fail, it is opened anew once");
    a.stop().await;
    let b = world.node_with::<Scripted>("b", 1);
    world.own(&b.me, 2);
    b.publish(steps(41..42)).await;
    check(&b.outcomes(41).await);
    assert_eq!(openings(&b), 1, "nobody has to learn it anew from the log");
    b.stop().await;
}

/// How often the partition was taken.
fn openings(node: &Node) -> u64 {
    node.plane.metrics().moves.with_label_values(&["claim"]).get_sample_count()
}

fn check(outcomes: &[OutcomeRecord]) {
    for (record, number) in outcomes.iter().zip(1..) {
        assert_eq!(record.event_id.as_ref().unwrap().as_str(), format!("step-{number}"));
        let said = match &record.outcome {
            Outcome::DeadLetter { why } => why.rsplit(": ").next().unwrap_or_default(),
            _ => "played",
        };
        let wanted = match does(number) {
            Does::PanicDeciding => format!("cannot decide on step-{number}"),
            Does::PanicFolding => "cannot fold".to_owned(),
            _ => "played".to_owned(),
        };
        assert_eq!(said, wanted, "{number}");
    }
}
