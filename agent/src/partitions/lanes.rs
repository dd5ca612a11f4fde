//! Whose turn it is among the destinations of an outbox: one batch each at a time, in order, with
//! a growing pause after a failure, and nobody forgotten. In: events, ends of batches, times. Out:
//! batches to send. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use config_schemas::PartitionId;
use events::Event;
use tokio::time::Instant;

/// Events sent in one go.
const BATCH: usize = 256;
/// First and longest wait before what could not be delivered is sent again.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// A destination; all events whose destination is unknown share one lane.
type Lane = Option<PartitionId>;

/// What waits for each destination.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<Lane, Queue>,
    /// Served last; the next in order is first.
    last: Lane,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    under_way: bool,
    /// After a failure: the pause, and its end.
    pause: Option<(Duration, Instant)>,
}

impl Queue {
    fn is_ready(&self, now: Instant) -> bool {
        !self.under_way
            && !self.events.is_empty()
            && self.pause.is_none_or(|(_, until)| until <= now)
    }
}

impl Lanes {
    pub(crate) fn push(&mut self, lane: Lane, event: Event) {
        self.lanes.entry(lane).or_default().events.push_back(event);
    }

    /// The next batch that may go now; its lane is under way until [`end`](Self::end).
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Lane, Vec<Event>)> {
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let ready = |(_, queue): &(&Lane, &Queue)| queue.is_ready(now);
        let next = self.lanes.range(after).find(ready);
        let lane = *next.or_else(|| self.lanes.iter().find(ready))?.0;
        let queue = self.lanes.get_mut(&lane)?;
        queue.under_way = true;
        self.last = lane;
        let count = queue.events.len().min(BATCH);
        Some((lane, queue.events.drain(..count).collect()))
    }

    /// The batch of a lane is over; `left` was not delivered and goes first next time.
    pub(crate) fn end(&mut self, lane: Lane, left: Vec<Event>, now: Instant) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        queue.under_way = false;
        queue.pause = (!left.is_empty()).then(|| {
            let before = queue.pause.map(|(pause, _)| pause * 2);
            let pause = before.unwrap_or(RETRY_MIN).min(RETRY_MAX);
            (pause, now + pause)
        });
        for event in left.into_iter().rev() {
            queue.events.push_front(event);
        }
        if queue.events.is_empty() {
            self.lanes.remove(&lane);
        }
    }

    /// When the first pause of those that wait ends.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let idle = self.lanes.values().filter(|queue| !queue.under_way);
        idle.filter_map(|queue| queue.pause.map(|(_, until)| until)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{EventId, Kind};

    fn lanes(waiting: &[(u32, usize)]) -> Lanes {
        let mut lanes = Lanes::default();
        for (lane, count) in waiting {
            for number in 0..*count {
                let id = EventId::new(format!("{lane}.{number}")).unwrap();
                lanes.push(Some(PartitionId(*lane)), Event::new(id, Kind::Verdict, 0));
            }
        }
        lanes
    }

    fn started(lanes: &mut Lanes, now: Instant) -> Option<(u32, String, usize)> {
        let (lane, batch) = lanes.start(now)?;
        Some((lane?.0, batch[0].id.to_string(), batch.len()))
    }

    #[test]
    fn each_lane_has_its_turn_and_one_batch_at_a_time() {
        let now = Instant::now();
        let mut lanes = lanes(&[(1, 300), (2, 10), (3, 10)]);
        let batch =
            |lane: u32, number: usize, count| Some((lane, format!("{lane}.{number}"), count));
        assert_eq!(started(&mut lanes, now), batch(1, 0, 256));
        assert_eq!(started(&mut lanes, now), batch(2, 0, 10));
        lanes.end(Some(PartitionId(1)), Vec::new(), now);
        assert_eq!(started(&mut lanes, now), batch(3, 0, 10));
        assert_eq!(started(&mut lanes, now), batch(1, 256, 44));
        assert_eq!(started(&mut lanes, now), None);
    }

    #[test]
    fn what_is_left_goes_first_after_a_pause_that_grows_to_its_bound() {
        let mut now = Instant::now();
        let mut lanes = lanes(&[(1, 3)]);
        for millis in [10, 20, 40, 80, 160, 320, 500, 500] {
            let (lane, batch) = lanes.start(now).unwrap();
            assert_eq!(batch[0].id.to_string(), "1.0");
            lanes.end(lane, batch, now);
            assert_eq!(lanes.start(now), None);
            assert_eq!(lanes.wake_at(), Some(now + Duration::from_millis(millis)));
            now += Duration::from_millis(millis);
        }
        let (lane, mut batch) = lanes.start(now).unwrap();
        lanes.end(lane, batch.split_off(1), now);
        now += RETRY_MAX;
        let (lane, batch) = lanes.start(now).unwrap();
        assert_eq!(batch[0].id.to_string(), "1.1");
        lanes.end(lane, Vec::new(), now);
        assert!(lanes.lanes.is_empty() && lanes.wake_at().is_none());
    }
}
