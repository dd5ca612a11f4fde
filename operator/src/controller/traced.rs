//! Edits on their way, for traces: from the store's word, or from the resource's change before it,
//! until every node runs by them. In: changes of keys, and that a hunt has converged. Out: stages of
//! traces. No I/O.

use std::collections::BTreeMap;

use config_schemas::keys::Key;
use config_schemas::{HuntName, Revision};
use telemetry::traces::{EDIT, Role, Stage, Traces};
use tokio::time::Instant;

/// Edits of one hunt that are followed at the same time; the oldest is given up for a new one. A hunt
/// whose node refuses something converges on none of them.
const EDITS_MAX: usize = 64;

/// Edits of one hunt that not all nodes run by yet.
#[derive(Default)]
pub(super) struct OnTheirWay(BTreeMap<Revision, Edit>);

struct Edit {
    what: &'static str,
    began: Instant,
    seen: Instant,
}

impl OnTheirWay {
    /// `key` was changed at that revision; `resource` is when a change of the resource came, if one is
    /// on its way.
    pub(super) fn see(&mut self, key: &Key, revision: Revision, resource: Option<Instant>) {
        let seen = Instant::now();
        let (what, began) = match key {
            Key::Override(_) => ("override", seen),
            Key::Rollout | Key::Meta => ("resource", resource.unwrap_or(seen)),
            _ => return,
        };
        self.0.insert(revision, Edit { what, began, seen });
        if self.0.len() > EDITS_MAX {
            self.0.pop_first();
        }
    }

    /// All nodes run by everything up to that revision.
    pub(super) fn converged(&mut self, traces: &Traces, hunt: &HuntName, until: Option<Revision>) {
        let Some(until) = until else { return };
        let later = self.0.split_off(&until.next());
        let now = Instant::now();
        for (revision, Edit { what, began, seen }) in std::mem::replace(&mut self.0, later) {
            let Some(trace) = traces.of_hunt(hunt).edit(revision.get(), "operator") else { return };
            let number = revision.get();
            let stage = Stage {
                name: EDIT,
                role: Role::Works,
                within: (began, now),
                about: &[("hunt", hunt), ("of", &what), ("revision", &number)],
                failed: None,
            };
            trace.tell(&stage);
            if began < seen {
                trace.tell(&Stage { name: "reconcile", within: (began, seen), ..stage });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_edit_is_told_when_all_run_by_it_and_a_later_one_waits() {
        let (traces, mut spans) = telemetry::traces::kept(0.0);
        let (hunt, at) = (HuntName::new("default", "harbour").unwrap(), Revision::FIRST);
        let mut edits = OnTheirWay::default();
        edits.see(&Key::Rollout, at, Some(Instant::now() - std::time::Duration::from_millis(5)));
        edits.see(&Key::Override("hunt/buffers/events".to_owned()), at.next(), None);
        edits.see(&Key::Routing, at.next().next(), None);
        edits.converged(&traces, &hunt, None);
        edits.converged(&traces, &hunt, Some(at));
        let names: Vec<_> = std::iter::from_fn(|| spans.try_recv().ok()).collect();
        assert_eq!(names.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["edit", "reconcile"]);
        assert_eq!(names[1].parent_span_id, names[0].span_id);
        edits.converged(&traces, &hunt, Some(at.next()));
        assert_eq!(spans.try_recv().unwrap().name, "edit");
        assert!(edits.0.is_empty() && spans.try_recv().is_err());
    }

    #[test]
    fn what_never_converges_is_given_up() {
        let mut edits = OnTheirWay::default();
        let mut at = Revision::FIRST;
        for _ in 0..1_000 {
            edits.see(&Key::Meta, at, None);
            at = at.next();
        }
        assert_eq!(edits.0.len(), EDITS_MAX);
    }
}
