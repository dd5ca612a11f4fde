//! The heaviest keys of a stream in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi,
//! ICDT 2005), aged by halving. A key whose share is above 1 in [`SKETCH_KEYS`] has a counter for
//! sure, and no count is below the truth. In: keys. Out: counts with their error. Pure.

use std::collections::HashMap;

use super::heap::Heap;

/// Counters. At 256 nodes and a Zipf exponent of 1.2, 197 keys are above a tenth of a mean node.
pub const SKETCH_KEYS: usize = 512;

/// What a key is worth in counts: halving then loses no more than a thousandth of an event.
const EVENT: u64 = 1 << 10;

/// The counters.
#[derive(Debug, Default)]
pub struct Sketch {
    heap: Heap,
    /// By counter: its key, and how much of its count may be other keys'.
    keys: Vec<(String, u64)>,
    numbers: HashMap<String, u16>,
    total: u64,
}

/// A key and how often it was seen, older events counting less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted<'a> {
    /// The key.
    pub key: &'a str,
    /// At least this many events.
    pub least: f64,
    /// At most this many.
    pub most: f64,
}

impl Sketch {
    /// One more event of `key`.
    pub fn see(&mut self, key: &str) {
        self.total += EVENT;
        if let Some(number) = self.numbers.get(key) {
            return self.heap.add(*number, EVENT);
        }
        if self.heap.len() < SKETCH_KEYS {
            let number = self.heap.push(EVENT);
            self.keys.push((key.to_owned(), 0));
            self.numbers.insert(key.to_owned(), number);
            return;
        }
        let Some(number) = self.heap.smallest() else { return };
        let (held, error) = &mut self.keys[usize::from(number)];
        self.numbers.remove(held.as_str());
        held.clear();
        held.push_str(key);
        *error = self.heap.count(number);
        self.numbers.insert(key.to_owned(), number);
        self.heap.add(number, EVENT);
    }

    /// Makes everything seen so far count half.
    pub fn halve(&mut self) {
        self.heap.halve();
        for (_, error) in &mut self.keys {
            *error = error.div_ceil(2);
        }
        self.total /= 2;
    }

    /// All events, older ones counting less.
    pub fn total(&self) -> f64 {
        events(self.total)
    }

    /// Every key that has a counter.
    pub fn counted(&self) -> impl Iterator<Item = Counted<'_>> {
        (0_u16..).zip(&self.keys).map(|(number, (key, error))| {
            let count = self.heap.count(number);
            Counted { key, least: events(count.saturating_sub(*error)), most: events(count) }
        })
    }
}

fn events(count: u64) -> f64 {
    count as f64 / EVENT as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(sketch: &Sketch, key: &str) -> Option<(f64, f64)> {
        sketch.counted().find(|seen| seen.key == key).map(|seen| (seen.least, seen.most))
    }

    #[test]
    fn a_heavy_key_is_found_among_many_light_ones() {
        let mut sketch = Sketch::default();
        for number in 0..100_000 {
            let light = format!("light-{number}");
            sketch.see(if number % 20 == 0 { "heavy" } else { &light });
        }
        let (least, most) = found(&sketch, "heavy").unwrap();
        assert!(least <= 5000.0 && 5000.0 <= most && least > 4700.0, "{least} to {most}");
        let others = sketch.counted().filter(|seen| seen.key != "heavy" && seen.least > 10.0);
        assert_eq!(others.count(), 0, "a light key looks heavy");
        assert_eq!(sketch.counted().count(), SKETCH_KEYS);
        assert_eq!(sketch.numbers.len(), SKETCH_KEYS);
    }

    #[test]
    fn what_is_long_ago_counts_less() {
        let mut sketch = Sketch::default();
        (0..64).for_each(|_| sketch.see("old"));
        (0..6).for_each(|_| sketch.halve());
        sketch.see("new");
        assert_eq!(found(&sketch, "old"), Some((1.0, 1.0)));
        assert_eq!(found(&sketch, "new"), Some((1.0, 1.0)));
        assert!((sketch.total() - 2.0).abs() < 1e-9);
    }

    proptest! {
        /// The guarantee of Space-Saving, on keys that overflow the counters.
        #[test]
        fn the_truth_lies_between_the_bounds(
            keys in prop::collection::vec(prop_oneof![0_u32..8, 0_u32..2000], 0..6000)
        ) {
            let mut sketch = Sketch::default();
            let mut truth: HashMap<String, f64> = HashMap::new();
            for key in keys {
                sketch.see(&key.to_string());
                *truth.entry(key.to_string()).or_default() += 1.0;
            }
            for seen in sketch.counted() {
                let count = truth[seen.key];
                prop_assert!(seen.least <= count && count <= seen.most, "{:?} {count}", seen);
            }
            let share = sketch.total() / SKETCH_KEYS as f64;
            for (key, count) in truth.iter().filter(|(_, count)| **count > share) {
                prop_assert!(found(&sketch, key).is_some(), "{key} with {count} is missing");
            }
        }
    }
}
