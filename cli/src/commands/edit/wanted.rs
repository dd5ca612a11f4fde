//! What a page asks for that came back: which keys change, what is written there, and all that is
//! wrong with it, by the checks of agents. In: what stood there and what stands there now. Out: a
//! set of changes, or problems. Pure.

use std::collections::BTreeSet;

use config_schemas::edit::{self, Signature, Target};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::page::Said;
use crate::commands::together::{Changes, broken, unfit};
use crate::fleet::Fleet;

/// Changes that one edit may make: each is an operation of one transaction of etcd (128 at most),
/// and a person looks at each.
pub(super) const CHANGES_MAX: usize = 64;

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Which: as it stands on the page, joined by dots.
    pub(super) at: String,
    /// Why, and what would be allowed.
    pub(super) reason: String,
}

/// The changes that the page asks for; empty when it is as it was.
pub(super) fn changes(
    fleet: &Fleet,
    before: &Said,
    after: &Said,
    signature: &Signature,
    now: Timestamp,
) -> Result<Changes, Vec<Wrong>> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = keys.into_iter().filter(|rest| before.get(*rest) != after.get(*rest));
    let (mut changes, mut wrong) = (Changes::new(), Vec::new());
    for rest in changed {
        match after.get(rest) {
            None => {
                changes.insert(rest.clone(), None);
            }
            Some(value) => match written(rest, before.get(rest), value, signature, now) {
                Ok(text) => {
                    changes.insert(rest.clone(), Some(text));
                }
                Err(reason) => wrong.push(Wrong { at: dotted(rest), reason }),
            },
        }
    }
    if changes.len() > CHANGES_MAX {
        let reason = format!("{} changes at once; at most {CHANGES_MAX}", changes.len());
        wrong.push(Wrong { at: "the page".to_owned(), reason });
    }
    wrong.extend(strangers(fleet, &changes));
    if wrong.is_empty() {
        let on = |node: &Option<config_schemas::NodeName>| {
            node.as_ref().map(|node| format!("on {node}, ")).unwrap_or_default()
        };
        wrong.extend(unfit(fleet, &changes, now).into_iter().map(|it| Wrong {
            reason: format!("{}{}", on(&it.node), it.reason),
            at: dotted(&it.rest),
        }));
        wrong.extend(broken(fleet, &changes, now).into_iter().map(|it| Wrong {
            reason: format!("{}would no longer hold: {}", on(&it.node), it.reason),
            at: dotted(&it.rest),
        }));
    }
    if wrong.is_empty() { Ok(changes) } else { Err(wrong) }
}

fn dotted(rest: &str) -> String {
    config_schemas::excerpt_of(&rest.replace('/', "."), 160)
}

/// Nodes that do not live: most likely a slip of the pen.
fn strangers(fleet: &Fleet, changes: &Changes) -> Vec<Wrong> {
    let unknown = |(rest, value): (&String, &Option<String>)| {
        let Ok(Target::Setting { node: Some(node), .. }) = edit::target(rest) else { return None };
        let known = fleet.nodes.contains_key(&node) || fleet.absent_nodes().contains(&node);
        (value.is_some() && !known).then(|| {
            let living: Vec<_> = fleet.nodes.keys().map(|node| node.as_str()).collect();
            let living = if living.is_empty() { "none".to_owned() } else { living.join(", ") };
            let reason = format!("no node {node} lives; living: {living}");
            Wrong { at: dotted(rest), reason }
        })
    };
    changes.iter().filter_map(unknown).collect()
}

