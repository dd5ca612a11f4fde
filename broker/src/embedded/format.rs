//! The bytes of a segment: a header, a mark, then records. Numbers are little endian, checksums
//! CRC-32C. In: bytes. Out: typed parts, or why they are none. Pure.
//!
//! ```text
//!   0  magic "THUNTLOG", version u32, kind u32, epoch u64, base u64, crc of these u32
//!  64  mark: length u64, next offset u64, crc of both u32    (zero: not confirmed yet)
//! 128  records: length u32, crc u32 of length and payload, payload; offsets are implicit
//! ```

use std::ops::Range;

use crate::records::{RECORD_BYTES_MAX, Records};
use crate::traits::LogKind;

/// Where records begin.
pub(crate) const HEADER_LEN: u64 = 128;
/// Where the mark stands.
pub(crate) const MARK_AT: u64 = 64;
/// How long it is.
pub(crate) const MARK_LEN: usize = 20;
/// What precedes a record's payload.
pub(crate) const FRAME_LEN: usize = 8;

const MAGIC: &[u8; 8] = b"THUNTLOG";
const VERSION: u32 = 1;

/// What a segment says of itself; never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: LogKind,
    pub(crate) epoch: u64,
    /// Offset of the first record.
    pub(crate) base: u64,
}

/// How far a segment can be believed. Written after every group, once it is durable and the
/// owner has seen that it still is the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Offset after the last record within them.
    pub(crate) next: u64,
}

fn kind_number(kind: LogKind) -> u32 {
    match kind {
        LogKind::Events => 1,
        LogKind::Outcomes => 2,
    }
}

impl Header {
    /// The first [`HEADER_LEN`] bytes of a segment that is not confirmed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&kind_number(self.kind).to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.base.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.resize(HEADER_LEN as usize, 0);
        bytes
    }

    /// Whether `bytes` begin with exactly this header.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let expected = self.encode();
        let (found, expected) = (bytes.get(..36), &expected[..36]);
        match found {
            None => Err("shorter than its header"),
            Some(found) if found == expected => Ok(()),
            Some(found) if !found.starts_with(MAGIC) => Err("not a segment"),
            Some(found) if found[8..12] != expected[8..12] => Err("of an unknown format version"),
            Some(_) => Err("header does not match its name and checksum"),
        }
    }
}

impl Mark {
    pub(crate) fn encode(&self) -> [u8; MARK_LEN] {
        let mut bytes = [0; MARK_LEN];
        bytes[..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.next.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `Ok(None)` where no mark was written yet.
    pub(crate) fn decode(bytes: &[u8; MARK_LEN]) -> Result<Option<Mark>, &'static str> {
        if bytes == &[0; MARK_LEN] {
            return Ok(None);
        }
        let mark = Mark { len: u64_at(bytes, 0), next: u64_at(bytes, 8) };
        if mark.encode() == *bytes {
            Ok(Some(mark))
        } else {
            Err("mark does not match its checksum")
        }
    }
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

fn crc_of(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// The bytes that `records` take in a segment.
pub(crate) fn framed_len(records: &Records) -> usize {
    records.bytes() + records.len() * FRAME_LEN
}

/// Appends the framed records. Each must be within [`RECORD_BYTES_MAX`].
pub(crate) fn frame(records: &Records, into: &mut Vec<u8>) {
    into.reserve(framed_len(records));
    for payload in records.iter() {
        let length = (payload.len() as u32).to_le_bytes();
        into.extend_from_slice(&length);
        into.extend_from_slice(&crc_of(length, payload).to_le_bytes());
        into.extend_from_slice(payload);
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A record: where its payload lies.
    Whole(Range<usize>),
    /// The beginning of a record that has this many bytes in all.
    Partial(usize),
    /// No record.
    Bad(&'static str),
}

/// Looks at the record that begins at `at`.
pub(crate) fn frame_at(bytes: &[u8], at: usize) -> Frame {
    let Some(head) = bytes.get(at..at + FRAME_LEN) else {
        return Frame::Partial(FRAME_LEN);
    };
    let length = u32_at(head, 0) as usize;
    if length > RECORD_BYTES_MAX {
        return Frame::Bad("record longer than any may be");
    }
    let payload = at + FRAME_LEN..at + FRAME_LEN + length;
    match bytes.get(payload.clone()) {
        None => Frame::Partial(FRAME_LEN + length),
        Some(found) if crc_of([head[0], head[1], head[2], head[3]], found) == u32_at(head, 4) => {
            Frame::Whole(payload)
        }
        Some(_) => Frame::Bad("record does not match its checksum"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_recognised_only_as_itself() {
        let header = Header { kind: LogKind::Events, epoch: 7, base: 12 };
        let bytes = header.encode();
        assert_eq!(header.check(&bytes), Ok(()));
        for at in 0..36 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(header.check(&damaged).is_err(), "byte {at}");
        }
        let other = Header { kind: LogKind::Outcomes, ..header };
        assert!(other.check(&bytes).is_err());
    }

    #[test]
    fn a_mark_is_absent_whole_or_damaged() {
        let mark = Mark { len: 128, next: 0 };
        assert_eq!(Mark::decode(&mark.encode()), Ok(Some(mark)));
        assert_eq!(Mark::decode(&[0; MARK_LEN]), Ok(None));
        let mut damaged = mark.encode();
        damaged[3] ^= 1;
        assert!(Mark::decode(&damaged).is_err());
    }

    #[test]
    fn a_record_is_whole_partial_or_bad_at_every_cut_and_every_flip() {
        let mut records = Records::new();
        records.push(b"hello");
        let mut bytes = Vec::new();
        frame(&records, &mut bytes);
        assert_eq!(frame_at(&bytes, 0), Frame::Whole(8..13));
        for cut in 0..bytes.len() {
            assert!(matches!(frame_at(&bytes[..cut], 0), Frame::Partial(_)), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(!matches!(frame_at(&damaged, 0), Frame::Whole(_)), "flip at {at}");
        }
        assert!(matches!(frame_at(&[0; 64], 0), Frame::Bad(_)), "zeros are not an empty record");
    }
}
