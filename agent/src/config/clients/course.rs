//! What to try next with the clients of Kafka, and what has been decided about each wish. In: wishes
//! in the order of their numbers, how attempts ended, the time. Out: the next attempt, or how long to
//! wait; the newest decision. One attempt at a time, the newest wish wins. Pure.

use std::time::Duration;

use broker::KafkaOptions;
use tokio::time::Instant;

/// First and longest wait before something that failed is tried again while it is still wanted: a
/// broker that comes back is found in seconds, one that never does is asked twice a minute.
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

/// What is wanted of the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing: the hunt is kept elsewhere.
    None,
    /// To be like this.
    Reach(Box<KafkaOptions>),
    /// What cannot be, and why; nobody has to be asked.
    Broken(Vec<String>),
}

/// What is known about a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Every wish up to this number is decided.
    pub number: u64,
    /// Whether the newest of them is in effect, or why not.
    pub outcome: Result<(), String>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This; and then say how it ended.
    Try(Target),
    /// Nothing before then, or until something is new.
    Wait(Option<Instant>),
}

/// Where things stand.
#[derive(Debug, Default)]
pub(super) struct Course {
    wish: Option<(u64, Target)>,
    /// The attempt under way.
    busy: Option<(u64, Target)>,
    /// Whether what it reaches was given up before it ended.
    stale: bool,
    last: Option<Attempt>,
    decision: Option<Decision>,
}

