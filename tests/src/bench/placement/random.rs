//! Numbers that look random and are the same in every run, on every machine and in every version
//! of our libraries. Pure.

/// A stream of numbers (`splitmix64`: Steele, Lea, Flood, OOPSLA 2014).
pub(super) struct Random {
    state: u64,
}

/// The increment of that generator: 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        scramble(self.state)
    }

    /// Above 0 and below 1.
    pub(super) fn part(&mut self) -> f64 {
        part(self.next())
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Of the normal distribution with mean 0 and deviation 1 (Box and Muller, 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.part().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.part()).cos()
    }
}

/// A hash of two numbers.
pub(super) fn hash(one: usize, other: usize) -> u64 {
    let one = scramble((one as u64).wrapping_add(STEP));
    scramble(one ^ (other as u64).wrapping_add(1).wrapping_mul(STEP))
}

/// A hash as a number above 0 and below 1.
pub(super) fn part(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// That generator's output function: every bit of the input changes half of the output's.
fn scramble(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_with_the_right_moments() {
        let mut random = Random::new(7);
        let all: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert_eq!(Random::new(7).next(), Random::new(7).next());
        assert_ne!(hash(1, 2), hash(2, 1));
    }
}
