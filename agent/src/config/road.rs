//! The road itself: what the store says becomes the view, the view becomes what is wanted, the
//! components take it over, and once the workers have, it is acked. Level, not edge: each round
//! looks at the whole view. I/O; the deciding is in `view`, `wanted`, `diff` and `ack`.

mod fetch;
mod timing;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use config_schemas::diff::{Plan, diff};
use config_schemas::documents::{Ack, Owner};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::layers::Effective;
use config_schemas::{Generation, Revision};
use jiff::Timestamp;
use store::{Cause, Follower, Store, Update};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ack::{Rejections, ack, unreadable, worker_components};
use super::clients::Decision;
use super::components::{Components, Taken};
use super::journal::{self, Change};
use super::live::Version;
use super::report::Report;
use super::shared::ViewWriter;
use super::snapshot::Snapshot;
use super::undecided::{Switched, Undecided};
use super::view::{Standing, Touched, View};
use super::wanted::{Documents, InEffect, Wanted, wanted};
use crate::metrics::RoadMetrics;
use fetch::FETCH_RETRY;
use timing::Timing;
use waits::{decided, sleep_until, switched};

/// Least time between two changes of what runs: a burst of edits becomes a few changes, and a
/// value that flips there and back within it costs nothing. The first edit does not wait.
const CHANGE_GAP: Duration = Duration::from_millis(3);
/// How long workers may take to switch before the ack says who has not.
const SWITCH_LIMIT: Duration = Duration::from_secs(3);
/// A clock that is set forward must not end an edit late by more than this.
const EXPIRY_LOOK: Duration = Duration::from_secs(10);

/// Where the road's outcomes go.
pub struct Outlets {
    /// The view, shared with all who look at it.
    pub view: ViewWriter,
    /// What runs, for the admin port.
    pub report: watch::Sender<Arc<Report>>,
    /// The newest ack.
    pub ack: watch::Sender<Option<Ack>>,
    /// The newest snapshot.
    pub snapshot: watch::Sender<Option<Snapshot>>,
}

/// What the road starts from.
pub struct Start {
    /// Name and life of this node.
    pub me: Owner,
    /// The hunt's keys.
    pub keys: HuntKeys,
    /// What was kept on disk.
    pub snapshot: Option<Snapshot>,
}

/// The road of one agent.
pub struct Road {
    me: Owner,
    keys: HuntKeys,
    store: Store,
    components: Components,
    outlets: Outlets,
    metrics: RoadMetrics,
    timing: Timing,
    documents: Documents,
    listed: Option<Revision>,
    in_effect: InEffect,
    running: Arc<Effective>,
    rollback: Option<Generation>,
    from_snapshot: Option<Timestamp>,
    acked: Ack,
    pending: Option<Pending>,
    /// What every worker runs, while the clients of Kafka are still being proven.
    undecided: Undecided,
    /// What is acked, if it is not what stuck workers run.
    settled: Switched,
    decisions: watch::Receiver<Decision>,
    /// The view has changed since what is wanted was decided.
    dirty: bool,
    next_change: Instant,
    retry_at: Option<Instant>,
}

/// Taken over by the components, not yet by every worker.
struct Pending {
    taken: Taken,
    revision: Option<Revision>,
    stuck: bool,
}

/// What there is to run before the store has said anything.
pub fn initial(start: &Start, now: Timestamp) -> Wanted {
    match &start.snapshot {
        Some(kept) => wanted(&kept.view, &kept.documents, &start.me.node, &kept.in_effect, now),
        None => {
            let none = InEffect::default();
            wanted(&View::default(), &Documents::new(), &start.me.node, &none, now)
        }
    }
}

impl Road {
    /// Starts with `first`, which the components already run.
    pub fn new(
        start: Start,
        first: Wanted,
        store: Store,
        components: Components,
        outlets: Outlets,
        metrics: RoadMetrics,
    ) -> Road {
        let running = Arc::new(first.effective);
        let acked = ack(&start.me.incarnation, &running, None, &Rejections::new());
        let (effective, decisions) = (running.clone(), components.clients.decisions());
        let settled =
            Switched { effective, revision: None, rejections: Rejections::new(), wish: 0 };
        let now = Instant::now();
        let (documents, from_snapshot) = match start.snapshot {
            Some(kept) => (kept.documents, Some(kept.saved_at)),
            None => (Documents::new(), None),
        };
        Road {
            me: start.me,
            keys: start.keys,
            store,
            components,
            outlets,
            timing: Timing::new(metrics.clone()),
            metrics,
            documents,
            listed: None,
            in_effect: first.in_effect,
            running,
            rollback: first.rollback,
            from_snapshot,
            acked,
            pending: None,
            undecided: Undecided::default(),
            settled,
            decisions,
            dirty: false,
            next_change: now,
            retry_at: None,
        }
    }

