//! Edits on their way, for traces: from the store's word, or from the resource's change before it,
//! until every node runs by them. In: changes of keys, and that a hunt has converged. Out: stages of
//! traces. No I/O.

use std::collections::BTreeMap;

use config_schemas::keys::Key;
use config_schemas::{HuntName, Revision};
use prometheus::Histogram;
use telemetry::traces::{EDIT, Role, Stage, Trace, Traces};
use tokio::time::Instant;

/// Edits of one hunt that are followed at the same time; the oldest is given up for a new one. A hunt
/// whose node refuses something converges on none of them.
const EDITS_MAX: usize = 64;

/// Made by people, and not by the operator out of a resource.
const OVERRIDE: &str = "override";

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
            Key::Override(_) => (OVERRIDE, seen),
            Key::Rollout | Key::Meta => ("resource", resource.unwrap_or(seen)),
            _ => return,
        };
        self.0.insert(revision, Edit { what, began, seen });
        if self.0.len() > EDITS_MAX {
            self.0.pop_first();
        }
    }

    /// What all nodes run by, once they run by everything up to that revision.
    pub(super) fn over(&mut self, until: Option<Revision>) -> Over {
        let Some(until) = until else { return Over::default() };
        let later = self.0.split_off(&until.next());
        Over(std::mem::replace(&mut self.0, later))
    }
}

/// Edits that all nodes of their hunt run by.
#[derive(Default)]
pub(super) struct Over(BTreeMap<Revision, Edit>);

impl Over {
    /// Tells of them, and how long those took that people made. For who leads, so that it is told once.
    pub(super) fn tell(self, hunt: &HuntName, traces: &Traces, edits: &Histogram) {
        let (now, traces) = (Instant::now(), traces.of_hunt(hunt));
        for (revision, edit) in self.0 {
            if edit.what == OVERRIDE {
                edits.observe((now - edit.seen).as_secs_f64());
            }
            if let Some(trace) = traces.edit(revision.get(), "operator") {
                edit.tell(&trace, hunt, revision, now);
            }
        }
    }
}

impl Edit {
    fn tell(&self, trace: &Trace, hunt: &HuntName, revision: Revision, now: Instant) {
        let number = revision.get();
        let stage = Stage {
            name: EDIT,
            role: Role::Works,
            within: (self.began, now),
            about: &[("hunt", hunt), ("of", &self.what), ("revision", &number)],
            failed: None,
        };
        trace.tell(&stage);
        if self.began < self.seen {
            trace.tell(&Stage { name: "reconcile", within: (self.began, self.seen), ..stage });
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
        let metrics = crate::Metrics::new().unwrap();
        let taken = &metrics.edit_converge_seconds;
        edits.over(None).tell(&hunt, &traces, taken);
        edits.over(Some(at)).tell(&hunt, &traces, taken);
        assert_eq!(taken.get_sample_count(), 0, "a resource's change is no edit");
        let names: Vec<_> = std::iter::from_fn(|| spans.try_recv().ok()).collect();
        assert_eq!(names.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["edit", "reconcile"]);
        assert_eq!(names[1].parent_span_id, names[0].span_id);
        edits.over(Some(at.next())).tell(&hunt, &traces, taken);
        assert_eq!(taken.get_sample_count(), 1);
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
