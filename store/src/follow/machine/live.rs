//! The machine while a watch is open: messages taken in, whole revisions applied, freshness
//! proven, audits compared, the store recognised. Pure.

use std::collections::BTreeMap;

use config_schemas::Revision;
use tokio::time::Instant;

use super::{Action, Audit, Machine, PROGRESS_EVERY, State, Watching, jitter};
use crate::error::{StoreError, classify_text};
use crate::follow::Cause;
use crate::follow::wire::{Event, Message};
use crate::keys::Entry;
use crate::read::Listing;

impl Machine {
    pub(super) fn created(&mut self, message: &Message, now: Instant) {
        let State::Opening { start, .. } = self.state else { return };
        let behind = message.revision < start.to_etcd();
        if behind || self.lineage.broken_by(message.lineage) {
            return self.rewound(now);
        }
        self.lineage = message.lineage;
        self.backoff.works(now);
        let next_request = now + jitter(PROGRESS_EVERY / 2, &mut self.rng);
        let resumed = std::mem::replace(&mut self.resumes, true);
        if resumed && self.marker.is_some() {
            self.actions.push_back(Action::Recognise);
        }
        // without a marker there is nothing less to look at
        let rest = jitter(self.audit_period, &mut self.rng);
        let unmarked = resumed && self.marker.is_none();
        let audit = Audit::Due(if unmarked { now } else { now + rest });
        let fragments = Vec::new();
        let watching = Watching { start, next_request, unanswered: None, fragments, audit };
        self.state = State::Watching(watching);
    }

    /// The answer to `Action::Audit`.
    pub(crate) fn audited(&mut self, answer: Result<Listing, StoreError>, now: Instant) {
        let State::Watching(watching) = &mut self.state else { return };
        let Audit::Reading(touched) = &mut watching.audit else { return };
        let touched = std::mem::take(touched);
        let due = Audit::Due(now + jitter(self.audit_period, &mut self.rng));
        watching.audit = due;
        match answer {
            Ok(listing) if Some(listing.revision) < self.complete => self.rewound(now),
            Ok(listing) if self.lacks_marker(&listing) => {
                self.lose("an audit found no root marker", now);
            }
            Ok(listing) => {
                if let State::Watching(watching) = &mut self.state {
                    watching.audit = Audit::Comparing(touched, listing);
                    watching.next_request = watching.next_request.min(now);
                }
                self.finish_audit(now);
            }
            Err(error) => tracing::debug!(%error, "an audit's list failed"),
        }
    }

    /// The answer to `Action::Recognise`. A marker that is not the one held was written meanwhile, or
    /// is of another store, as young a one as the first was: only a list tells what else is.
    pub(crate) fn recognised(&mut self, answer: Result<Option<Entry>, StoreError>, now: Instant) {
        if !matches!(self.state, State::Watching(_)) {
            return;
        }
        let held = self.marker.as_ref().and_then(|marker| self.held.entries().get(marker));
        match answer {
            Ok(found) if found.as_ref() == held => {}
            Ok(_) => self.rewound(now),
            Err(error) => self.reopen(error.kind(), now),
        }
    }

    pub(super) fn canceled(&mut self, message: &Message, now: Instant) {
        if message.compact_revision > 0 {
            return self.compacted(now);
        }
        let said = classify_text(&message.reason);
        match said {
            Some(StoreError::Compacted) => self.compacted(now),
            Some(error @ (StoreError::Unauthenticated { .. } | StoreError::PermissionDenied)) => {
                self.counts.denials += 1;
                self.actions.push_back(Action::ForgetToken);
                self.reopen(error.kind(), now);
            }
            Some(error) => self.reopen(error.kind(), now),
            None => self.reopen("canceled", now),
        }
    }

    pub(super) fn progressed(&mut self, revision: i64, now: Instant) {
        let Some(revision) = Revision::from_etcd(revision) else { return };
        if Some(revision) < self.complete {
            return self.rewound(now);
        }
        self.apply(now);
        if matches!(self.state, State::Watching(_)) {
            self.settled = self.proven.min(Some(revision));
            self.proven = self.proven.max(Some(revision));
            self.proven_at = Some(now);
        }
    }

