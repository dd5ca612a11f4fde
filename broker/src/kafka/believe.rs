//! Which records of an outcomes topic count. Anybody who may write can append there, also an owner
//! that was replaced while it was frozen; so each record says under which ownership it was written
//! and as which one of it, and readers go by that alone. In: marks in the topic's order. Out:
//! believed or not, and why not. Pure.
//!
//! A take-over appends a barrier: epoch, owner, incarnation, and a number that only this take-over
//! has. It counts if its epoch is higher than that of every barrier that counted before, or the
//! same with the same incarnation. From there on, records count whose epoch and number are the
//! barrier's and that are numbered 0, 1, 2, ... without a gap: one that was lost on the way takes
//! all that were written after it along, so that no outcome ever follows from one that is not
//! there.

use std::fmt;
use std::sync::Arc;

use config_schemas::Epoch;

/// The header that carries a [`Mark`], as text.
pub(crate) const HEADER: &str = "treasurehunt";

/// What tells apart two take-overs under the same epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Take(pub(crate) u64);

/// What a record says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `barrier <epoch> <take> <incarnation> <owner>`: a take-over.
    Barrier { epoch: Epoch, take: Take, incarnation: Arc<str>, owner: Arc<str> },
    /// `outcome <epoch> <take> <number>`: one of an owner's records.
    Outcome { epoch: Epoch, take: Take, number: u64 },
    /// `event`: an owner's gateway took it in. Whoever may write can say so: it keeps out what came
    /// here by mistake, and access rules have to keep out the rest.
    Event,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Barrier { epoch, take, incarnation, owner } => {
                write!(f, "barrier {} {:016x} {incarnation} {owner}", epoch.0, take.0)
            }
            Mark::Outcome { epoch, take, number } => {
                write!(f, "outcome {} {:016x} {number}", epoch.0, take.0)
            }
            Mark::Event => f.write_str("event"),
        }
    }
}

impl Mark {
    /// `None` for anything that no owner wrote.
    pub(crate) fn parse(text: &[u8]) -> Option<Mark> {
        if text == b"event" {
            return Some(Mark::Event);
        }
        let mut words = std::str::from_utf8(text).ok()?.splitn(5, ' ');
        let kind = words.next()?;
        let epoch = Epoch(words.next()?.parse().ok()?);
        let take = Take(u64::from_str_radix(words.next()?, 16).ok()?);
        match (kind, words.next()?, words.next()) {
            ("outcome", number, None) => {
                Some(Mark::Outcome { epoch, take, number: number.parse().ok()? })
            }
            ("barrier", incarnation, Some(owner)) => Some(Mark::Barrier {
                epoch,
                take,
                incarnation: incarnation.into(),
                owner: owner.into(),
            }),
            _ => None,
        }
    }
}

/// What a reader holds true after all records so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Belief {
    holder: Option<Holder>,
}

/// The newest owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) epoch: Epoch,
    pub(crate) take: Take,
    pub(crate) incarnation: Arc<str>,
    pub(crate) owner: Arc<str>,
    /// The number that its next record must have; `None` after a gap.
    next: Option<u64>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts.
    Believed,
    /// A new owner begins; nothing for whoever reads outcomes.
    Barrier,
    /// It does not count.
    Ignored(Doubt),
}

/// Why a record does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// No owner wrote it.
    Foreign,
    /// Its owner was replaced before, or never was one.
    NotTheOwner,
    /// It is there already.
    Doubled,
    /// One before it is missing.
    AfterGap,
}

