//! One look at the directory: what changed is read, all of it is weighed, and only then are
//! status files written and hunts told. I/O; `held` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use config_schemas::HuntName;
use futures::future::join_all;
use tokio::time::Instant;

use super::disk::{READS_AT_ONCE, Stamp};
use super::files::{self, Origin, StatusFile};
use super::held::{Known, Turn, Turned};
use super::said::Said;
use super::{Source, SourceEvent, origin};

/// Troubles remembered so that each is told once; more are told each time.
const TROUBLES_MAX: usize = 256;

/// What went wrong at this look and at the one before.
#[derive(Default)]
pub(super) struct Troubles {
    before: BTreeSet<String>,
    now: BTreeSet<String>,
}

impl Troubles {
    /// Takes a trouble in; whether it is new.
    fn is_new(&mut self, text: &str) -> bool {
        let is_new = !self.before.contains(text) && !self.now.contains(text);
        if self.now.len() < TROUBLES_MAX {
            self.now.insert(text.to_owned());
        }
        is_new
    }

    fn next(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

impl Source {
    /// Looks at every file that changed.
    pub(super) async fn scan(&mut self, now: Instant) -> Vec<SourceEvent> {
        self.troubles.next();
        let found = match self.disk.list(&self.path).await {
            Ok(found) => found,
            Err(error) => {
                // A directory that cannot be read says nothing about its files.
                self.trouble("list", format!("{}: {error}", self.path.display()));
                return Vec::new();
            }
        };
        if found.is_empty() && self.held.any_stands() {
            // Nobody deletes all hunts with all that is known of them: the disk was taken away.
            let text = format!("{}: all files are gone; no hunt is deleted", self.path.display());
            self.trouble("empty", text);
            return Vec::new();
        }
        if !self.learn(found).await {
            return Vec::new();
        }
        let (affected, turned) = self.held.settle(now);
        turned.iter().for_each(tell);
        self.dirty.extend(affected);
        let mut events = self.land_all().await;
        if !self.listed {
            self.listed = true;
            events.push(SourceEvent::Listed(self.held.names()));
        }
        events
    }

    /// Reads what changed; `false` when the disk did not answer, so that not all is known.
    async fn learn(&mut self, found: BTreeMap<PathBuf, Option<Stamp>>) -> bool {
        for path in self.held.vanished(&found) {
            let status = self.held.file(&path).map(|known| known.status.clone());
            let (said, status) = (Said::of(None), status.unwrap_or_default());
            self.held.learn(&path, Known { stamp: None, said, status });
            self.dirty.insert(path);
        }
        let is_news =
            |(path, now): &(PathBuf, Option<Stamp>)| self.held.is_news(path, now.as_ref());
        let news: Vec<_> = found.into_iter().filter(is_news).collect();
        for some in news.chunks(READS_AT_ONCE) {
            let reads = join_all(some.iter().map(|(path, _)| self.disk.read(path))).await;
            let mut answers = true;
            for ((path, stamp), read) in some.iter().zip(reads) {
                match read {
                    Ok((text, status)) => {
                        let said = Said::of(text.as_deref());
                        self.held.learn(path, Known { stamp: stamp.clone(), said, status });
                        self.dirty.insert(path.clone());
                    }
                    Err(error) => {
                        answers &= error.kind() != io::ErrorKind::TimedOut;
                        self.trouble("read", format!("{}: {error}", path.display()));
                    }
                }
            }
            if !answers {
                return false;
            }
        }
        true
    }

    /// Brings every status file that may have to change to what was decided.
    async fn land_all(&mut self) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let dirty: Vec<PathBuf> = std::mem::take(&mut self.dirty).into_iter().collect();
        for some in dirty.chunks(READS_AT_ONCE) {
            // Each new hunt asks etcd for its id.
            let origins = join_all(some.iter().map(|path| self.origins(path))).await;
            for (path, origins) in some.iter().zip(origins) {
                match origins {
                    Ok((fresh, origins)) => {
                        if let Some(fresh) = fresh {
                            self.held.refresh(path, fresh);
                        }
                        events.extend(self.land(path, origins).await);
                    }
                    Err(error) => {
                        self.trouble("read", format!("{}: {error}", path.display()));
                        self.dirty.insert(path.clone());
                    }
                }
            }
        }
        events
    }

    /// Where hunts come from that have no record, and the file as it is after that was asked.
    async fn origins(
        &self,
        path: &Path,
    ) -> io::Result<(Option<StatusFile>, BTreeMap<HuntName, Origin>)> {
        let mut origins = BTreeMap::new();
        let Some(known) = self.held.file(path) else { return Ok((None, origins)) };
        let rulings = self.held.rulings(path);
        for name in files::without_record(&known.said, &known.status, &rulings) {
            let origin = origin::find(&self.store, &name).await.map_err(io::Error::other)?;
            origins.insert(name, origin);
        }
        if origins.is_empty() {
            return Ok((None, origins));
        }
        // Another operator may have written the record while we asked.
        let (_, status) = self.disk.read(path).await?;
        Ok((Some(status), origins))
    }

    /// Joins what a file says with its status file, and tells of its hunts.
    async fn land(&mut self, path: &Path, origins: BTreeMap<HuntName, Origin>) -> Vec<SourceEvent> {
        let Some(known) = self.held.file(path) else { return Vec::new() };
        let rulings = files::Rulings { origins, ..self.held.rulings(path) };
        let joined = files::join(&known.said, &known.status, &rulings);
        let stamp = match joined.status == known.status {
            true => Ok(known.stamp.clone()),
            false => self.disk.write(path, &joined.status, known.stamp.as_ref()).await,
        };
        let stamp = match stamp {
            Ok(stamp) => stamp,
            Err(error) => {
                // Without its id and generation on disk, the hunt must not be told of.
                self.trouble("write", format!("{}: {error}", path.display()));
                self.dirty.insert(path.to_owned());
                return Vec::new();
            }
        };
        self.held.wrote(path, stamp, joined.status);
        if joined.unfinished {
            self.dirty.insert(path.to_owned());
        }
        joined.observed.into_iter().map(|o| SourceEvent::Seen(Box::new(o))).collect()
    }

    fn trouble(&mut self, kind: &str, text: String) {
        self.metrics.source_errors.with_label_values(&[kind]).inc();
        if self.troubles.is_new(&text) {
            tracing::warn!("{text}");
        }
    }
}

fn tell(turned: &Turned) {
    let (hunt, file) = (&turned.hunt, turned.from.display());
    match &turned.turn {
        Turn::Leaves => tracing::warn!(%hunt, %file, "the file names this hunt no more"),
        Turn::Moves(to) => {
            tracing::warn!(%hunt, %file, to = %to.display(), "the hunt moved to another file");
        }
        Turn::Ends => tracing::warn!(%hunt, %file, "no file names this hunt: it is deleted"),
    }
}
