//! Records of one partition between the consumer's thread and whoever reads them, bounded in bytes.
//! In: records as they are fetched. Out: the same, and whether there are more for now. No I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::believe::Mark;
use super::trouble::KafkaTrouble;

/// What a record costs besides its payload, about.
const RECORD_OVERHEAD: usize = 128;

/// A record as it stands in the topic.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) offset: u64,
    pub(crate) payload: Bytes,
    /// What an owner said of it.
    pub(crate) mark: Option<Mark>,
}

impl Raw {
    fn size(&self) -> usize {
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

/// For whom a partition is read. Each kind has places of its own: who serves a partition never
/// waits for those who look on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Who serves the partition, or is about to.
    Owner,
    /// Anybody else.
    Follower,
}

/// Between two threads.
pub(crate) struct Buffer {
    state: Mutex<State>,
    pub(crate) moved: Notify,
    bytes_max: usize,
    pub(crate) whose: Whose,
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
    pub(crate) fn new(bytes_max: usize, whose: Whose, from: u64) -> Buffer {
        let state = State {
            records: VecDeque::new(),
            bytes: 0,
            flow: Flow::Running,
            next: from,
            failure: None,
            counted: None,
            counted_end: 0,
            end_is_news: false,
            paused: false,
            left: false,
        };
        Buffer { state: Mutex::new(state), moved: Notify::new(), bytes_max, whose }
    }

    /// By the consumer's thread. Whether it was taken: behind a failure, none may be missing.
    pub(crate) fn put(&self, raw: Raw) -> bool {
        let mut state = self.state();
        if state.failure.is_some() && raw.offset > state.next {
            state.flow = Flow::Lost;
            drop(state);
            self.moved.notify_one();
            return false;
        }
        state.failure = None;
        state.next = raw.offset + 1;
        state.bytes += raw.size();
        state.records.push_back(raw);
        (state.flow, state.counted) = (Flow::Running, None);
        drop(state);
        self.moved.notify_one();
        true
    }

    /// By the consumer's thread: fetching failed, and nobody told for which partition.
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
        // a place that was lost is found by beginning again only
        if state.failure.is_none() || state.flow != Flow::Lost {
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
        Taken { records, flow, counted_end }
    }

    /// Forgets what lies before `from`; whether there is something from there on.
    pub(crate) fn reaches(&self, from: u64) -> bool {
        let mut state = self.state();
        while state.records.front().is_some_and(|raw| raw.offset < from) {
            let size = state.records.pop_front().map_or(0, |raw| raw.size());
            state.bytes -= size;
        }
        !state.records.is_empty()
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
    pub(crate) fn wish(&self) -> Wish {
        let mut state = self.state();
        if state.left {
            return Wish::Leave;
        }
        let full = state.bytes >= self.bytes_max;
        let low = state.bytes <= self.bytes_max / 2;
        match (state.paused, full, low) {
            (false, true, _) => {
                state.paused = true;
                Wish::Pause
            }
            (true, _, true) => {
                state.paused = false;
                Wish::Resume
            }
            _ => Wish::Nothing,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(offset: u64) -> Raw {
        Raw { offset, payload: Bytes::from_static(&[0; 72]), mark: None }
    }

    #[test]
    fn a_full_buffer_pauses_and_goes_on_when_half_empty() {
        let buffer = Buffer::new(400, Whose::Owner, 0);
        buffer.put(raw(0));
        assert_eq!(buffer.wish(), Wish::Nothing);
        buffer.put(raw(1));
        assert_eq!((buffer.wish(), buffer.wish()), (Wish::Pause, Wish::Nothing));
        assert_eq!(buffer.take(1).records.len(), 1);
        assert_eq!((buffer.wish(), buffer.wish()), (Wish::Resume, Wish::Nothing));
        buffer.leave();
        assert_eq!(buffer.wish(), Wish::Leave);
    }

    #[test]
    fn what_was_read_elsewhere_is_forgotten() {
        let buffer = Buffer::new(4_000, Whose::Owner, 0);
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
        let buffer = Buffer::new(4_000, Whose::Owner, 0);
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
        let buffer = Buffer::new(4_000, Whose::Owner, 0);
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
        let buffer = Buffer::new(4_000, Whose::Owner, 3);
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
