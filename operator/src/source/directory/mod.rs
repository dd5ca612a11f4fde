//! TreasureHunts from a directory of YAML files, with the status as a file beside each. One task
//! reads and writes all of it; the controller's reports come to it through a queue. I/O; what the
//! files mean is decided in `files`.

mod disk;
mod files;
mod held;
mod origin;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config_schemas::HuntName;
use store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use futures::future::join_all;

use self::disk::Stamp;
use self::files::{Origin, StatusFile};
use self::held::{Held, Known};
use super::{Report, Reported, SourceEvent, Target};
use crate::metrics::Metrics;
use crate::plan::Note;

/// How often files are looked at: soon enough for a person, cheap enough for thousands.
const POLL: Duration = Duration::from_millis(200);
/// After a look, at least this many times as long as it took belongs to reports.
const LOOKS_APART: u32 = 5;
/// Files read at the same time: each new hunt asks etcd for its id.
const READS_AT_ONCE: usize = 32;
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
        held: Held::default(),
        listed: false,
        trouble: None,
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
    held: Held,
    listed: bool,
    /// The last trouble that was told, so that it is told once.
    trouble: Option<String>,
}

type Read = (Option<String>, StatusFile, BTreeMap<HuntName, Origin>);

impl Source {
    /// Runs until told to stop, or until nobody listens.
    pub async fn run(mut self, to: mpsc::Sender<SourceEvent>, stop: CancellationToken) {
        let mut look_at = Instant::now();
        loop {
            let events = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(look_at) => {
                    let began = Instant::now();
                    let events = self.scan().await;
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

    /// Looks at every file that changed.
    async fn scan(&mut self) -> Vec<SourceEvent> {
        let found = match disk::list(&self.path).await {
            Ok(found) => found,
            Err(error) => {
                // A directory that cannot be read says nothing about its files.
                self.trouble("list", format!("{}: {error}", self.path.display()));
                return Vec::new();
            }
        };
        self.trouble = None;
        let mut events = Vec::new();
        let news: Vec<_> =
            found.into_iter().filter(|(path, now)| self.held.is_news(path, now.as_ref())).collect();
        for some in news.chunks(READS_AT_ONCE) {
            let reads = join_all(some.iter().map(|(path, _)| self.read(path))).await;
            for ((path, stamp), read) in some.iter().zip(reads) {
                match read {
                    Ok(read) => events.extend(self.load(path.clone(), stamp.clone(), read).await),
                    Err(error) => self.trouble("read", format!("{}: {error}", path.display())),
                }
            }
        }
        if !self.listed {
            self.listed = true;
            events.push(SourceEvent::Listed(self.held.names()));
        }
        events
    }

    fn trouble(&mut self, kind: &str, text: String) {
        self.metrics.source_errors.with_label_values(&[kind]).inc();
        if self.trouble.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            self.trouble = Some(text);
        }
    }

    /// Joins a file's text with its status file, and takes both in.
    async fn load(&mut self, path: PathBuf, stamp: Option<Stamp>, read: Read) -> Vec<SourceEvent> {
        let (text, before, origins) = read;
        let elsewhere = |hunt: &HuntName| self.held.elsewhere(&path, hunt);
        let joined = files::join(text.as_deref(), &before, elsewhere, &origins);
        if joined.status != before
            && let Err(error) = disk::write(&path, &joined.status).await
        {
            // Without its id and generation on disk, the hunt must not be told of.
            self.trouble("write", format!("{}: {error}", path.display()));
            return Vec::new();
        }
        let stamp = match joined.status == before {
            true => stamp,
            false => disk::stamp_of_written(&path, stamp).await,
        };
        let events = joined.observed.into_iter().map(|o| SourceEvent::Seen(Box::new(o))).collect();
        self.held.put(path, Known { stamp, status: joined.status });
        events
    }

    /// The file's text, its status file, and where hunts come from that have no record there.
    async fn read(&self, path: &Path) -> io::Result<Read> {
        let elsewhere = |hunt: &HuntName| self.held.elsewhere(path, hunt);
        let (text, before) = disk::read(path).await?;
        let new = files::without_record(text.as_deref(), &before, elsewhere);
        if new.is_empty() {
            return Ok((text, before, BTreeMap::new()));
        }
        let mut origins = BTreeMap::new();
        for name in new {
            let origin = origin::find(&self.store, &name).await.map_err(io::Error::other)?;
            origins.insert(name, origin);
        }
        // Another operator may have written the record while we asked.
        let (_, before) = disk::read(path).await?;
        Ok((text, before, origins))
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
        let Some((path, mut known)) = self.held.take(target) else {
            return Reported::Gone;
        };
        let outcome = match change(&mut known.status) {
            false => Reported::Gone,
            true => match disk::write(&path, &known.status).await {
                Ok(()) => {
                    known.stamp = disk::stamp_of_written(&path, known.stamp.take()).await;
                    Reported::Written(String::new())
                }
                Err(error) => Reported::Failed(error.to_string()),
            },
        };
        self.held.put(path, known);
        outcome
    }
}
