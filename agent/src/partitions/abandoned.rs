//! Appends that nobody waits for any more, and that may still be written: their producers went away.
//! In: what the log is to answer. Out: what it has answered. Looking costs little however many there
//! are, since the log answers in order. Pure.

use std::collections::VecDeque;

use futures::FutureExt as _;
use tokio::time::Instant;

/// Answers that are to come, in the order in which their appends arrived, each with what it is about.
#[derive(Debug)]
pub(super) struct Abandoned<A, T>(VecDeque<(Instant, A, T)>);

impl<A, T> Default for Abandoned<A, T> {
    fn default() -> Abandoned<A, T> {
        Abandoned(VecDeque::new())
    }
}

impl<A: Future + Unpin, T> Abandoned<A, T> {
    /// One more. Producers go away in any order.
    pub(super) fn put(&mut self, arrived: Instant, answer: A, about: T) {
        let at = self.0.iter().rposition(|(before, ..)| *before <= arrived);
        self.0.insert(at.map_or(0, |at| at + 1), (arrived, answer, about));
    }

    /// Takes out those that are answered. Behind the first that is not nothing is asked: with a disk
    /// that is stuck there may be thousands.
    pub(super) fn answered(&mut self) -> Vec<(Instant, A::Output, T)> {
        let mut answered = Vec::new();
        while let Some((_, answer, _)) = self.0.front_mut()
            && let Some(answer) = answer.now_or_never()
            && let Some((arrived, _, about)) = self.0.pop_front()
        {
            answered.push((arrived, answer, about));
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    /// Answers once as many as its number are written.
    struct Answer<'a> {
        number: u64,
        written: &'a Cell<u64>,
        asked: &'a Cell<u64>,
    }

    impl Future for Answer<'_> {
        type Output = u64;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u64> {
            self.asked.set(self.asked.get() + 1);
            match self.number < self.written.get() {
                true => Poll::Ready(self.number),
                false => Poll::Pending,
            }
        }
    }

    #[test]
    fn a_stuck_log_is_asked_for_one_answer_at_a_time_and_none_is_lost() {
        const MANY: u64 = 1000;
        let (written, asked) = (Cell::new(0), Cell::new(0));
        let start = Instant::now();
        let mut abandoned = Abandoned::default();
        // The later half goes away first.
        for number in (MANY / 2..MANY).chain(0..MANY / 2) {
            let answer = Answer { number, written: &written, asked: &asked };
            abandoned.put(start + Duration::from_millis(number), answer, number);
            assert!(abandoned.answered().is_empty());
        }
        assert_eq!(asked.take(), MANY);
        for upto in [10, MANY] {
            let before = written.replace(upto);
            let answered =
                abandoned.answered().into_iter().map(|(_, answer, about)| (answer, about));
            let expected = (before..upto).map(|number| (number, number));
            assert_eq!(answered.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        assert_eq!(asked.get(), MANY + 1);
    }
}