impl Belief {
    /// The newest owner so far.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Judges the next record.
    pub(crate) fn judge(&mut self, mark: Option<&Mark>) -> Verdict {
        match mark {
            None | Some(Mark::Event) => Verdict::Ignored(Doubt::Foreign),
            Some(Mark::Barrier { epoch, take, incarnation, owner }) => {
                let counts = self.holder.as_ref().is_none_or(|holder| {
                    *epoch > holder.epoch
                        || (*epoch == holder.epoch && *incarnation == holder.incarnation)
                });
                if !counts {
                    return Verdict::Ignored(Doubt::NotTheOwner);
                }
                self.holder = Some(Holder {
                    epoch: *epoch,
                    take: *take,
                    incarnation: Arc::clone(incarnation),
                    owner: Arc::clone(owner),
                    next: Some(0),
                });
                Verdict::Barrier
            }
            Some(Mark::Outcome { epoch, take, number }) => {
                let holder = self.holder.as_mut();
                let Some(holder) = holder.filter(|it| it.epoch == *epoch && it.take == *take)
                else {
                    return Verdict::Ignored(Doubt::NotTheOwner);
                };
                holder.number(*number)
            }
        }
    }
}

impl fmt::Display for Belief {
    /// `nobody`, or `<epoch> <take> <next number or -> <incarnation> <owner>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Holder { epoch, take, incarnation, owner, next }) = &self.holder else {
            return f.write_str("nobody");
        };
        let next = next.map_or_else(|| "-".to_owned(), |next| next.to_string());
        write!(f, "{} {:016x} {next} {incarnation} {owner}", epoch.0, take.0)
    }
}

impl Belief {
    /// What [`Display`](fmt::Display) wrote.
    pub(crate) fn parse(text: &str) -> Option<Belief> {
        if text == "nobody" {
            return Some(Belief::default());
        }
        let mut words = text.splitn(5, ' ');
        let epoch = Epoch(words.next()?.parse().ok()?);
        let take = Take(u64::from_str_radix(words.next()?, 16).ok()?);
        let next = match words.next()? {
            "-" => None,
            number => Some(number.parse().ok()?),
        };
        let (incarnation, owner) = (words.next()?.into(), words.next()?.into());
        Some(Belief { holder: Some(Holder { epoch, take, incarnation, owner, next }) })
    }
}

