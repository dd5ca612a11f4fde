//! The loop: observe, desire, plan, commit, report. It holds every hunt's state, looks at those
//! that something happened to, and has their plans and reports carried out, never two of a kind
//! for one hunt at a time. I/O; the decisions are in `hunt`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::documents::RefusalCode;
use config_schemas::keys::{self, Key, ROOT};
use config_schemas::{HuntName, Revision};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use store::{Cause, FollowOptions, FollowStatus, Follower, KeyRange, Store, Update, follow};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::commit::{Committed, commit};
use crate::fuse::Fuse;
use crate::hunt::{Deleted, Hunt, Look, Surroundings};
use crate::lead::Lead;
use crate::metrics::Metrics;
use crate::plan::Note;
use crate::queue::Queue;
use crate::source::{Outlet, Report, Reported, SourceEvent};
use crate::state::HuntView;

/// Plans and reports carried out at the same time, over all hunts: keeps both servers busy
/// without flooding either.
const RUNNING_MAX: usize = 64;
/// Hunts looked at before the loop listens again.
const LOOKS_AT_ONCE: usize = 32;
/// A hunt whose keys change is looked at again no sooner than this after the last look, and no
/// sooner than four times the time that look took: at most a fifth of a core for one hunt.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(250);
/// Two status writes of one hunt are this far apart; the last one is never left out.
const REPORT_PAUSE: Duration = Duration::from_millis(25);
/// Every hunt is looked at this often even when nothing happens.
const RESYNC: Duration = Duration::from_secs(600);
/// Pauses after a plan or a report that failed: doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long our own write may take to come back by the watch, before it counts as lost.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);
/// A plan that was overtaken is made anew when the view has caught up; at the latest then.
const OVERTAKEN_PAUSE: Duration = Duration::from_millis(50);
/// Without proof for this long, etcd does not answer.
const STORE_SILENT: Duration = Duration::from_secs(10);
/// How often the gauges over all hunts are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A question from the admin port.
pub struct Query {
    /// Which hunt; none for the list of all.
    pub hunt: Option<HuntName>,
    /// What of it.
    pub about: About,
    /// Where the answer goes; `None` when there is no such hunt.
    pub answer: oneshot::Sender<Option<serde_json::Value>>,
}

/// What of a hunt is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Its effective configuration.
    Config,
    /// Its partitions.
    Partitions,
    /// All hunts.
    Hunts,
}

/// What the controller is made of.
pub struct Parts {
    /// etcd.
    pub store: Store,
    /// Who this operator is, for people and for the leader's key.
    pub identity: String,
    /// What the source tells.
    pub events: mpsc::Receiver<SourceEvent>,
    /// What the admin port asks.
    pub queries: mpsc::Receiver<Query>,
    /// Where reports go.
    pub outlet: Outlet,
    /// What is counted.
    pub metrics: Metrics,
    /// Ends the operator between two writes, in tests.
    pub fuse: Fuse,
    /// How long a deleted resource waits for its keys to be removed.
    pub clean_up_within: Duration,
}

/// The controller.
pub struct Controller {
    store: Store,
    follower: Follower,
    follow_status: watch::Receiver<FollowStatus>,
    events: mpsc::Receiver<SourceEvent>,
    queries: mpsc::Receiver<Query>,
    outlet: Outlet,
    metrics: Metrics,
    fuse: Fuse,
    clean_up_within: Duration,
    lead: Lead,
    hunts: BTreeMap<HuntName, Kept>,
    queue: Queue,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Hunts that wait for a free place among the running.
    waiting: BTreeSet<HuntName>,
    revision: Option<Revision>,
    count_at: Instant,
}

/// A hunt and what the loop keeps with it.
#[derive(Default)]
struct Kept {
    hunt: Hunt,
    committing: bool,
    reporting: bool,
    looked_at: Option<Instant>,
    pause: Duration,
    report_at: Option<Instant>,
    commit_at: Option<Instant>,
    commit_failures: u32,
    report_failures: u32,
    /// The newest version that we know we wrote.
    version: String,
}

