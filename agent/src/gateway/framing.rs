//! What arrives of a gRPC request, seen as it comes: where messages end, and how many records they
//! repeat. A few bytes of protobuf can become hundreds in memory, so that they are counted before
//! they are decoded. In: bytes in any pieces. Out: message ends, or that it is too much. Pure.

/// Bytes before each message: a flag and the length.
const HEADER_LEN: usize = 5;
/// Longest varint.
const VARINT_BITS_MAX: u32 = 70;

/// Why a message is not to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("more than {0} records")]
    TooMany(usize),
    #[error("not protobuf as we write it")]
    Malformed,
}

/// A request so far.
#[derive(Debug)]
pub(crate) struct Framing {
    records_max: usize,
    header: Vec<u8>,
    /// Bytes of the message that are still to come.
    left: usize,
    scan: Scan,
}

impl Framing {
    /// No message may repeat more than `records_max` records.
    pub(crate) fn new(records_max: usize) -> Framing {
        let header = Vec::with_capacity(HEADER_LEN);
        Framing { records_max, header, left: 0, scan: Scan::default() }
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_inside(&self) -> bool {
        !self.header.is_empty()
    }

    /// Takes the next bytes. Out: how many of them come after the last message that ended in them,
    /// if one did.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<Option<usize>, Unfit> {
        let mut after = None;
        while !bytes.is_empty() || self.is_complete() {
            if self.header.len() < HEADER_LEN {
                let (now, later) = bytes.split_at(bytes.len().min(HEADER_LEN - self.header.len()));
                self.header.extend_from_slice(now);
                bytes = later;
                if let [_, length @ ..] = self.header.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = u32::from_be_bytes(length) as usize;
                    self.scan = Scan::default();
                }
            }
            if self.header.len() == HEADER_LEN {
                let (now, later) = bytes.split_at(bytes.len().min(self.left));
                self.scan.feed(now, self.records_max)?;
                self.left -= now.len();
                bytes = later;
            }
            if self.is_complete() {
                self.header.clear();
                after = Some(bytes.len());
            }
        }
        Ok(after)
    }

    fn is_complete(&self) -> bool {
        self.header.len() == HEADER_LEN && self.left == 0
    }
}

/// Where in a message's fields the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Tag,
    Number,
    Length,
    Inside(u64),
}

#[derive(Debug)]
struct Scan {
    at: At,
    varint: u64,
    bits: u32,
    records: usize,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan { at: At::Tag, varint: 0, bits: 0, records: 0 }
    }
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8], records_max: usize) -> Result<(), Unfit> {
        while let Some((byte, rest)) = bytes.split_first() {
            if let At::Inside(left) = self.at {
                let skip = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                bytes = &bytes[skip..];
                self.at = inside(left - skip as u64);
                continue;
            }
            bytes = rest;
            let Some(number) = self.varint(*byte)? else { continue };
            self.at = match (self.at, number & 7) {
                (At::Tag, 0) => At::Number,
                (At::Tag, 1) => At::Inside(8),
                (At::Tag, 2) => At::Length,
                (At::Tag, 5) => At::Inside(4),
                // Groups, which nobody writes any more, and what is none.
                (At::Tag, _) => return Err(Unfit::Malformed),
                (At::Length, _) => {
                    self.records += 1;
                    if self.records > records_max {
                        return Err(Unfit::TooMany(records_max));
                    }
                    inside(number)
                }
                (At::Number | At::Inside(_), _) => At::Tag,
            };
        }
        Ok(())
    }

    fn varint(&mut self, byte: u8) -> Result<Option<u64>, Unfit> {
        self.varint |= u64::from(byte & 0x7f).checked_shl(self.bits).unwrap_or(0);
        self.bits += 7;
        if byte & 0x80 == 0 {
            self.bits = 0;
            return Ok(Some(std::mem::take(&mut self.varint)));
        }
        if self.bits >= VARINT_BITS_MAX { Err(Unfit::Malformed) } else { Ok(None) }
    }
}

fn inside(left: u64) -> At {
    if left == 0 { At::Tag } else { At::Inside(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::v1;
    use proptest::prelude::*;

    fn framed(message: &impl prost::Message) -> Vec<u8> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [vec![0], length.to_vec(), message].concat()
    }

    fn request(events: usize) -> v1::PublishRequest {
        let event = |number: usize| v1::Event {
            id: "x".repeat(number % 300),
            clue: 7,
            at_millis: u64::MAX,
            ..v1::Event::default()
        };
        v1::PublishRequest {
            hunt: "default/harbour".into(),
            events: (0..events).map(event).collect(),
        }
    }

    /// Feeds in pieces of `piece` bytes. Out: how many messages ended, or why it stopped.
    fn fed(bytes: &[u8], piece: usize, records_max: usize) -> Result<usize, Unfit> {
        let mut framing = Framing::new(records_max);
        let mut ended = 0;
        for piece in bytes.chunks(piece.max(1)) {
            ended += usize::from(framing.take(piece)?.is_some());
        }
        assert!(!framing.is_inside() || ended == 0 || bytes.is_empty());
        Ok(ended)
    }

    #[test]
    fn records_are_counted_before_they_are_decoded() {
        let check = |events, records_max, expected| {
            let bytes = framed(&request(events));
            for piece in [1, 7, bytes.len()] {
                assert_eq!(fed(&bytes, piece, records_max), expected, "{events} by {piece}");
            }
        };
        check(0, 1, Ok(1));
        check(99, 100, Ok(1));
        check(100, 100, Err(Unfit::TooMany(100)));
        // Two bytes each on the wire, over a hundred in memory.
        let empty = v1::PublishRequest {
            hunt: String::new(),
            events: vec![v1::Event::default(); 2_000_000],
        };
        assert_eq!(fed(&framed(&empty), 16 << 10, 10_000), Err(Unfit::TooMany(10_000)));
    }

    #[test]
    fn several_messages_in_one_piece_are_told_apart() {
        let mut bytes = [framed(&request(2)), framed(&request(0)), framed(&request(5))].concat();
        bytes.extend_from_slice(&[0, 0, 0]);
        let mut framing = Framing::new(100);
        assert_eq!(framing.take(&bytes), Ok(Some(3)));
        assert!(framing.is_inside());
    }

    #[test]
    fn groups_and_endless_numbers_are_refused() {
        for body in [[0x0b, 0x0c].as_slice(), &[0xff; 11], &[0x0e]] {
            let length = u32::try_from(body.len()).unwrap().to_be_bytes();
            let bytes = [[0].as_slice(), &length, body].concat();
            assert_eq!(fed(&bytes, 3, 10), Err(Unfit::Malformed), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(events in 0_usize..40, piece in 1_usize..400) {
            let bytes = [framed(&request(events)), framed(&request(3))].concat();
            let mut framing = Framing::new(41);
            for piece in bytes.chunks(piece) {
                framing.take(piece).unwrap();
            }
            prop_assert!(!framing.is_inside());
        }

        #[test]
        fn nothing_that_is_sent_ends_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = fed(&bytes, 5, 10);
        }
    }
}
