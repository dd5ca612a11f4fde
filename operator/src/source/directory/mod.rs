//! TreasureHunts from a directory of YAML files, with the status as a file beside each. One task
//! reads and writes all of it; the controller's reports come to it through a queue. I/O; what the
//! files mean is decided in `files`.

mod disk;
mod files;
mod origin;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config_schemas::HuntName;
use store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::disk::Stamp;
use self::files::{Origin, Record, StatusFile};
use super::{Report, Reported, SourceEvent, Target};
use crate::metrics::Metrics;
use crate::plan::Note;

/// How often files are looked at: soon enough for a person, cheap enough for thousands.
const POLL: Duration = Duration::from_millis(200);
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
        files: BTreeMap::new(),
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
    /// By the file's path.
    files: BTreeMap<PathBuf, Known>,
    listed: bool,
    /// The last trouble that was told, so that it is told once.
    trouble: Option<String>,
}

type Read = (Option<String>, StatusFile, BTreeMap<HuntName, Origin>);

struct Known {
    stamp: Option<Stamp>,
    status: StatusFile,
}

impl Source {
    /// Runs until told to stop, or until nobody listens.
    pub async fn run(mut self, to: mpsc::Sender<SourceEvent>, stop: CancellationToken) {
        let mut tick = interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let events = tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.scan().await,
                Some(command) = self.waiting.recv() => self.carry_out(command).await,
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
        for (path, stamp) in found {
            if self.files.get(&path).is_none_or(|known| known.stamp != stamp) {
                events.extend(self.load(path, stamp).await);
            }
        }
        if !self.listed {
            self.listed = true;
            events.push(SourceEvent::Listed(self.names()));
        }
        events
    }

    fn names(&self) -> BTreeSet<HuntName> {
        self.files.values().flat_map(|known| &known.status.hunts).map(Record::name).collect()
    }

    fn trouble(&mut self, kind: &str, text: String) {
        self.metrics.source_errors.with_label_values(&[kind]).inc();
        if self.trouble.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            self.trouble = Some(text);
        }
    }

    /// Reads a file and its status file, and joins the two.
    async fn load(&mut self, path: PathBuf, stamp: Option<Stamp>) -> Vec<SourceEvent> {
        let elsewhere: BTreeSet<HuntName> = self
            .files
            .iter()
            .filter(|(other, _)| **other != path)
            .flat_map(|(_, known)| known.status.hunts.iter().map(Record::name))
            .collect();
        let Some((text, before, origins)) = self.read(&path, &elsewhere).await else {
            return Vec::new();
        };
        let joined = files::join(text.as_deref(), &before, &elsewhere, &origins);
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
        self.files.insert(path, Known { stamp, status: joined.status });
        events
    }

    /// The file's text, its status file, and where hunts come from that have no record there.
    async fn read(&mut self, path: &Path, elsewhere: &BTreeSet<HuntName>) -> Option<Read> {
        let read = async {
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
            Ok::<Read, io::Error>((text, before, origins))
        };
        match read.await {
            Ok(read) => Some(read),
            Err(error) => {
                self.trouble("read", format!("{}: {error}", path.display()));
                None
            }
        }
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
        let stands_in = |known: &Known| {
            known.status.hunts.iter().any(|r| r.uid == target.uid && r.name() == target.name)
        };
        let Some((path, known)) = self.files.iter_mut().find(|(_, known)| stands_in(known)) else {
            return Reported::Gone;
        };
        if !change(&mut known.status) {
            return Reported::Gone;
        }
        match disk::write(path, &known.status).await {
            Ok(()) => {
                known.stamp = disk::stamp_of_written(path, known.stamp.take()).await;
                if known.status.hunts.is_empty() && known.stamp.is_none() {
                    let path = path.clone();
                    self.files.remove(&path);
                }
                Reported::Written(String::new())
            }
            Err(error) => Reported::Failed(error.to_string()),
        }
    }
}