enum Done {
    Commit { name: HuntName, outcome: Committed, notes: Vec<Note> },
    Report { name: HuntName, report: Report, outcome: Reported, notes: Vec<Note> },
}

impl Controller {
    /// Follows all hunts from now on.
    pub fn new(parts: Parts) -> Controller {
        let follower = follow(&parts.store, FollowOptions::new("operator", KeyRange::prefix(ROOT)));
        Controller {
            follow_status: follower.status(),
            follower,
            events: parts.events,
            queries: parts.queries,
            outlet: parts.outlet,
            metrics: parts.metrics,
            fuse: parts.fuse,
            clean_up_within: parts.clean_up_within,
            lead: Lead::new(&parts.store, &parts.identity),
            store: parts.store,
            hunts: BTreeMap::new(),
            queue: Queue::default(),
            running: FuturesUnordered::new(),
            waiting: BTreeSet::new(),
            revision: None,
            count_at: Instant::now(),
        }
    }

    /// How fresh the view of etcd is.
    pub fn follow_status(&self) -> watch::Receiver<FollowStatus> {
        self.follow_status.clone()
    }

    /// Runs until told to stop, then hands the leadership over.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.lead.changed() => self.lead_changed(),
                Some(done) = self.running.next() => self.done(done),
                update = self.follower.next() => self.update(update),
                Some(event) = self.events.recv() => self.event(event),
                Some(query) = self.queries.recv() => self.query(query),
                () = sleep_until(wake_at) => {}
            }
            self.look_at_due();
        }
        self.lead.resign().await;
    }

    fn wake_at(&self) -> Instant {
        self.queue.next_at().map_or(self.count_at, |at| at.min(self.count_at))
    }

    fn lead_changed(&mut self) {
        let leads = self.lead.guard().is_some();
        self.metrics.leader.set(i64::from(leads));
        if leads {
            self.mark_all();
        }
    }

    fn mark_all(&mut self) {
        let now = Instant::now();
        for name in self.hunts.keys() {
            self.queue.mark(name, now);
        }
    }

    /// Takes a change of keys in.
    fn update(&mut self, update: Update) {
        let before = self.revision.replace(update.revision);
        let now = telemetry::clock::now();
        let instant = Instant::now();
        if update.cause == Cause::Relist && before > Some(update.revision) {
            tracing::warn!(revision = %update.revision, "the store went back in time");
            for kept in self.hunts.values_mut() {
                kept.hunt.memory.store_rewound();
                kept.hunt.settled = None;
            }
            self.mark_all();
        }
        let after = before.filter(|before| *before <= update.revision);
        for change in update.changes {
            let Some((name, key)) = keys::parse(&change.key) else { continue };
            let kept = self.hunts.entry(name.clone()).or_default();
            kept.hunt.memory.fold(&key, change.entry.as_ref(), after, now);
            if !matches!(key, Key::Load(_) | Key::Warm(_)) {
                let soonest = kept.looked_at.map_or(instant, |at| at + kept.pause);
                self.queue.mark(&name, soonest.max(instant));
            }
        }
        if update.cause == Cause::First {
            self.mark_all();
        }
    }

    /// Takes what the source tells in.
    fn event(&mut self, event: SourceEvent) {
        let now = Instant::now();
        match event {
            SourceEvent::Seen(observed) => {
                let name = observed.name.clone();
                let kept = self.hunts.entry(name.clone()).or_default();
                kept.see(*observed, now);
                self.queue.mark(&name, now);
            }
            SourceEvent::Deleted { name, uid } => {
                let kept = self.hunts.entry(name.clone()).or_default();
                kept.deleted(uid);
                self.queue.mark(&name, now);
            }
            SourceEvent::Listed(names) => {
                for (name, kept) in &mut self.hunts {
                    if !names.contains(name) && kept.hunt.resource.take().is_some() {
                        tracing::warn!(hunt = %name, "the source no longer lists this hunt");
                        self.queue.mark(name, now);
                    }
                }
            }
        }
    }

    /// Looks at the hunts whose time has come, a few at once.
    fn look_at_due(&mut self) {
        let now = Instant::now();
        // Before the first list nothing is known of the keys; only a deletion's deadline runs.
        let listed = self.revision.is_some();
        for _ in 0..LOOKS_AT_ONCE {
            let Some(name) = self.queue.pop(now) else { break };
            if listed || self.hunts.get(&name).is_some_and(Kept::is_deleting) {
                self.look(&name, now);
            }
        }
        self.metrics.queue_depth.set(i64::try_from(self.queue.due(now)).unwrap_or(i64::MAX));
        if now >= self.count_at {
            self.count_at = now + COUNT_EVERY;
            self.count();
        }
    }

    fn look(&mut self, name: &HuntName, now: Instant) {
        let around = Surroundings {
            now: telemetry::clock::now(),
            instant: now,
            store_epoch: uuid::Uuid::new_v4().to_string(),
            revision: self.revision,
            store_answers: self.store_answers(now),
            clean_up_within: self.clean_up_within,
        };
        let Some(kept) = self.hunts.get_mut(name) else { return };
        let view = HuntView::of(name, self.follower.held());
        let refused_before = kept.hunt.refused.clone();
        let look = kept.hunt.look(&view, &around);
        let took = now.elapsed();
        kept.looked_at = Some(now);
        kept.pause = (took * 4).clamp(LOOK_PAUSE, LOOK_PAUSE_MAX);
        self.metrics.reconcile_seconds.observe(took.as_secs_f64());
        let result =
            if look.txns.is_empty() && look.report.is_none() { "unchanged" } else { "acts" };
        self.metrics.reconciles.with_label_values(&[result]).inc();
        if refused_before != kept.hunt.refused {
            self.count_at = now;
        }
        if look.converged
            && let Some((_, since)) = kept.hunt.changed_at.take()
        {
            self.metrics.converge_seconds.observe(since.elapsed().as_secs_f64());
        }
        if look.forget && !kept.committing && !kept.reporting {
            self.hunts.remove(name);
            self.queue.forget(name);
            return;
        }
        self.queue.mark(name, now + RESYNC);
        if let Some((_, until)) = kept.hunt.settled {
            self.queue.mark(name, until);
        }
        if let Some(at) = look.wake_at {
            self.queue.mark(name, now + until(around.now, at));
        }
        self.act(name, look, now);
    }

    /// Starts what is to be done, as far as it may be now.
    fn act(&mut self, name: &HuntName, look: Look, now: Instant) {
        let Some(kept) = self.hunts.get_mut(name) else { return };
        if look.left_behind && !kept.reporting {
            tracing::error!(hunt = %name, "let go, although its keys are still in etcd");
        }
        let Some(guard) = self.lead.guard() else {
            // Without etcd nobody can be elected; a resource must not wait for ever all the same.
            if look.left_behind && !kept.reporting {
                self.report(name, Report::Release, Vec::new());
            }
            return;
        };
        if !look.txns.is_empty() && !kept.committing {
            if let Some(at) = kept.commit_at.filter(|at| *at > now) {
                self.queue.mark(name, at);
            } else if self.running.len() >= RUNNING_MAX {
                self.waiting.insert(name.clone());
            } else {
                kept.committing = true;
                for cause in &look.placed {
                    self.metrics.placements.with_label_values(&[cause.as_str()]).inc();
                }
                let (store, metrics) = (self.store.clone(), self.metrics.clone());
                let (fuse, name) = (self.fuse.clone(), name.clone());
                let (txns, notes) = (look.txns, look.notes);
                self.running.push(Box::pin(async move {
                    let outcome = commit(&store, txns, guard, &metrics, &fuse).await;
                    Done::Commit { name, outcome, notes }
                }));
            }
        }
        let Some(report) = look.report else { return };
        let Some(kept) = self.hunts.get_mut(name) else { return };
        if kept.reporting {
            return;
        }
        match kept.report_at.filter(|at| *at > now) {
            Some(at) => self.queue.mark(name, at),
            None if self.running.len() >= RUNNING_MAX => {
                self.waiting.insert(name.clone());
            }
            None => self.report(name, report, look.report_notes),
        }
    }

    fn report(&mut self, name: &HuntName, report: Report, notes: Vec<Note>) {
        let Some(kept) = self.hunts.get_mut(name) else { return };
        kept.reporting = true;
        let target = kept.hunt.target(name);
        let (outlet, fuse, metrics) =
            (self.outlet.clone(), self.fuse.clone(), self.metrics.clone());
        let name = name.clone();
        self.running.push(Box::pin(async move {
            fuse.before_write().await;
            let begun = std::time::Instant::now();
            let outcome = outlet.report(&target, report.clone()).await;
            let seconds = begun.elapsed().as_secs_f64();
            metrics.report_seconds.with_label_values(&[report.kind()]).observe(seconds);
            Done::Report { name, report, outcome, notes }
        }));
    }

    fn done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Commit { name, outcome, notes } => self.committed(&name, outcome, &notes, now),
            Done::Report { name, report, outcome, notes } => {
                self.reported(&name, report, outcome, &notes, now);
            }
        }
        for name in std::mem::take(&mut self.waiting) {
            self.queue.mark(&name, now);
        }
    }

    fn committed(&mut self, name: &HuntName, outcome: Committed, notes: &[Note], now: Instant) {
        let Some(kept) = self.hunts.get_mut(name) else { return };
        kept.committing = false;
        kept.hunt.store_trouble = None;
        kept.commit_at = None;
        match outcome {
            Committed::All(revision) => {
                kept.commit_failures = 0;
                kept.hunt.settled = Some((revision, now + SETTLE_WITHIN));
                let target = kept.hunt.target(name);
                for note in notes {
                    tell(&self.outlet, &self.metrics, &target, note);
                }
                self.queue.mark(name, now);
            }
            Committed::Overtaken => {
                kept.commit_at = Some(now + OVERTAKEN_PAUSE);
                self.queue.mark(name, now + OVERTAKEN_PAUSE);
            }
            Committed::Failed(error) => {
                let pause = retry(kept.commit_failures);
                kept.commit_failures += 1;
                kept.commit_at = Some(now + pause);
                kept.hunt.store_trouble = Some(error.to_string());
                tracing::warn!(hunt = %name, error = %error, "writing to etcd failed");
                self.queue.mark(name, now);
            }
        }
    }

    fn reported(
        &mut self,
        name: &HuntName,
        report: Report,
        outcome: Reported,
        notes: &[Note],
        now: Instant,
    ) {
        let Some(kept) = self.hunts.get_mut(name) else { return };
        kept.reporting = false;
        kept.report_at = Some(now + REPORT_PAUSE);
        let word = match &outcome {
            Reported::Written(_) => "written",
            Reported::Gone => "gone",
            Reported::Overtaken => "overtaken",
            Reported::Failed(_) => "failed",
        };
        self.metrics.reports.with_label_values(&[report.kind(), word]).inc();
        match outcome {
            Reported::Written(version) => {
                kept.report_failures = 0;
                for note in notes {
                    tell(&self.outlet, &self.metrics, &kept.hunt.target(name), note);
                }
                kept.wrote(report, version);
                self.queue.mark(name, now);
            }
            Reported::Gone => {
                if report == Report::Release {
                    kept.hunt.resource = None;
                    self.queue.mark(name, now);
                }
            }
            Reported::Overtaken | Reported::Failed(_) => {
                let pause = retry(kept.report_failures);
                kept.report_failures += 1;
                kept.report_at = Some(now + pause);
                if let Reported::Failed(error) = outcome {
                    tracing::warn!(hunt = %name, kind = report.kind(), error, "a report failed");
                }
                self.queue.mark(name, now + pause);
            }
        }
    }

    fn store_answers(&self, now: Instant) -> bool {
        let status = self.follow_status.borrow();
        status.proven_at.is_some_and(|at| now.saturating_duration_since(at) < STORE_SILENT)
    }

    /// Counts what is counted over all hunts.
    fn count(&self) {
        let mut refused: BTreeMap<RefusalCode, i64> = BTreeMap::new();
        let (mut resources, mut orphans) = (0, 0);
        for kept in self.hunts.values() {
            for code in &kept.hunt.refused {
                *refused.entry(*code).or_default() += 1;
            }
            match (&kept.hunt.resource, &kept.hunt.memory.meta) {
                (Some(_), _) => resources += 1,
                (None, Some(_)) => orphans += 1,
                (None, None) => {}
            }
        }
        self.metrics.set_refused(&refused);
        self.metrics.orphans.set(orphans);
        let all = i64::try_from(self.hunts.len()).unwrap_or(i64::MAX);
        self.metrics.hunts.with_label_values(&["any"]).set(all);
        self.metrics.hunts.with_label_values(&["source"]).set(resources);
    }

    fn query(&self, query: Query) {
        let answer = crate::admin::answer(
            &query,
            self.follower.held(),
            |name| self.hunts.get(name).map(|kept| &kept.hunt),
            || self.hunts.iter().map(|(name, kept)| (name, &kept.hunt)).collect(),
        );
        // The asker may have gone.
        let _ = query.answer.send(answer);
    }
}

