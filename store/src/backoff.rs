//! How long to wait before trying again: full jitter, one row of attempts per cause, first
//! retry at once. Pure: time and randomness come in.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

/// Upper bound of the second attempt's wait.
const BASE: Duration = Duration::from_millis(50);
/// Upper bound of any wait: with the time to connect and to open it stays below the 5 s within
/// which everybody has to be back after etcd returned.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(4);
/// Only after this long without trouble do the attempts count from zero again, so that a
/// flapping link does not make each return an attempt at once.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Attempts so far, per cause.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: BTreeMap<&'static str, u32>,
    well_since: Option<Instant>,
}

impl Backoff {
    /// Things work; if they go on so, the attempts are forgotten.
    pub(crate) fn works(&mut self, now: Instant) {
        self.well_since.get_or_insert(now);
    }

    /// Things failed for this cause: how long to wait.
    pub(crate) fn after(
        &mut self,
        cause: &'static str,
        now: Instant,
        rng: &mut SmallRng,
    ) -> Duration {
        let well = self.well_since.take();
        if well.is_some_and(|since| now.duration_since(since) >= HEALTHY_AFTER) {
            self.attempts.clear();
        }
        let attempts = self.attempts.entry(cause).or_insert(0);
        let tried = *attempts;
        *attempts += 1;
        if tried == 0 {
            return Duration::ZERO;
        }
        let most = BASE.saturating_mul(1 << (tried - 1).min(16)).min(WAIT_MAX);
        rng.random_range(Duration::ZERO..=most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_first_retry_is_at_once_and_later_ones_spread_below_the_bound() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert_eq!(backoff.after("a", now, &mut rng), Duration::ZERO);
        let waits: Vec<Duration> = (0..200).map(|_| backoff.after("a", now, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= WAIT_MAX));
        assert!(waits.iter().any(|wait| *wait > WAIT_MAX / 2), "it grows");
        assert!(waits.iter().any(|wait| *wait < WAIT_MAX / 2), "and has jitter down to nothing");
        assert_eq!(backoff.after("b", now, &mut rng), Duration::ZERO, "each cause has its own");
    }

    #[test]
    fn only_lasting_health_forgets_the_attempts() {
        let mut rng = SmallRng::seed_from_u64(2);
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        for _ in 0..20 {
            backoff.after("a", now, &mut rng);
            backoff.works(now);
            now += HEALTHY_AFTER / 3;
        }
        let flapping: Duration = (0..50).map(|_| backoff.after("a", now, &mut rng)).sum();
        assert!(flapping > Duration::from_secs(20), "{flapping:?}");
        backoff.works(now);
        assert_eq!(backoff.after("a", now + HEALTHY_AFTER, &mut rng), Duration::ZERO);
    }
}
