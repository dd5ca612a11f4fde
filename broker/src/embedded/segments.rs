//! Segments as files: listing, opening, creating, marking, finding the end. Every function says
//! what it may conclude while other processes write. I/O, blocking.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::embedded::chain::{Extent, Segment, chain};
use crate::embedded::files::Files;
use crate::embedded::format::{Frame, HEADER_LEN, MARK_AT, MARK_LEN, Mark, frame_at};
use crate::embedded::prepared::Draft;
use crate::error::Error;
use crate::traits::LogKind;

/// How often a listing is repeated until two in a row agree. Segments are created a few times a
/// minute at most, so that more than a few differences mean that something is badly wrong.
const LIST_ATTEMPTS_MAX: usize = 100;
/// How often a mark is read again that was caught in the middle of being written.
const MARK_ATTEMPTS_MAX: usize = 1_000;
/// How much is read at once when looking for the end of a segment.
const SCAN_BYTES: usize = 1 << 20;

/// A segment that its owner may write to.
pub(crate) struct Laid {
    pub(crate) segment: Segment,
    pub(crate) file: File,
}

/// All segments of a log that are in the directory, in no order.
///
/// One listing may show a file and miss an older one when both appear while it runs; two equal
/// ones in a row cannot.
pub(crate) fn list(dir: &Path, kind: LogKind) -> Result<Vec<Segment>, Error> {
    let mut before = None;
    for _ in 0..LIST_ATTEMPTS_MAX {
        let mut found = list_once(dir, kind).map_err(Error::io("list", dir))?;
        found.sort_by_key(Segment::age);
        if before.as_ref() == Some(&found) {
            return Ok(found);
        }
        before = Some(found);
    }
    Err(Error::io("list", dir)(io::Error::other("it never stays the same")))
}

fn list_once(dir: &Path, kind: LogKind) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let segment = name.to_str().and_then(|name| name.parse::<Segment>().ok());
        found.extend(segment.filter(|segment| segment.kind == kind));
    }
    Ok(found)
}

/// Where a segment lies.
pub(crate) fn path_of(dir: &Path, segment: &Segment) -> PathBuf {
    dir.join(segment.to_string())
}

/// Opens a segment and checks that it is what its name says. `None` if it is gone.
pub(crate) fn open(dir: &Path, segment: &Segment) -> Result<Option<File>, Error> {
    let path = path_of(dir, segment);
    let file = match File::options().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::io("open", &path))?,
    };
    let mut head = [0; HEADER_LEN as usize];
    let got = read_up_to(&file, &mut head, 0).map_err(Error::io("read", &path))?;
    let checked = segment.header().check(&head[..got]);
    checked.map_err(|why| Error::corrupt(&path, 0, why))?;
    Ok(Some(file))
}

/// How far an open segment can be believed; `None` while it is not confirmed.
pub(crate) fn mark_of(file: &File, path: &Path) -> Result<Option<Mark>, Error> {
    let mut why = "no mark";
    for _ in 0..MARK_ATTEMPTS_MAX {
        let mut bytes = [0; MARK_LEN];
        file.read_exact_at(&mut bytes, MARK_AT).map_err(Error::io("read", path))?;
        match Mark::decode(&bytes) {
            Ok(mark) => return Ok(mark),
            Err(damaged) => why = damaged,
        }
        std::thread::yield_now();
    }
    Err(Error::corrupt(path, MARK_AT, why))
}

/// Writes the mark: from now on every reader believes the segment up to here.
pub(crate) fn publish(file: &File, path: &Path, mark: Mark) -> Result<(), Error> {
    file.write_all_at(&mark.encode(), MARK_AT).map_err(Error::io("mark", path))
}

/// Creates segments without a mark: each complete and durable under its name, or not there at all.
pub(crate) fn create<const N: usize>(
    files: &dyn Files,
    dir: &Path,
    segments: [Segment; N],
    drafts: [Option<Draft>; N],
) -> Result<[Laid; N], Error> {
    let mut made = Vec::with_capacity(N);
    for (segment, draft) in segments.iter().zip(drafts) {
        made.push(create_one(files, dir, segment, draft)?);
    }
    files.sync_dir(dir).map_err(Error::io("sync", dir))?;
    let mut made = made.into_iter();
    Ok(segments.map(|segment| {
        let file = made.next().expect("one was made for each");
        Laid { segment, file }
    }))
}

/// Its name may not be durable yet.
fn create_one(
    files: &dyn Files,
    dir: &Path,
    segment: &Segment,
    prepared: Option<Draft>,
) -> Result<File, Error> {
    let path = path_of(dir, segment);
    let draft = match prepared {
        Some(draft) => draft,
        None => Draft::new(path.with_extension("tmp"))?,
    };
    files
        .write_at(&draft.file, &segment.header().encode(), 0)
        .and_then(|()| files.sync(&draft.file))
        .map_err(Error::io("write", &path))?;
    draft.become_named(&path)
}

/// The chain that readers believe: the one of the newest segment that has a mark.
pub(crate) fn believed_chain(dir: &Path, kind: LogKind) -> Result<Vec<Extent>, Error> {
    let segments = list(dir, kind)?;
    for head in segments.iter().rev() {
        let Some(file) = open(dir, head)? else { continue };
        if mark_of(&file, &path_of(dir, head))?.is_some() {
            return chain(&segments, *head).map_err(|gap| missing(dir, head, gap.seq));
        }
    }
    Ok(Vec::new())
}

/// The error for a segment that another one follows and that is not there.
pub(crate) fn missing(dir: &Path, head: &Segment, seq: u64) -> Error {
    tracing::warn!(segment = %head, missing = seq, "a segment of the log is not there");
    Error::corrupt(&path_of(dir, head), 0, "the segment that it follows is missing")
}

/// Counts the whole records from byte `at` on, up to the first that is torn, damaged or not there.
/// Out: how many, and the byte after the last.
pub(crate) fn scan(file: &File, path: &Path, at: u64) -> Result<(u64, u64), Error> {
    let (mut count, mut at) = (0, at);
    let mut want = SCAN_BYTES;
    loop {
        let mut bytes = vec![0; want];
        let got = read_up_to(file, &mut bytes, at).map_err(Error::io("read", path))?;
        bytes.truncate(got);
        let mut taken = 0;
        let stop = loop {
            match frame_at(&bytes, taken) {
                Frame::Whole(payload) => {
                    taken = payload.end;
                    count += 1;
                }
                other => break other,
            }
        };
        at += taken as u64;
        match stop {
            Frame::Partial(needed) if got == want => want = SCAN_BYTES.max(needed),
            _ => return Ok((count, at)),
        }
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