    /// Applies the events that have come: their revision is complete.
    pub(super) fn apply(&mut self, now: Instant) {
        let State::Watching(watching) = &mut self.state else { return };
        let events = std::mem::take(&mut watching.fragments);
        let Some(newest) = events.iter().map(|event| event.revision).max() else { return };
        let marked = |event: &&Event| Some(&event.key) == self.marker.as_ref();
        if events.iter().rfind(marked).is_some_and(|event| event.entry.is_none())
            && self.marker_seen
        {
            return self.lose("the root marker was deleted", now);
        }
        let from =
            self.complete.map_or(watching.start, |complete| complete.next().max(watching.start));
        if !follow_on(self.held.entries(), events.iter().filter(|event| event.revision >= from)) {
            return self.rewound(now);
        }
        for event in events {
            if event.revision < from {
                self.counts.repeated += u64::from(event.revision != watching.start);
                continue;
            }
            self.counts.events += 1;
            self.counts.out_of_step += u64::from(Some(event.revision) <= self.proven);
            if let Audit::Reading(touched) | Audit::Comparing(touched, _) = &mut watching.audit {
                touched.insert(event.key.clone(), event.revision);
            }
            self.held.set(event.key, event.entry, Cause::Watch, now);
        }
        self.complete = self.complete.max(Some(newest));
        self.proven = self.proven.max(self.complete);
        self.proven_at = Some(now);
        self.note_marker();
    }

    pub(super) fn keep_watching(&mut self, now: Instant) {
        let patience = self.patience();
        let State::Watching(watching) = &mut self.state else { return };
        if watching.next_request <= now && watching.unanswered.is_none() {
            watching.next_request = now + jitter(PROGRESS_EVERY, &mut self.rng);
            watching.unanswered = Some(now + patience);
            self.actions.push_back(Action::RequestProgress);
        }
        if matches!(watching.audit, Audit::Due(at) if at <= now) {
            watching.audit = Audit::Reading(BTreeMap::new());
            self.actions.push_back(Action::Audit);
        }
    }

    /// Compares the audit's list with what is held, once the watch has proven that revision.
    pub(super) fn finish_audit(&mut self, now: Instant) {
        let State::Watching(watching) = &mut self.state else { return };
        match &watching.audit {
            Audit::Comparing(_, listing) if self.proven >= Some(listing.revision) => {}
            Audit::Due(_) | Audit::Reading(_) | Audit::Comparing(..) => return,
        }
        let due = Audit::Due(now + jitter(self.audit_period, &mut self.rng));
        let audit = std::mem::replace(&mut watching.audit, due);
        let Audit::Comparing(touched, listing) = audit else { return };
        let newer = |key: &str| touched.get(key).is_some_and(|at| *at > listing.revision);
        let repaired = self.held.adopt(listing.entries, newer, Cause::Audit, now);
        self.counts.audits += 1;
        self.counts.audit_repairs += repaired;
        if repaired > 0 {
            tracing::warn!(repaired, "an audit repaired what the watch had missed");
        }
    }
}

/// Whether each of these is the next version of what is held of its key. Otherwise something was
/// missed, as after a store was wiped and is past our revision again.
fn follow_on<'a>(held: &BTreeMap<String, Entry>, events: impl Iterator<Item = &'a Event>) -> bool {
    let mut newest: BTreeMap<&str, Option<&Entry>> = BTreeMap::new();
    for event in events {
        let now = event.entry.as_ref();
        let before = newest.insert(&event.key, now);
        let before = before.unwrap_or_else(|| held.get(&event.key));
        let next = match (before, now) {
            (Some(before), Some(now)) => {
                (before.create_revision, before.version + 1) == (now.create_revision, now.version)
            }
            (None, Some(now)) => now.version == 1,
            (_, None) => true,
        };
        if !next {
            return false;
        }
    }
    true
}
