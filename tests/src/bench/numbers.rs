//! Ranks and medians of samples. Pure.

use std::time::Duration;

/// The sample below which `part` (0 to 1) of all samples lie, by nearest rank; 0 without samples.
pub(super) fn rank(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle one.
pub(super) fn median(samples: &[f64]) -> f64 {
    rank(samples, 0.5)
}

/// In milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let check = |part, expected: f64| assert_eq!(rank(&samples, part), expected);
        check(0.0, 1.0);
        check(0.5, 50.0);
        check(0.99, 99.0);
        check(1.0, 100.0);
        assert_eq!(rank(&[], 0.5), 0.0);
        assert_eq!(rank(&[7.0], 0.99), 7.0);
    }
}
