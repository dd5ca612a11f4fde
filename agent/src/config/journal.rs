//! One line for each edit that is taken over, changes nothing or is refused, and for each field that
//! changes by the resource: who, what, from, to, at which revision. In: what ran and what runs, and
//! what was edited. Out: log lines; which, is decided apart from writing them.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::diff::Plan;
use config_schemas::documents::Refusal;
use config_schemas::edit::{Target, target};
use config_schemas::layers::{Claim, Effective, Layer};
use config_schemas::{FieldPath, Generation, Revision, Value, excerpt};

/// Lines that one change may write; the rest is counted in one more.
const LINES_MAX: usize = 64;

/// A change of what runs.
pub(crate) struct Change<'a> {
    /// What ran.
    pub(crate) old: &'a Effective,
    /// What runs.
    pub(crate) new: &'a Effective,
    /// What that changes.
    pub(crate) plan: &'a Plan,
    /// Edits since the change before, by what follows `override/`.
    pub(crate) news: &'a BTreeMap<String, u64>,
    /// The revision up to which all this is known: that of what has no other.
    pub(crate) revision: Option<Revision>,
}

/// What there is to say.
#[derive(Debug, Clone, PartialEq)]
enum Line<'a> {
    /// A field has another value.
    Changes { path: FieldPath, from: &'a Value, to: &'a Value, by: &'a Claim },
    /// An edit holds, and another value wins or it is the same as before.
    Idle { path: FieldPath, edit: &'a Claim, winner: &'a Claim },
    /// An edit is gone, and the value is the same as before.
    Gone { path: FieldPath, winner: &'a Claim },
    /// An edit is not in effect.
    Refused(&'a Refusal),
    /// The resource has another generation, or a rollback chose one.
    Generation { from: Option<Generation>, to: Option<Generation> },
}

/// Writes it down.
pub(crate) fn record(change: &Change<'_>) {
    let lines = lines(change);
    for line in lines.iter().take(LINES_MAX) {
        line.write(change.revision);
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        tracing::info!(more, "further settings change and edits are refused at the same time");
    }
}

fn lines<'a>(change: &Change<'a>) -> Vec<Line<'a>> {
    let Change { old, new, plan, news, .. } = change;
    let changes = plan.values().flat_map(|component| &component.changes);
    let changes = changes.map(|field| Line::Changes {
        path: field.path,
        from: &field.from,
        to: &field.to,
        by: new.winner(field.path),
    });
    let mut lines: Vec<_> = changes.collect();
    let changed: BTreeSet<FieldPath> =
        plan.values().flat_map(|part| &part.changes).map(|field| field.path).collect();
    let idle = news.keys().filter_map(|rest| idle(old, new, rest, &changed));
    lines.extend(idle);
    let fresh = new.refused.iter().filter(|refusal| !old.refused.contains(refusal));
    lines.extend(fresh.map(Line::Refused));
    if new.generation != old.generation {
        lines.push(Line::Generation { from: old.generation, to: new.generation });
    }
    lines
}

/// An edit that is neither refused nor seen by what it changes; nothing for another node's.
fn idle<'a>(
    old: &Effective,
    new: &'a Effective,
    rest: &str,
    changed: &BTreeSet<FieldPath>,
) -> Option<Line<'a>> {
    let Ok(Target::Setting { node, path }) = target(rest) else { return None };
    let key = format!("override/{rest}");
    if changed.contains(&path) || new.refused.iter().any(|refusal| refusal.key == key) {
        return None;
    }
    let layer = if node.is_some() { Layer::Node } else { Layer::Hunt };
    let winner = new.winner(path);
    match new.held.contains_key(rest) {
        true => {
            let edit = new.claims[&path].iter().find(|claim| claim.layer == layer)?;
            Some(Line::Idle { path, edit, winner })
        }
        false => old.held.contains_key(rest).then_some(Line::Gone { path, winner }),
    }
}

impl Line<'_> {
    fn write(&self, known: Option<Revision>) {
        let revision = |claim: &Claim| claim.revision.or(known).map(Revision::get);
        match self {
            Line::Changes { path, from, to, by } => tracing::info!(
                field = %path,
                from = %from,
                to = %to,
                layer = layer(by.layer),
                owner = owner(by),
                revision = revision(by),
                "setting changes"
            ),
            Line::Idle { path, edit, winner } => tracing::info!(
                field = %path,
                from = %winner.value,
                to = %edit.value,
                layer = layer(edit.layer),
                owner = owner(edit),
                revision = revision(edit),
                wins = layer(winner.layer),
                "edit changes nothing here"
            ),
            Line::Gone { path, winner } => tracing::info!(
                field = %path,
                to = %winner.value,
                layer = layer(winner.layer),
                owner = owner(winner),
                revision = known.map(Revision::get),
                "edit is gone and changes nothing here"
            ),
            Line::Refused(refusal) => tracing::warn!(
                key = %refusal.key,
                found = %refusal.found,
                reason = %refusal.reason,
                code = refusal.code.as_str(),
                revision = refusal.revision.get(),
                "edit refused"
            ),
            Line::Generation { from, to } => tracing::info!(
                from = from.map(|generation| generation.0),
                to = to.map(|generation| generation.0),
                revision = known.map(Revision::get),
                "generation changes"
            ),
        }
    }
}

