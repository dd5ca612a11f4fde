//! Records of one partition between the consumer's thread and whoever reads them, bounded in bytes.
//! In: records as they are fetched. Out: the same, and whether there are more for now. No I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::believe::Mark;
use super::bell::Bell;
use super::trouble::KafkaTrouble;

/// What a record costs besides its payload, about.
const RECORD_OVERHEAD: usize = 128;
/// A reader that has taken nothing for so long while its buffer was full is paused: until then what
/// the client has fetched for it keeps whole answers in memory, also what others have read of them.
const STALLED: Duration = Duration::from_secs(2);

/// A record as it stands in the topic.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) offset: u64,
    pub(crate) payload: Bytes,
    /// What an owner said of it.
    pub(crate) mark: Option<Mark>,
}

impl Raw {
    /// What it takes in memory, in bytes, about.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + RECORD_OVERHEAD
    }
}

/// What fetching a partition means to its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// More may come at any moment.
    Running,
    /// All that is there was given.
    AtEnd,
    /// The place that was asked for is not there, or fetching failed: begin again.
    Lost,
}

/// What one look found.
pub(crate) struct Taken {
    pub(crate) records: Vec<Raw>,
    /// Of the moment behind the last of them.
    pub(crate) flow: Flow,
    /// The end of the partition as it was counted: every record before it was given. 0 when that
    /// is not known.
    pub(crate) counted_end: u64,
}

/// Between two threads.
pub(crate) struct Buffer {
    state: Mutex<State>,
    pub(crate) moved: Notify,
    bytes_max: usize,
    /// Rings for the consumer's thread.
    bell: Bell,
}

struct State {
    records: VecDeque<Raw>,
    bytes: usize,
    flow: Flow,
    /// Where the next record is, unless something lies between that is none.
    next: u64,
    /// Fetching failed for one of the consumer's partitions, perhaps for this one.
    failure: Option<KafkaTrouble>,
    /// The end that was counted since something was put; not believed yet.
    counted: Option<u64>,
    /// The end that is believed: every record before it was put.
    counted_end: u64,
    /// Whether that is news.
    end_is_news: bool,
    /// Until half of it is taken.
    full: bool,
    /// How often something was taken.
    takes: u64,
    /// While it is full: since when there were so many.
    still: Option<(u64, Instant)>,
    paused: bool,
    /// Its reader is gone.
    left: bool,
}

/// A buffer that is filled as long as this is there.
pub(crate) struct Fetched(pub(crate) Arc<Buffer>);

impl Drop for Fetched {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// What the consumer's thread has to do about a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    Pause,
    Resume,
    Leave,
}

impl Buffer {
    pub(crate) fn new(bytes_max: usize, from: u64, bell: Bell) -> Buffer {
        let state = State {
            records: VecDeque::new(),
            bytes: 0,
            flow: Flow::Running,
            next: from,
            failure: None,
            counted: None,
            counted_end: 0,
            end_is_news: false,
            full: false,
            takes: 0,
            still: None,
            paused: false,
            left: false,
        };
        Buffer { state: Mutex::new(state), moved: Notify::new(), bytes_max, bell }
    }

    /// By the consumer's thread. Whether all were taken: behind a failure, none may be missing.
    pub(crate) fn put_all(&self, raws: impl IntoIterator<Item = Raw>) -> bool {
        let mut state = self.state();
        let taken = raws.into_iter().all(|raw| state.put(raw));
        drop(state);
        self.moved.notify_one();
        taken
    }

    /// By the consumer's thread: so many bytes may be put. Nothing from when it is full until half
    /// of it was taken; then the bell rings.
    pub(crate) fn room(&self) -> usize {
        let mut state = self.state();
        let half = self.bytes_max / 2;
        state.full = state.bytes >= self.bytes_max || (state.full && state.bytes > half);
        if state.full { 0 } else { self.bytes_max - state.bytes }
    }

    /// By the consumer's thread: fetching failed, perhaps for another partition.
    pub(crate) fn fail(&self, trouble: KafkaTrouble) {
        self.state().failure = Some(trouble);
        self.moved.notify_one();
    }

    /// What failed since a record came.
    pub(crate) fn failure(&self) -> Option<KafkaTrouble> {
        self.state().failure.clone()
    }

    /// By the consumer's thread: the end, or a failure.
    pub(crate) fn note(&self, flow: Flow) {
        let mut state = self.state();
        if state.flow != Flow::Lost {
            state.flow = flow;
        }
        drop(state);
        self.moved.notify_one();
    }

