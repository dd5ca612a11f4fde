//! What is believed at some places of each partition's outcomes, so that a reader need not begin at
//! the first one. In: what readers found. Out: the nearest place before an offset. Pure but for a
//! lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use config_schemas::PartitionId;

use super::believe::Belief;

/// Places of one partition; beyond, every second one is forgotten.
const PLACES_MAX: usize = 64;

/// Of all partitions of a hunt.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(Mutex<HashMap<PartitionId, BTreeMap<u64, Belief>>>);

impl Checkpoints {
    /// Behind all records before `offset`, this is believed.
    pub(crate) fn note(&self, partition: PartitionId, offset: u64, belief: &Belief) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = all.entry(partition).or_default();
        places.insert(offset, belief.clone());
        if places.len() > PLACES_MAX {
            let newest = places.last_key_value().map(|(offset, _)| *offset);
            let mut stays = false;
            places.retain(|offset, _| {
                stays = !stays;
                stays || Some(*offset) == newest
            });
        }
    }

    /// Whether nothing is known yet.
    pub(crate) fn is_empty(&self, partition: PartitionId) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !all.contains_key(&partition)
    }

    /// The last place that is not behind `offset`: the beginning, if there is none.
    pub(crate) fn before(&self, partition: PartitionId, offset: u64) -> (u64, Belief) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = all.get(&partition).and_then(|places| places.range(..=offset).next_back());
        place.map_or_else(Default::default, |(offset, belief)| (*offset, belief.clone()))
    }
}

#[cfg(test)]
mod tests {
    use config_schemas::Epoch;

    use super::super::believe::{Mark, Take};
    use super::*;

    #[test]
    fn the_nearest_place_before_is_found_and_their_number_is_bounded() {
        let (checkpoints, partition) = (Checkpoints::default(), PartitionId(3));
        let mut belief = Belief::default();
        assert_eq!(checkpoints.before(partition, 9), (0, belief.clone()));
        for epoch in 1..=1_000 {
            let (incarnation, owner) = ("a".into(), "n".into());
            let barrier =
                Mark::Barrier { epoch: Epoch(epoch), take: Take(epoch), incarnation, owner };
            belief.judge(Some(&barrier));
            checkpoints.note(partition, epoch * 10, &belief);
            assert_eq!(checkpoints.before(partition, epoch * 10 + 5), (epoch * 10, belief.clone()));
        }
        let (offset, found) = checkpoints.before(partition, 5_000);
        assert!(offset > 0 && offset <= 5_000);
        assert_eq!(found.holder().unwrap().epoch, Epoch(offset / 10));
        assert_eq!(checkpoints.before(partition, 9).0, 0);
        assert_eq!(checkpoints.before(PartitionId(4), 5_000).0, 0);
        assert!(checkpoints.0.lock().unwrap()[&partition].len() <= PLACES_MAX);
    }
}
