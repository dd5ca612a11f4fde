//! Has plans and reports carried out, each in a task of its own, never two of a kind for one hunt
//! at a time, and takes in what became of them. I/O, and no decisions about hunts.

use std::time::Duration;

use config_schemas::HuntName;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::{COUNT_EVERY, Controller, Done, RUNNING_MAX};
use crate::commit::{Committed, commit};
use crate::hunt::Look;
use crate::metrics::{Metrics, Reconciled};
use crate::plan::Note;
use crate::source::{Outlet, Report, Reported, Target};

/// Two status writes of one hunt are this far apart; the last one is never left out.
const REPORT_PAUSE: Duration = Duration::from_millis(25);
/// A status in which only numbers of nodes and partitions moved on: while a hundred agents ack, the
/// one status that people wait for must not queue behind those that nobody can read so fast.
const COUNTS_PAUSE: Duration = Duration::from_millis(250);
/// Pauses after a plan or a report that failed: doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long our own write may take to come back by the watch, before it counts as lost.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);
/// A plan that was overtaken is made anew when the view has caught up; at the latest then.
const OVERTAKEN_PAUSE: Duration = Duration::from_millis(50);

impl Controller {
    /// Starts what is to be done, as far as it may be now.
    pub(super) fn act(&mut self, name: &HuntName, look: Look, now: Instant) {
        let guard = self.lead.guard();
        // While etcd is silent nobody leads who could say so: it is for who led last.
        let silent = self.is_silent() && self.lead.led_last(self.follower.held());
        let speaks = if look.silent { silent } else { guard.is_some() };
        if look.silent && !self.is_silent() {
            // Too early to say so; if it is heard again until then, all is as before.
            self.queue.mark(name, now + COUNT_EVERY);
        }
        let Some(kept) = self.hunts.get_mut(name) else { return };
        if look.left_behind && !kept.reporting {
            tracing::error!(hunt = %name, "let go, although its keys are still in etcd");
        }
        if guard.is_none() && look.left_behind && !kept.reporting {
            // Without etcd nobody can be elected; a resource must not wait for ever all the same.
            self.report(name, Report::Release, Vec::new());
            return;
        }
        if let Some(guard) = guard
            && !look.txns.is_empty()
            && !kept.committing
        {
            if let Some(at) = kept.commit_at.filter(|at| *at > now) {
                self.queue.mark(name, at);
            } else if self.running.len() >= RUNNING_MAX {
                kept.wait(name, &mut self.waiting);
            } else {
                kept.committing = true;
                for cause in &look.placed {
                    self.metrics.placements.with_label_values(&[cause.as_str()]).inc();
                }
                let (store, metrics) = (self.store.clone(), self.metrics.clone());
                let (fuse, name) = (self.fuse.clone(), name.clone());
                let (txns, notes) = (look.txns, look.notes);
                let work = self.metrics.works.begin();
                self.running.spawn(async move {
                    let _work = work;
                    let outcome = commit(&store, txns, guard, &metrics, &fuse).await;
                    Done::Commit { name, outcome, notes }
                });
            }
        }
        let Some(report) = look.report.filter(|_| speaks) else { return };
        let Some(kept) = self.hunts.get_mut(name) else { return };
        // What a commit under way brings is reported with it.
        if kept.reporting || (kept.committing && kept.commit_failures == 0 && !look.silent) {
            return;
        }
        let counts = kept.only_counts(&report).then_some(kept.reported_at).flatten();
        let soonest = kept.report_at.max(counts.map(|at| at + COUNTS_PAUSE));
        match soonest.filter(|at| *at > now) {
            Some(at) => self.queue.mark(name, at),
            None if self.running.len() >= RUNNING_MAX => kept.wait(name, &mut self.waiting),
            None => self.report(name, report, look.report_notes),
        }
    }

    fn report(&mut self, name: &HuntName, report: Report, notes: Vec<Note>) {
        let Some(kept) = self.hunts.get_mut(name) else { return };
        kept.reporting = true;
        let target = kept.hunt.target(name);
        let (outlet, fuse, metrics) =
            (self.outlet.clone(), self.fuse.clone(), self.metrics.clone());
        let (name, work) = (name.clone(), self.metrics.works.begin());
        self.running.spawn(async move {
            let _work = work;
            fuse.before_write().await;
            let begun = std::time::Instant::now();
            let outcome = outlet.report(&target, report.clone()).await;
            let seconds = begun.elapsed().as_secs_f64();
            metrics.report_seconds.with_label_values(&[report.kind()]).observe(seconds);
            Done::Report { name, report, outcome, notes }
        });
    }

    pub(super) fn joined(&mut self, joined: Result<Done, JoinError>) {
        match joined {
            Ok(done) => self.done(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that shuts down cancels them.
            Err(_) => {}
        }
    }

    fn done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Commit { name, outcome, notes } => self.committed(&name, outcome, &notes, now),
            Done::Report { name, report, outcome, notes } => {
                self.reported(&name, report, outcome, &notes, now);
            }
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
                self.metrics.reconciled(Reconciled::Requeue);
                kept.commit_at = Some(now + OVERTAKEN_PAUSE);
                self.queue.mark(name, now + OVERTAKEN_PAUSE);
            }
            Committed::Failed(error) => {
                self.metrics.reconciled(Reconciled::Error);
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
        kept.reported_at = Some(now);
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
                let failed = matches!(outcome, Reported::Failed(_));
                self.metrics.reconciled(if failed {
                    Reconciled::Error
                } else {
                    Reconciled::Requeue
                });
                if let Reported::Failed(error) = outcome {
                    tracing::warn!(hunt = %name, kind = report.kind(), error, "a report failed");
                }
                self.queue.mark(name, now + pause);
            }
        }
    }
}

pub(super) fn tell(outlet: &Outlet, metrics: &Metrics, target: &Target, note: &Note) {
    metrics.notes.with_label_values(&[note.reason]).inc();
    tracing::info!(hunt = %target.name, reason = note.reason, "{}", note.text);
    outlet.tell(target, note);
}

fn retry(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.min(5)).min(RETRY_MAX)
}
