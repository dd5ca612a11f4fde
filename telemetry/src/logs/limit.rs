//! How many lines one place in the code may write: a flood of bad edits, or a broker that is away,
//! must not fill the disk or hide what else is said. In: which place wants to write, and when. Out:
//! whether it may, and what was left out. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

/// Lines that one place may write at once: enough for each of a node's partitions in most hunts.
const BURST: f64 = 256.0;
/// Lines a second that one place may go on with: what a person can still follow.
const PER_SECOND: f64 = 10.0;

/// What each place has left. Places are as many as the code has.
#[derive(Debug)]
pub(super) struct Limit<Place> {
    places: HashMap<Place, Left>,
    /// Places that left something out.
    owing: Vec<Place>,
}

#[derive(Debug)]
struct Left {
    lines: f64,
    at: Instant,
    left_out: u64,
}

impl<Place: Hash + Eq + Copy> Limit<Place> {
    pub(super) fn new() -> Limit<Place> {
        Limit { places: HashMap::new(), owing: Vec::new() }
    }

    /// Whether `place` may write a line now; if so, what is to be said before it: which places left
    /// out how many lines.
    pub(super) fn admit(&mut self, place: Place, now: Instant) -> Option<Vec<(Place, u64)>> {
        let fresh = || Left { lines: BURST, at: now, left_out: 0 };
        let left = self.places.entry(place).or_insert_with(fresh);
        let passed = now.saturating_duration_since(left.at).as_secs_f64();
        left.lines = (left.lines + passed * PER_SECOND).min(BURST);
        left.at = now;
        if left.lines < 1.0 {
            if left.left_out == 0 {
                self.owing.push(place);
            }
            left.left_out += 1;
            return None;
        }
        left.lines -= 1.0;
        let owing = std::mem::take(&mut self.owing).into_iter();
        let told = owing.filter_map(|owes| {
            let left = self.places.get_mut(&owes)?;
            Some((owes, std::mem::take(&mut left.left_out)))
        });
        Some(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_few_a_second_and_all_others_are_counted() {
        let (mut limit, start) = (Limit::new(), Instant::now());
        let burst = (0..1_000).filter(|_| limit.admit("edit", start).is_some()).count();
        assert_eq!(burst, 256);
        let later = start + Duration::from_millis(100);
        assert_eq!(limit.admit("edit", later), Some(vec![("edit", 744)]));
        assert_eq!(limit.admit("edit", later), None);
        let at = |ms| later + Duration::from_millis(ms);
        let passed = (0..10_000).filter(|ms| limit.admit("edit", at(*ms)).is_some()).count();
        assert!((98..=101).contains(&passed), "{passed}");
    }

    #[test]
    fn others_write_on_and_tell_what_was_left_out_once() {
        let (mut limit, now) = (Limit::new(), Instant::now());
        assert_eq!(limit.admit("other", now), Some(vec![]));
        for _ in 0..300 {
            limit.admit("edit", now);
        }
        assert_eq!(limit.admit("other", now), Some(vec![("edit", 44)]));
        assert_eq!(limit.admit("other", now), Some(vec![]));
    }
}
