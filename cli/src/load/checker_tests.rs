//! Each kind of damage is put into a clean log, and has to be named.

use serde_json::{Value as Json, json};

use super::*;

fn line(partition: u32, offset: u64, epoch: u64, id: &str, outcome: Json) -> Line {
    serde_json::from_value(json!({
        "offset": offset, "partition": partition, "epoch": epoch, "source_offset": offset,
        "event_id": id, "at_millis": 1, "config_revision": 1, "outcome": outcome,
    }))
    .unwrap()
}

fn acked() -> Vec<Acked> {
    let event = |id: &str, claim| Acked { id: id.into(), player: "p".into(), partition: 0, claim };
    vec![event("p.0", false), event("p.1", true)]
}

fn played() -> Vec<Line> {
    let won = json!({"type": "won", "player": "p", "treasure": "t", "points": 5});
    let scored = json!({"type": "scored", "player": "p", "treasure": "t", "points": 5, "total": 5});
    vec![
        line(0, 0, 1, "p.0", json!({"type": "joined", "player": "p"})),
        line(0, 1, 1, "p.1", json!({"type": "claim_sent", "player": "p", "treasure": "t"})),
        line(1, 0, 1, "p.1~0", won),
        line(0, 2, 2, "p.1~0~0", scored),
    ]
}

fn outcome(at: usize) -> Json {
    serde_json::to_value(&played()[at].record.outcome).unwrap()
}

#[test]
fn a_clean_hunt_is_clean() {
    check(&acked(), &played()).unwrap();
    assert_eq!(tally(&acked(), &played()), Tally::default());
}

#[test]
fn each_kind_of_damage_is_named() {
    let damaged = |damage: &dyn Fn(&mut Vec<Line>), word: &str| {
        let mut lines = played();
        damage(&mut lines);
        let found = check(&acked(), &lines).unwrap_err().to_string();
        assert!(found.contains(word), "{word}: {found}");
    };
    damaged(&|lines| drop(lines.remove(0)), "p.0 was acknowledged and is lost");
    damaged(&|lines| lines.push(line(0, 3, 2, "p.0", outcome(0))), "p.0 was played 2 times");
    damaged(&|lines| lines.swap(0, 1), "partition 0: offset 0 after 1");
    damaged(&|lines| lines[3] = line(0, 2, 0, "p.1~0~0", outcome(3)), "epoch 0 after 1");
    damaged(&|lines| drop(lines.remove(3)), "the claim p.1 has 0 verdicts");
    damaged(&|lines| drop(lines.remove(2)), "t was won 0 times and scored 1 times");
    damaged(&|lines| lines[0] = line(2, 0, 1, "p.0", outcome(0)), "and was played in 2");
    let other = json!({"type": "won", "player": "q", "treasure": "t", "points": 5});
    damaged(
        &|lines| lines.push(line(1, 1, 1, "q.9~0", other.clone())),
        "t has several winners: p, q",
    );
    let told_other = json!({"type": "lost", "player": "q", "treasure": "t", "winner": "q"});
    damaged(
        &|lines| lines.push(line(1, 1, 1, "q.9~0", told_other.clone())),
        "t has several winners: p, q",
    );
    let refused = json!({"type": "refused", "reason": "not_joined"});
    damaged(&|lines| lines[1] = line(0, 1, 1, "p.1", refused.clone()), "p.1 was refused");
    let swapped = |lines: &mut Vec<Line>| {
        lines[0] = line(0, 0, 1, "p.1", outcome(1));
        lines[1] = line(0, 1, 1, "p.0", outcome(0));
    };
    damaged(&swapped, "p.1 was played before p.0");
}

#[test]
fn what_went_wrong_is_counted_by_its_kind() {
    let counted = |damage: &dyn Fn(&mut Vec<Line>)| {
        let mut lines = played();
        damage(&mut lines);
        let Tally { lost, doubled, reordered, several_winners, .. } = tally(&acked(), &lines);
        (lost, doubled, reordered, several_winners)
    };
    assert_eq!(counted(&|_| ()), (0, 0, 0, 0));
    assert_eq!(counted(&|lines| drop(lines.remove(0))), (1, 0, 0, 0));
    let again = line(0, 3, 2, "p.0", outcome(0));
    assert_eq!(counted(&|lines| lines.push(again.clone())), (0, 1, 0, 0));
    let late = line(0, 5, 1, "p.0", outcome(0));
    assert_eq!(counted(&|lines| lines[0] = late.clone()), (0, 0, 1, 0));
    let won = json!({"type": "won", "player": "q", "treasure": "t", "points": 5});
    let won = line(1, 1, 1, "q.9~0", won);
    assert_eq!(counted(&|lines| lines.push(won.clone())), (0, 0, 0, 1));
}

