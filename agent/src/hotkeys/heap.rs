//! A heap of numbered counters with the smallest on top, in which each counter knows its place.
//! In: counts that grow or are halved. Out: the number of the smallest. Pure.

/// Counters 0 to n - 1, each in the heap once.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    counts: Vec<u64>,
    /// Numbers of counters in heap order.
    order: Vec<u16>,
    /// By number: its index in `order`.
    places: Vec<u16>,
}

impl Heap {
    /// How many counters there are.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// A new counter, whose number is the one after the last.
    pub(crate) fn push(&mut self, count: u64) -> u16 {
        let number = index(self.counts.len());
        self.counts.push(count);
        self.order.push(number);
        self.places.push(number);
        self.rise(usize::from(number));
        number
    }

    pub(crate) fn count(&self, number: u16) -> u64 {
        self.counts[usize::from(number)]
    }

    /// The counter with the smallest count.
    pub(crate) fn smallest(&self) -> Option<u16> {
        self.order.first().copied()
    }

    pub(crate) fn add(&mut self, number: u16, more: u64) {
        self.counts[usize::from(number)] += more;
        self.sink(usize::from(self.places[usize::from(number)]));
    }

    /// Halves every count. Who was not larger before is not larger after, so the order holds.
    pub(crate) fn halve(&mut self) {
        for count in &mut self.counts {
            *count /= 2;
        }
    }

    fn at(&self, place: usize) -> u64 {
        self.count(self.order[place])
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.at(parent) <= self.at(place) {
                return;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = (2 * place + 1)..(2 * place + 3).min(self.order.len());
            let Some(child) = children.min_by_key(|child| self.at(*child)) else { return };
            if self.at(place) <= self.at(child) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.order.swap(one, other);
        self.places[usize::from(self.order[one])] = index(one);
        self.places[usize::from(self.order[other])] = index(other);
    }
}

fn index(number: usize) -> u16 {
    u16::try_from(number).expect("a sketch has far fewer counters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_smallest_is_on_top_whatever_happens(
            steps in prop::collection::vec((0_u8..8, 0_u16..40, 0_u64..100), 1..300)
        ) {
            let mut heap = Heap::default();
            let mut plain: Vec<u64> = Vec::new();
            for (step, number, count) in steps {
                match step {
                    0..4 if plain.len() < 40 => {
                        prop_assert_eq!(usize::from(heap.push(count)), plain.len());
                        plain.push(count);
                    }
                    7 => {
                        heap.halve();
                        plain.iter_mut().for_each(|count| *count /= 2);
                    }
                    _ if usize::from(number) < plain.len() => {
                        heap.add(number, count);
                        plain[usize::from(number)] += count;
                    }
                    _ => {}
                }
                let smallest = heap.smallest().map(|number| heap.count(number));
                prop_assert_eq!(smallest, plain.iter().copied().min());
            }
        }
    }
}
