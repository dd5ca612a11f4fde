//! TreasureHunts from a directory of YAML files, with the status as a file beside each. One task
//! reads and writes all of it; the controller's reports come to it through a queue. I/O; what the
//! files mean is decided in `files`.

mod disk;
mod files;
mod held;
mod origin;
mod said;
mod scan;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::disk::Disk;
use self::files::StatusFile;
use self::held::Held;
use self::scan::Troubles;
use super::{Report, Reported, SourceEvent, Target};
use crate::metrics::Metrics;
use crate::plan::Note;

/// How often files are looked at: soon enough for a person, cheap enough for thousands.
const POLL: Duration = Duration::from_millis(200);
/// After a look, at least this many times as long as it took belongs to reports.
const LOOKS_APART: u32 = 5;
/// Reports written before the files are looked at again.
const COMMANDS_AT_ONCE: usize = 64;
/// Reports that may wait for the disk.
const COMMANDS_WAITING_MAX: usize = 256;

/// Opens the directory: the outlet, and the source to run.
pub fn open(path: PathBuf, store: Store, metrics: Metrics) -> (Outlet, Source) {
    let (commands, waiting) = mpsc::channel(COMMANDS_WAITING_MAX);
    let source = Source {
        path,
        store,
        metrics: metrics.clone(),
        waiting,
        disk: Disk::new(),
        held: Held::default(),
        dirty: BTreeSet::new(),
        listed: false,
        troubles: Troubles::default(),
    };
    (Outlet { commands, metrics }, source)
}

/// Takes reports to the task that owns the files.
#[derive(Clone)]
pub struct Outlet {
    commands: mpsc::Sender<Command>,
    metrics: Metrics,
}

enum Command {
    Report(Target, Report, oneshot::Sender<Reported>),
    Tell(Target, Note),
}

impl Outlet {
    /// Writes one report.
    pub async fn report(&self, target: &Target, report: Report) -> Reported {
        let (done, written) = oneshot::channel();
        let stopped = || Reported::Failed("the directory source has stopped".to_owned());
        if self.commands.send(Command::Report(target.clone(), report, done)).await.is_err() {
            return stopped();
        }
        written.await.unwrap_or_else(|_| stopped())
    }

    /// Queues a note for the status file.
    pub fn tell(&self, target: &Target, note: &Note) {
        if self.commands.try_send(Command::Tell(target.clone(), note.clone())).is_err() {
            self.metrics.notes.with_label_values(&["Dropped"]).inc();
        }
    }
}

/// Watches the directory and owns the status files.
pub struct Source {
    path: PathBuf,
    /// Where the ids of new hunts are decided.
    store: Store,
    metrics: Metrics,
    waiting: mpsc::Receiver<Command>,
    disk: Disk,
    held: Held,
    /// Files whose status file may not be as it should be.
    dirty: BTreeSet<PathBuf>,
    listed: bool,
    troubles: Troubles,
}

impl Source {
    /// Runs until told to stop, or until nobody listens.
    pub async fn run(mut self, to: mpsc::Sender<SourceEvent>, stop: CancellationToken) {
        let mut look_at = Instant::now();
        loop {
            let events = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(look_at) => {
                    let began = Instant::now();
                    let events = self.scan(began).await;
                    look_at = Instant::now() + POLL.max(began.elapsed() * LOOKS_APART);
                    events
                }
                Some(command) = self.waiting.recv() => self.carry_out_all(command).await,
            };
            for event in events {
                if to.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn carry_out_all(&mut self, first: Command) -> Vec<SourceEvent> {
        let mut events = self.carry_out(first).await;
        for _ in 1..COMMANDS_AT_ONCE {
            let Ok(command) = self.waiting.try_recv() else { break };
            events.extend(self.carry_out(command).await);
        }
        events
    }

    async fn carry_out(&mut self, command: Command) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        match command {
            Command::Report(target, report, done) => {
                let released = report == Report::Release;
                let outcome =
                    self.change(&target, |status| files::report(status, &target, &report)).await;
                if released && matches!(outcome, Reported::Written(_)) {
                    events.push(SourceEvent::Deleted { name: target.name, uid: target.uid });
                }
                // The asker may have gone.
                let _ = done.send(outcome);
            }
            Command::Tell(target, note) => {
                let now = telemetry::clock::now();
                self.change(&target, |status| files::tell(status, &target, &note, now)).await;
            }
        }
        events
    }

    /// Changes the status file that the hunt stands in.
    async fn change(
        &mut self,
        target: &Target,
        change: impl FnOnce(&mut StatusFile) -> bool,
    ) -> Reported {
        let Some((path, known)) = self.held.place(target) else {
            return Reported::Gone;
        };
        let (path, stamp, mut status) =
            (path.to_owned(), known.stamp.clone(), known.status.clone());
        if !change(&mut status) {
            return Reported::Gone;
        }
        match self.disk.write(&path, &status, stamp.as_ref()).await {
            Ok(stamp) => {
                self.held.wrote(&path, stamp, status);
                Reported::Written(String::new())
            }
            Err(error) => Reported::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