/// An attempt that has ended.
#[derive(Debug)]
struct Attempt {
    target: Target,
    outcome: Result<(), String>,
    /// After a failure that time may heal.
    retry: Option<Retry>,
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Course {
    /// A wish; its number is at least that of the one before.
    pub(super) fn want(&mut self, number: u64, target: Target) {
        self.wish = Some((number, target));
        self.decide();
    }

    /// What to do; an attempt counts as begun.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let (Some((number, target)), None) = (&self.wish, &self.busy) else {
            return Step::Wait(None);
        };
        if *target == Target::None {
            return Step::Wait(None);
        }
        let same = self.last.as_ref().filter(|last| last.target == *target);
        match same.map(|last| last.retry) {
            Some(None) => return Step::Wait(None),
            Some(Some(retry)) if retry.at > now => return Step::Wait(Some(retry.at)),
            Some(Some(_)) | None => {}
        }
        self.busy = Some((*number, target.clone()));
        Step::Try(target.clone())
    }

    /// How the attempt under way ended.
    pub(super) fn ended(&mut self, outcome: Result<(), String>, now: Instant) {
        let Some((number, target)) = self.busy.take() else { return };
        if std::mem::take(&mut self.stale) {
            return;
        }
        let before = self.last.take().filter(|last| last.target == target);
        let (outcome, healing) = match &target {
            Target::Broken(problems) => (Err(problems.join("; ")), false),
            Target::Reach(_) | Target::None => (outcome, true),
        };
        let retry = (outcome.is_err() && healing).then(|| {
            let pause = before.and_then(|last| last.retry).map(|retry| retry.pause * 2);
            let pause = pause.unwrap_or(RETRY_MIN).min(RETRY_MAX);
            Retry { at: now + pause, pause }
        });
        self.decision = Some(Decision { number, outcome: outcome.clone() });
        self.last = Some(Attempt { target, outcome, retry });
        self.decide();
    }

    /// What was reached was given up: it is tried again, although nobody wants anything else. What has
    /// been decided stays so meanwhile.
    pub(super) fn given_up(&mut self) {
        self.stale = self.busy.is_some();
        self.last = None;
    }

    /// The newest decision.
    pub(super) fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// A wish that is like what was tried last is decided already.
    fn decide(&mut self) {
        let Some((number, target)) = &self.wish else { return };
        let known = self.last.as_ref().filter(|last| last.target == *target);
        let outcome = match target {
            Target::None => Some(Ok(())),
            _ => known.map(|last| last.outcome.clone()),
        };
        if let Some(outcome) = outcome {
            self.decision = Some(Decision { number: *number, outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::kafka::{ClientSettings, Connection};

    fn reach(events: &str) -> Target {
        Target::Reach(Box::new(KafkaOptions {
            events: events.to_owned(),
            outcomes: String::new(),
            snapshots: String::new(),
            dead: String::new(),
            partitions: 1,
            cluster: None,
            client_id: String::new(),
            connection: Connection::plain("a:1".parse().unwrap()),
            settings: ClientSettings::default(),
        }))
    }

    struct Case {
        course: Course,
        began: Instant,
    }

    impl Case {
        fn new() -> Case {
            Case { course: Course::default(), began: Instant::now() }
        }

        fn at(&self, secs: u64) -> Instant {
            self.began + Duration::from_secs(secs)
        }

        fn want(&mut self, number: u64, target: &Target) {
            self.course.want(number, target.clone());
        }

        fn tries(&mut self, secs: u64, target: &Target) {
            let step = self.course.next(self.at(secs));
            assert_eq!(step, Step::Try(target.clone()), "at {secs} s");
        }

        fn waits(&mut self, secs: u64, until: Option<u64>) {
            let until = until.map(|secs| self.at(secs));
            assert_eq!(self.course.next(self.at(secs)), Step::Wait(until), "at {secs} s");
        }

        fn ended(&mut self, secs: u64, outcome: Result<(), &str>) {
            self.course.ended(outcome.map_err(str::to_owned), self.at(secs));
        }

        fn decided(&self, number: u64, outcome: Result<(), &str>) {
            let outcome = outcome.map_err(str::to_owned);
            assert_eq!(self.course.decision(), Some(&Decision { number, outcome }));
        }
    }

    #[test]
    fn a_wish_is_decided_when_its_attempt_ends() {
        let mut case = Case::new();
        case.want(1, &reach("a"));
        assert_eq!(case.course.decision(), None);
        case.tries(0, &reach("a"));
        case.waits(0, None);
        assert_eq!(case.course.decision(), None);
        case.ended(1, Ok(()));
        case.decided(1, Ok(()));
        case.waits(100, None);
        case.want(2, &reach("a"));
        case.decided(2, Ok(()));
        case.waits(100, None);
    }

    #[test]
    fn what_failed_is_tried_again_ever_more_rarely_while_it_is_wanted() {
        let mut case = Case::new();
        case.want(1, &reach("a"));
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            case.tries(now, &reach("a"));
            case.ended(now, Err("nobody answers"));
            case.decided(1, Err("nobody answers"));
            case.waits(now, Some(now + pause));
            now += pause;
        }
        case.tries(now, &reach("a"));
        case.ended(now, Ok(()));
        case.decided(1, Ok(()));
        case.waits(now + 100, None);
        case.want(2, &reach("b"));
        case.tries(now, &reach("b"));
        case.ended(now, Err("no"));
        case.waits(now, Some(now + 1));
    }

    #[test]
    fn the_newest_wish_is_tried_next_and_those_between_never() {
        let mut case = Case::new();
        case.want(1, &reach("a"));
        case.tries(0, &reach("a"));
        case.want(2, &reach("b"));
        case.want(3, &reach("c"));
        case.waits(0, None);
        case.ended(5, Err("nobody answers"));
        case.decided(1, Err("nobody answers"));
        case.tries(5, &reach("c"));
        case.ended(6, Ok(()));
        case.decided(3, Ok(()));
    }

    #[test]
    fn a_wish_like_the_attempt_under_way_is_decided_with_it() {
        let mut case = Case::new();
        case.want(1, &reach("a"));
        case.tries(0, &reach("a"));
        case.want(2, &reach("b"));
        case.want(3, &reach("a"));
        case.ended(1, Ok(()));
        case.decided(3, Ok(()));
        case.waits(1, None);
    }

    #[test]
    fn there_and_back_asks_again_since_somebody_was_told_otherwise() {
        let mut case = Case::new();
        case.want(1, &reach("a"));
        case.tries(0, &reach("a"));
        case.ended(0, Ok(()));
        case.want(2, &reach("b"));
        case.decided(1, Ok(()));
        case.tries(0, &reach("b"));
        case.ended(1, Err("no"));
        case.decided(2, Err("no"));
        case.want(3, &reach("a"));
        case.decided(2, Err("no"));
        case.tries(1, &reach("a"));
        case.ended(1, Ok(()));
        case.decided(3, Ok(()));
    }

    #[test]
    fn what_was_given_up_is_reached_for_again_though_the_wish_is_the_same() {
        let mut case = Case::new();
        case.want(1, &reach("a"));
        case.tries(0, &reach("a"));
        case.ended(0, Ok(()));
        case.waits(1, None);
        case.course.given_up();
        case.decided(1, Ok(()));
        case.tries(1, &reach("a"));
        // this attempt began before the next is given up, and says nothing about it
        case.course.given_up();
        case.waits(1, None);
        case.ended(2, Err("no"));
        case.decided(1, Ok(()));
        case.tries(2, &reach("a"));
        case.ended(3, Err("another cluster"));
        case.decided(1, Err("another cluster"));
        case.waits(3, Some(4));
    }

    #[test]
    fn what_is_broken_is_told_once_and_not_tried_again() {
        let broken = Target::Broken(vec!["kafka.password: x".to_owned(), "y".to_owned()]);
        let mut case = Case::new();
        case.want(1, &broken);
        case.tries(0, &broken);
        case.ended(0, Ok(()));
        case.decided(1, Err("kafka.password: x; y"));
        case.waits(100, None);
    }

    #[test]
    fn a_hunt_that_is_kept_elsewhere_wants_nothing() {
        let mut case = Case::new();
        case.want(7, &Target::None);
        case.decided(7, Ok(()));
        case.waits(0, None);
    }
}
