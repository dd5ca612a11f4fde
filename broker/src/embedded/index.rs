//! Where some records of a segment lie, so that reading from the middle does not start at its
//! beginning. Filled by whoever reads past; only ever a hint, as every record is checked. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use config_schemas::PartitionId;

use crate::embedded::chain::Segment;

/// One entry per so many bytes of a segment: what a read from the middle skips at most.
const STRIDE_BYTES: u64 = 256 << 10;
/// Most segments with entries; beyond, the whole index starts anew. At most about 20 MB.
const SEGMENTS_MAX: usize = 4_096;

type Places = BTreeMap<u64, u64>;

/// Sparse places per segment: offset to byte.
#[derive(Default)]
pub(crate) struct Index {
    segments: Mutex<HashMap<(PartitionId, Segment), Places>>,
}

impl Index {
    /// The nearest known place at or before `offset`: (offset, byte).
    pub(crate) fn before(
        &self,
        partition: PartitionId,
        segment: &Segment,
        offset: u64,
    ) -> Option<(u64, u64)> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let places = segments.get(&(partition, *segment))?;
        places.range(..=offset).next_back().map(|(offset, at)| (*offset, *at))
    }

    /// Remembers a place if none is known nearby.
    pub(crate) fn note(&self, partition: PartitionId, segment: &Segment, offset: u64, at: u64) {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if segments.len() >= SEGMENTS_MAX && !segments.contains_key(&(partition, *segment)) {
            segments.clear();
        }
        let places = segments.entry((partition, *segment)).or_default();
        let near = places.range(..=offset).next_back();
        if near.is_none_or(|(_, near)| at.abs_diff(*near) >= STRIDE_BYTES) {
            places.insert(offset, at);
        }
    }
}
