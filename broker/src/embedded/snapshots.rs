//! Snapshots of what was made of a partition's outcomes, next to its logs. In: bytes and the place
//! in the log that they stand for. Out: the newest that can be believed. I/O, blocking.
//!
//! A snapshot states a fact about a prefix of the outcome log: "the fold of all records before
//! offset n is this". What a reader believed once stays as it is, so the fact holds for ever,
//! whoever wrote it and whoever owns the partition since. What has to be made sure is only that
//! the prefix is one of this log. So a snapshot names the last record of its prefix by epoch and
//! checksum; it is written only if a reader believes that record, and believed only if it still
//! stands there. One owner writes under one epoch and in one chain, so the same record at the same
//! offset has the same records before it. A record that a fenced owner wrote and nobody believes
//! has another epoch than the one that stands in its place, as has one of a log that was replaced
//! by an older copy and went on differently.
//!
//! ```text
//!   0  magic "THUNTSNP", format u32, partition u32, epoch of the writer u64
//!  24  outcomes u64, events u64
//!  40  last record: epoch u64, segment u64, byte of the segment u64, checksum u32
//!  68  body: length u64, checksum u32; checksum of all before u32
//!  84  body
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use config_schemas::{Epoch, Offset, PartitionId};

use crate::embedded::chain::SegmentId;
use crate::embedded::files::{Files, remove_if_there};
use crate::embedded::format::{FRAME_LEN, u32_at, u64_at};
use crate::embedded::index::Index;
use crate::embedded::read::{LogView, Position};
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::traits::LogKind;

const MAGIC: &[u8; 8] = b"THUNTSNP";
const FORMAT: u32 = 1;
/// Where the body begins.
const HEAD_LEN: usize = 84;

/// The snapshots of one partition.
pub(crate) struct Snapshots {
    pub(crate) dir: PathBuf,
    pub(crate) partition: PartitionId,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) index: Arc<Index>,
}

/// A snapshot's place, as its file name tells. The one that reaches furthest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    outcomes: u64,
    epoch: u64,
}

/// The last record of the prefix that a snapshot is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    epoch: u64,
    /// Its segment and its place there: where a reader begins that does not want to pass all
    /// that is before it.
    seq: u64,
    at: u64,
    crc: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state.o{:020}.e{}.snapshot", self.outcomes, self.epoch)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Name, ()> {
        let rest = text.strip_prefix("state.o").and_then(|rest| rest.strip_suffix(".snapshot"));
        let (outcomes, epoch) = rest.and_then(|rest| rest.split_once(".e")).ok_or(())?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| ());
        let name = Name { outcomes: number(outcomes)?, epoch: number(epoch)? };
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

impl Snapshots {
    /// Writes a snapshot: whole under its name, or not there at all. Keeps the one before it.
    pub(crate) fn keep(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let last = self.last_before(snapshot.outcomes, None)?;
        let last = last.ok_or(Error::NotInLog { offset: snapshot.outcomes })?;
        let name = Name { outcomes: snapshot.outcomes.0, epoch: snapshot.epoch.0 };
        let path = self.dir.join(name.to_string());
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = self.write(&draft, &encode(self.partition, snapshot, last));
        let named = written
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| self.files.sync_dir(&self.dir));
        if let Err(error) = named {
            // only tidiness: a draft has no meaning to anybody
            let _ = remove_if_there(&draft);
            return Err(Error::io("write", &path)(error));
        }
        self.tidy(name);
        Ok(())
    }

    /// The newest snapshot that can be believed, as `read` understands it. One that is damaged, of
    /// another build or not about this log is named and left out.
    pub(crate) fn newest<T>(&self, read: impl Fn(Snapshot) -> Result<T, String>) -> Option<T> {
        let mut names = match self.list() {
            Ok((names, _)) => names,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot list snapshots");
                return None;
            }
        };
        names.sort_unstable();
        names.into_iter().rev().find_map(|name| {
            let path = self.dir.join(name.to_string());
            match self.load(&path, name).and_then(&read) {
                Ok(found) => Some(found),
                Err(why) => {
                    tracing::warn!(file = %path.display(), why, "left a snapshot out");
                    None
                }
            }
        })
    }

    fn load(&self, path: &Path, name: Name) -> Result<Snapshot, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let (snapshot, last) = decode(self.partition, name, bytes)?;
        let stands = self.last_before(snapshot.outcomes, Some(last));
        let stands = stands.map_err(|error| error.to_string())?;
        if stands != Some(last) {
            return Err(format!("not about this log: other outcomes before {}", name.outcomes));
        }
        let mut events = self.view(LogKind::Events, Arc::clone(&self.index));
        let end = events.end().map_err(|error| error.to_string())?;
        if snapshot.events > end {
            return Err(format!("not about this log: events up to {} of {end}", snapshot.events));
        }
        Ok(snapshot)
    }

    /// The last believed outcome before `end`, looked for where it is `expected` if that is known;
    /// `None` if there is none at that very place.
    fn last_before(&self, end: Offset, expected: Option<Last>) -> Result<Option<Last>, Error> {
        let Some(at) = end.0.checked_sub(1).map(Offset) else { return Ok(None) };
        // an index of its own where the place may be wrong, and else the one of all
        let index = if expected.is_some() { Arc::default() } else { Arc::clone(&self.index) };
        let mut view = self.view(LogKind::Outcomes, index);
        if let Some(Last { epoch, seq, at: byte, .. }) = expected {
            let segment = SegmentId { seq, epoch };
            view.start_at(Position { segment, offset: at.0, at: byte });
        }
        let chunk = view.read(at, 1)?;
        let record = chunk.records.first().filter(|record| record.offset == at);
        let (Some(record), Some(after)) = (record, view.place()) else { return Ok(None) };
        let last = Last {
            epoch: record.epoch.0,
            seq: after.segment.seq,
            at: after.at - (FRAME_LEN + record.payload.len()) as u64,
            crc: crc32c::crc32c(&record.payload),
        };
        if expected == Some(last) {
            view.tell(&self.index);
        }
        Ok(Some(last))
    }

    fn view(&self, kind: LogKind, index: Arc<Index>) -> LogView {
        LogView::new(&self.dir, self.partition, kind, index)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = File::create(path)?;
        self.files.write_at(&file, bytes, 0)?;
        self.files.sync(&file)
    }

    /// What is there, and the drafts.
    fn list(&self) -> io::Result<(Vec<Name>, Vec<String>)> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries?,
        };
        let (mut names, mut drafts) = (Vec::new(), Vec::new());
        for entry in entries {
            let Ok(file) = entry?.file_name().into_string() else { continue };
            match file.parse() {
                Ok(name) => names.push(name),
                Err(()) if draft_epoch(&file).is_some() => drafts.push(file),
                Err(()) => {}
            }
        }
        Ok((names, drafts))
    }

    /// Removes what `kept` and the one before it make useless. What reaches further than `kept` is
    /// a newer owner's, unless its epoch says that it cannot be about this log.
    fn tidy(&self, kept: Name) {
        let (names, drafts) = self.list().unwrap_or_default();
        let before = names.iter().filter(|name| **name < kept).max().copied();
        let useless = |name: &&Name| {
            let ahead = **name > kept && name.epoch > kept.epoch;
            **name != kept && Some(**name) != before && !ahead
        };
        let useless = names.iter().filter(useless).map(ToString::to_string);
        // what a process left that ended while it wrote
        let left = drafts.into_iter().filter(|draft| draft_epoch(draft) <= Some(kept.epoch));
        for file in useless.chain(left) {
            let path = self.dir.join(file);
            if let Err(error) = remove_if_there(&path) {
                tracing::warn!(file = %path.display(), %error, "cannot remove an old snapshot");
            }
        }
    }
}