    /// Follows the store until `stop`.
    pub async fn run(mut self, mut follower: Follower, stop: CancellationToken) {
        self.report();
        loop {
            let wake = self.wake_at();
            let board = self.components.board.clone();
            let waits_for = self.pending.as_ref().filter(|pending| !pending.stuck);
            let waits_for = waits_for.map(|pending| pending.taken.version);
            let late = self.pending.as_ref().filter(|pending| pending.stuck);
            let late = late.map(|pending| pending.taken.version);
            tokio::select! {
                () = stop.cancelled() => return,
                update = follower.next() => self.take(update),
                () = sleep_until(wake) => self.dirty = true,
                switched = switched(&board, waits_for, SWITCH_LIMIT) => self.switched(switched),
                _ = switched(&board, late, Duration::MAX) => self.switched(Ok(())),
                () = decided(&mut self.decisions) => self.acknowledge(),
            }
            if self.dirty && Instant::now() >= self.next_change {
                self.change().await;
            }
        }
    }

    /// When to look again without anything having arrived.
    fn wake_at(&self) -> Option<Instant> {
        let gap = self.dirty.then_some(self.next_change);
        let expiry = self.running.next_expiry.map(|until| {
            let left = until.duration_since(telemetry::clock::now());
            let left = Duration::try_from(left).unwrap_or_default();
            Instant::now() + left.min(EXPIRY_LOOK)
        });
        [gap, expiry, self.retry_at].into_iter().flatten().min()
    }

    fn take(&mut self, update: Update) {
        let mut touched = Touched::default();
        let own = self.keys.key(&Key::Node(self.me.node.clone()));
        if update.changes.iter().any(|change| change.key == own) {
            self.components.session.recheck();
        }
        let mut view = self.outlets.view.write();
        for change in &update.changes {
            let standing = change.entry.as_ref().map(|entry| Standing {
                value: &entry.value,
                revision: entry.mod_revision,
                created: entry.create_revision,
                version: entry.version,
            });
            touched |= view.apply(&self.keys, &change.key, standing, update.revision);
        }
        if matches!(update.cause, Cause::First | Cause::Relist) {
            touched |= view.listed(update.revision);
        }
        if update.cause == Cause::First {
            // What stood there before this life was counted by the life before.
            view.news();
        }
        drop(view);
        if touched.config {
            self.dirty = true;
            self.timing.arrived(update.arrived);
        }
        if touched.nodes || touched.partitions {
            self.outlets.view.moved();
        }
        if self.from_snapshot.take().is_some() {
            self.report();
        }
    }

    async fn change(&mut self) {
        self.dirty = false;
        self.retry_at = None;
        self.next_change = Instant::now() + CHANGE_GAP;
        if let Err(error) = self.fetch().await {
            tracing::warn!(error = %chain(&error), "cannot fetch a kept generation; trying again");
            self.retry_at = Some(Instant::now() + FETCH_RETRY);
        }
        let now = telemetry::clock::now();
        let (next, news) = {
            let mut view = self.outlets.view.write();
            let mut next = wanted(&view, &self.documents, &self.me.node, &self.in_effect, now);
            next.effective.refused.extend(unreadable(&view, self.keys.prefix()));
            (next, view.news())
        };
        let effective = next.effective;
        self.metrics.count_edits(&news, &effective, next.rollback.is_some());
        if self.nothing_new(&effective, next.rollback) {
            self.timing.nothing_new();
            return;
        }
        let plan = diff(&self.running.values, &effective.values);
        let revision = self.outlets.view.read().config_revision;
        let (old, new) = (&*self.running, &effective);
        journal::record(&Change { old, new, plan: &plan, news: &news, revision });
        self.in_effect = next.in_effect;
        self.rollback = next.rollback;
        self.running = Arc::new(effective);
        self.take_over(&plan).await;
    }

