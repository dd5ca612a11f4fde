//! How many events are due when: a rate, steps that multiply it for a while, players who come in
//! over time. In: what a person asked for. Out: the moment of each event, phases, players. Pure:
//! chance comes as an argument.

use std::str::FromStr;
use std::time::Duration;

/// Most that a step may multiply the rate by: more is a typing mistake.
const TIMES_MAX: f64 = 1_000.0;
/// Part of the players who are there from the beginning of a ramp: somebody has to begin.
const FIRST_PLAYERS: f64 = 0.001;

/// A burst: the rate is multiplied from a moment on, for a while or to the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// By how much.
    pub times: f64,
    /// From when on, from the beginning.
    pub at: Duration,
    /// For how long; to the end when nothing is said.
    pub lasts: Option<Duration>,
}

impl Step {
    fn holds(&self, at: Duration) -> bool {
        at >= self.at && self.end().is_none_or(|end| at < end)
    }

    fn end(&self) -> Option<Duration> {
        Some(self.at.saturating_add(self.lasts?))
    }
}

impl FromStr for Step {
    type Err = String;

    /// Reads `20x@10s` and `20x@10s+30s`.
    fn from_str(text: &str) -> Result<Step, String> {
        let expected = || "TIMESx@START or TIMESx@START+LENGTH, as 20x@10s+30s".to_owned();
        let (times, when) = text.split_once("x@").ok_or_else(expected)?;
        let times: f64 = times.parse().map_err(|_| expected())?;
        if !(times > 0.0 && times <= TIMES_MAX) {
            return Err(format!("{} (at most {TIMES_MAX} times)", expected()));
        }
        let (at, lasts) = match when.split_once('+') {
            Some((at, lasts)) => (at, Some(crate::args::duration(lasts)?)),
            None => (when, None),
        };
        let at = if at == "0s" { Duration::ZERO } else { crate::args::duration(at)? };
        Ok(Step { times, at, lasts })
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Events per second outside of steps.
    pub rate: f64,
    /// For how long.
    pub lasts: Duration,
    /// Where several hold, the one named last counts.
    pub steps: Vec<Step>,
    /// Players come in over so long.
    pub ramp: Duration,
}

/// A time in which the rate stays as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Its beginning.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
    /// The base rate is multiplied by this.
    pub times: f64,
}

impl Shape {
    /// What the base rate is multiplied by.
    pub fn times(&self, at: Duration) -> f64 {
        self.steps.iter().rev().find(|step| step.holds(at)).map_or(1.0, |step| step.times)
    }

    /// The phases, in their order, without gaps.
    pub fn phases(&self) -> Vec<Phase> {
        let ends = self.steps.iter().filter_map(Step::end);
        let mut cuts: Vec<_> = self.steps.iter().map(|step| step.at).chain(ends).collect();
        cuts.retain(|cut| *cut > Duration::ZERO && *cut < self.lasts);
        cuts.push(self.lasts);
        cuts.sort_unstable();
        cuts.dedup();
        let mut phases: Vec<Phase> = Vec::new();
        for until in cuts {
            let from = phases.last().map_or(Duration::ZERO, |last| last.until);
            let times = self.times(from);
            match phases.last_mut().filter(|last| last.times == times) {
                Some(last) => last.until = until,
                None => phases.push(Phase { from, until, times }),
            }
        }
        phases
    }

    /// How many of `all` players play at that moment: at least one.
    pub fn playing(&self, all: u32, at: Duration) -> u32 {
        if at >= self.ramp {
            return all.max(1);
        }
        let part = (at.as_secs_f64() / self.ramp.as_secs_f64()).max(FIRST_PLAYERS);
        // Within 0 to `all`, since the part is under 1.
        ((f64::from(all) * part) as u32).max(1)
    }

    /// The moments at which events are due.
    pub fn schedule(&self) -> Schedule {
        Schedule { phases: self.phases(), rate: self.rate, phase: 0, at: Duration::ZERO }
    }
}

