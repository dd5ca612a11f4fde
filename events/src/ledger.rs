//! What every partition remembers whatever game it plays: how far it has read, which ids it has
//! handled lately, and which forwarded events are not yet acknowledged. Fold of outcomes. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use config_schemas::{Epoch, Offset};
use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher13;

use crate::event::{Event, EventId};
use crate::outcome::{Outcome, OutcomeRecord};
use crate::recent::{Fingerprint, RecentIds};

/// Most forwarded events that wait for their acknowledgement. At this fill the worker stops
/// reading events until some are delivered: pressure goes back to the producers, nothing is lost.
pub const OUTBOX_LEN_MAX: usize = 16_384;

/// Stands in snapshots: SipHash-1-3 with key 0, the same in every build.
fn fingerprint(id: &EventId) -> Fingerprint {
    SipHasher13::new().hash(id.as_str().as_bytes()).as_u128()
}

/// The part of a partition's state that is the same for every machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    next_offset: u64,
    epoch: Option<Epoch>,
    recent: RecentIds,
    outbox: BTreeMap<u64, Event>,
    outbox_seq: u64,
    outbox_at: HashMap<EventId, u64>,
    cut: Option<u32>,
}

/// A ledger as it stands in snapshots.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredLedger {
    next_offset: u64,
    epoch: Option<Epoch>,
    /// Upper and lower half of a fingerprint, and where that id was handled; oldest first.
    recent: Vec<(u64, u64, u64)>,
    outbox: Vec<(u64, Event)>,
    outbox_seq: u64,
    #[serde(default)]
    cut: Option<u32>,
}

impl Ledger {
    /// The first source offset that is not handled yet: where to read on.
    pub fn next_offset(&self) -> Offset {
        Offset(self.next_offset)
    }

    /// The newest epoch among the outcomes.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Where an event with this id was handled, if lately.
    pub fn seen(&self, id: &EventId) -> Option<Offset> {
        self.recent.get(fingerprint(id))
    }

    /// Forwarded events without acknowledgement, oldest first: what to send (again).
    pub fn outbox(&self) -> impl Iterator<Item = &Event> {
        self.outbox.values()
    }

    /// How many they are.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether the worker must wait for deliveries before it reads on.
    pub fn outbox_is_full(&self) -> bool {
        self.outbox.len() >= OUTBOX_LEN_MAX
    }

    /// Into how many partitions the hunt is cut as far as this one's state goes: keys of others among so
    /// many are no longer its own. `None` while it never was cut, nor is cut from another.
    pub fn cut(&self) -> Option<u32> {
        self.cut
    }

    /// The ids that were handled lately, oldest first.
    pub(crate) fn ids(&self) -> Vec<(u64, u64, u64)> {
        let seen = self.recent.iter();
        seen.map(|(print, at)| ((print >> 64) as u64, print as u64, at.0)).collect()
    }

    /// Takes in ids that were handled elsewhere.
    pub(crate) fn know(&mut self, ids: &[(u64, u64, u64)]) {
        for (high, low, at) in ids {
            self.recent.insert((u128::from(*high) << 64) | u128::from(*low), Offset(*at));
        }
    }

    /// Forgets ids, and all events since the last multiple of `every`.
    #[cfg(feature = "sim")]
    pub(crate) fn part_offset(&mut self, every: u64) {
        self.next_offset -= self.next_offset % every;
        self.recent = RecentIds::default();
    }

    pub(crate) fn store(&self) -> StoredLedger {
        StoredLedger {
            next_offset: self.next_offset,
            epoch: self.epoch,
            recent: self.ids(),
            outbox: self.outbox.iter().map(|(seq, event)| (*seq, event.clone())).collect(),
            outbox_seq: self.outbox_seq,
            cut: self.cut,
        }
    }

    pub(crate) fn restore(stored: StoredLedger) -> Ledger {
        let recent = stored
            .recent
            .iter()
            .map(|(high, low, at)| ((u128::from(*high) << 64) | u128::from(*low), Offset(*at)))
            .collect();
        Ledger {
            next_offset: stored.next_offset,
            epoch: stored.epoch,
            recent,
            outbox_at: stored.outbox.iter().map(|(seq, event)| (event.id.clone(), *seq)).collect(),
            outbox: stored.outbox.into_iter().collect(),
            outbox_seq: stored.outbox_seq,
            cut: stored.cut,
        }
    }

    /// Whether the record is from an owner that was replaced: not to be believed.
    pub(crate) fn is_stale(&self, record: &OutcomeRecord) -> bool {
        self.epoch.is_some_and(|epoch| record.epoch < epoch)
    }

    pub(crate) fn fold(&mut self, record: &OutcomeRecord) {
        self.epoch = Some(record.epoch);
        if let Some(offset) = record.source_offset {
            self.next_offset = self.next_offset.max(offset.next().0);
            // what went on to another partition was not handled here: that one may take this over
            if let Some(id) = &record.event_id
                && !matches!(record.outcome, Outcome::Duplicate { .. } | Outcome::Relayed { .. })
            {
                self.recent.insert(fingerprint(id), offset);
            }
        }
        for event in &record.forwards {
            // caused again while still waiting: it is the same event, and goes out once
            if let Entry::Vacant(place) = self.outbox_at.entry(event.id.clone()) {
                place.insert(self.outbox_seq);
                self.outbox.insert(self.outbox_seq, event.clone());
                self.outbox_seq += 1;
            }
        }
        if let Outcome::Delivered { event_ids } = &record.outcome {
            for id in event_ids {
                if let Some(seq) = self.outbox_at.remove(id) {
                    self.outbox.remove(&seq);
                }
            }
        }
        if let Outcome::Split { partitions } | Outcome::Inherited { partitions, last: true, .. } =
            &record.outcome
        {
            self.cut = self.cut.max(Some(*partitions));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_the_same_in_every_build() {
        let print = fingerprint(&EventId::new("ana-1").expect("safe"));
        assert_eq!(print, 253_415_737_249_076_971_553_813_762_173_183_980_680);
    }
}