fn owner(claim: &Claim) -> Option<String> {
    claim.signature.owner.as_deref().map(excerpt)
}

/// As people know it from `hunt explain`.
fn layer(layer: Layer) -> &'static str {
    match layer {
        Layer::Default => "default",
        Layer::Resource => "resource",
        Layer::Hunt => "override/hunt",
        Layer::Node => "override/node",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use config_schemas::NodeName;
    use config_schemas::diff::diff;
    use config_schemas::layers::{Edits, Held, Written, resolve};
    use telemetry::logs::{Form, to};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn effective(edits: &[(&str, &str)], held: &Held) -> Effective {
        let written = |(at, (rest, text)): (usize, &(&str, &str))| {
            let revision = Revision::new(at as u64 + 1).unwrap();
            ((*rest).to_owned(), Written { bytes: (*text).into(), revision })
        };
        let edits: Edits = edits.iter().enumerate().map(written).collect();
        let me = NodeName::new("n1").unwrap();
        resolve(None, &edits, Some(&me), held, "2026-11-21T12:00:00Z".parse().unwrap())
    }

    /// The JSON lines of a change from some edits to others, all of which are new.
    fn written(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<serde_json::Value> {
        let old = effective(before, &Held::new());
        let new = effective(after, &old.held);
        let plan = diff(&old.values, &new.values);
        let rests =
            before.iter().chain(after).filter(|edit| before.contains(edit) != after.contains(edit));
        let news = rests.map(|(rest, _)| ((*rest).to_owned(), 1)).collect();
        let revision = Revision::new(99);
        let change = Change { old: &old, new: &new, plan: &plan, news: &news, revision };
        let kept = Kept::default();
        let writer = kept.clone();
        let log = to(move || writer.clone(), Form::Json);
        tracing::subscriber::with_default(log, || record(&change));
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn check(before: &[(&str, &str)], after: &[(&str, &str)], expected: serde_json::Value) {
        let lines = written(before, after);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&lines[0][name], value, "{name} of {}", lines[0]);
        }
    }

    #[test]
    fn each_edit_is_one_line_that_says_who_what_from_to_and_at_which_revision() {
        let signed = r#"{"value": 128, "owner": "ana", "reason": "r"}"#;
        let events = "hunt/buffers/events";
        check(
            &[],
            &[(events, signed)],
            serde_json::json!({
                "message": "setting changes", "field": "buffers.events", "from": "4096", "to": "128",
                "layer": "override/hunt", "owner": "ana", "revision": 1, "level": "INFO",
            }),
        );
        check(
            &[(events, "128")],
            &[],
            serde_json::json!({
                "message": "setting changes", "from": "128", "to": "4096", "layer": "default",
                "revision": 99,
            }),
        );
        check(
            &[],
            &[(events, "many")],
            serde_json::json!({
                "message": "edit refused", "key": "override/hunt/buffers/events", "found": "many",
                "code": "OutOfBounds", "revision": 1, "level": "WARN",
            }),
        );
        check(
            &[],
            &[(events, "4096")],
            serde_json::json!({
                "message": "edit changes nothing here", "from": "4096", "to": "4096",
                "layer": "override/hunt", "wins": "override/hunt", "revision": 1,
            }),
        );
        let mine = ("node/n1/buffers/events", "64");
        check(
            &[mine],
            &[mine, (events, "128")],
            serde_json::json!({
                "message": "edit changes nothing here", "from": "64", "to": "128",
                "layer": "override/hunt", "wins": "override/node", "revision": 2,
            }),
        );
        check(
            &[mine, (events, "128")],
            &[mine],
            serde_json::json!({
                "message": "edit is gone and changes nothing here", "to": "64", "revision": 99,
            }),
        );
    }

    #[test]
    fn another_nodes_edit_and_the_same_again_are_no_line() {
        let events = ("hunt/buffers/events", "128");
        assert!(written(&[], &[("node/n2/buffers/events", "128")]).is_empty());
        assert!(written(&[events], &[events]).is_empty());
    }

    /// What a person put where only a Secret's name belongs must not be written down.
    #[test]
    fn no_line_has_what_may_be_a_secret() {
        let lines = written(&[], &[("hunt/kafka/password", "hunter2")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].to_string().contains("hunter2"), "{lines:?}");
    }
}
