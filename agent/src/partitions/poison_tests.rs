//! A machine that fails does not stop its partition: not when it decides, not when it folds, and not
//! when a node takes over what was played before.

use events::{Decision, HuntGame, Input, Machine, Outcome, OutcomeRecord, Refusal, Vocabulary};

use super::world_tests::{Node, World, moves};

/// Fails on every seventh event when it decides and on every tenth when it folds.
struct Fragile;

impl Machine for Fragile {
    type State = u64;
    type Rules = ();

    fn vocabulary() -> Vocabulary {
        HuntGame::vocabulary()
    }

    fn rules(_: &config_schemas::Rules) {}

    fn decide(_: &u64, input: &Input<'_>, (): &()) -> Decision {
        let number = number(input.event.id.as_str());
        assert!(number % 7 != 3, "cannot decide");
        Decision::refuse(Refusal::Custom { why: number.to_string() })
    }

    fn fold(count: &mut u64, record: &OutcomeRecord) {
        *count += 1;
        if let Outcome::Refused(Refusal::Custom { why }) = &record.outcome {
            assert!(!why.ends_with('5'), "cannot fold");
        }
    }
}

fn number(id: &str) -> u32 {
    id.trim_start_matches("move-").parse().unwrap_or_default()
}

#[tokio::test]
async fn events_on_which_the_machine_fails_are_dead_letters_and_all_others_are_played() {
    let world = World::new().await;
    let a = world.node_with::<Fragile>("a", 1);
    world.own(&a.me, 1);
    a.publish(moves(1..41)).await;
    check(&a.outcomes(40).await);
    assert_eq!(openings(&a), 2, "however many fail, it is opened anew once");
    a.stop().await;
    let b = world.node_with::<Fragile>("b", 1);
    world.own(&b.me, 2);
    b.publish(moves(41..42)).await;
    check(&b.outcomes(41).await);
    assert_eq!(openings(&b), 1, "nobody has to learn it anew from the log");
    b.stop().await;
}

/// How often the partition was taken.
fn openings(node: &Node) -> u64 {
    node.plane.metrics().moves.with_label_values(&["claim"]).get_sample_count()
}

fn check(outcomes: &[OutcomeRecord]) {
    for (record, expected) in outcomes.iter().zip(1..) {
        assert_eq!(number(record.event_id.as_ref().unwrap().as_str()), expected);
        let said = match &record.outcome {
            Outcome::DeadLetter { why } => why.rsplit(": ").next().unwrap_or_default(),
            _ => "played",
        };
        let wanted = match expected {
            number if number % 7 == 3 => "cannot decide",
            number if number % 10 == 5 => "cannot fold",
            _ => "played",
        };
        assert_eq!(said, wanted, "{expected}");
    }
}
