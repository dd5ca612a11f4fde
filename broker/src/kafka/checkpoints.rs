//! What is believed at some places of each partition's outcomes, so that a reader need not begin at
//! the first one. In: what readers found. Out: the nearest place before an offset, and a record that
//! has to stand before it if the topic is still the same one. Pure but for a lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use config_schemas::PartitionId;
use serde::{Deserialize, Serialize};

use super::believe::{Belief, Mark};
use super::buffer::Raw;

/// Places of one partition; beyond, every second one is forgotten.
const PLACES_MAX: usize = 64;

/// The last record before a place that an owner wrote. No other topic has the same: its mark names
/// a take-over, and each of those is a random number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Witness {
    pub(crate) offset: u64,
    /// As it stands in the header.
    pub(crate) mark: String,
}

impl Witness {
    pub(crate) fn is(&self, raw: &Raw) -> bool {
        let mark = raw.mark.as_ref().map(Mark::to_string);
        raw.offset == self.offset && mark.as_ref() == Some(&self.mark)
    }
}

/// What is known of a place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    /// Behind all records before it.
    pub(crate) belief: Belief,
    pub(crate) witness: Option<Witness>,
}

/// Of all partitions of a hunt.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(Mutex<HashMap<PartitionId, Known>>);

/// Of one partition.
#[derive(Debug, Default)]
struct Known {
    places: BTreeMap<u64, Checkpoint>,
    /// Where somebody who follows it has come to the end.
    last: Option<(u64, Checkpoint)>,
}

impl Checkpoints {
    /// Notes what is known right before `offset`.
    pub(crate) fn note(&self, partition: PartitionId, offset: u64, checkpoint: Checkpoint) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = &mut all.entry(partition).or_default().places;
        places.insert(offset, checkpoint);
        if places.len() > PLACES_MAX {
            let newest = places.last_key_value().map(|(offset, _)| *offset);
            let mut stays = false;
            places.retain(|offset, _| {
                stays = !stays;
                stays || Some(*offset) == newest
            });
        }
    }

    /// Notes the same at the end, in place of the end before: whoever has followed the partition and
    /// takes it over begins there.
    pub(crate) fn note_end(&self, partition: PartitionId, end: u64, checkpoint: Checkpoint) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut all.entry(partition).or_default().last;
        if last.as_ref().is_none_or(|(before, _)| *before < end) {
            *last = Some((end, checkpoint));
        }
    }

    /// Nothing is known of the partition: its topic is another one.
    pub(crate) fn forget(&self, partition: PartitionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// The last place that is not behind `offset`: the beginning, if there is none.
    pub(crate) fn before(&self, partition: PartitionId, offset: u64) -> (u64, Checkpoint) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Known { places, last }) = all.get(&partition) else { return Default::default() };
        let place = places.range(..=offset).next_back();
        let last =
            last.as_ref().map(|(end, known)| (end, known)).filter(|(end, _)| **end <= offset);
        let place = place.into_iter().chain(last).max_by_key(|(offset, _)| **offset);
        place.map_or_else(Default::default, |(offset, known)| (*offset, known.clone()))
    }
}

#[cfg(test)]
mod tests {
    use config_schemas::Epoch;

    use super::super::believe::Take;
    use super::*;

    #[test]
    fn the_nearest_place_before_is_found_and_their_number_is_bounded() {
        let (checkpoints, partition) = (Checkpoints::default(), PartitionId(3));
        let mut belief = Belief::default();
        assert_eq!(checkpoints.before(partition, 9), (0, Checkpoint::default()));
        for epoch in 1..=1_000 {
            let (incarnation, owner) = ("a".into(), "n".into());
            let barrier =
                Mark::Barrier { epoch: Epoch(epoch), take: Take(epoch), incarnation, owner };
            belief.judge(Some(&barrier));
            let witness = Some(Witness { offset: epoch * 10 - 1, mark: barrier.to_string() });
            let known = Checkpoint { belief: belief.clone(), witness };
            checkpoints.note(partition, epoch * 10, known.clone());
            assert_eq!(checkpoints.before(partition, epoch * 10 + 5), (epoch * 10, known));
        }
        let (offset, found) = checkpoints.before(partition, 5_000);
        assert!(offset > 0 && offset <= 5_000);
        assert_eq!(found.belief.holder().unwrap().epoch, Epoch(offset / 10));
        assert_eq!(checkpoints.before(partition, 9).0, 0);
        assert_eq!(checkpoints.before(PartitionId(4), 5_000).0, 0);
        assert!(checkpoints.0.lock().unwrap()[&partition].places.len() <= PLACES_MAX);
        checkpoints.forget(partition);
        assert_eq!(checkpoints.before(partition, 5_000), (0, Checkpoint::default()));
    }
    #[test]
    fn the_end_that_was_followed_to_is_a_place_and_only_one_of_them_is_kept() {
        let (checkpoints, partition) = (Checkpoints::default(), PartitionId(3));
        let known = |offset: u64| {
            let witness = Some(Witness { offset: offset - 1, mark: offset.to_string() });
            Checkpoint { witness, ..Checkpoint::default() }
        };
        checkpoints.note(partition, 100, known(100));
        let check = |offset, place| {
            assert_eq!(checkpoints.before(partition, offset), (place, known(place)), "{offset}");
        };
        checkpoints.note_end(partition, 150, known(150));
        checkpoints.note_end(partition, 170, known(170));
        checkpoints.note_end(partition, 160, known(160));
        check(169, 100);
        check(170, 170);
        checkpoints.note(partition, 200, known(200));
        check(199, 170);
        check(200, 200);
        checkpoints.forget(partition);
        assert_eq!(checkpoints.before(partition, 200), (0, Checkpoint::default()));
    }
}
