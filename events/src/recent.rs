//! Which ids a partition has handled lately, in order of arrival, the oldest forgotten first. In:
//! fingerprints and where each was handled. Out: where, if lately. Pure.
//!
//! Every event asks, adds and forgets once, so the places are kept small enough for a core's own
//! cache: half a hash and a number for each id, 1 MiB when full. The fingerprints themselves lie in
//! the order in which they are forgotten and are looked at only when half a hash agrees.

use std::collections::VecDeque;

use config_schemas::Offset;

/// How many event ids a partition remembers: the bound on its memory of what it has handled,
/// about 3 MB when full. A retry is recognised while fewer events than this have come after the
/// first try: for a minute at 1,000 events/s in one partition. An older one is played as a new
/// event; what then keeps it from counting twice is the machine's own state (the built-in hunt
/// joins, solves, wins and scores once for ever, but counts a move or a sighting again and tells who
/// lost once more).
pub const RECENT_IDS_MAX: usize = 65_536;

/// 128 bits of an id, evenly spread.
pub(crate) type Fingerprint = u128;

/// Places of a table that holds something.
const PLACES_MIN: usize = 16;
/// The bits of a place that hold half a hash: one less than 32, so that no place looks empty.
const HASH_MASK: u64 = 0x7fff_ffff;
const EMPTY: u64 = u64::MAX;

/// Ids handled lately.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecentIds {
    order: VecDeque<(Fingerprint, Offset)>,
    /// The number of the oldest; numbers go up by one for each id.
    first: u32,
    /// Open addressing, at most half full: half a hash above, a number below.
    places: Vec<u64>,
}

impl PartialEq for RecentIds {
    fn eq(&self, other: &RecentIds) -> bool {
        self.order == other.order
    }
}

impl Eq for RecentIds {}

impl FromIterator<(Fingerprint, Offset)> for RecentIds {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, Offset)>>(all: I) -> RecentIds {
        let mut recent = RecentIds::default();
        all.into_iter().for_each(|(print, at)| recent.insert(print, at));
        recent
    }
}

impl RecentIds {
    /// Where it was handled, if lately.
    pub(crate) fn get(&self, print: Fingerprint) -> Option<Offset> {
        self.find(print).map(|position| self.order[position].1)
    }

    /// It was handled there.
    pub(crate) fn insert(&mut self, print: Fingerprint, at: Offset) {
        if let Some(position) = self.find(print) {
            self.order[position].1 = at;
            return;
        }
        if self.order.len() >= RECENT_IDS_MAX {
            self.forget_oldest();
        }
        if (self.order.len() + 1) * 2 > self.places.len() {
            self.grow();
        }
        let number = self.first.wrapping_add(self.order.len() as u32);
        self.place((hash(print) << 32) | u64::from(number));
        self.order.push_back((print, at));
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fingerprint, Offset)> + '_ {
        self.order.iter().copied()
    }

    /// Its position in the order.
    fn find(&self, print: Fingerprint) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let hash = hash(print);
        let mut at = hash as usize & mask;
        loop {
            let place = self.places[at];
            if place == EMPTY {
                return None;
            }
            if place >> 32 == hash {
                let position = (place as u32).wrapping_sub(self.first) as usize;
                if self.order[position].0 == print {
                    return Some(position);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn place(&mut self, place: u64) {
        let mask = self.places.len() - 1;
        let mut at = (place >> 32) as usize & mask;
        while self.places[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(PLACES_MIN);
        let before = std::mem::replace(&mut self.places, vec![EMPTY; places]);
        before.into_iter().filter(|place| *place != EMPTY).for_each(|place| self.place(place));
    }

    fn forget_oldest(&mut self) {
        let Some((print, _)) = self.order.pop_front() else { return };
        let mask = self.places.len() - 1;
        let oldest = (hash(print) << 32) | u64::from(self.first);
        self.first = self.first.wrapping_add(1);
        let mut hole = (oldest >> 32) as usize & mask;
        while self.places[hole] != oldest {
            hole = (hole + 1) & mask;
        }
        // Whoever stands behind and could have stood in the hole moves there, so that no search
        // ends too early.
        let mut at = (hole + 1) & mask;
        while self.places[at] != EMPTY {
            let home = (self.places[at] >> 32) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.places[hole] = EMPTY;
    }
}

fn hash(print: Fingerprint) -> u64 {
    print as u64 & HASH_MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_id_is_forgotten_first_and_the_window_is_bounded() {
        let mut recent = RecentIds::default();
        let print = |n: usize| n as u128 * 0x9e37_79b9_7f4a_7c15;
        for n in 0..RECENT_IDS_MAX * 3 {
            recent.insert(print(n), Offset(n as u64));
            let oldest = (n + 1).saturating_sub(RECENT_IDS_MAX);
            assert_eq!(recent.get(print(oldest)), Some(Offset(oldest as u64)));
            assert!(oldest == 0 || recent.get(print(oldest - 1)).is_none());
        }
        assert_eq!(recent.iter().count(), RECENT_IDS_MAX);
        assert_eq!(recent.places.len(), 2 * RECENT_IDS_MAX);
        let held = recent.places.iter().filter(|place| **place != EMPTY).count();
        assert_eq!(held, RECENT_IDS_MAX);
    }

    proptest! {
        /// Few hashes and many ids: places collide, wrap around and move when others are forgotten.
        #[test]
        fn it_holds_what_a_plain_list_holds(prints in prop::collection::vec(0..40u128, 1..400)) {
            let crowded = |print: u128| (print << 64) | (print % 3) | 0x7fff_fffe;
            let mut recent = RecentIds::default();
            let mut plain: Vec<(u128, Offset)> = Vec::new();
            for (at, print) in prints.into_iter().enumerate() {
                let (print, at) = (crowded(print), Offset(at as u64));
                recent.insert(print, at);
                match plain.iter_mut().find(|held| held.0 == print) {
                    Some(held) => held.1 = at,
                    None => plain.push((print, at)),
                }
                if plain.len() > 20 {
                    recent.forget_oldest();
                    plain.remove(0);
                }
                for print in (0..40).map(crowded) {
                    let expected = plain.iter().find(|held| held.0 == print).map(|held| held.1);
                    prop_assert_eq!(recent.get(print), expected);
                }
            }
            prop_assert_eq!(recent.iter().collect::<Vec<_>>(), plain);
        }
    }
}
