//! The watch loop as a state machine. In: listings, messages, ends of streams, time. Out:
//! actions for the driver, updates for the consumer, a status. Pure: no clock, no I/O, its
//! randomness is seeded.
//!
//! `List at R, adopt the difference, watch from R on (R itself again: etcd does not answer
//! progress requests of a watch that starts in the future), apply whole revisions, prove freshness by
//! progress answers; on any end resume after the last complete revision, and look whether the marker
//! is still the same: a store that was wiped may be past that revision by then; on compaction, a store
//! that went back or another store: list again.`

mod live;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use config_schemas::Revision;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::held::Held;
use super::status::{FollowCounts, FollowStatus, Phase};
use super::wire::{Event, Message};
use super::{Cause, FollowOptions, Update};
use crate::backoff::Backoff;
use crate::error::StoreError;
use crate::keys::Entry;
use crate::read::{Lineage, Listing};

/// Mean time between two progress requests.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long a progress request, or a new watch, may go without any message. Doubled with each
/// silence in a row, because a server that is catching up may skip an answer.
const SILENCE: Duration = Duration::from_secs(2);
const SILENCE_DOUBLINGS: u32 = 2;
/// How long a list may take in all; each of its pages has a limit of its own.
const LIST_WITHIN: Duration = Duration::from_secs(60);

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read the range; answer with `listed`. Replaces a list under way.
    List,
    /// Read the range beside the watch; answer with `audited`.
    Audit,
    /// Read the marker; answer with `recognised`.
    Recognise,
    /// Open a watch from here; answer with its messages, or with `ended`.
    Open(Revision),
    /// Drop the stream, or the attempt to open one.
    Close,
    /// Ask the stream for progress.
    RequestProgress,
    /// The token was refused by a watch: the next one needs a fresh one.
    ForgetToken,
    /// The endpoint did badly; take another.
    Rotate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    List,
    Open,
}

#[derive(Debug)]
enum State {
    Listing { until: Instant },
    Opening { start: Revision, until: Instant },
    Watching(Watching),
    Waiting { until: Instant, cause: &'static str, then: Then },
}

#[derive(Debug)]
struct Watching {
    /// The watch's first revision; older events are not ours.
    start: Revision,
    next_request: Instant,
    /// A progress request without any message since: when to give up.
    unanswered: Option<Instant>,
    /// Events of a revision that may not be complete yet.
    fragments: Vec<Event>,
    audit: Audit,
}

#[derive(Debug)]
enum Audit {
    Due(Instant),
    /// Keys changed since the list was asked for, with their newest revision.
    Reading(BTreeMap<String, Revision>),
    /// The list, waiting until the watch has proven its revision.
    Comparing(BTreeMap<String, Revision>, Listing),
}

/// The state machine of one follower.
#[derive(Debug)]
pub(crate) struct Machine {
    marker: Option<String>,
    marker_seen: bool,
    audit_period: Duration,
    rng: SmallRng,
    held: Held,
    state: State,
    /// Everything up to here is held, by a list or by events.
    complete: Option<Revision>,
    /// As `complete`, also by progress answers.
    proven: Option<Revision>,
    proven_at: Option<Instant>,
    /// The progress answer before the newest: only that far does a resumed watch trust progress,
    /// because on old servers an answer could overtake events (etcd #15220).
    settled: Option<Revision>,
    lineage: Lineage,
    lost: Option<&'static str>,
    /// The next watch goes on where one ended, rather than where a list did.
    resumes: bool,
    backoff: Backoff,
    silences_in_row: u32,
    counts: FollowCounts,
    actions: VecDeque<Action>,
}

impl Machine {
    pub(crate) fn new(options: &FollowOptions, rng: SmallRng, now: Instant) -> Self {
        Self {
            marker: options.marker.clone(),
            marker_seen: options.marker_seen,
            audit_period: options.audit_period,
            rng,
            held: Held::default(),
            state: State::Listing { until: now + LIST_WITHIN },
            complete: None,
            proven: None,
            proven_at: None,
            settled: None,
            lineage: Lineage::default(),
            lost: None,
            resumes: false,
            backoff: Backoff::default(),
            silences_in_row: 0,
            counts: FollowCounts::default(),
            actions: VecDeque::from([Action::List]),
        }
    }

