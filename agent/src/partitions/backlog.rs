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
    /// Since when there seems to be none any more. What just came in may not have been counted yet.
    over: Option<Instant>,
}

impl Backlog {
    /// So many more events are played, and the oldest that still waits does so for `oldest`.
    pub(super) fn played(&mut self, now: Instant, events: u64, oldest: Option<Duration>) {
        if oldest.is_none_or(|oldest| oldest < BACKLOG) {
            let over = *self.over.get_or_insert(now);
            let held = if now - over < SPAN_MIN { self.speed } else { None };
            // what is played meanwhile says nothing about what could be
            *self = Backlog { span: None, speed: held, over: Some(over) };
            return;
        }
        self.over = None;
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

    /// How long what comes behind so many events would wait, when the oldest of them has waited for
    /// `oldest`. Where the speed is known that age says only that it holds no more: it tells of the
    /// queue as it was, and whoever refuses by it lets in nothing until the queue is empty, and
    /// then too much.
    pub(super) fn wait(&self, queued: u64, oldest: Duration) -> Duration {
        self.takes(queued).map_or(oldest, |takes| takes.max(oldest / 2))
    }

    /// How long so many events take; none if there is no backlog to tell by.
    pub(super) fn takes(&self, events: u64) -> Option<Duration> {
        let seconds = events as f64 / self.speed?;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Each step: milliseconds since the one before, events played, age of the oldest.
    fn check(steps: &[(u64, u64, Option<u64>)], takes_thousand: Option<u64>) {
        let (mut backlog, mut now) = (Backlog::default(), Instant::now());
        for (after, events, oldest) in steps {
            now += Duration::from_millis(*after);
            backlog.played(now, *events, oldest.map(Duration::from_millis));
        }
        let millis = |takes: Duration| u64::try_from(takes.as_millis()).unwrap_or(u64::MAX);
        assert_eq!(backlog.takes(1_000).map(millis), takes_thousand, "{steps:?}");
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
        check(&[(0, 0, Some(60)), (500, 0, Some(560))], Some(u64::MAX));
        // over for a while: what was slow then says nothing about now
        let over = [(0, 10, Some(60)), (500, 5, Some(560)), (1, 1, Some(9))];
        check(&over, Some(100_000));
        check(&[&over[..], &[(249, 1, None)]].concat(), Some(100_000));
        check(&[&over[..], &[(100, 1, Some(60)), (200, 1, None)]].concat(), Some(100_000));
        check(&[&over[..], &[(250, 1, None)]].concat(), None);
    }

    /// A worker that plays 2,500 events a second in turns of a fifth of a second, and producers who
    /// offer three times as many: the queue comes to rest about where it takes as long as may be.
    #[test]
    fn under_overload_the_queue_neither_overflows_nor_runs_dry() {
        const WAIT: Duration = Duration::from_millis(500);
        let (mut backlog, mut now) = (Backlog::default(), Instant::now());
        let mut queue: VecDeque<Instant> = VecDeque::new();
        let mut lengths = Vec::new();
        for millis in 0..10_000_u32 {
            now += Duration::from_millis(1);
            for _ in 0..7 {
                let oldest = queue.front().map(|at| now - *at).unwrap_or_default();
                if backlog.wait(queue.len() as u64 + 1, oldest) <= WAIT {
                    queue.push_back(now);
                }
            }
            // fifty milliseconds at ten events each, and then others have their turn
            if millis % 200 < 50 {
                let events = queue.len().min(10);
                queue.drain(..events);
                // now and then all that waits has not been counted yet
                let oldest = queue.front().map(|at| now - *at).filter(|_| millis % 1_000 != 7);
                backlog.played(now, events as u64, oldest);
            }
            if millis >= 2_000 {
                lengths.push(queue.len());
            }
        }
        let (least, most) = (lengths.iter().min().copied(), lengths.iter().max().copied());
        assert!(least >= Some(300) && most <= Some(2_000), "{least:?} to {most:?} events");
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
