//! Into how many partitions a hunt is cut, was cut before, and is about to be. The number only rises, to
//! whole multiples, so it is also the version of the map from keys to partitions: a key either stays
//! where it is or goes to a partition that is new. In: the hunt's marker. Out: what follows. Pure.

use crate::documents::Meta;
use crate::names::PartitionId;
use crate::problem::Problem;

/// How many of one partition are made at once, itself among them, where the wanted number can be reached
/// so: each new one holds all of its state until it has what is its own.
const STEP: u32 = 4;
/// Largest prime factor of what a number may be multiplied by: cutting by that is one step, and a node
/// follows one partition from eight places at most.
const FACTOR_MAX: u64 = 7;

/// What a hunt is cut into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Oldest first; the last one is in force.
    counts: Vec<u32>,
    next: Option<u32>,
}

/// What a partition was cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who had its keys before.
    pub from: PartitionId,
    /// Partitions of the hunt since then.
    pub partitions: u32,
}

impl Cuts {
    /// As the marker says.
    pub fn of(meta: &Meta) -> Cuts {
        let counts = meta.before.iter().copied().chain([meta.partitions]).collect();
        Cuts { counts, next: meta.next }
    }

    /// Partitions that keys go to; none while the hunt is unknown.
    pub fn partitions(&self) -> u32 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Partitions that are placed.
    pub fn placed(&self) -> u32 {
        self.next.unwrap_or(0).max(self.partitions())
    }

    /// All numbers of partitions in force so far, oldest first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Whether this is `before`, or was cut further from there.
    pub fn extends(&self, before: &Cuts) -> bool {
        self.counts.starts_with(&before.counts)
    }

    /// What a partition was cut from, if it was.
    pub fn origin(&self, id: PartitionId) -> Option<Origin> {
        let all = self.counts.iter().copied().chain(self.next);
        let mut before = None;
        for partitions in all {
            if id.0 < partitions {
                let from = before.map(|count: u32| PartitionId(id.0 % count.max(1)))?;
                return Some(Origin { from, partitions });
            }
            before = Some(partitions);
        }
        None
    }
}

/// What is wrong with a number of partitions after another one. Who leaves it out, so that it would have
/// its default, asks for nothing.
pub fn cannot_become(before: u64, now: u64, named: bool) -> Option<Problem> {
    let finer = named && now > before && before > 0 && now.is_multiple_of(before);
    let holds = now == before || (finer && rest(now / before) == 1);
    (!holds).then(|| Problem {
        field: "partitions.count".to_owned(),
        value: now.to_string(),
        allowed: allowed(before),
    })
}

/// What is left of a factor without the primes that a cut may go by.
fn rest(times: u64) -> u64 {
    (2..=FACTOR_MAX).fold(times, |mut left, factor| {
        while left.is_multiple_of(factor) {
            left /= factor;
        }
        left
    })
}

/// The next number on the way from `from` to `to`, one of its multiples: as far as one step goes.
pub fn step(from: u32, to: u32) -> u32 {
    let times = to / from.max(1);
    let divides = |factor: &u32| times.is_multiple_of(*factor);
    let factor = (2..=STEP).rev().find(divides).or_else(|| (STEP + 1..=times).find(divides));
    from * factor.unwrap_or(1)
}

/// In words, what number of partitions may follow.
pub fn allowed(before: impl std::fmt::Display) -> String {
    format!(
        "{before}, or that times 2, 3, 5 and 7 as often as you like: the hunt can only be cut finer"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(counts: &[u32], next: Option<u32>) -> Cuts {
        Cuts { counts: counts.to_vec(), next }
    }

    #[test]
    fn a_new_partition_is_cut_from_the_one_that_had_its_keys() {
        let check = |counts: &[u32], next, id, expected: Option<(u32, u32)>| {
            let origin = cuts(counts, next).origin(PartitionId(id));
            let found = origin.map(|origin| (origin.from.0, origin.partitions));
            assert_eq!(found, expected, "{counts:?} {next:?} {id}");
        };
        check(&[16], None, 3, None);
        check(&[16], None, 16, None);
        check(&[16], Some(32), 15, None);
        check(&[16], Some(32), 19, Some((3, 32)));
        check(&[16, 32], None, 19, Some((3, 32)));
        check(&[16, 32], Some(96), 19, Some((3, 32)));
        check(&[16, 32], Some(96), 35, Some((3, 96)));
        check(&[16, 32, 96], None, 67, Some((3, 96)));
        check(&[16, 32, 96], None, 51, Some((19, 96)));
        check(&[], None, 0, None);
    }

    #[test]
    fn what_is_placed_may_be_more_than_keys_go_to() {
        let check = |counts: &[u32], next, expected| {
            let cuts = cuts(counts, next);
            assert_eq!((cuts.partitions(), cuts.placed()), expected);
        };
        check(&[16], None, (16, 16));
        check(&[16], Some(32), (16, 32));
        check(&[16, 32], None, (32, 32));
        check(&[], None, (0, 0));
    }

    #[test]
    fn a_hunt_is_only_ever_cut_finer_by_whole_multiples() {
        let check = |before, now, good| {
            assert_eq!(cannot_become(before, now, true).is_none(), good, "{before} {now}");
            let unnamed = cannot_become(before, now, false).is_none();
            assert_eq!(unnamed, before == now, "{before} {now}");
        };
        check(16, 16, true);
        check(16, 32, true);
        check(16, 48, true);
        check(16, 24, false);
        check(16, 8, false);
        check(1, 4096, true);
        check(16, 16 * 2 * 3 * 5 * 7, true);
        check(16, 16 * 11, false);
        check(16, 16 * 22, false);
    }

    #[test]
    fn a_large_multiple_is_reached_in_small_steps() {
        let check = |from, to, expected: &[u32]| {
            let way = std::iter::successors(Some(from), |at| (*at < to).then(|| step(*at, to)));
            assert_eq!(way.collect::<Vec<_>>(), expected, "{from} {to}");
        };
        check(16, 16, &[16]);
        check(16, 32, &[16, 32]);
        check(16, 48, &[16, 48]);
        check(16, 256, &[16, 64, 256]);
        check(1, 4096, &[1, 4, 16, 64, 256, 1024, 4096]);
        check(4, 4 * 6, &[4, 12, 24]);
        check(4, 4 * 35, &[4, 20, 140]);
    }

    #[test]
    fn only_a_further_cut_extends_what_is_known() {
        let check = |counts: &[u32], known: &[u32], expected| {
            assert_eq!(cuts(counts, None).extends(&cuts(known, None)), expected, "{counts:?}");
        };
        check(&[16], &[], true);
        check(&[16], &[16], true);
        check(&[16, 32, 64], &[16], true);
        check(&[16], &[16, 32], false);
        check(&[32], &[16], false);
    }
}
