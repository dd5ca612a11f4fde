//! Which segments of a log count, and for which offsets. In: the file names of a directory, some
//! of them left by owners that were fenced. Out: one chain. Pure.
//!
//! A segment's name says which segment it follows. The chain is what the newest segment follows,
//! back to the first: a file that nobody in the chain follows is not part of the log, whatever is
//! written into it. Each segment counts up to the base of its follower.

use std::fmt;
use std::str::FromStr;

use crate::embedded::format::Header;
use crate::traits::LogKind;

/// A segment's place in the order of creation: sequence number and epoch. Unique per log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SegmentId {
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
}

/// A segment, as its file name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Segment {
    pub(crate) kind: LogKind,
    pub(crate) id: SegmentId,
    /// Offset of its first record.
    pub(crate) base: u64,
    /// The one that it follows; none for the first.
    pub(crate) follows: Option<SegmentId>,
}

/// A segment of the chain and the offsets that it holds: `base..end`, open for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) segment: Segment,
    pub(crate) end: Option<u64>,
}

impl Segment {
    pub(crate) fn header(&self) -> Header {
        Header { kind: self.kind, epoch: self.id.epoch, base: self.base }
    }

    /// Newest last: a higher epoch counts before a later place.
    pub(crate) fn age(&self) -> (u64, u64) {
        (self.id.epoch, self.id.seq)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let follows = self.follows.unwrap_or(SegmentId { seq: 0, epoch: 0 });
        write!(
            f,
            "{}.{:08}.e{}.o{}.after.{}.e{}.log",
            self.kind.as_str(),
            self.id.seq,
            self.id.epoch,
            self.base,
            follows.seq,
            follows.epoch
        )
    }
}

impl FromStr for Segment {
    type Err = ();

    fn from_str(name: &str) -> Result<Segment, ()> {
        let mut parts = name.split('.');
        let mut part = |prefix: &str| {
            parts.next().and_then(|part| part.strip_prefix(prefix)).ok_or(()).map(str::to_owned)
        };
        let number = |text: String| text.parse::<u64>().map_err(|_| ());
        let kind = part("")?;
        let kind = LogKind::ALL.into_iter().find(|k| k.as_str() == kind).ok_or(())?;
        let id = SegmentId { seq: number(part("")?)?, epoch: number(part("e")?)? };
        let base = number(part("o")?)?;
        part("after")?;
        let follows = SegmentId { seq: number(part("")?)?, epoch: number(part("e")?)? };
        let segment = Segment { kind, id, base, follows: (follows.seq > 0).then_some(follows) };
        if segment.to_string() == name { Ok(segment) } else { Err(()) }
    }
}

/// The chain that ends in `head`, oldest first. `Err` names the segment that is followed but not
/// there.
pub(crate) fn chain(segments: &[Segment], head: Segment) -> Result<Vec<Extent>, SegmentId> {
    let mut chain = vec![Extent { segment: head, end: None }];
    let mut at = head;
    while let Some(id) = at.follows {
        let before = segments.iter().find(|segment| segment.id == id && segment.kind == head.kind);
        let before = *before.filter(|before| before.id.seq < at.id.seq).ok_or(id)?;
        chain.push(Extent { segment: before, end: Some(at.base) });
        at = before;
    }
    chain.reverse();
    Ok(chain)
}

/// The extent that holds `offset`, or will hold it.
pub(crate) fn holding(chain: &[Extent], offset: u64) -> Option<&Extent> {
    chain
        .iter()
        .find(|extent| offset >= extent.segment.base && extent.end.is_none_or(|end| offset < end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u64, epoch: u64, base: u64, follows: Option<(u64, u64)>) -> Segment {
        let follows = follows.map(|(seq, epoch)| SegmentId { seq, epoch });
        Segment { kind: LogKind::Events, id: SegmentId { seq, epoch }, base, follows }
    }

    #[test]
    fn a_name_says_all_and_nothing_else_is_a_name() {
        for segment in [segment(1, 1, 0, None), segment(12, 9, 77, Some((11, 8)))] {
            assert_eq!(segment.to_string().parse(), Ok(segment));
        }
        for name in ["", "events", "EPOCH", "events.1.e1.o0.after.0.e0.log", "x.tmp"] {
            assert_eq!(name.parse::<Segment>(), Err(()), "{name}");
        }
    }

    #[test]
    fn what_a_fenced_owner_left_is_not_in_the_chain() {
        let first = segment(1, 1, 0, None);
        let zombie_roll = segment(2, 1, 40, Some((1, 1)));
        let second = segment(2, 2, 30, Some((1, 1)));
        let rolled = segment(3, 2, 50, Some((2, 2)));
        let all = [first, zombie_roll, second, rolled];
        let bounds = |head| {
            chain(&all, head).map(|chain| {
                chain.iter().map(|e| (e.segment.id.seq, e.segment.base, e.end)).collect::<Vec<_>>()
            })
        };
        assert_eq!(bounds(rolled), Ok(vec![(1, 0, Some(30)), (2, 30, Some(50)), (3, 50, None)]));
        assert_eq!(bounds(zombie_roll), Ok(vec![(1, 0, Some(40)), (2, 40, None)]));
        let chain = chain(&all, rolled).expect("whole");
        for (offset, seq) in [(0, 1), (29, 1), (30, 2), (49, 2), (50, 3), (1_000, 3)] {
            assert_eq!(holding(&chain, offset).map(|e| e.segment.id.seq), Some(seq), "{offset}");
        }
    }

    #[test]
    fn a_gap_is_named() {
        let head = segment(3, 2, 30, Some((2, 1)));
        assert_eq!(chain(&[head], head), Err(SegmentId { seq: 2, epoch: 1 }));
    }
}