    /// By the consumer's thread: it counted that the partition ends at `end`, and that nothing
    /// waits before that; so the last places are no records, but marks of transactions. Believed
    /// when it is counted twice in a row with nothing put in between: the first count may be of
    /// whoever read the partition before.
    pub(crate) fn note_counted_end(&self, end: u64) {
        let mut state = self.state();
        if state.flow != Flow::AtEnd {
            return;
        }
        let counted = state.counted.replace(end);
        if counted == Some(end) && end > state.counted_end {
            (state.counted_end, state.end_is_news) = (end, true);
            drop(state);
            self.moved.notify_one();
        }
    }

    /// About so many bytes of what is there.
    pub(crate) fn take(&self, bytes_max: usize) -> Taken {
        let mut state = self.state();
        state.end_is_news = false;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max.max(1) {
            let Some(raw) = state.records.pop_front() else { break };
            state.bytes -= raw.size();
            bytes += raw.payload.len().max(1);
            records.push(raw);
        }
        let (flow, counted_end) = match state.records.is_empty() {
            true => (state.flow, state.counted_end),
            false => (Flow::Running, 0),
        };
        self.taken(state);
        Taken { records, flow, counted_end }
    }

    /// Forgets what lies before `from`; whether there is something from there on.
    pub(crate) fn reaches(&self, from: u64) -> bool {
        let mut state = self.state();
        while state.records.front().is_some_and(|raw| raw.offset < from) {
            let size = state.records.pop_front().map_or(0, |raw| raw.size());
            state.bytes -= size;
        }
        let reaches = !state.records.is_empty();
        self.taken(state);
        reaches
    }

    /// Whether there is nothing to take, and nothing more for now.
    pub(crate) fn is_at_end(&self) -> bool {
        let state = self.state();
        state.records.is_empty() && state.flow == Flow::AtEnd
    }

    /// Whether there is anything to take, or to know.
    pub(crate) fn is_ready(&self) -> bool {
        let state = self.state();
        !state.records.is_empty() || state.flow != Flow::Running
    }

    /// By the reader, at last.
    pub(crate) fn leave(&self) {
        self.state().left = true;
        self.bell.ring();
    }

    /// Whether its reader has gone.
    pub(crate) fn wish_is_to_leave(&self) -> bool {
        self.state().left
    }

    /// Whether there is a record to take, or reason to begin again, or the end is known better.
    pub(crate) fn has_news(&self) -> bool {
        let state = self.state();
        !state.records.is_empty() || state.flow == Flow::Lost || state.end_is_news
    }

    /// By the consumer's thread, which must carry it out.
    pub(crate) fn wish(&self, now: Instant) -> Wish {
        let mut state = self.state();
        if state.left {
            return Wish::Leave;
        }
        let takes = state.takes;
        state.still = match state.still {
            _ if !state.full || state.bytes <= self.bytes_max / 2 => None,
            Some((before, since)) if before == takes => Some((before, since)),
            _ => Some((takes, now)),
        };
        let stalled = state.still.is_some_and(|(_, since)| now - since >= STALLED);
        match (state.paused, stalled, state.still) {
            (false, true, _) => {
                state.paused = true;
                Wish::Pause
            }
            (true, _, None) => {
                state.paused = false;
                Wish::Resume
            }
            _ => Wish::Nothing,
        }
    }

