//! Holds forced moves back when many nodes vanish at once: then the network or the store is the
//! likelier cause, and the nodes come back. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// More than this share of the owners gone within one lease is no ordinary death.
const SHARE_MAX_PERCENT: usize = 30;
/// A hunt of this many owners needs no brake: one of them is already a third.
const SMALL_HUNT_NODES: usize = 3;

/// Until when forced moves wait. `owners` counts the nodes that own something, live or not;
/// `gone` are those of them that are not live, and since when.
pub fn hold_until(
    owners: usize,
    gone: &[Timestamp],
    lease: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    if owners <= SMALL_HUNT_NODES {
        return None;
    }
    let lease = SignedDuration::try_from(lease).unwrap_or(SignedDuration::MAX);
    let ends = |since: &Timestamp| since.checked_add(lease).unwrap_or(Timestamp::MAX);
    let fresh: Vec<Timestamp> = gone.iter().map(ends).filter(|end| *end > now).collect();
    (fresh.len() * 100 > owners * SHARE_MAX_PERCENT).then(|| fresh.into_iter().max()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(owners: usize, gone_at_secs: &[i64], now_secs: i64, held: Option<i64>) {
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let gone: Vec<_> = gone_at_secs.iter().map(|secs| at(*secs)).collect();
        let until = hold_until(owners, &gone, Duration::from_secs(5), at(now_secs));
        assert_eq!(until, held.map(at), "{owners} {gone_at_secs:?} {now_secs}");
    }

    #[test]
    fn forced_moves_wait_one_lease_when_many_vanish_at_once() {
        check(10, &[100, 100, 101], 101, None);
        check(10, &[100, 100, 101, 101], 101, Some(106));
        check(10, &[100, 100, 101, 101], 106, None);
        check(10, &[10, 20, 30, 101], 101, None);
        check(4, &[100, 100], 101, Some(105));
        check(4, &[100], 101, None);
        check(3, &[100, 100, 100], 101, None);
        check(0, &[], 101, None);
    }
}
