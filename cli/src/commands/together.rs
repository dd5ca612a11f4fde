//! Whether edits go together with the rest of a hunt, on every node that they concern: the layers
//! are laid as agents lay them. In: the hunt, and what is to be written or taken away. Out: what
//! agents would refuse. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::RefusalCode;
use config_schemas::layers::{Edits, Written};
use config_schemas::{NodeName, Revision};
use jiff::Timestamp;

use crate::fleet::{Effects, Fleet};

/// What to write below `override/`; `None` takes away.
pub type Changes = BTreeMap<String, Option<String>>;

/// An edit that would be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What follows `override/`.
    pub rest: String,
    /// On this node, or for the hunt as a whole.
    pub node: Option<NodeName>,
    /// Why.
    pub reason: String,
}

/// The changes that agents would refuse, each once.
pub fn unfit(fleet: &Fleet, changes: &Changes, now: Timestamp) -> Vec<Unfit> {
    let effects = Effects::of(fleet, &after(&fleet.edits, changes), now);
    let mut found: BTreeMap<String, Unfit> = BTreeMap::new();
    for (node, effective) in effects.each() {
        for refusal in &effective.refused {
            let Some(rest) = refusal.key.strip_prefix("override/") else { continue };
            if changes.get(rest).is_some_and(Option::is_some) {
                let (rest, node) = (rest.to_owned(), node.cloned());
                let unfit = Unfit { rest: rest.clone(), node, reason: refusal.reason.clone() };
                found.entry(rest).or_insert(unfit);
            }
        }
    }
    found.into_values().collect()
}

/// Edits that hold now, that nobody changes, and that would no longer go together with the rest.
pub fn broken(fleet: &Fleet, changes: &Changes, now: Timestamp) -> Vec<Unfit> {
    let before = fleet.effects(now);
    let will = Effects::of(fleet, &after(&fleet.edits, changes), now);
    let mut found: BTreeMap<String, Unfit> = BTreeMap::new();
    for (node, effective) in will.each() {
        let held = &before.at(node).held;
        for refusal in effective.refused.iter().filter(|it| it.code == RefusalCode::Conflict) {
            let Some(rest) = refusal.key.strip_prefix("override/") else { continue };
            if !changes.contains_key(rest) && held.contains_key(rest) {
                let (rest, node) = (rest.to_owned(), node.cloned());
                let unfit = Unfit { rest: rest.clone(), node, reason: refusal.reason.clone() };
                found.entry(rest).or_insert(unfit);
            }
        }
    }
    found.into_values().collect()
}

/// The edits after the changes. What is written is newer than all that stands.
pub fn after(edits: &Edits, changes: &Changes) -> Edits {
    let mut edits = edits.clone();
    let newest = Revision::new(u64::MAX).unwrap_or(Revision::FIRST);
    for (rest, value) in changes {
        match value {
            Some(value) => {
                let written = Written { bytes: value.as_bytes().to_vec(), revision: newest };
                edits.insert(rest.clone(), written);
            }
            None => {
                edits.remove(rest);
            }
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    const EDITS: &[(&str, &str, u64)] =
        &[("hunt/buffers/events", "64", 20), ("hunt/workers/batch", "64", 21)];

    fn changes(list: &[(&str, Option<&str>)]) -> Changes {
        list.iter().map(|(rest, value)| ((*rest).to_owned(), value.map(str::to_owned))).collect()
    }

    fn check(list: &[(&str, Option<&str>)], expected: &[&str], breaks: &[&str]) {
        let (fleet, changes) = (harbour(EDITS), changes(list));
        let rests = |found: Vec<Unfit>| found.into_iter().map(|it| it.rest).collect::<Vec<_>>();
        assert_eq!(rests(unfit(&fleet, &changes, now())), expected, "{list:?}");
        assert_eq!(rests(broken(&fleet, &changes, now())), breaks, "{list:?}");
    }

    #[test]
    fn edits_are_judged_with_all_that_change_together() {
        check(&[("hunt/workers/batch", Some("65"))], &["hunt/workers/batch"], &[]);
        let both = [("hunt/workers/batch", Some("65")), ("hunt/buffers/events", Some("128"))];
        check(&both, &[], &[]);
        check(&[("hunt/buffers/events", Some("63"))], &["hunt/buffers/events"], &[]);
    }

    #[test]
    fn what_is_taken_away_may_leave_another_edit_without_its_ground() {
        let (mut fleet, gone) = (harbour(&[]), changes(&[("hunt/buffers/events", None)]));
        for (rest, text, at) in
            [("hunt/buffers/events", "8192", 20), ("hunt/workers/batch", "4096", 21)]
        {
            fleet.edits.insert(
                rest.to_owned(),
                Written { bytes: text.into(), revision: Revision::new(at).unwrap() },
            );
        }
        assert!(broken(&fleet, &gone, now()).is_empty(), "4096 events is the default");
        let small = serde_json::json!({"buffers": {"events": 1000}});
        fleet.desired.get_mut(&config_schemas::Generation(2)).unwrap().config =
            small.as_object().unwrap().clone();
        let found = broken(&fleet, &gone, now());
        assert_eq!(found[0].rest, "hunt/workers/batch");
        assert!(found[0].reason.contains("at most buffers.events, which is 1000"), "{found:?}");
    }
}
