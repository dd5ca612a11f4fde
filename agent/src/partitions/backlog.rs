//! How long what comes in now would wait: what waits before it, over the speed at which it has
//! been played while there was a backlog. By the age of the oldest event alone a queue is found too
//! long only when it is, and then everything is refused until it is short. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A queue whose oldest event is younger is no backlog: batches on their way to the disk take that
/// long, and say nothing about what the worker could do.
const BACKLOG: Duration = Duration::from_millis(50);
/// A speed is taken over no less: partitions that share a worker have some turns each meanwhile.
const SPAN_MIN: Duration = Duration::from_millis(250);
/// After so long it is taken anew.
const SPAN_MAX: Duration = Duration::from_secs(1);

/// What is known of a backlog; nothing while there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Backlog {
    /// When the span began, and events played since.
    span: Option<(Instant, u64)>,
    /// Events per second.
    speed: Option<f64>,
}

impl Backlog {
    /// So many more events are played, and the oldest that still waits does so for `oldest`.
    pub(super) fn played(&mut self, now: Instant, events: u64, oldest: Option<Duration>) {
        if oldest.is_none_or(|oldest| oldest < BACKLOG) {
            *self = Backlog::default();
            return;
        }
        let Some((began, before)) = self.span else {
            self.span = Some((now, 0));
            return;
        };
        let (took, played) = (now - began, before + events);
        self.span = Some((began, played));
        if took >= SPAN_MIN {
            self.speed = Some(played as f64 / took.as_secs_f64());
        }
        if took >= SPAN_MAX {
            self.span = Some((now, 0));
        }
    }

    /// How long so many events take; none if there is no backlog to tell by.
    pub(super) fn takes(&self, events: u64) -> Option<Duration> {
        let seconds = events as f64 / self.speed?;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step: milliseconds since the one before, events played, age of the oldest.
    fn check(steps: &[(u64, u64, Option<u64>)], takes_thousand: Option<u64>) {
        let (mut backlog, mut now) = (Backlog::default(), Instant::now());
        for (after, events, oldest) in steps {
            now += Duration::from_millis(*after);
            backlog.played(now, *events, oldest.map(Duration::from_millis));
        }
        let takes = backlog.takes(1_000).map(|takes| takes.as_millis());
        assert_eq!(takes, takes_thousand.map(u128::from), "{steps:?}");
    }

    #[test]
    fn the_speed_is_that_of_a_backlog_over_a_while() {
        // a pipeline that is never empty, and never behind
        check(&[(0, 10, Some(6)), (100, 10, Some(6)), (400, 10, Some(6))], None);
        // too short a time
        check(&[(0, 10, Some(60)), (200, 100, Some(90))], None);
        // what came before the span does not count
        check(&[(0, 10_000, Some(60)), (200, 100, Some(90)), (300, 400, Some(99))], Some(1_000));
        // nothing at all is played: that takes for ever
        check(&[(0, 0, Some(60)), (500, 0, Some(560))], Some(Duration::MAX.as_millis() as u64));
        // over: what was slow then says nothing about now
        check(&[(0, 10, Some(60)), (500, 5, Some(560)), (1, 1, Some(9))], None);
        check(&[(0, 10, Some(60)), (500, 5, Some(560)), (1, 1, None)], None);
    }

    #[test]
    fn a_speed_is_taken_anew_and_holds_until_there_is_another() {
        let slow = [(0, 0, Some(60)), (1_000, 100, Some(900))];
        let after = |more: &[(u64, u64, Option<u64>)]| [&slow[..], more].concat();
        check(&after(&[]), Some(10_000));
        check(&after(&[(100, 100, Some(900))]), Some(10_000));
        check(&after(&[(100, 100, Some(900)), (400, 400, Some(900))]), Some(1_000));
    }
}
