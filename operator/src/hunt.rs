//! What the controller knows of one hunt between two looks, and the look itself: from resource,
//! keys and memory to what is to be done now. Pure; `controller` does it.

mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::{Cuts, Generation, HuntName, NodeName, Revision};
use crds::{ConditionKind, TreasureHuntStatus, Truth};
use jiff::{SignedDuration, Timestamp};
use store::Txn;
use tokio::time::Instant;

use self::topics::topics_within;
use crate::desire::{Desire, desire};
use crate::evaluate::{Evaluation, HeldEdits, evaluate};
use crate::journal::{Journal, Line};
use crate::metrics::Stands;
use crate::placement::{Extent, Standing, StepCause, Violation, place};
use crate::plan::raise::placeable;
use crate::plan::{Fresh, Note, Plan, clean_up, configure};
use crate::report;
use crate::source::{Report, Target};
use crate::state::{Cutting, HuntView, Memory, Observed};
use crate::topics::{Asked, Standing as TopicsStanding};

/// How long a deleted resource waits for its keys to be removed. Past it the resource goes, and
/// the keys are removed when etcd is back.
pub const CLEAN_UP_WITHIN: Duration = Duration::from_secs(60);

/// How long nothing is placed while a node's key holds something that nobody can read. Its agent
/// puts it back within two seconds and must not have lost its partitions by then; whatever stands
/// there for longer is no agent's.
const UNREADABLE_HOLD: Duration = Duration::from_secs(5);

/// What the controller knows of one hunt between two looks.
#[derive(Debug, Default)]
pub struct Hunt {
    /// The resource as last seen.
    pub resource: Option<Observed>,
    /// The resource that is known to be gone, while its keys may still be there.
    pub deleted: Option<Deleted>,
    /// Since when the resource waits for its keys to be removed.
    pub deleting_since: Option<Instant>,
    /// What has to be remembered of earlier states.
    pub memory: Memory,
    /// The last good form of edits.
    pub held: HeldEdits,
    /// Nothing is planned before the view has this revision, which is our own last write, or
    /// before that time: the store may have lost it.
    pub settled: Option<(Revision, Instant)>,
    /// Trouble with the last commit, for people.
    pub store_trouble: Option<String>,
    /// The status told that etcd does not answer, in this silence.
    pub silence_told: bool,
    /// When the resource's newest generation reached us, until it has converged.
    pub changed_at: Option<(Generation, Instant)>,
    /// Since when nodes' keys cannot be read.
    pub unreadable_since: BTreeMap<NodeName, Instant>,
    /// How evenly the load lay at the last look, for the gauges; nothing while there is none.
    pub standing: Option<Standing>,
    /// Nodes that did not do well at the last look, for the gauge.
    pub unwell: Vec<NodeName>,
    /// What is asked of Kafka, and how the topics stand to it; nothing while it is to have none.
    pub topics: Option<(Asked, TopicsStanding)>,
    /// How the hunt stood at the last look, for the gauges.
    pub stands: Option<Stands>,
    /// What was said of edits, for the log.
    pub journal: Journal,
    /// Refused edits at the last look, for the gauge.
    pub refused: Vec<config_schemas::documents::RefusalCode>,
}

/// A resource that is known to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Which resource of that name.
    pub uid: String,
    /// Its live edits stay.
    pub retain: bool,
}

/// What surrounds a look.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Wall time, for people's deadlines.
    pub now: Timestamp,
    /// For what is measured.
    pub instant: Instant,
    /// A random id, in case a new life begins.
    pub store_epoch: String,
    /// The revision at which the keys are complete.
    pub revision: Option<Revision>,
    /// etcd answers.
    pub store_answers: bool,
    /// How long a deleted resource waits; [`CLEAN_UP_WITHIN`] outside of tests.
    pub clean_up_within: Duration,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub struct Look {
    /// Transactions, in order.
    pub txns: Vec<Txn>,
    /// What to tell people once they are committed.
    pub notes: Vec<Note>,
    /// What to write to the resource.
    pub report: Option<Report>,
    /// The report says that etcd does not answer: it needs no leader.
    pub silent: bool,
    /// What to tell people once that is written.
    pub report_notes: Vec<Note>,
    /// When to look again, by the wall clock.
    pub wake_at: Option<Timestamp>,
    /// Nothing is left to know of this hunt.
    pub forget: bool,
    /// Edits that began to hold, ended or were refused.
    pub edits: Vec<Line>,
    /// Every node has the resource's newest generation.
    pub converged: bool,
    /// Steps of placement in `txns`, by cause.
    pub placed: Vec<StepCause>,
    /// What was wrong with the plan of placement; then none of it is in `txns`.
    pub violations: Vec<Violation>,
    /// The resource is let go although its keys are still there.
    pub left_behind: bool,
    /// What is asked of the Kafka cluster; nothing while nothing is to be done there.
    pub topics: Option<Asked>,
}