/// The epoch under which a draft was begun; `None` for what is no draft.
fn draft_epoch(file: &str) -> Option<u64> {
    let rest = file.strip_prefix("state.o")?.strip_suffix(".tmp")?;
    rest.split_once(".e")?.1.split('.').next()?.parse().ok()
}

fn encode(partition: PartitionId, snapshot: &Snapshot, last: Last) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN + snapshot.body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&partition.0.to_le_bytes());
    bytes.extend_from_slice(&snapshot.epoch.0.to_le_bytes());
    bytes.extend_from_slice(&snapshot.outcomes.0.to_le_bytes());
    bytes.extend_from_slice(&snapshot.events.0.to_le_bytes());
    bytes.extend_from_slice(&last.epoch.to_le_bytes());
    bytes.extend_from_slice(&last.seq.to_le_bytes());
    bytes.extend_from_slice(&last.at.to_le_bytes());
    bytes.extend_from_slice(&last.crc.to_le_bytes());
    bytes.extend_from_slice(&(snapshot.body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&snapshot.body).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend_from_slice(&snapshot.body);
    bytes
}

/// The snapshot of that name, and the last record of its prefix.
fn decode(
    partition: PartitionId,
    name: Name,
    mut bytes: Vec<u8>,
) -> Result<(Snapshot, Last), String> {
    let head = bytes.get(..HEAD_LEN).ok_or("shorter than its head")?;
    if !head.starts_with(MAGIC) {
        return Err("not a snapshot".to_owned());
    }
    if u32_at(head, 8) != FORMAT {
        let found = u32_at(head, 8);
        return Err(format!("of format {found}, and this build reads format {FORMAT}"));
    }
    if crc32c::crc32c(&head[..HEAD_LEN - 4]) != u32_at(head, HEAD_LEN - 4) {
        return Err("its head does not match its checksum".to_owned());
    }
    let found = Name { outcomes: u64_at(head, 24), epoch: u64_at(head, 16) };
    if found != name || u32_at(head, 12) != partition.0 {
        return Err("its head does not match its name and place".to_owned());
    }
    let events = Offset(u64_at(head, 32));
    let (epoch, seq, at) = (u64_at(head, 40), u64_at(head, 48), u64_at(head, 56));
    let last = Last { epoch, seq, at, crc: u32_at(head, 64) };
    let (len, crc) = (u64_at(head, 68), u32_at(head, 76));
    let body = bytes.split_off(HEAD_LEN);
    if body.len() as u64 != len || crc32c::crc32c(&body) != crc {
        return Err("its body does not match its checksum".to_owned());
    }
    let (epoch, outcomes) = (Epoch(name.epoch), Offset(name.outcomes));
    Ok((Snapshot { epoch, outcomes, events, body }, last))
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
