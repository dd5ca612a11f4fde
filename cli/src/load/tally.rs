//! What became of the events of a load, by phase and over time. In: moments, as events are due,
//! answered and played. Out: counts and quantiles. Times run from the moment at which an event was
//! due, so that waiting for a slow hunt counts. Memory is bounded however long it lasts. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::shape::Phase;

/// Longest time that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(300);
/// Digits of a time that count.
const DIGITS: u8 = 2;
/// Windows at most; each is a second, or longer when the load lasts longer.
const WINDOWS_MAX: u32 = 600;
/// Kinds of refusals at most; the rest counts as one.
const REFUSALS_MAX: usize = 32;
/// The promise, and the wall of the engines that this project learned from.
pub const BOUNDS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// How long things took.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u32>);

impl Default for Times {
    fn default() -> Times {
        let longest = micros(LONGEST);
        // Both are within what the library takes, and the same each time.
        Times(Histogram::new_with_bounds(1, longest, DIGITS).expect("bounds of a histogram"))
    }
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: f64,
    /// Nine of ten are.
    pub p90: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(micros(time).max(1));
    }

    /// Adds all of the other's.
    pub fn merge(&mut self, other: &Times) {
        // Bounds are the same.
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Its quantiles; `None` without any.
    pub fn latency(&self) -> Option<Latency> {
        let at = |part: f64| self.0.value_at_quantile(part) as f64 / 1e3;
        let max = self.0.max() as f64 / 1e3;
        let latency = || Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), max };
        (!self.0.is_empty()).then(latency)
    }

    /// 99 of 100 are faster, in milliseconds; 0 without any.
    pub fn p99(&self) -> f64 {
        self.latency().map_or(0.0, |latency| latency.p99)
    }
}

/// Counts of what was due in a time.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// All.
    pub due: u64,
    /// Durable.
    pub accepted: u64,
    /// Not taken in, by the code that was told.
    pub refused: BTreeMap<String, u64>,
    /// Without an answer, by what was seen instead.
    pub unanswered: BTreeMap<String, u64>,
    /// Never sent: this program could not keep up.
    pub unsent: u64,
    /// From due to acknowledged.
    pub answers: Times,
    /// From due to the outcome, as far as it was looked for.
    pub outcomes: Times,
}

impl Counts {
    fn merge(&mut self, other: &Counts) {
        self.due += other.due;
        self.accepted += other.accepted;
        self.unsent += other.unsent;
        for (into, from) in
            [(&mut self.refused, &other.refused), (&mut self.unanswered, &other.unanswered)]
        {
            from.iter().for_each(|(code, count)| add(into, code, *count));
        }
        self.answers.merge(&other.answers);
        self.outcomes.merge(&other.outcomes);
    }

    /// All refusals.
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// All without an answer.
    pub fn all_unanswered(&self) -> u64 {
        self.unanswered.values().sum()
    }
}

/// What became of one event, as its producer heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Durable.
    Accepted,
    /// Not taken in; the code.
    Refused(String),
    /// Nobody knows; what was seen instead.
    Unanswered(String),
    /// It was never sent.
    Unsent,
}

/// The whole load.
#[derive(Debug, Clone)]
pub struct Tally {
    window: Duration,
    phases: Vec<(Phase, Counts)>,
    windows: Vec<Counts>,
}

impl Tally {
    /// Nothing yet. `phases` follow each other without gaps.
    pub fn new(phases: Vec<Phase>) -> Tally {
        let lasts = phases.last().map_or(Duration::ZERO, |last| last.until);
        Tally {
            window: (lasts / WINDOWS_MAX).max(Duration::from_secs(1)),
            phases: phases.into_iter().map(|phase| (phase, Counts::default())).collect(),
            windows: Vec::new(),
        }
    }

    /// An event that was due then has its answer, so long after.
    pub fn answered(&mut self, due: Duration, answer: &Answer, after: Duration) {
        self.at(due, |counts| {
            counts.due += 1;
            match answer {
                Answer::Accepted => {
                    counts.accepted += 1;
                    counts.answers.add(after);
                }
                Answer::Refused(code) => add(&mut counts.refused, code, 1),
                Answer::Unanswered(seen) => add(&mut counts.unanswered, seen, 1),
                Answer::Unsent => counts.unsent += 1,
            }
        });
    }

    /// An event that was due then has its outcome, so long after.
    pub fn played(&mut self, due: Duration, after: Duration) {
        self.at(due, |counts| counts.outcomes.add(after));
    }

    /// Each phase with what was due in it.
    pub fn phases(&self) -> impl Iterator<Item = (&Phase, &Counts)> {
        self.phases.iter().map(|(phase, counts)| (phase, counts))
    }