impl Hunt {
    /// Looks at the hunt.
    pub fn look(&mut self, view: &HuntView<'_>, around: &Surroundings) -> Look {
        let judged = evaluate(view, &self.memory, &self.held, around.now);
        self.held = judged.held.clone();
        self.refused = judged.refused.values().map(|refused| refused.refusal.code).collect();
        let desire = self.resource.as_ref().map(|observed| desire(observed, view));
        let edits = self.journal.see(&judged);
        let mut look = Look { wake_at: judged.next_expiry, edits, ..Look::default() };
        if !matches!(desire, Some(Desire::Remove { .. })) {
            self.deleting_since = None;
        }
        self.see_topics(view, &judged, desire.as_ref(), &mut look);
        match &desire {
            Some(Desire::Remove { topics: true, .. }) if self.topics_remain(around) => {
                look.wake_by(later(around.now, topics_within(around)));
            }
            Some(Desire::Remove { retain, topics }) => {
                self.remove(view, *retain, around, &mut look);
                self.tell_of_topics(*topics, &mut look);
            }
            Some(Desire::Run(wanted)) if self.is_held() => {
                self.learn_cutting(view);
                let fresh = self.fresh(around);
                look.plan(configure(wanted, view, &self.memory, &fresh));
                let keep = crate::plan::kept(wanted, view, &self.memory);
                self.memory.retain_documents(|generation| keep.contains(&generation));
            }
            Some(Desire::Run(_)) => look.report = Some(Report::Hold),
            Some(Desire::Refuse(_)) => {}
            None => self.sweep(view, &mut look),
        }
        if look.txns.is_empty() && !matches!(desire, Some(Desire::Remove { .. })) {
            self.place(view, &judged, around, &mut look);
        }
        self.wait_for_own_writes(around, &mut look);
        if let Some(desire) = desire
            && look.report.is_none()
            && !(around.store_answers && self.is_writing(&look))
            && !matches!(desire, Desire::Remove { .. })
        {
            self.status(&desire, &judged, view, around, &mut look);
        }
        look
    }

    fn fresh(&self, around: &Surroundings) -> Fresh {
        let cluster = self.topics.as_ref().and_then(|(_, standing)| standing.cluster.clone());
        Fresh { store_epoch: around.store_epoch.clone(), now: around.now, cluster }
    }

    /// Learns into what the hunt is cut, where nobody remembers: from its marker and its status.
    fn learn_cutting(&mut self, view: &HuntView<'_>) {
        let Some(observed) = &self.resource else { return };
        if self.memory.cutting_of(&observed.uid).is_none() {
            let found = view.meta.value().filter(|meta| meta.uid == observed.uid).map(Cutting::of);
            let believed = Cutting::found(found, Cutting::told(observed));
            self.memory.believe_cutting(&observed.uid, believed);
        }
    }

    fn is_held(&self) -> bool {
        self.resource.as_ref().is_some_and(|observed| observed.held)
    }

    /// The keys go first, then the resource; at the deadline the resource goes alone.
    fn remove(
        &mut self,
        view: &HuntView<'_>,
        retain: bool,
        around: &Surroundings,
        look: &mut Look,
    ) {
        let Some(observed) = &self.resource else { return };
        let since = *self.deleting_since.get_or_insert(around.instant);
        look.plan(clean_up(view, &observed.uid, retain));
        let clean = look.txns.is_empty() && !self.is_unsettled(around) && around.store_answers;
        let overdue = around.instant.duration_since(since) >= around.clean_up_within;
        if !observed.held {
            return;
        }
        if clean || overdue {
            look.report = Some(Report::Release);
            look.left_behind = !clean;
            self.deleted = Some(Deleted { uid: observed.uid.clone(), retain });
        } else {
            look.wake_by(later(around.now, around.clean_up_within));
        }
    }

    /// Removes what a resource left that is known to be gone; never anything on absence alone.
    fn sweep(&mut self, view: &HuntView<'_>, look: &mut Look) {
        if let Some(deleted) = &self.deleted {
            look.plan(clean_up(view, &deleted.uid, deleted.retain));
            if look.txns.is_empty() {
                self.deleted = None;
                self.memory.store_rewound();
            }
        }
        look.forget = self.deleted.is_none()
            && view.is_bare()
            && view.edits.is_empty()
            && view.nodes.is_empty();
    }

