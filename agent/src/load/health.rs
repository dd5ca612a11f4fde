//! Whether this node is slow, by its own measures. In: a window's figures and the verdict before.
//! Out: the verdict. A measure must be bad twice in a row, and half as bad again before the
//! verdict is lifted; only a process that did not run at all is believed at once. Pure.

use std::time::Duration;

use config_schemas::{Slow, SlowCode};

/// Late for this share of a window: one pause of a second in five, or a timer of a quarter of a
/// second that is always 50 ms late.
pub const LATE_SHARE_MAX: f64 = 0.2;
/// Events may take this many times as long as usual. A shared machine halves a node's speed now
/// and then, and its weight says so; this is beyond what a weight can say.
pub const WORK_RATIO_MAX: f64 = 4.0;
/// One batch may take this many times `workers.turn` ...
pub const BATCH_TURNS_MAX: u32 = 20;
/// ... and in any case this long: a disk that syncs slowly now and then is no slow node.
pub const BATCH_MIN: Duration = Duration::from_secs(1);
/// 99 of 100 events have their outcome within this time: ten times what we promise, and what the
/// engines that this project learned from had at their wall.
pub const LATENCY_MAX: Duration = Duration::from_millis(500);
/// A verdict is lifted at this share of the bound that brought it.
const LIFT: f64 = 0.5;

/// What a window says of a node's health.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// Share of the window in which the process did not run when it should have.
    pub late_share: f64,
    /// How long an event took to decide, against what is usual; `None` with too few events.
    pub work_ratio: Option<f64>,
    /// The longest time that one batch took.
    pub longest_batch: Duration,
    /// `workers.turn`.
    pub turn: Duration,
    /// The 99th percentile from arrival to outcome.
    pub latency: Duration,
}

/// The verdict, and what it remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Why the node is slow now.
    pub slow: Option<Slow>,
    /// What was bad in the last window.
    suspected: Option<SlowCode>,
}

impl Health {
    /// The verdict after a further window.
    #[must_use]
    pub fn after(&self, signs: &Signs) -> Health {
        let held = self.slow.as_ref().map(|slow| slow.code);
        let found = SlowCode::ALL.into_iter().find_map(|code| {
            let bound = if held == Some(code) { LIFT } else { 1.0 };
            Some(Slow { code, reason: signs.against(code, bound)? })
        });
        let suspected = found.as_ref().map(|slow| slow.code);
        let believed =
            |slow: &Slow| held.is_some() || slow.code == SlowCode::Late || self.suspected.is_some();
        Health { slow: found.filter(believed), suspected }
    }
}

impl Signs {
    /// What is wrong when bounds are taken that many times; `None` when nothing is.
    fn against(&self, code: SlowCode, bound: f64) -> Option<String> {
        match code {
            SlowCode::Late => (self.late_share > LATE_SHARE_MAX * bound)
                .then(|| format!("it did not run for {:.0} % of the time", self.late_share * 1e2)),
            SlowCode::Work => self.work(bound),
            SlowCode::Latency => (self.latency > LATENCY_MAX.mul_f64(bound)).then(|| {
                let millis = self.latency.as_millis();
                format!("1 of 100 events waits {millis} ms or more for its outcome")
            }),
            SlowCode::Other => None,
        }
    }

    fn work(&self, bound: f64) -> Option<String> {
        let ratio = self.work_ratio.filter(|ratio| *ratio > WORK_RATIO_MAX * bound);
        let batch_max = (self.turn * BATCH_TURNS_MAX).max(BATCH_MIN).mul_f64(bound);
        if let Some(ratio) = ratio {
            return Some(format!("events take {ratio:.1} times as long as usual"));
        }
        (self.longest_batch > batch_max).then(|| {
            let (batch, turn) = (self.longest_batch.as_millis(), self.turn.as_millis());
            format!("a batch took {batch} ms, workers.turn is {turn} ms")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs {
        late_share: 0.01,
        work_ratio: Some(1.1),
        longest_batch: Duration::from_millis(60),
        turn: Duration::from_millis(50),
        latency: Duration::from_millis(20),
    };

    fn latency(millis: u64) -> Signs {
        Signs { latency: Duration::from_millis(millis), ..WELL }
    }

    fn late(late_share: f64) -> Signs {
        Signs { late_share, ..WELL }
    }

    fn work(ratio: f64) -> Signs {
        Signs { work_ratio: Some(ratio), ..WELL }
    }

    fn batch(millis: u64) -> Signs {
        Signs { longest_batch: Duration::from_millis(millis), ..WELL }
    }

    /// The verdict after each window, as its code.
    fn check(windows: &[Signs], expected: &[Option<SlowCode>]) {
        let mut health = Health::default();
        let found: Vec<_> = windows
            .iter()
            .map(|signs| {
                health = health.after(signs);
                health.slow.as_ref().map(|slow| slow.code)
            })
            .collect();
        assert_eq!(found, expected, "{windows:?}");
    }

    #[test]
    fn a_measure_is_bad_twice_before_it_counts_but_a_pause_counts_at_once() {
        check(&[WELL, WELL], &[None, None]);
        check(&[latency(600), latency(600)], &[None, Some(SlowCode::Latency)]);
        check(&[latency(600), WELL, latency(600)], &[None, None, None]);
        check(&[late(0.9)], &[Some(SlowCode::Late)]);
        check(&[work(5.0), work(5.0)], &[None, Some(SlowCode::Work)]);
        check(&[batch(1500), batch(1500)], &[None, Some(SlowCode::Work)]);
        check(&[batch(900), batch(900)], &[None, None]);
    }

    #[test]
    fn a_verdict_is_lifted_only_at_half_its_bound() {
        let held = Some(SlowCode::Latency);
        check(
            &[latency(600), latency(600), latency(300), latency(240), latency(300)],
            &[None, held, held, None, None],
        );
        check(
            &[late(0.9), late(0.15), late(0.05)],
            &[Some(SlowCode::Late), Some(SlowCode::Late), None],
        );
    }

    #[test]
    fn too_few_events_say_nothing_of_the_work() {
        let idle = Signs { work_ratio: None, ..WELL };
        check(&[work(5.0), work(5.0), idle], &[None, Some(SlowCode::Work), None]);
    }

    #[test]
    fn a_long_turn_that_is_configured_is_no_slowness() {
        let patient = Signs { turn: Duration::from_secs(1), ..batch(15_000) };
        check(&[patient, patient], &[None, None]);
    }

    #[test]
    fn the_reason_has_the_figures() {
        let after = |signs: &Signs| Health::default().after(signs).after(signs).slow.unwrap();
        let reason = |signs: &Signs| after(signs).reason;
        assert_eq!(reason(&late(0.4)), "it did not run for 40 % of the time");
        assert_eq!(reason(&work(5.25)), "events take 5.2 times as long as usual");
        assert_eq!(reason(&batch(1500)), "a batch took 1500 ms, workers.turn is 50 ms");
        assert_eq!(reason(&latency(700)), "1 of 100 events waits 700 ms or more for its outcome");
    }
}