    fn taken(&self, mut state: MutexGuard<'_, State>) {
        state.takes += 1;
        let made_room = state.full && state.bytes <= self.bytes_max / 2;
        drop(state);
        if made_room {
            self.bell.ring();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, raw: Raw) -> bool {
        if self.failure.is_some() && raw.offset > self.next {
            self.flow = Flow::Lost;
        }
        // what was lost is found by beginning again only
        if self.flow == Flow::Lost {
            return false;
        }
        self.failure = None;
        self.next = raw.offset + 1;
        self.bytes += raw.size();
        self.records.push_back(raw);
        (self.flow, self.counted) = (Flow::Running, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::bell;
    use super::*;

    fn buffer(bytes_max: usize, from: u64) -> Buffer {
        Buffer::new(bytes_max, from, bell().0)
    }

    impl Buffer {
        fn put(&self, raw: Raw) -> bool {
            self.put_all([raw])
        }
    }

    fn raw(offset: u64) -> Raw {
        Raw { offset, payload: Bytes::from_static(&[0; 72]), mark: None }
    }

    #[test]
    fn a_full_buffer_takes_nothing_until_half_of_it_was_taken_and_then_its_bell_rings() {
        let (bell, sleeper) = bell();
        let buffer = Buffer::new(800, 0, bell);
        assert_eq!(buffer.room(), 800);
        assert!(buffer.put_all((0..3).map(raw)));
        assert_eq!(buffer.room(), 200);
        buffer.put(raw(3));
        assert_eq!((buffer.room(), buffer.take(1).records.len(), buffer.room()), (0, 1, 0));
        assert!(!sleeper.has_rung());
        buffer.take(1);
        assert!(sleeper.has_rung(), "half of it is free");
        assert_eq!(buffer.room(), 400);
        buffer.take(1);
        assert!(!sleeper.has_rung(), "nobody waits for room");
        buffer.leave();
        assert!(sleeper.has_rung());
        assert_eq!(buffer.wish(Instant::now()), Wish::Leave);
    }

    #[test]
    fn only_a_reader_that_takes_nothing_is_paused_and_goes_on_when_it_does() {
        let (buffer, began) = (buffer(800, 0), Instant::now());
        let wish = |seconds| buffer.wish(began + Duration::from_secs(seconds));
        assert!(buffer.put_all((0..4).map(raw)));
        assert_eq!((wish(0), wish(9)), (Wish::Nothing, Wish::Nothing), "nobody asked for room yet");
        assert_eq!(buffer.room(), 0);
        assert_eq!((wish(10), wish(11)), (Wish::Nothing, Wish::Nothing));
        assert_eq!(buffer.take(1).records.len(), 1);
        assert_eq!((wish(12), wish(13)), (Wish::Nothing, Wish::Nothing), "it is slow, and reads");
        assert_eq!((wish(14), wish(99)), (Wish::Pause, Wish::Nothing));
        assert_eq!(buffer.take(1).records.len(), 1);
        assert_eq!((wish(100), wish(200)), (Wish::Resume, Wish::Nothing));
    }

    #[test]
    fn what_was_read_elsewhere_is_forgotten() {
        let buffer = buffer(4_000, 0);
        buffer.put(raw(3));
        buffer.put(raw(7));
        assert!(buffer.reaches(3) && buffer.reaches(5));
        assert_eq!(buffer.take(1_000).records[0].offset, 7);
        buffer.put(raw(8));
        buffer.note(Flow::AtEnd);
        assert!(!buffer.is_at_end() && !buffer.reaches(9) && buffer.is_at_end());
        assert_eq!(buffer.state().bytes, 0);
    }

    #[test]
    fn places_that_are_no_records_are_passed_behind_the_last_record_that_was_put() {
        let buffer = buffer(4_000, 0);
        let counted_twice = |end| (0..2).for_each(|_| buffer.note_counted_end(end));
        buffer.put(raw(0));
        counted_twice(3);
        buffer.note_counted_end(3);
        buffer.put(raw(1));
        buffer.note(Flow::AtEnd);
        buffer.note_counted_end(3);
        assert_eq!(buffer.take(72).counted_end, 0, "one is still to be given");
        assert_eq!(buffer.take(72).counted_end, 0, "counted once since it ended");
        counted_twice(3);
        assert!(buffer.has_news());
        assert_eq!(buffer.take(72).counted_end, 3);
        counted_twice(3);
        assert!(!buffer.has_news(), "told already");
        buffer.note_counted_end(5);
        buffer.put(raw(4));
        buffer.note(Flow::AtEnd);
        buffer.note_counted_end(5);
        assert_eq!(buffer.take(72).counted_end, 3, "something was put in between");
    }

    #[test]
    fn the_end_is_told_only_behind_the_last_record() {
        let buffer = buffer(4_000, 0);
        assert!(!buffer.is_ready());
        buffer.put(raw(0));
        buffer.put(raw(1));
        buffer.note(Flow::AtEnd);
        assert_eq!(buffer.take(72).flow, Flow::Running);
        assert_eq!(buffer.take(72).flow, Flow::AtEnd);
        assert!(buffer.is_ready(), "that it is the end is worth knowing");
        buffer.put(raw(2));
        assert_eq!(buffer.take(1_000).flow, Flow::Running);
        assert!(!buffer.is_ready());
    }

    #[test]
    fn nothing_is_taken_behind_a_failure_that_may_have_swallowed_records() {
        let trouble = || KafkaTrouble::Late { act: "test" };
        let buffer = buffer(4_000, 3);
        assert!(buffer.put(raw(3)) && buffer.put(raw(6)), "marks of a transaction");
        buffer.fail(trouble());
        assert!(buffer.put(raw(7)), "it was another partition");
        assert_eq!(buffer.failure(), None);
        buffer.fail(trouble());
        assert!(!buffer.put(raw(9)));
        buffer.note(Flow::AtEnd);
        assert!(!buffer.put(raw(10)));
        assert_eq!(buffer.take(1_000).records.len(), 3);
        assert_eq!(buffer.take(1_000).flow, Flow::Lost);
        assert_eq!(buffer.failure(), Some(trouble()));
    }
}
