//! What a file of hunts and its status file mean together, by tables. Pure.

use super::*;
use serde_json::json;

fn name(name: &str) -> HuntName {
    HuntName::new("default", name).unwrap()
}

fn text(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// Joins with these hunts deleted if the file does not name them.
fn run_deleting(text: Option<&str>, before: &StatusFile, deleted: &[&str]) -> Joined {
    let said = Said::of(text);
    let mut rulings =
        Rulings { deleted: deleted.iter().map(|hunt| name(hunt)).collect(), ..Rulings::default() };
    let origin = Origin { uid: "uid".to_owned(), newest: None };
    let new = without_record(&said, before, &rulings);
    rulings.origins = new.into_iter().map(|name| (name, origin.clone())).collect();
    join(&said, before, &rulings)
}

fn run(text: Option<&str>, before: &StatusFile) -> Joined {
    run_deleting(text, before, &[])
}

fn seen(joined: &Joined) -> Vec<(String, u64, bool)> {
    let one = |o: &Observed| (o.name.name.to_string(), o.generation.0, o.deleting);
    joined.observed.iter().map(one).collect()
}

#[test]
fn a_generation_rises_with_the_spec_and_with_nothing_else() {
    let first = run(Some(&text("a", "{heartbeat: {misses: 3}}")), &StatusFile::default());
    assert_eq!(seen(&first), [("a".to_owned(), 1, false)]);
    let same = text("a", "\n  heartbeat:\n    misses: 3 # as before");
    let again = run(Some(&same), &first.status);
    assert_eq!(again.status, first.status);
    let other = run(Some(&text("a", "{heartbeat: {misses: 4}}")), &first.status);
    assert_eq!(seen(&other), [("a".to_owned(), 2, false)]);
    assert_eq!(other.status.hunts[0].uid, first.status.hunts[0].uid);
}

#[test]
fn a_file_may_hold_several_hunts_and_one_that_is_taken_out_is_deleted_when_it_was_decided() {
    let both = text("a", "{}") + &text("b", "{}");
    let first = run(Some(&both), &StatusFile::default());
    assert_eq!(first.status.hunts.len(), 2);
    let b = text("b", "{}");
    let early = run(Some(&b), &first.status);
    assert_eq!(seen(&early), [("b".to_owned(), 1, false), ("a".to_owned(), 1, false)]);
    assert!(early.observed[1].spec().is_ok(), "it runs as it did until that is decided");
    let one = run_deleting(Some(&b), &early.status, &["a"]);
    assert_eq!(seen(&one), [("b".to_owned(), 1, false), ("a".to_owned(), 1, true)]);
    assert_eq!(one.status.hunts.len(), 2, "its record stays until its keys are gone");
    let none = run_deleting(None, &one.status, &["a", "b"]);
    assert!(seen(&none).iter().all(|(_, _, deleting)| *deleting));
}

#[test]
fn a_file_that_cannot_be_read_deletes_nothing_and_says_why() {
    let first = run(Some(&text("a", "{}")), &StatusFile::default());
    let check = |broken: &str, word: &str| {
        let joined = run(Some(broken), &first.status);
        assert_eq!(seen(&joined), [("a".to_owned(), 1, false)], "{broken}");
        assert!(joined.status.problems[0].contains(word), "{:?}", joined.status.problems);
        let why = joined.observed[0].spec().unwrap_err();
        assert!(!why.is_empty());
        assert_eq!(joined.status.hunts, first.status.hunts);
    };
    check("a: [", "not YAML");
    for nothing in ["", "  \n", "\n\n", "# only words\n", "---\n---\n"] {
        check(nothing, "names no hunt; to delete default/a, remove the file");
        assert!(!Said::of(Some(nothing)).ends, "{nothing:?}");
        assert_eq!(run(Some(nothing), &StatusFile::default()).status, StatusFile::default());
    }
    check("kind: Treasure\n", "document 1: not a TreasureHunt");
    let unnamed = "apiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\n";
    check(unnamed, "metadata.name is missing");
    check(&text("A", "{}"), "lower-case");
}

#[test]
fn a_hunt_of_another_file_is_refused_and_a_record_goes_only_when_the_other_has_it() {
    let said = Said::of(Some(&text("a", "{}")));
    let other = |recorded| Elsewhere { file: "z.yaml".to_owned(), recorded };
    let rulings = |recorded| Rulings {
        elsewhere: BTreeMap::from([(name("a"), other(recorded))]),
        ..Rulings::default()
    };
    let none = StatusFile::default();
    assert_eq!(without_record(&said, &none, &rulings(true)), BTreeSet::new());
    let refused = join(&said, &none, &rulings(true));
    assert_eq!(refused.observed, []);
    assert_eq!(refused.status.problems, ["hunt default/a stands in z.yaml already"]);

    let before = run(Some(&text("a", "{}")), &none).status;
    for said in [said, Said::of(None)] {
        let waits = join(&said, &before, &rulings(false));
        assert!(waits.unfinished && waits.observed.is_empty());
        assert_eq!(waits.status.hunts, before.hunts);
        let gone = join(&said, &before, &rulings(true));
        assert!(!gone.unfinished && gone.observed.is_empty());
        assert_eq!(gone.status.hunts, []);
    }
}

#[test]
fn a_hunt_that_moves_here_keeps_its_id_its_generation_and_its_status() {
    let mut record =
        run(Some(&text("a", "{history: 3}")), &StatusFile::default()).status.hunts[0].clone();
    (record.generation, record.status) = (Generation(7), json!({"nodes": 3}));
    let check = |spec: &str, generation: u64| {
        let rulings = Rulings {
            adopted: BTreeMap::from([(name("a"), record.clone())]),
            ..Rulings::default()
        };
        let said = Said::of(Some(&text("a", spec)));
        assert_eq!(without_record(&said, &StatusFile::default(), &rulings), BTreeSet::new());
        let joined = join(&said, &StatusFile::default(), &rulings);
        assert_eq!(seen(&joined), [("a".to_owned(), generation, false)]);
        let here = &joined.status.hunts[0];
        assert_eq!((&here.uid, &here.status), (&record.uid, &record.status));
    };
    check("{history: 3}", 7);
    check("{history: 4}", 8);
}

#[test]
fn reports_and_notes_are_kept_and_bounded() {
    let mut status = run(Some(&text("a", "{}")), &StatusFile::default()).status;
    let target = Target { name: name("a"), uid: "uid".to_owned(), version: String::new() };
    let report_of = |json: serde_json::Value| Report::Status(json.to_string().into());
    assert!(report(&mut status, &target, &report_of(json!({ "generation": 1 }))));
    for _ in 0..50 {
        let note = Note::warning("EditRefused", "key", "text");
        assert!(tell(&mut status, &target, &note, Timestamp::UNIX_EPOCH));
    }
    assert_eq!(status.hunts[0].events.len(), EVENTS_MAX);
    let yaml = serde_yaml::to_string(&status).unwrap();
    assert_eq!(serde_yaml::from_str::<StatusFile>(&yaml).unwrap(), status);
    assert!(report(&mut status, &target, &Report::Release));
    assert!(!report(&mut status, &target, &Report::Release), "another id, or gone");
}

#[test]
fn a_lost_status_file_makes_no_new_hunt_and_no_older_generation() {
    let written = |spec: Json| read_sections(spec.as_object().unwrap()).values;
    let check = |spec: &str, expected: u64| {
        let newest = Some((Generation(5), written(json!({"heartbeat": {"misses": 3}}))));
        let origin = Origin { uid: "old".to_owned(), newest };
        let origins = BTreeMap::from([(name("a"), origin)]);
        let rulings = Rulings { origins, ..Rulings::default() };
        let said = Said::of(Some(&text("a", spec)));
        let joined = join(&said, &StatusFile::default(), &rulings);
        assert_eq!(seen(&joined), [("a".to_owned(), expected, false)], "{spec}");
        assert_eq!(joined.observed[0].uid, "old");
    };
    check("{heartbeat: {misses: 3}}", 5);
    check("{heartbeat: {misses: 4}}", 6);
    check("{}", 6);
    check("{heartbeat: {misses: many}}", 6);
    check("{history: many}", 6);
}
