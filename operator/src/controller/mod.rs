//! The loop: observe, desire, plan, commit, report. It holds every hunt's state, looks at those
//! that something happened to, and has their plans and reports carried out, never two of a kind
//! for one hunt at a time. I/O; the decisions are in `hunt`.

mod act;
mod count;
mod kept;
mod silence;
mod topics;
mod traced;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use config_schemas::keys::{self, Key, ROOT};
use config_schemas::{HuntName, Revision};
use store::{Cause, FollowOptions, FollowStatus, Follower, KeyRange, Store, Update, follow};
use telemetry::traces::Traces;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::kept::Kept;
use crate::commit::Committed;
use crate::fuse::Fuse;
use crate::hunt::Surroundings;
use crate::lead::Lead;
use crate::metrics::{Metrics, Reconciled};
use crate::plan::Note;
use crate::queue::Queue;
use crate::source::{Outlet, Report, Reported, SourceEvent};
use crate::state::HuntView;
use crate::topics::Keeper;

/// Plans and reports carried out at the same time, over all hunts: keeps both servers busy
/// without flooding either.
pub(crate) const RUNNING_MAX: usize = 64;
/// How long hunts are looked at before the loop listens again.
const LOOKS_FOR: Duration = Duration::from_millis(5);
/// Events of the source taken in before hunts are looked at again.
const EVENTS_AT_ONCE: usize = 256;
/// A hunt whose keys change is looked at again no sooner than this after the last look, and no
/// sooner than four times the time that look took: at most a fifth of a core for one hunt.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(250);
/// Every hunt is looked at this often even when nothing happens.
const RESYNC: Duration = Duration::from_secs(600);
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
    /// Where edits are told of.
    pub traces: Traces,
    /// Ends the operator between two writes, in tests.
    pub fuse: Fuse,
    /// How long a deleted resource waits for its keys to be removed.
    pub clean_up_within: Duration,
    /// Works on topics in Kafka; without it nobody does.
    pub topics: Option<Keeper>,
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
    traces: Traces,
    fuse: Fuse,
    clean_up_within: Duration,
    lead: Lead,
    topics: Option<Keeper>,
    hunts: BTreeMap<HuntName, Kept>,
    queue: Queue,
    running: JoinSet<Done>,
    /// Hunts that wait for a free place among the running, each once.
    waiting: VecDeque<HuntName>,
    revision: Option<Revision>,
    /// How many counts in a row etcd was found not to answer.
    silent_counts: u32,
    count_at: Instant,
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
            traces: parts.traces,
            fuse: parts.fuse,
            clean_up_within: parts.clean_up_within,
            lead: Lead::new(&parts.store, &parts.identity),
            topics: parts.topics,
            store: parts.store,
            hunts: BTreeMap::new(),
            queue: Queue::default(),
            running: JoinSet::new(),
            waiting: VecDeque::new(),
            revision: None,
            silent_counts: 0,
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
                () = stop.cancelled() => break,
                () = self.lead.changed() => self.lead_changed(),
                Some(done) = self.running.join_next() => self.joined(done),
                update = self.follower.next() => self.update(update),
                Some(event) = self.events.recv() => self.take_events(event),
                Some(query) = self.queries.recv() => self.query(query),
                told = topics::next(&mut self.topics) => self.topics_told(told),
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
        self.metrics.leader_changes.inc();
        if leads {
            self.mark_all();
        } else {
            self.topics.iter_mut().for_each(Keeper::end_all);
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
            // what stood before this operator looked was followed by whoever did
            if update.cause != Cause::First {
                kept.follow(&key, change.entry.as_ref(), update.revision);
            }
            let troubles = kept.hunt.memory.troubles.len();
            kept.hunt.memory.fold(&key, change.entry.as_ref(), after, now);
            if let Some(note) = kept.hands.see(&name, &key, change.entry.as_ref())
                && self.lead.guard().is_some()
            {
                act::tell(&self.outlet, &self.metrics, &kept.hunt.target(&name), &note);
            }
            let soonest = kept.looked_at.map_or(instant, |at| at + kept.pause).max(instant);
            match key {
                // what an agent says of a move concerns agents alone; of a new partition, us
                Key::Warm(id) if !kept.hunt.memory.awaits(id) => {}
                // Reports are taken together, once a round, but for what somebody has to mend.
                Key::Load(_) if kept.hunt.memory.troubles.len() == troubles => {
                    let due = kept.hunt.memory.rounds.report_due();
                    let wait = due.map_or(Duration::ZERO, |due| until(now, due));
                    self.queue.mark(&name, soonest.max(instant + wait));
                }
                _ => self.queue.mark(&name, soonest),
            }
        }
        if update.cause == Cause::First {
            self.expect_topics();
            self.mark_all();
        }
    }

    /// Takes in what waits of the source, at most so much that others have their turn.
    fn take_events(&mut self, first: SourceEvent) {
        self.event(first);
        for _ in 1..EVENTS_AT_ONCE {
            let Ok(event) = self.events.try_recv() else { return };
            self.event(event);
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
        self.release_waiting(now);
        while let Some((due, name)) = self.queue.pop(now) {
            self.metrics.queue_seconds.observe((now - due).as_secs_f64());
            if listed || self.hunts.get(&name).is_some_and(Kept::is_deleting) {
                self.look(&name, Instant::now());
            }
            if now.elapsed() >= LOOKS_FOR {
                break;
            }
        }
        self.metrics.queue_adds.inc_by(self.queue.take_added());
        self.metrics.queue_depth.set(i64::try_from(self.queue.due(now)).unwrap_or(i64::MAX));
        if now >= self.count_at {
            self.count_at = now + COUNT_EVERY;
            self.listen(now);
            self.count();
        }
    }

    /// As many of those that wait as there are free places. Not one for each that ends: a hunt that
    /// waited may have nothing left to do, and the next one would wait for ever.
    fn release_waiting(&mut self, now: Instant) {
        for _ in self.running.len()..RUNNING_MAX {
            let Some(name) = self.waiting.pop_front() else { return };
            if let Some(kept) = self.hunts.get_mut(&name) {
                kept.waits = false;
            }
            self.queue.mark(&name, now);
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
        let mut look = kept.hunt.look(&view, &around);
        let took = now.elapsed();
        kept.looked_at = Some(now);
        kept.pause = (took * 4).clamp(LOOK_PAUSE, LOOK_PAUSE_MAX);
        self.metrics.reconcile_seconds.observe(took.as_secs_f64());
        let broken = !look.violations.is_empty();
        self.metrics.reconciled(if broken { Reconciled::Error } else { Reconciled::Success });
        if refused_before != kept.hunt.refused {
            self.count_at = now;
        }
        for violation in &look.violations {
            tracing::error!(hunt = %name, %violation, "a plan of placement is not committed");
        }
        self.metrics.plans_refused.inc_by(u64::from(broken));
        let leads = self.lead.guard().is_some();
        if leads {
            crate::journal::write(name, &look.edits, self.revision);
        }
        if look.converged {
            let over = kept.on_their_way.over(self.revision);
            if leads {
                over.tell(name, &self.traces, &self.metrics.edit_converge_seconds);
            }
            if let Some((_, since)) = kept.hunt.changed_at.take() {
                self.metrics.converge_seconds.observe(since.elapsed().as_secs_f64());
            }
        }
        self.assign_topics(name, look.topics.take());
        let Some(kept) = self.hunts.get(name) else { return };
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

/// From one point of the wall clock to another; never so short that the loop would spin.
fn until(now: jiff::Timestamp, at: jiff::Timestamp) -> Duration {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
    wait.clamp(Duration::from_millis(1), RESYNC)
}
