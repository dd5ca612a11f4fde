//! What is written down of edits: each once, with who, what, from, to and since when.

use super::*;
use crate::journal::Line;

const EVENTS: &str = "hunt/buffers/events";

fn holds(world: &World, from: &str, to: &str, owner: Option<&str>) -> Vec<Line> {
    vec![Line::Holds {
        rest: EVENTS.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        owner: owner.map(str::to_owned),
        revision: Revision::new(world.revision).unwrap(),
    }]
}

#[test]
fn each_edit_is_one_line_when_it_begins_to_hold_when_it_is_refused_and_when_it_ends() {
    let mut world = running();
    let key = format!("override/{EVENTS}");
    world.set(&key, r#"{"value": 128, "owner": "ana"}"#);
    assert_eq!(world.look().edits, holds(&world, "4096", "128", Some("ana")));
    assert_eq!(world.look().edits, [], "once");
    world.set(&key, "64");
    assert_eq!(world.look().edits, holds(&world, "128", "64", None));
    world.set(&key, "many");
    let told = world.look().edits;
    let [Line::Refused(refused)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&*refused.refusal.key, &*refused.refusal.found), (&*key, "many"));
    assert_eq!(refused.refusal.revision.get(), world.revision);
    assert_eq!(world.look().edits, [], "once");
    world.unset(&key);
    let (from, to) = ("64".to_owned(), "4096".to_owned());
    let ends = Line::Ends { rest: EVENTS.to_owned(), from, to, layer: "default" };
    assert_eq!(world.look().edits, [ends]);
    assert_eq!(world.look().edits, []);
}

#[test]
fn what_stood_before_the_first_look_was_told_by_whoever_saw_it_come() {
    let mut world = running();
    world.set(&format!("override/{EVENTS}"), "64");
    world.hunt.journal = Default::default();
    assert_eq!(world.look().edits, []);
}