/// Moments, one after the other, as arrivals of strangers are: the pauses are random with the
/// rate's mean.
#[derive(Debug, Clone)]
pub struct Schedule {
    phases: Vec<Phase>,
    rate: f64,
    phase: usize,
    at: Duration,
}

impl Schedule {
    /// The next moment; `chance` is even between 0 and 1. `None` after the end.
    pub fn next(&mut self, chance: f64) -> Option<Duration> {
        // Exponential, in units of one event.
        let mut left = -(1.0 - chance.clamp(0.0, 0.999_999_999)).ln();
        loop {
            let phase = self.phases.get(self.phase)?;
            let rate = self.rate * phase.times;
            let room = (phase.until - self.at).as_secs_f64() * rate;
            if left < room {
                self.at = (self.at + Duration::from_secs_f64(left / rate)).min(phase.until);
                return Some(self.at);
            }
            left -= room;
            self.at = phase.until;
            self.phase += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn shape(steps: &[&str]) -> Shape {
        let steps = steps.iter().map(|step| step.parse().unwrap()).collect();
        Shape { rate: 10.0, lasts: secs(30), steps, ramp: Duration::ZERO }
    }

    #[test]
    fn a_step_is_read_and_a_typing_mistake_is_told_what_would_do() {
        let step = |times, at, lasts| Ok(Step { times, at: secs(at), lasts });
        assert_eq!("20x@10s".parse(), step(20.0, 10, None));
        assert_eq!("0.5x@1m+30s".parse(), step(0.5, 60, Some(secs(30))));
        assert_eq!("5x@0s".parse(), step(5.0, 0, None));
        for wrong in ["20", "20x", "x@1s", "-1x@1s", "20x@10", "20x@1s+", "1e9x@1s"] {
            assert!(wrong.parse::<Step>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn phases_follow_each_other_without_gaps() {
        let check = |steps: &[&str], expected: &[(u64, u64, f64)]| {
            let found: Vec<_> = shape(steps)
                .phases()
                .iter()
                .map(|phase| (phase.from.as_secs(), phase.until.as_secs(), phase.times))
                .collect();
            assert_eq!(found, expected, "{steps:?}");
        };
        check(&[], &[(0, 30, 1.0)]);
        check(&["20x@10s"], &[(0, 10, 1.0), (10, 30, 20.0)]);
        check(&["20x@10s+5s"], &[(0, 10, 1.0), (10, 15, 20.0), (15, 30, 1.0)]);
        check(&["5x@0s+10s", "20x@5s+10s"], &[(0, 5, 5.0), (5, 15, 20.0), (15, 30, 1.0)]);
        check(&["5x@40s"], &[(0, 30, 1.0)]);
    }

    #[test]
    fn as_many_events_are_due_as_the_rate_says_and_all_in_order() {
        let mut schedule = shape(&["20x@10s+10s"]).schedule();
        let mut state = 1_u64;
        let mut chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut due = Vec::new();
        while let Some(at) = schedule.next(chance()) {
            due.push(at);
        }
        assert!(due.is_sorted());
        let count =
            |from, until| due.iter().filter(move |at| (secs(from)..secs(until)).contains(at));
        let check = |from, until, expected: f64| {
            let found = count(from, until).count() as f64;
            assert!((found - expected).abs() < 4.0 * expected.sqrt(), "{from} to {until}: {found}");
        };
        check(0, 10, 100.0);
        check(10, 20, 2_000.0);
        check(20, 30, 100.0);
    }

    #[test]
    fn players_come_in_over_the_ramp() {
        let ramped = Shape { ramp: secs(10), ..shape(&[]) };
        assert_eq!(ramped.playing(1_000_000, Duration::ZERO), 1_000);
        assert_eq!(ramped.playing(1_000_000, secs(5)), 500_000);
        assert_eq!(ramped.playing(1_000_000, secs(10)), 1_000_000);
        assert_eq!(ramped.playing(3, Duration::ZERO), 1);
        assert_eq!(shape(&[]).playing(7, Duration::ZERO), 7);
    }
}
