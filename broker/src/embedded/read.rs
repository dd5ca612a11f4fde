//! Reading a log as far as it can be believed, from whichever process. In: an offset. Out: records
//! in order, across segments and owners, or the place of the damage. I/O, blocking.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use config_schemas::{Epoch, Offset, PartitionId};

use crate::embedded::chain::{Extent, SegmentId, holding};
use crate::embedded::format::{FRAME_LEN, Frame, HEADER_LEN, frame_at};
use crate::embedded::index::Index;
use crate::embedded::segments::{self, believed_chain, mark_of, path_of, read_up_to};
use crate::error::Error;
use crate::records::{Chunk, Record};
use crate::traits::LogKind;

/// Smallest read from a file.
const READ_BYTES_MIN: usize = 4 << 10;
/// Largest read from a file, whatever the caller asks for.
const READ_BYTES_MAX: usize = 4 << 20;
/// How often the list of segments is renewed within one read: they change at a take-over.
const ATTEMPTS_MAX: usize = 8;
/// Said where bytes are missing that a mark or a later segment vouches for.
const CUT: &str = "a record is cut short that was acknowledged";

/// A reader's place in a log. Holds no file open.
pub(crate) struct LogView {
    dir: PathBuf,
    partition: PartitionId,
    kind: LogKind,
    index: Arc<Index>,
    chain: Vec<Extent>,
    place: Option<Position>,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    /// The byte of the segment.
    pub(crate) at: u64,
}

/// What a look into one segment gave.
enum Found {
    Records(Chunk),
    /// Nothing at that offset yet, as far as this segment tells.
    End,
    /// The segment is not there any more.
    Gone,
}

/// The part of a segment that can be believed.
struct Believed {
    file: File,
    path: PathBuf,
    len: u64,
    end: u64,
}

impl LogView {
    pub(crate) fn new(
        dir: &Path,
        partition: PartitionId,
        kind: LogKind,
        index: Arc<Index>,
    ) -> LogView {
        LogView { dir: dir.to_owned(), partition, kind, index, chain: Vec::new(), place: None }
    }

    /// Where the next record after the last one read lies.
    pub(crate) fn place(&self) -> Option<Position> {
        self.place
    }

    /// Begins to look at `place` instead of at the beginning of its segment. A wrong place is
    /// taken for damage, so this is for views with an index of their own.
    pub(crate) fn start_at(&mut self, place: Position) {
        self.place = Some(place);
    }

    /// Tells `index` where the last read ended.
    pub(crate) fn tell(&self, index: &Index) {
        let Some(place) = self.place else { return };
        let held = self.chain.iter().find(|extent| extent.segment.id == place.segment);
        if let Some(extent) = held {
            index.note(self.partition, &extent.segment, place.offset, place.at);
        }
    }