    /// What to do next, in order; `None`: nothing until the next input.
    pub(crate) fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The update that is due, if any.
    pub(crate) fn update(&mut self) -> Option<Update> {
        let update = self.held.take(self.proven?)?;
        self.counts.updates += 1;
        Some(update)
    }

    /// What is held now.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        self.held.entries()
    }

    pub(crate) fn status(&self) -> FollowStatus {
        let phase = match (&self.state, self.lost) {
            (_, Some(why)) => Phase::Lost { why },
            (State::Listing { .. }, None) => Phase::Listing,
            (State::Opening { .. }, None) => Phase::Opening,
            (State::Watching(_), None) => Phase::Watching,
            (State::Waiting { until, cause, .. }, None) => {
                Phase::BackingOff { cause, until: *until }
            }
        };
        let (proven, proven_at) = (self.proven, self.proven_at);
        FollowStatus { proven, proven_at, phase, counts: self.counts }
    }

    /// When `tick` is next needed.
    pub(crate) fn wake_at(&self) -> Instant {
        match &self.state {
            State::Listing { until }
            | State::Opening { until, .. }
            | State::Waiting { until, .. } => *until,
            State::Watching(watching) => {
                let progress = watching.unanswered.unwrap_or(watching.next_request);
                match watching.audit {
                    Audit::Due(at) => progress.min(at),
                    Audit::Reading(_) | Audit::Comparing(..) => progress,
                }
            }
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        match &mut self.state {
            State::Listing { until } if *until <= now => self.retry(Then::List, "timeout", now),
            State::Opening { until, .. } if *until <= now => self.silent(now),
            State::Waiting { until, then, .. } if *until <= now => match then {
                Then::List => self.list(now),
                Then::Open => self.open(now),
            },
            State::Watching(watching) => match watching.unanswered {
                Some(until) if until <= now => self.silent(now),
                _ => self.keep_watching(now),
            },
            State::Listing { .. } | State::Opening { .. } | State::Waiting { .. } => {}
        }
    }

    /// The answer to `Action::List`.
    pub(crate) fn listed(&mut self, answer: Result<Listing, StoreError>, now: Instant) {
        if !matches!(self.state, State::Listing { .. }) {
            return;
        }
        match answer {
            Ok(listing) if self.lacks_marker(&listing) => {
                self.lose("the list lacks the root marker", now);
            }
            Ok(listing) => self.adopt(listing, now),
            Err(error) => {
                tracing::debug!(%error, "a list failed");
                self.retry(Then::List, error.kind(), now);
            }
        }
    }

    /// A message of the watch.
    pub(crate) fn message(&mut self, message: Message, now: Instant) {
        if !matches!(self.state, State::Opening { .. } | State::Watching(_)) {
            return;
        }
        if message.canceled {
            return self.canceled(&message, now);
        }
        if message.created {
            return self.created(&message, now);
        }
        let State::Watching(watching) = &mut self.state else { return };
        watching.unanswered = None;
        self.silences_in_row = 0;
        self.backoff.works(now);
        if message.events.is_empty() {
            self.progressed(message.revision, now);
        } else {
            watching.fragments.extend(message.events);
            if !message.fragment {
                self.apply(now);
            }
        }
        self.finish_audit(now);
    }

    /// The watch ended, or could not be opened, or could not be read.
    pub(crate) fn ended(&mut self, error: &StoreError, now: Instant) {
        if !matches!(self.state, State::Opening { .. } | State::Watching(_)) {
            return;
        }
        tracing::debug!(%error, "a watch ended");
        match error {
            StoreError::Compacted => self.compacted(now),
            StoreError::Malformed { .. } => {
                self.counts.unreadable += 1;
                self.reopen(error.kind(), now);
            }
            StoreError::Unauthenticated { .. } | StoreError::PermissionDenied => {
                self.counts.denials += 1;
                self.reopen(error.kind(), now);
            }
            _ => self.reopen(error.kind(), now),
        }
    }

    fn list(&mut self, now: Instant) {
        if self.complete.is_some() {
            self.counts.relists += 1;
        }
        self.state = State::Listing { until: now + LIST_WITHIN };
        self.actions.push_back(Action::List);
    }

    /// Opens a watch from the last revision that is surely complete. That revision comes once
    /// more and is dropped; a watch from the next one would be in the future on a quiet store,
    /// and etcd (3.5.8 and later, #21367) answers none of its progress requests.
    fn open(&mut self, now: Instant) {
        let Some(start) = self.complete.max(self.settled) else { return self.list(now) };
        let until = now + self.patience();
        self.state = State::Opening { start, until };
        self.actions.push_back(Action::Open(start));
    }

    fn patience(&self) -> Duration {
        SILENCE * (1 << self.silences_in_row.min(SILENCE_DOUBLINGS))
    }

    fn retry(&mut self, then: Then, cause: &'static str, now: Instant) {
        let until = now + self.backoff.after(cause, now, &mut self.rng);
        self.state = State::Waiting { until, cause, then };
        if until <= now {
            self.tick(now);
        }
    }

    fn reopen(&mut self, cause: &'static str, now: Instant) {
        self.counts.reconnects += 1;
        self.resumes = true;
        self.actions.push_back(Action::Close);
        self.retry(Then::Open, cause, now);
    }

    fn relist(&mut self, cause: &'static str, now: Instant) {
        self.actions.push_back(Action::Close);
        self.retry(Then::List, cause, now);
    }

    fn silent(&mut self, now: Instant) {
        self.counts.silences += 1;
        self.silences_in_row += 1;
        self.actions.push_back(Action::Rotate);
        self.reopen("silent", now);
    }

    fn compacted(&mut self, now: Instant) {
        self.counts.compactions += 1;
        self.relist("compacted", now);
    }

    /// The store is behind what we hold: a lagging member, a restored or a wiped store. The list
    /// is linearizable, so it tells which.
    fn rewound(&mut self, now: Instant) {
        self.counts.rewinds += 1;
        self.actions.push_back(Action::Rotate);
        self.relist("rewound", now);
    }

    fn lose(&mut self, why: &'static str, now: Instant) {
        if self.lost.is_none() {
            self.counts.losses += 1;
            tracing::error!(why, "the store lost its root marker: keeping what is held");
        }
        self.lost = Some(why);
        self.relist("lost", now);
    }

    fn lacks_marker(&self, listing: &Listing) -> bool {
        let Some(marker) = &self.marker else { return false };
        self.marker_seen && !listing.entries.iter().any(|entry| entry.key == *marker)
    }

    fn adopt(&mut self, listing: Listing, now: Instant) {
        let cause = if self.complete.is_some() { Cause::Relist } else { Cause::First };
        if cause == Cause::First {
            self.held.tell(cause, now);
        }
        self.held.adopt(listing.entries, |_| false, cause, now);
        if Some(listing.revision) < self.proven {
            // The store went back to an equal state: the consumer learns of the lower revision
            // with the next change.
            self.held.mark(Cause::Relist);
        }
        self.note_marker();
        self.lost = None;
        self.resumes = false;
        self.lineage = listing.lineage;
        self.complete = Some(listing.revision);
        self.settled = None;
        self.proven = self.complete;
        self.proven_at = Some(now);
        self.open(now);
    }

    fn note_marker(&mut self) {
        if let Some(marker) = &self.marker {
            self.marker_seen |= self.held.entries().contains_key(marker);
        }
    }
}

/// Between 80 % and 120 %.
fn jitter(mean: Duration, rng: &mut SmallRng) -> Duration {
    mean.mul_f64(rng.random_range(0.8..1.2))
}
