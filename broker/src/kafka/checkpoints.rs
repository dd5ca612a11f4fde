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
pub(crate) struct Checkpoints(Mutex<HashMap<PartitionId, BTreeMap<u64, Checkpoint>>>);

impl Checkpoints {
    /// Notes what is known right before `offset`.
    pub(crate) fn note(&self, partition: PartitionId, offset: u64, checkpoint: Checkpoint) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = all.entry(partition).or_default();
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

    /// Nothing is known of the partition: its topic is another one.
    pub(crate) fn forget(&self, partition: PartitionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// The last place that is not behind `offset`: the beginning, if there is none.
    pub(crate) fn before(&self, partition: PartitionId, offset: u64) -> (u64, Checkpoint) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = all.get(&partition).and_then(|places| places.range(..=offset).next_back());
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
        assert!(checkpoints.0.lock().unwrap()[&partition].len() <= PLACES_MAX);
        checkpoints.forget(partition);
        assert_eq!(checkpoints.before(partition, 5_000), (0, Checkpoint::default()));
    }
}