impl Holder {
    fn number(&mut self, number: u64) -> Verdict {
        match self.next {
            Some(next) if number == next => {
                self.next = Some(next + 1);
                Verdict::Believed
            }
            Some(next) if number < next => Verdict::Ignored(Doubt::Doubled),
            _ => {
                self.next = None;
                Verdict::Ignored(Doubt::AfterGap)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn barrier(epoch: u64, take: u64, incarnation: &str) -> Mark {
        let (incarnation, owner) = (incarnation.into(), "node".into());
        Mark::Barrier { epoch: Epoch(epoch), take: Take(take), incarnation, owner }
    }

    fn outcome(epoch: u64, take: u64, number: u64) -> Mark {
        Mark::Outcome { epoch: Epoch(epoch), take: Take(take), number }
    }

    fn check(marks: &[Mark], expected: &str) {
        let mut belief = Belief::default();
        let letter = |mark| match belief.judge(Some(mark)) {
            Verdict::Believed => 'o',
            Verdict::Barrier => 'B',
            Verdict::Ignored(Doubt::Foreign) => 'f',
            Verdict::Ignored(Doubt::NotTheOwner) => 'x',
            Verdict::Ignored(Doubt::Doubled) => 'd',
            Verdict::Ignored(Doubt::AfterGap) => 'g',
        };
        assert_eq!(marks.iter().map(letter).collect::<String>(), expected);
    }

    #[test]
    fn a_zombie_is_never_believed() {
        let (a, b) = (barrier(1, 10, "a"), barrier(2, 20, "b"));
        check(&[a.clone(), outcome(1, 10, 0), b, outcome(1, 10, 1), outcome(2, 20, 0)], "BoBxo");
        check(&[outcome(1, 10, 0), a.clone(), outcome(1, 10, 0)], "xBo");
        check(&[barrier(2, 20, "b"), a, outcome(1, 10, 0), outcome(2, 20, 0)], "Bxxo");
    }

    #[test]
    fn an_epoch_belongs_to_one_incarnation_which_may_take_it_again() {
        let (first, again) = (barrier(1, 10, "a"), barrier(1, 11, "a"));
        check(
            &[first.clone(), outcome(1, 10, 0), again, outcome(1, 10, 1), outcome(1, 11, 0)],
            "BoBxo",
        );
        check(&[first, barrier(1, 12, "b"), outcome(1, 12, 0), outcome(1, 10, 0)], "Bxxo");
    }

    #[test]
    fn a_gap_takes_along_what_comes_after_it_and_doubles_count_once() {
        let marks = [barrier(1, 1, "a"), outcome(1, 1, 0), outcome(1, 1, 0), outcome(1, 1, 2)];
        check(&marks, "Bodg");
        let late = [outcome(1, 1, 1), outcome(1, 1, 3), barrier(1, 2, "a"), outcome(1, 2, 0)];
        check(&[marks.to_vec(), late.to_vec()].concat(), "BodgggBo");
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let marks = [barrier(7, 0x1f, "9f-2"), outcome(u64::MAX, u64::MAX, 3)];
        for mark in marks {
            assert_eq!(Mark::parse(mark.to_string().as_bytes()), Some(mark));
        }
        let spaced = Mark::parse(b"barrier 1 0a run an owner");
        assert!(matches!(spaced, Some(Mark::Barrier { owner, .. }) if &*owner == "an owner"));
        for text in [
            "",
            "outcome",
            "outcome 1 1",
            "outcome 1 g 1",
            "outcome 1 1 1 1",
            "barrier 1 1 a",
            "x 1 1 1",
        ] {
            assert_eq!(Mark::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Belief::default().judge(None), Verdict::Ignored(Doubt::Foreign));
    }

    #[test]
    fn what_is_believed_survives_being_written_down() {
        let check = |belief: &Belief| {
            assert_eq!(Belief::parse(&belief.to_string()).as_ref(), Some(belief), "{belief}");
        };
        let mut belief = Belief::default();
        check(&belief);
        for mark in [barrier(3, 0xabc, "run-1"), outcome(3, 0xabc, 0), outcome(3, 0xabc, 5)] {
            belief.judge(Some(&mark));
            check(&belief);
        }
        for text in ["", "somebody", "1 2 3 4", "1 x - a b", "1 2 x a b"] {
            assert_eq!(Belief::parse(text), None, "{text}");
        }
    }

    /// An owner that appends without knowing of the others.
    #[derive(Debug, Clone)]
    struct Writer {
        epoch: u64,
        take: u64,
        sent: u64,
    }

    proptest! {
        /// Owners with rising epochs take over and append in any interleaving, also long after they
        /// were replaced; records are lost and doubled. What is believed of each take-over is a
        /// prefix of what it wrote, in order, and lies between its barrier and the next.
        #[test]
        fn what_is_believed_of_each_owner_is_a_prefix_before_the_next_barrier(
            steps in proptest::collection::vec((0_u8..10, 0_usize..4, any::<bool>()), 1..200),
        ) {
            let mut writers: Vec<Writer> = Vec::new();
            let (mut belief, mut believed) = (Belief::default(), Vec::<(u64, u64)>::new());
            for (kind, who, odd) in steps {
                let mark = if kind == 0 || writers.is_empty() {
                    let take = writers.len() as u64;
                    writers.push(Writer { epoch: take + 1, take, sent: 0 });
                    barrier(take + 1, take, "run")
                } else {
                    let at = writers.len().saturating_sub(1 + who);
                    let writer = &mut writers[at];
                    let number = match (kind, odd) {
                        (1, _) => { writer.sent += 2; writer.sent - 1 }
                        (2, true) => writer.sent.saturating_sub(1),
                        _ => { writer.sent += 1; writer.sent - 1 }
                    };
                    outcome(writer.epoch, writer.take, number)
                };
                if belief.judge(Some(&mark)) == Verdict::Believed {
                    let Mark::Outcome { take, number, .. } = mark else { panic!("a barrier") };
                    prop_assert_eq!(take.0 as usize, writers.len() - 1, "only the newest");
                    believed.push((take.0, number));
                }
            }
            for pair in believed.windows(2) {
                let follows = pair[1].0 > pair[0].0 || pair[1] == (pair[0].0, pair[0].1 + 1);
                prop_assert!(follows, "{:?}", pair);
                prop_assert!(pair[1].0 == pair[0].0 || pair[1].1 == 0);
            }
        }
    }
}