    /// All of it.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.phases.iter().for_each(|(_, counts)| total.merge(counts));
        total
    }

    /// What was due within these moments, in whole windows.
    pub fn between(&self, from: Duration, until: Duration) -> Counts {
        let mut counts = Counts::default();
        for (number, window) in (0_u32..).zip(&self.windows) {
            if self.window * number >= from && self.window * (number + 1) <= until {
                counts.merge(window);
            }
        }
        counts
    }

    /// For how long the 99th percentile of a window's times was above `bound`.
    pub fn above(&self, bound: Duration, of: impl Fn(&Counts) -> &Times) -> Duration {
        let bound = bound.as_secs_f64() * 1e3;
        let above = self.windows.iter().filter(|counts| of(counts).p99() > bound).count();
        self.window * u32::try_from(above).unwrap_or(u32::MAX)
    }

    /// The 99th percentile of each window, in milliseconds.
    pub fn course(&self, of: impl Fn(&Counts) -> &Times) -> Vec<f64> {
        self.windows.iter().map(|counts| of(counts).p99()).collect()
    }

    /// The length of a window.
    pub fn window(&self) -> Duration {
        self.window
    }

    fn at(&mut self, due: Duration, note: impl Fn(&mut Counts)) {
        let last = self.phases.len().saturating_sub(1);
        let phase = self.phases.partition_point(|(phase, _)| phase.until <= due).min(last);
        if let Some((_, counts)) = self.phases.get_mut(phase) {
            note(counts);
        }
        let window = (due.as_nanos() / self.window.as_nanos()).min(u128::from(WINDOWS_MAX));
        // At most WINDOWS_MAX.
        let window = window as usize;
        if self.windows.len() <= window {
            self.windows.resize_with(window + 1, Counts::default);
        }
        note(&mut self.windows[window]);
    }
}

fn add(into: &mut BTreeMap<String, u64>, code: &str, count: u64) {
    let code = match into.len() < REFUSALS_MAX || into.contains_key(code) {
        true => code,
        false => "other",
    };
    *into.entry(code.to_owned()).or_default() += count;
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn tally() -> Tally {
        let phase = |from, until, times| Phase { from: ms(from), until: ms(until), times };
        Tally::new(vec![phase(0, 2_000, 1.0), phase(2_000, 4_000, 20.0)])
    }

    #[test]
    fn what_was_due_in_a_phase_counts_there_whenever_it_ends() {
        let mut tally = tally();
        tally.answered(ms(1_990), &Answer::Accepted, ms(5_000));
        tally.answered(ms(2_000), &Answer::Refused("OVERLOADED".into()), ms(1));
        tally.answered(ms(3_000), &Answer::Unanswered("late".into()), ms(1));
        tally.answered(ms(4_000), &Answer::Unsent, ms(1));
        let found: Vec<_> = tally
            .phases()
            .map(|(_, c)| (c.due, c.accepted, c.all_refused(), c.all_unanswered(), c.unsent))
            .collect();
        assert_eq!(found, [(1, 1, 0, 0, 0), (3, 0, 1, 1, 1)]);
        assert_eq!(tally.total().due, 4);
        let first = tally.phases().next().unwrap().1.answers.latency().unwrap();
        assert!((4_950.0..5_050.0).contains(&first.p50), "{first:?}");
        assert_eq!(tally.between(ms(2_000), ms(3_000)).all_refused(), 1);
        assert_eq!(tally.between(ms(2_500), ms(3_500)).due, 0, "whole windows only");
    }

    #[test]
    fn time_above_a_bound_is_counted_by_windows() {
        let mut tally = tally();
        for second in 0..4 {
            for number in 0..200 {
                let slow = second == 2 && number < 10;
                let after = if slow { ms(600) } else { ms(5) };
                tally.answered(ms(second * 1_000 + number), &Answer::Accepted, after);
            }
        }
        let above = |bound| tally.above(bound, |counts| &counts.answers);
        assert_eq!((above(ms(500)), above(ms(4))), (ms(1_000), ms(4_000)));
        assert_eq!(above(ms(700)), Duration::ZERO);
        assert_eq!(tally.course(|counts| &counts.answers).len(), 4);
        assert_eq!(tally.above(ms(1), |counts| &counts.outcomes), Duration::ZERO);
    }

    #[test]
    fn nothing_measured_is_no_latency() {
        assert_eq!(Times::default().latency(), None);
        let mut times = Times::default();
        times.add(Duration::from_secs(100_000));
        assert!(times.p99() >= 299_000.0, "what is longer counts as the longest");
    }
}