impl Kept {
    fn is_deleting(&self) -> bool {
        self.hunt.resource.as_ref().is_some_and(|observed| observed.deleting)
    }

    fn see(&mut self, mut observed: crate::state::Observed, now: Instant) {
        let known = self.hunt.resource.as_ref();
        let same = known.filter(|known| known.uid == observed.uid);
        if same.is_none_or(|known| known.generation < observed.generation) {
            self.hunt.changed_at = Some((observed.generation, now));
        }
        // The source may still show the status of before our last write.
        if let Some(known) = same.filter(|_| older(&observed.version, &self.version)) {
            observed.status = known.status.clone();
        }
        if same.is_none() {
            self.version.clear();
        }
        self.hunt.resource = Some(observed);
    }

    fn deleted(&mut self, uid: String) {
        let known = self.hunt.resource.take_if(|known| known.uid == uid);
        let retain = known
            .and_then(|known| known.spec().ok())
            .is_some_and(|spec| spec.deletion_policy == Some(crds::DeletionPolicy::Retain));
        let retain = retain || self.hunt.deleted.as_ref().is_some_and(|deleted| deleted.retain);
        self.hunt.deleted = Some(Deleted { uid, retain });
    }

    /// Remembers our own write, so that it is not written again before the source shows it.
    fn wrote(&mut self, report: Report, version: String) {
        let Some(observed) = &mut self.hunt.resource else { return };
        match report {
            Report::Status(status) => observed.status = status,
            Report::Hold => observed.held = true,
            Report::Release => observed.held = false,
        }
        self.version = version;
    }
}

/// Whether `version` is of before `than`. Kubernetes' versions are numbers that rise.
fn older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

fn tell(outlet: &Outlet, metrics: &Metrics, target: &crate::source::Target, note: &Note) {
    metrics.notes.with_label_values(&[note.reason]).inc();
    tracing::info!(hunt = %target.name, reason = note.reason, "{}", note.text);
    outlet.tell(target, note);
}

fn retry(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.min(5)).min(RETRY_MAX)
}

/// From one point of the wall clock to another; never so short that the loop would spin.
fn until(now: jiff::Timestamp, at: jiff::Timestamp) -> Duration {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
    wait.clamp(Duration::from_millis(1), RESYNC)
}