    /// Records from `from` on; none if there are none yet.
    pub(crate) fn read(&mut self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 || self.chain.is_empty() {
                self.chain = believed_chain(&self.dir, self.kind)?;
            }
            let Some(extent) = holding(&self.chain, from.0).copied() else { break };
            match self.read_extent(&extent, from.0, bytes_max)? {
                Found::Records(chunk) => return Ok(chunk),
                Found::End if attempt > 0 => break,
                Found::End | Found::Gone => {}
            }
        }
        Ok(Chunk { records: Vec::new(), next: from })
    }

    /// The offset after the last record that can be believed.
    pub(crate) fn end(&mut self) -> Result<Offset, Error> {
        for _ in 0..ATTEMPTS_MAX {
            self.chain = believed_chain(&self.dir, self.kind)?;
            let Some(head) = self.chain.last().copied() else { break };
            if let Some(believed) = self.believed(&head)? {
                return Ok(Offset(believed.end));
            }
        }
        Ok(Offset(0))
    }

    fn believed(&self, extent: &Extent) -> Result<Option<Believed>, Error> {
        let path = path_of(&self.dir, &extent.segment);
        let Some(file) = segments::open(&self.dir, &extent.segment)? else { return Ok(None) };
        let measured = || file.metadata().map_err(Error::io("measure", &path));
        let (len, end) = match extent.end {
            Some(end) => (measured()?.len(), end),
            None => match mark_of(&file, &path)? {
                // a mark comes after its bytes: a file that is shorter has lost some
                Some(mark) => (mark.len.min(measured()?.len()), mark.next),
                None => (HEADER_LEN, extent.segment.base),
            },
        };
        Ok(Some(Believed { file, path, len, end }))
    }

    fn read_extent(
        &mut self,
        extent: &Extent,
        from: u64,
        bytes_max: usize,
    ) -> Result<Found, Error> {
        let Some(believed) = self.believed(extent)? else { return Ok(Found::Gone) };
        if from >= believed.end {
            return Ok(Found::End);
        }
        let mut place = self.start(extent, from);
        let mut want = bytes_max.clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        loop {
            let bytes = believed.bytes(place.at, want)?;
            let span = Span { from, end: believed.end, bytes_max };
            let (records, stop) = pick(&bytes, &mut place, span, Epoch(extent.segment.id.epoch));
            self.index.note(self.partition, &extent.segment, place.offset, place.at);
            if !records.is_empty() {
                self.place = Some(place);
                return Ok(Found::Records(Chunk { records, next: Offset(place.offset) }));
            }
            match stop {
                Frame::Whole(_) => {}
                Frame::Bad(why) => return Err(Error::corrupt(&believed.path, place.at, why)),
                Frame::Partial(needed) if place.at + needed as u64 > believed.len => {
                    return Err(Error::corrupt(&believed.path, place.at, CUT));
                }
                Frame::Partial(needed) => want = want.max(needed),
            }
        }
    }

    /// The nearest place before `from` that is known.
    fn start(&self, extent: &Extent, from: u64) -> Position {
        let segment = extent.segment.id;
        let first = Position { segment, offset: extent.segment.base, at: HEADER_LEN };
        let last = self.place.filter(|place| place.segment == segment && place.offset <= from);
        if let Some(place) = last.filter(|place| place.offset == from) {
            return place;
        }
        let noted = self.index.before(self.partition, &extent.segment, from);
        let noted = noted.map(|(offset, at)| Position { segment, offset, at });
        [last, noted]
            .into_iter()
            .flatten()
            .fold(first, |best, place| if place.offset > best.offset { place } else { best })
    }
}

impl Believed {
    /// `want` bytes from `at` on, fewer only where what is believed ends. A file that shrinks
    /// meanwhile is corrupt: to read it again would bring no more.
    fn bytes(&self, at: u64, want: usize) -> Result<Bytes, Error> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; want.min(left)];
        let got = read_up_to(&self.file, &mut bytes, at).map_err(Error::io("read", &self.path))?;
        if got < bytes.len() {
            return Err(Error::corrupt(&self.path, at + got as u64, CUT));
        }
        Ok(Bytes::from(bytes))
    }
}

/// What is wanted of a segment: offsets `from..end`, about so many bytes.
#[derive(Clone, Copy)]
struct Span {
    from: u64,
    end: u64,
    bytes_max: usize,
}

/// Takes the wanted records out of `bytes` and moves `place` behind the last one looked at. Out
/// also: what stood there.
fn pick(bytes: &Bytes, place: &mut Position, span: Span, epoch: Epoch) -> (Vec<Record>, Frame) {
    let (mut records, mut taken, mut size) = (Vec::new(), 0, 0);
    let stop = loop {
        let frame = frame_at(bytes, taken);
        let Frame::Whole(payload) = frame.clone() else { break frame };
        if place.offset >= span.end || size >= span.bytes_max.max(1) {
            break frame;
        }
        taken = payload.end;
        if place.offset >= span.from {
            size += payload.len() + FRAME_LEN;
            let payload = bytes.slice(payload);
            records.push(Record { offset: Offset(place.offset), epoch, payload, ours: true });
        }
        place.offset += 1;
    };
    place.at += taken as u64;
    (records, stop)
}
