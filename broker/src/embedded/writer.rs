//! The end of a log, as its owner writes it: one segment, one mark. In: framed groups. Out: the
//! offset of a group's first record once it is durable, still ours and published. Its steps are
//! a1 to a3 of `take`, where the reason for their order stands. I/O, blocking, one thread at once.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use config_schemas::Epoch;

use crate::embedded::chain::{Segment, SegmentId};
use crate::embedded::claims::Claims;
use crate::embedded::files::Files;
use crate::embedded::format::{HEADER_LEN, Mark};
use crate::embedded::segments::{self, Laid, path_of};
use crate::embedded::tuning::LiveTuning;
use crate::error::Error;
use crate::traits::LogKind;

/// What a writer needs to know besides its segment.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) dir: PathBuf,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) tuning: Arc<LiveTuning>,
}

/// Writes one log under one epoch.
pub(crate) struct Writer {
    storage: Storage,
    claims: Claims,
    segment: Segment,
    /// Closed while the log rests.
    file: Option<File>,
    /// What is durable and published.
    mark: Mark,
    /// The segment may hold bytes that nobody was promised: go on in a new one. It is not cut, as
    /// another owner may have sealed these bytes already.
    spoiled: bool,
}

impl Writer {
    pub(crate) fn new(storage: Storage, laid: Laid) -> Writer {
        let mark = Mark { len: HEADER_LEN, next: laid.segment.base };
        let claims = Claims::of(&storage.dir, Arc::clone(&storage.files));
        let (segment, file) = (laid.segment, Some(laid.file));
        Writer { storage, claims, segment, file, mark, spoiled: false }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.segment.id.epoch)
    }

    /// Which log.
    pub(crate) fn kind(&self) -> LogKind {
        self.segment.kind
    }

    /// The offset after the last durable record.
    pub(crate) fn next(&self) -> u64 {
        self.mark.next
    }

    /// Appends a group of `count` framed records. Out: the offset of the first.
    pub(crate) fn append(&mut self, group: &[u8], count: u64) -> Result<u64, Error> {
        if self.must_roll(group.len()) {
            let laid = self.lay_next()?;
            self.go_on_in(laid)?;
        }
        self.stage(group)?;
        self.verify()?;
        self.publish(group.len(), count)
    }

    /// Closes the file until the next write.
    pub(crate) fn rest(&mut self) {
        self.file = None;
    }

    /// Whether the next group needs a new segment.
    pub(crate) fn must_roll(&self, bytes: usize) -> bool {
        let full = self.mark.len + bytes as u64 > self.storage.tuning.segment_bytes();
        self.spoiled || (full && self.mark.len > HEADER_LEN)
    }

    /// Creates the segment that follows the durable part of this one.
    pub(crate) fn lay_next(&self) -> Result<Laid, Error> {
        self.verify()?;
        let old = self.segment;
        let follows = if self.mark.next == old.base { old.follows } else { Some(old.id) };
        let id = SegmentId { seq: old.id.seq + 1, epoch: old.id.epoch };
        let segment = Segment { id, base: self.mark.next, follows, ..old };
        let [laid] = segments::create(&*self.storage.files, &self.storage.dir, [segment], [None])?;
        Ok(laid)
    }

    /// Writes to that segment from now on, if still the owner.
    pub(crate) fn go_on_in(&mut self, laid: Laid) -> Result<(), Error> {
        // whatever fails below, neither the old nor the half-made segment is written to again
        self.spoiled = true;
        self.segment = laid.segment;
        self.mark.len = HEADER_LEN;
        self.verify()?;
        segments::publish(&laid.file, &self.path(), self.mark)?;
        self.file = Some(laid.file);
        self.spoiled = false;
        Ok(())
    }

    /// a1: written and durable behind the mark.
    pub(crate) fn stage(&mut self, group: &[u8]) -> Result<(), Error> {
        self.spoiled = true;
        let path = self.path();
        let file = match self.file.take() {
            Some(file) => file,
            None => segments::open(&self.storage.dir, &self.segment)?
                .ok_or_else(|| Error::corrupt(&path, 0, "removed while it was written to"))?,
        };
        let files = &self.storage.files;
        files.write_at(&file, group, self.mark.len).map_err(Error::io("append to", &path))?;
        files.sync(&file).map_err(Error::io("sync", &path))?;
        self.file = Some(file);
        Ok(())
    }

    /// a2: no newer owner has claimed the partition.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        self.claims.still_newest(self.epoch())
    }

    /// a3: what was staged can be believed.
    pub(crate) fn publish(&mut self, bytes: usize, count: u64) -> Result<u64, Error> {
        let path = self.path();
        let Some(file) = &self.file else { return Err(Error::Closed) };
        let mark = Mark { len: self.mark.len + bytes as u64, next: self.mark.next + count };
        segments::publish(file, &path, mark)?;
        self.spoiled = false;
        Ok(std::mem::replace(&mut self.mark, mark).next)
    }

    fn path(&self) -> PathBuf {
        path_of(&self.storage.dir, &self.segment)
    }
}
