//! Load that drifts as a hunt's does: keys by Zipf's law on partitions by hash, hot keys spread by
//! the router within the round, as events without order are. Every round some of the hottest keys
//! become others, every 40th the hottest of all. Assigners see noisy averages of the rounds before
//! and are judged by the next. Pure.

use super::random::{Random, hash};

pub(super) const PARTITIONS: usize = 4096;
pub(super) const ROUNDS: usize = 200;
/// A sixteenth of the nodes dies before this round, and as many join before the other.
pub(super) const LOSS: usize = 80;
pub(super) const JOIN: usize = 140;
/// For so many rounds from then on the load does not drift, so that what follows is theirs.
pub(super) const AFTERMATH: usize = 20;

const KEYS: usize = 200_000;
/// Keys this hot drift.
const DRIFTING: usize = 200;
const DRIFT: f64 = 0.01;
const HOTTEST_JUMPS_EACH: usize = 40;
/// A key over this share of an average node is spread so that its parts are below it.
const HOT: f64 = 0.10;
const PARTS_MAX: usize = 512;
const NOISE: f64 = 0.10;
/// Weight of the newest round in averages.
const NEWEST: f64 = 0.5;

/// Loads of all partitions, round by round; each sums to 1.
pub(super) struct Trace {
    pub(super) truth: Vec<Vec<f64>>,
    /// What can be known when the round begins.
    pub(super) known: Vec<Vec<f64>>,
}

impl Trace {
    pub(super) fn new(zipf: f64, nodes: usize, drifts: bool, seed: u64) -> Trace {
        let mut random = Random::new(seed);
        let mut keys = Keys::new(zipf, nodes, &mut random);
        let mut average = vec![1.0 / PARTITIONS as f64; PARTITIONS];
        let mut trace = Trace { truth: Vec::new(), known: Vec::new() };
        for round in 0..ROUNDS {
            trace.known.push(average.clone());
            for (average, load) in average.iter_mut().zip(&keys.loads) {
                let measured = load.max(0.0) * (NOISE * random.normal()).exp();
                *average = (1.0 - NEWEST) * *average + NEWEST * measured;
            }
            trace.truth.push(keys.loads.clone());
            if drifts && !is_aftermath(round + 1) {
                keys.drift(round, &mut random);
            }
        }
        trace
    }
}

/// Whether the round follows a loss or a join, the round of that itself included.
pub(super) fn is_aftermath(round: usize) -> bool {
    [LOSS, JOIN].iter().any(|event| (*event..event + AFTERMATH).contains(&round))
}

struct Keys {
    /// Share of the load by rank.
    shares: Vec<f64>,
    /// The key of each rank.
    ranks: Vec<usize>,
    /// Into how many parts each key is cut.
    parts: Vec<usize>,
    loads: Vec<f64>,
    hot: f64,
}

impl Keys {
    fn new(zipf: f64, nodes: usize, random: &mut Random) -> Keys {
        let raw: Vec<f64> = (1..=KEYS).map(|rank| (rank as f64).powf(-zipf)).collect();
        let total: f64 = raw.iter().sum();
        let mut ranks: Vec<usize> = (0..KEYS).collect();
        for end in (1..KEYS).rev() {
            ranks.swap(end, random.below(end + 1));
        }
        let mut keys = Keys {
            shares: raw.into_iter().map(|share| share / total).collect(),
            ranks,
            parts: vec![1; KEYS],
            loads: vec![0.0; PARTITIONS],
            hot: HOT / nodes as f64,
        };
        for rank in 0..KEYS {
            keys.cut(rank);
            keys.add(rank, 1.0);
        }
        keys
    }

    /// Cuts the key of that rank as finely as it is hot; joins parts only when they are half empty.
    fn cut(&mut self, rank: usize) {
        let wanted = ((self.shares[rank] / self.hot).ceil() as usize).clamp(1, PARTS_MAX);
        let parts = &mut self.parts[self.ranks[rank]];
        if wanted > *parts || wanted * 2 < *parts {
            *parts = wanted;
        }
    }

    fn add(&mut self, rank: usize, sign: f64) {
        let key = self.ranks[rank];
        let share = sign * self.shares[rank] / self.parts[key] as f64;
        for part in 0..self.parts[key] {
            self.loads[(hash(key, part) % PARTITIONS as u64) as usize] += share;
        }
    }

    fn drift(&mut self, round: usize, random: &mut Random) {
        for rank in 0..DRIFTING {
            if random.part() < DRIFT {
                self.swap(rank, random.below(KEYS));
            }
        }
        if round % HOTTEST_JUMPS_EACH == HOTTEST_JUMPS_EACH - 1 {
            self.swap(0, random.below(KEYS));
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        [one, other].iter().for_each(|rank| self.add(*rank, -1.0));
        self.ranks.swap(one, other);
        for rank in [one, other] {
            self.cut(rank);
            self.add(rank, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_carries_all_the_load_and_the_hottest_change() {
        let trace = Trace::new(1.1, 16, true, 11);
        for truth in &trace.truth {
            assert!((truth.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        }
        let differ = |a: usize, b: usize| {
            let gaps = trace.truth[a].iter().zip(&trace.truth[b]).map(|(a, b)| (a - b).abs());
            gaps.sum::<f64>()
        };
        assert!(differ(0, 79) > 0.05, "it drifts");
        assert!(differ(LOSS, LOSS + AFTERMATH - 1) < 1e-12, "not while nodes change");
        let steady = Trace::new(1.1, 16, false, 11);
        assert_eq!(steady.truth[0], steady.truth[ROUNDS - 1]);
    }
}
