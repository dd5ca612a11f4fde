//! What producers may send, and what each mistake is told.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use events::{
    BATCH_EVENTS_MAX, BODY_BYTES_MAX, Event, EventId, HuntGame, Intake, Machine, Problem,
    parse_body, parse_wire, v1,
};

fn with_intake<T>(run: impl FnOnce(&mut Intake<'_>) -> T) -> T {
    let vocabulary = HuntGame::vocabulary();
    let mut new_id = || EventId::new("assigned").unwrap();
    run(&mut Intake { vocabulary: &vocabulary, now_millis: 42, new_id: &mut new_id })
}

fn body(text: &str) -> Result<Vec<Result<Event, Vec<Problem>>>, Problem> {
    with_intake(|intake| parse_body(text.as_bytes(), intake))
}

/// The problems of one event, as text, one per line.
fn check(text: &str, problems: &[&str]) {
    let found = match body(text).unwrap().remove(0) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    };
    assert_eq!(found, problems, "{text}");
}

#[test]
fn a_good_event_is_taken_with_what_the_gateway_adds() {
    let text = r#"{"kind":"solve","player":"ana","treasure":"gold","clue":2,"payload":{"x":[1]}}"#;
    let event = body(text).unwrap().remove(0).unwrap();
    assert_eq!(event.id.as_str(), "assigned");
    assert_eq!((event.received_millis, event.clue), (42, Some(2)));
    assert_eq!(event.payload_json.as_deref(), Some(r#"{"x":[1]}"#));
    let mut bytes = Vec::new();
    event.clone().encode(&mut bytes);
    assert_eq!(Event::decode(&bytes).unwrap(), event);
    let wire = v1::Event { received_millis: 0, ..event.clone().into() };
    assert_eq!(with_intake(|intake| parse_wire(wire, false, intake)), Ok(event));
}

#[test]
fn every_problem_of_an_event_is_named_at_once() {
    let kinds = "one of join, move, solve, claim";
    check(r#"{"kind":"join","player":"ana","id":null}"#, &[]);
    check(r#"{"player":"ana"}"#, &[&format!("kind: missing (allowed: {kinds})")]);
    check(
        r#"{"kind":"claim.forwarded","player":"a b","clue":0,"colour":"red"}"#,
        &[
            "colour: \"red\" (allowed: no such field; the fields are id, kind, player, treasure, \
             clue, at_millis, payload)",
            "player: \"a b\" (allowed: 1 to 128 characters of A-Z a-z 0-9 . _ : -)",
            "clue: 0 (allowed: a whole number from 1)",
            &format!("kind: \"claim.forwarded\" (allowed: {kinds})"),
        ],
    );
    check(
        r#"{"kind":"solve","id":"x~1","at_millis":-1,"player":7}"#,
        &[
            "at_millis: -1 (allowed: milliseconds since 1970)",
            "player: 7 (allowed: text)",
            "id: \"x~1\" (allowed: 1 to 64 characters of A-Z a-z 0-9 . _ : -)",
            "player: missing (allowed: required by kind solve)",
            "treasure: missing (allowed: required by kind solve)",
            "clue: missing (allowed: required by kind solve)",
        ],
    );
    check("[1]\n[2]", &["event: [1] (allowed: a JSON object)"]);
}

#[test]
fn payloads_are_bounded_in_depth_and_size() {
    let event = |payload: &str| format!(r#"{{"kind":"join","player":"a","payload":{payload}}}"#);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    check(&event(&nested(8)), &[]);
    check(&event(&nested(9)), &["payload: deeper (allowed: at most 8 levels)"]);
    let text = |len: usize| format!("\"{}\"", "x".repeat(len - 2));
    check(&event(&text(4096)), &[]);
    let large = "payload: 4097 bytes (allowed: at most 4096 bytes of compact JSON)";
    check(&event(&text(4097)), &[large]);
}

#[test]
fn json_lines_are_judged_one_by_one() {
    let good = r#"{"kind":"join","player":"ana"}"#;
    let results = body(&format!("{good}\n\n{{oops\n{good}\n")).unwrap();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_body_that_is_no_batch_is_refused_as_a_whole() {
    let lines = "{}\n".repeat(BATCH_EVENTS_MAX + 1);
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    let deep = "[".repeat(100_000);
    for text in ["", "  \n", "[]", "3", "{\"kind\":", &lines, &large, &deep] {
        let shown: String = text.chars().take(20).collect();
        assert!(body(text).is_err(), "{shown}");
    }
    assert!(with_intake(|intake| parse_body(&[0xff], intake)).is_err());
}

#[test]
fn only_agents_may_send_what_partitions_send_each_other() {
    let claim = v1::Event {
        id: "x~0".into(),
        kind: "claim.forwarded".into(),
        player: "ana".into(),
        treasure: "gold".into(),
        received_millis: 9,
        ..v1::Event::default()
    };
    let parse = |wire: v1::Event, peer| with_intake(|intake| parse_wire(wire, peer, intake));
    assert!(parse(claim.clone(), false).is_err());
    assert_eq!(parse(claim.clone(), true).unwrap().received_millis, 9);
    for broken in [
        v1::Event { id: "x~0~0~0~0~0".into(), ..claim.clone() },
        v1::Event { id: "~0".into(), ..claim.clone() },
        v1::Event { treasure: String::new(), ..claim.clone() },
        v1::Event { kind: "claim.verdict".into(), ..claim.clone() },
        v1::Event { kind: "other".into(), ..claim },
    ] {
        assert!(parse(broken.clone(), true).is_err(), "{broken:?}");
    }
}