/// Events of one player, each with when it was sent and heard of, and where it was played.
fn check_order(events: &[(u64, u64, u64)], expected: &[&str]) {
    let mut checker = Checker::of_run("r");
    let mut lines: Vec<_> = events.iter().enumerate().collect();
    lines.sort_by_key(|(_, (_, _, offset))| *offset);
    for (number, (_, _, offset)) in lines {
        let moved = json!({"type": "moved", "player": "p", "moves": 1});
        checker.read(&line(0, *offset, 1, &format!("r-{number}"), moved));
    }
    let told = |(number, (sent, heard, _)): (usize, &(u64, u64, u64))| Told {
        event: Acked { id: format!("r-{number}"), player: "p".into(), partition: 0, claim: false },
        sent: *sent,
        heard: *heard,
        ordered: true,
    };
    let told: Vec<_> = events.iter().enumerate().map(told).collect();
    let found: Vec<_> = checker.judge(&told).iter().map(Finding::to_string).collect();
    let reordered = |pair: &&str| {
        let (event, before) = pair.split_once('<').unwrap();
        format!("r-{event} was played before r-{before}, which was acknowledged earlier")
    };
    assert_eq!(found, expected.iter().map(reordered).collect::<Vec<_>>(), "{events:?}");
}

#[test]
fn order_is_asked_of_what_was_acknowledged_before_the_next_was_sent() {
    check_order(&[(0, 10, 0), (11, 20, 1)], &[]);
    check_order(&[(0, 10, 1), (11, 20, 0)], &["1<0"]);
    // Both under way at once: either may come first.
    check_order(&[(0, 12, 1), (11, 20, 0)], &[]);
    // A slow answer to an early event does not hide a later pair.
    check_order(&[(0, 99, 5), (1, 2, 3), (4, 6, 2)], &["2<1"]);
    // In one request the order of the request counts.
    check_order(&[(0, 10, 0), (0, 10, 1)], &[]);
    check_order(&[(0, 10, 1), (0, 10, 0)], &["1<0"]);
}

#[test]
fn only_the_run_s_own_events_are_judged_and_rules_are_no_fault() {
    let mut checker = Checker::of_run("p.");
    let other = json!({"type": "won", "player": "q", "treasure": "t", "points": 5});
    for line in played().into_iter().chain([
        line(1, 1, 1, "q.9~0", other.clone()),
        line(1, 2, 1, "q.9~0", other),
        line(0, 3, 2, "p.2", json!({"type": "refused", "reason": "not_joined"})),
    ]) {
        checker.read(&line);
    }
    let mut acked = acked();
    acked.push(Acked { id: "p.2".into(), ..acked[1].clone() });
    assert_eq!(checker.judge(&one_by_one(&acked)), []);
    let missing = Told {
        event: Acked { id: "p.3".into(), ..acked[0].clone() },
        sent: 0,
        heard: 1,
        ordered: true,
    };
    assert!(checker.awaits(&missing));
    assert_eq!(checker.judge(&[missing]), [Finding::Lost { event: "p.3".into() }]);
}

#[test]
fn what_was_turned_away_and_never_taken_is_not_played() {
    let check = |turned_away: &str, acked: &[Acked], expected: &[&str]| {
        let refused = Refused { id: turned_away.into(), code: "OVERLOADED".into() };
        let mut checker = Checker::of_run("p.").with_refused([refused]);
        played().iter().for_each(|line| checker.read(line));
        let found = checker.judge(&one_by_one(acked));
        let found: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(found, expected, "{turned_away}");
    };
    check("p.0", &acked()[1..], &["p.0 was turned away with OVERLOADED and played all the same"]);
    // Taken by a later try: then it counts as accepted.
    check("p.0", &acked(), &[]);
    check("p.9", &acked(), &[]);
}
