//! What producers may send, and what each mistake is told.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use events::{
    BATCH_EVENTS_MAX, BODY_BYTES_MAX, Event, EventId, Flaw, HuntGame, Machine, ParseContext,
    Problem, parse_body, parse_wire, v1,
};
use proptest::prelude::*;
use prost::Message as _;

fn with_context<T>(run: impl FnOnce(&mut ParseContext<'_>) -> T) -> T {
    let vocabulary = HuntGame::vocabulary();
    let mut new_id = || EventId::new("assigned").unwrap();
    run(&mut ParseContext { vocabulary: &vocabulary, now_millis: 42, new_id: &mut new_id })
}

fn body(text: &str) -> Result<Vec<Result<Event, Vec<Problem>>>, Problem> {
    with_context(|context| parse_body(text.as_bytes(), context))
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
    assert_eq!(with_context(|context| parse_wire(wire, false, context)), Ok(event));
}

#[test]
fn every_problem_of_an_event_is_named_at_once() {
    let kinds = "one of join, move, solve, claim, sight";
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
    let deep = "payload: deeper at line 1 column 48 (allowed: at most 8 levels)";
    check(&event(&nested(9)), &[deep]);
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
    for text in ["", "  \n", "[]", "3", "{\"kind\":", &lines, &large] {
        let shown: String = text.chars().take(20).collect();
        assert!(body(text).is_err(), "{shown}");
    }
    assert!(with_context(|context| parse_body(&[0xff], context)).is_err());
}

#[test]
fn each_mistake_is_of_a_kind_to_count_by() {
    let check = |text: &str, expected: &[Flaw]| {
        let found: Vec<Flaw> = match body(text) {
            Ok(events) => events[0].as_ref().unwrap_err().iter().map(|p| p.flaw).collect(),
            Err(problem) => vec![problem.flaw],
        };
        assert_eq!(found, expected, "{}", text.chars().take(60).collect::<String>());
    };
    let with = |payload: &str| format!(r#"{{"kind":"join","player":"a","payload":{payload}}}"#);
    check("", &[Flaw::Malformed]);
    check("{\"kind\":", &[Flaw::Malformed]);
    check("[]", &[Flaw::Malformed]);
    check(&" ".repeat(BODY_BYTES_MAX + 1), &[Flaw::TooLarge]);
    check(&"{}\n".repeat(BATCH_EVENTS_MAX + 1), &[Flaw::TooMany]);
    check(r#"{"kind":"join","player":"a","player":"b"}"#, &[Flaw::Twice]);
    check("{\n\"kind\":\"join\",\n\"kind\":\"join\"}", &[Flaw::Twice]);
    check(&with(r#"{"x":{"y":1,"y":2}}"#), &[Flaw::Twice]);
    check(&with(&"[".repeat(100)), &[Flaw::TooDeep]);
    check(&"[".repeat(100), &[Flaw::TooDeep]);
    check(&with(&format!("[{}1]", "1,".repeat(5000))), &[Flaw::TooMany]);
    check(&with(&format!("\"{}\"", "x".repeat(5000))), &[Flaw::TooLarge]);
    check(&with(&" ".repeat(40_000)), &[Flaw::TooLarge]);
    check(r#"{"kind":"jump","player":"a"}"#, &[Flaw::UnknownKind]);
    check(r#"{"kind":"join"}"#, &[Flaw::Missing]);
    check(r#"{"kind":"join","player":"a","colour":"red"}"#, &[Flaw::UnknownField]);
    check(r#"{"kind":"join","player":"a b"}"#, &[Flaw::Value]);
}

proptest! {
    /// Whatever comes, there is an answer, and no more events than may be.
    #[test]
    fn nothing_that_is_sent_ends_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        with_context(|context| {
            if let Ok(events) = parse_body(&bytes, context) {
                assert!(events.len() <= bytes.len());
            }
            if let Ok(request) = v1::PublishRequest::decode(bytes.as_slice()) {
                for event in request.events {
                    let _ = parse_wire(event.clone(), false, context);
                    let _ = parse_wire(event, true, context);
                }
            }
        });
    }

    /// The same for what is nearly right, which gets further.
    #[test]
    fn nothing_that_looks_like_json_ends_the_reader(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"kind\"", "\"join\"", "\"sight\"", "\"player\"", "\"id\"",
                "\"a\"", "\"payload\"", "1", "-1", "1e999", "null", "\n", "\"\\ud800\"", "\"~\"",
                "{\"kind\":\"join\",\"player\":\"a\"}", "99999999999999999999", " ",
            ]),
            0..40,
        )
    ) {
        let text = parts.concat();
        for event in body(&text).unwrap_or_default().into_iter().flatten() {
            let mut bytes = Vec::new();
            event.clone().encode(&mut bytes);
            assert_eq!(Event::decode(&bytes).unwrap(), event);
        }
    }
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
    let parse = |wire: v1::Event, peer| with_context(|context| parse_wire(wire, peer, context));
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