/// The bytes to write, signed by whoever edits.
fn written(
    rest: &str,
    before: Option<&Json>,
    value: &Json,
    signature: &Signature,
    now: Timestamp,
) -> Result<String, String> {
    let target = edit::target(rest).map_err(|refused| refused.reason)?;
    let Target::Setting { path, .. } = target else {
        return Err("`hunt rollback` makes rollbacks".to_owned());
    };
    let read = edit::setting(path, value.to_string().as_bytes()).map_err(|it| it.reason)?;
    let typed = read.signature;
    let owner_of = |said: &Json| said.get("owner").cloned();
    let keeps_owner = typed.owner.is_some() && before.and_then(owner_of) != owner_of(value);
    let signed = Signature {
        owner: if keeps_owner { typed.owner } else { signature.owner.clone() },
        reason: typed.reason.or_else(|| signature.reason.clone()),
        until: typed.until.or(signature.until),
    };
    if let Some(until) = signed.until.filter(|until| *until <= now) {
        return Err(format!("until {until} has passed; it is {now} now"));
    }
    let text = edit::write(&read.value.to_json(), &signed);
    // Owner and reason count too.
    edit::setting(path, text.as_bytes()).map_err(|refused| refused.reason)?;
    Ok(text)
}

/// The text of a change for people: what stood there, what comes.
pub(super) fn told(changes: &Changes, before: &Said) -> Vec<Json> {
    let change = |(rest, to): (&String, &Option<String>)| json!({"key": rest, "from": before.get(rest), "to": to});
    changes.iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::super::page::{read, said};
    use super::*;
    use crate::fleet::sample::{harbour, now};

    const EDITS: &[(&str, &str, u64)] = &[
        ("hunt/buffers/events", "{value: 64, owner: ana, reason: calm}", 20),
        ("hunt/workers/batch", "64", 21),
    ];
    const UNCHANGED: &str =
        "hunt: {buffers: {events: {value: 64, owner: ana, reason: calm}}, workers: {batch: 64}}";

    fn check(page: &str, expected: Result<&[(&str, Option<&str>)], &[&str]>) {
        let fleet = harbour(EDITS);
        let signature = Signature { owner: Some("bob".into()), ..Signature::default() };
        let found = changes(&fleet, &said(&fleet), &read(page).unwrap(), &signature, now());
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let expected = expected
                    .iter()
                    .map(|(rest, value)| ((*rest).to_owned(), value.map(str::to_owned)));
                assert_eq!(found, expected.collect(), "{page}");
            }
            (Err(found), Err(expected)) => {
                assert_eq!(found.len(), expected.len(), "{page}: {found:?}");
                for (wrong, expected) in found.iter().zip(expected) {
                    let text = format!("{}: {}", wrong.at, wrong.reason);
                    assert!(text.contains(expected), "{page}: {text}");
                }
            }
            (found, _) => panic!("{page}: {found:?}"),
        }
    }

    #[test]
    fn only_what_changed_is_written_and_signed_by_who_changed_it() {
        check(UNCHANGED, Ok(&[]));
        let events = "hunt/buffers/events";
        check(
            "hunt: {buffers: {events: {value: 128, owner: ana, reason: calm}}, workers: {batch: 64}}",
            Ok(&[(events, Some(r#"{"value":128,"owner":"bob","reason":"calm"}"#))]),
        );
        check(
            "hunt: {buffers: {events: {value: 128, owner: eve}}, workers: {batch: 64}}",
            Ok(&[(events, Some(r#"{"value":128,"owner":"eve"}"#))]),
        );
        check(
            "hunt: {buffers: {events: 128}, workers: {batch: 64}}",
            Ok(&[(events, Some(r#"{"value":128,"owner":"bob"}"#))]),
        );
        check("hunt: {workers: {batch: 64}}", Ok(&[(events, None)]));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_nothing_is_written() {
        check(
            "hunt: {buffers: {events: lots, size: 3}, partitions: {count: 3}}\nnode: {ghost: {buffers: {wait: 1s}}}",
            Err(&[
                "hunt.buffers.events: \"lots\" is not allowed; allowed: a whole number",
                "hunt.buffers.size: section buffers has the fields",
                "hunt.partitions.count: partitions.count cannot change",
                "no node ghost lives; living: agent-1, agent-2",
            ]),
        );
        check(
            "hunt: {buffers: {events: 64}, workers: {batch: 65}}",
            Err(&["at most buffers.events, which is 64"]),
        );
        check(
            "hunt: {buffers: {events: {value: 9, until: '2026-01-01T00:00:00Z'}}}",
            Err(&["has passed"]),
        );
    }
}