    /// Placement needs etcd alone: it goes on without a resource.
    fn place(
        &mut self,
        view: &HuntView<'_>,
        judged: &Evaluation,
        around: &Surroundings,
        look: &mut Look,
    ) {
        let Some(meta) = view.meta.value() else { return };
        if self.deleted.as_ref().is_some_and(|deleted| deleted.uid == meta.uid) {
            return;
        }
        if self.waits_for_unreadable(view, around) {
            look.wake_by(later(around.now, UNREADABLE_HOLD));
            return;
        }
        let topics_have = self.topics.as_ref().and_then(|(_, standing)| standing.partitions);
        let extent =
            Extent { placed: placeable(meta, topics_have), known: Cuts::of(meta).placed() };
        let placing = place(view, judged, &mut self.memory, extent, around.now);
        look.wake_by(placing.wake_at);
        look.txns = placing.txns;
        look.notes.extend(placing.notes);
        look.placed = placing.causes;
        look.violations = placing.violations;
        self.standing = placing.standing;
        self.unwell = placing.unwell;
    }

    fn waits_for_unreadable(&mut self, view: &HuntView<'_>, around: &Surroundings) -> bool {
        let unreadable = view.nodes.iter().filter(|(_, slot)| slot.value().is_none());
        let known = std::mem::take(&mut self.unreadable_since);
        let since = |node: &NodeName| known.get(node).copied().unwrap_or(around.instant);
        self.unreadable_since = unreadable.map(|(node, _)| (node.clone(), since(node))).collect();
        let waits = |since: &Instant| around.instant.duration_since(*since) < UNREADABLE_HOLD;
        self.unreadable_since.values().any(waits)
    }

    /// Until the view shows our own last write, a plan would be made from the past. It would only
    /// be refused by its guards; waiting spares the attempt.
    fn wait_for_own_writes(&mut self, around: &Surroundings, look: &mut Look) {
        if self.is_unsettled(around) {
            look.txns.clear();
            look.notes.clear();
            look.placed.clear();
        } else {
            self.settled = None;
        }
    }

    /// The next look, a few milliseconds from now, has more to say: one status instead of two.
    fn is_writing(&self, look: &Look) -> bool {
        self.store_trouble.is_none() && (!look.txns.is_empty() || self.settled.is_some())
    }

    fn is_unsettled(&self, around: &Surroundings) -> bool {
        self.settled.is_some_and(|(revision, until)| {
            Some(revision) > around.revision && until > around.instant
        })
    }

    fn status(
        &mut self,
        desire: &Desire,
        judged: &Evaluation,
        view: &HuntView<'_>,
        around: &Surroundings,
        look: &mut Look,
    ) {
        let Some(observed) = &self.resource else { return };
        let before: TreasureHuntStatus = serde_json::from_str(&observed.status).unwrap_or_default();
        look.silent = !around.store_answers;
        let told = report::tells_of_silence(&before);
        if look.silent && self.silence_told && !told {
            // Another operator, which hears etcd, took it back: it knows better.
            return;
        }
        self.silence_told = look.silent && told;
        let findings = report::Findings {
            observed: observed.generation,
            desire,
            judged,
            view,
            store_silent: look.silent,
            store_trouble: self.store_trouble.as_deref(),
            troubles: &self.memory.troubles,
            hot: &self.memory.rounds.hot(),
            topics: self.topics.as_ref().map(|(_, standing)| standing),
            now: around.now,
        };
        let after = report::status(&findings, &before);
        self.stands = Some(Stands::of(&after));
        look.converged =
            after.condition(ConditionKind::Converged).is_some_and(|c| c.status == Truth::True);
        // Text keys and plain values only: nothing that JSON cannot say.
        let text = serde_json::to_string(&after).unwrap_or_default().into_boxed_str();
        if text != observed.status {
            look.report_notes = report::notes(&before, &after);
            look.report = Some(Report::Status(text));
        }
    }

    /// What the report is about.
    pub fn target(&self, name: &HuntName) -> Target {
        self.resource.as_ref().map_or_else(
            || Target { name: name.clone(), uid: String::new(), version: String::new() },
            Target::of,
        )
    }
}

impl Look {
    fn plan(&mut self, plan: Plan) {
        self.txns.extend(plan.txns);
        self.notes.extend(plan.notes);
    }

    fn wake_by(&mut self, at: Option<Timestamp>) {
        self.wake_at = self.wake_at.into_iter().chain(at).min();
    }
}

fn later(now: Timestamp, wait: Duration) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

#[cfg(test)]
#[path = "hunt_tests/mod.rs"]
mod tests;