    /// Whether all of it is acked already: a look at the clock, or news that change nothing.
    fn nothing_new(&self, effective: &Effective, rollback: Option<Generation>) -> bool {
        self.pending.is_none()
            && self.undecided.is_empty()
            && *effective == *self.running
            && rollback == self.rollback
            && self.outlets.view.read().config_revision == self.acked.revision
    }

    async fn take_over(&mut self, plan: &Plan) {
        self.timing.decided();
        let revision = self.outlets.view.read().config_revision;
        let stamp = revision.map_or(0, Revision::get);
        // The operator's own settings change nothing here; they are acked all the same.
        let taken = if plan.is_empty() {
            let (unfinished, wish) = (self.pending.take(), self.components.clients.wished());
            let none = Taken { version: Version(0), rejections: Rejections::new(), wish };
            unfinished.map_or(none, |pending| pending.taken)
        } else {
            self.metrics.changes.inc();
            self.components.take_over(&self.running, plan, stamp).await
        };
        self.timing.taken_over();
        let version = taken.version;
        self.pending = Some(Pending { taken, revision, stuck: false });
        self.report();
        if self.components.board.behind(version).is_empty() {
            self.switched(Ok(()));
        }
    }

    /// Every worker has switched, or `behind` names the partitions whose worker has not in time.
    fn switched(&mut self, switched: Result<(), Vec<config_schemas::PartitionId>>) {
        let Some(mut pending) = self.pending.take() else { return };
        match switched {
            Ok(()) => {
                self.timing.switched();
                self.undecided.push(Switched {
                    effective: self.running.clone(),
                    revision: pending.revision,
                    rejections: pending.taken.rejections,
                    wish: pending.taken.wish,
                });
                self.keep_snapshot();
                self.acknowledge();
            }
            Err(behind) => {
                let list: Vec<_> = behind.iter().map(ToString::to_string).collect();
                let reason = format!(
                    "workers of partitions {} still run the configuration before",
                    list.join(", ")
                );
                tracing::warn!(%reason, "not in effect everywhere");
                let mut rejections = pending.taken.rejections.clone();
                rejections.extend(worker_components().map(|part| (part, reason.clone())));
                // What they really run is what was acked before.
                let sections = ack(&self.me.incarnation, &self.running, None, &rejections).sections;
                self.acked = Ack { sections, ..self.acked.clone() };
                pending.stuck = true;
                self.pending = Some(pending);
                self.tell();
            }
        }
    }

    /// Acks the newest that every worker runs and that is decided about the clients of Kafka. An ack
    /// says that everything up to a revision is in effect or refused, so that an edit made while a
    /// proof is under way is in effect at once, and acked with the proof's end.
    fn acknowledge(&mut self) {
        let decision = self.decisions.borrow_and_update().clone();
        if let Some(settled) = self.undecided.take(&decision) {
            let all = self.undecided.is_empty() && self.pending.is_none();
            self.timing.in_effect(settled.revision, all);
            self.settled = settled;
        }
        if self.pending.as_ref().is_some_and(|pending| pending.stuck) {
            return;
        }
        let Switched { effective, revision, .. } = &self.settled;
        let rejections = self.settled.rejections(&decision);
        let before = std::mem::take(&mut self.acked.hash);
        self.acked = ack(&self.me.incarnation, effective, *revision, &rejections);
        if before != self.acked.hash {
            self.metrics.applied();
        }
        self.tell();
    }

    fn tell(&self) {
        self.metrics.show(&self.acked, &self.running);
        self.outlets.ack.send_if_modified(|sent| {
            let news = sent.as_ref() != Some(&self.acked);
            *sent = Some(self.acked.clone());
            news
        });
        self.report();
    }

    fn keep_snapshot(&self) {
        self.outlets.snapshot.send_replace(Some(Snapshot {
            saved_at: telemetry::clock::now(),
            view: self.outlets.view.read().settings(),
            documents: self.documents.clone(),
            in_effect: self.in_effect.clone(),
        }));
    }

    fn report(&self) {
        self.outlets.report.send_replace(Arc::new(Report {
            effective: self.running.clone(),
            ack: Arc::new(self.acked.clone()),
            rollback: self.rollback,
            from_snapshot: self.from_snapshot,
        }));
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
