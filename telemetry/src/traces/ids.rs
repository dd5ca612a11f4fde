//! Ids of traces and spans, made from what they are about: every node that meets an event derives the
//! same ids and the same decision whether to follow it, so that nothing has to travel with it through
//! the log. In: names, ids, revisions. Out: ids. Pure.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Events that an event caused have its id, this and a number: they belong to its trace.
const CAUSED: char = '~';

/// A trace: all that an event or an edit led to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

/// One stage of it; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

/// Derives ids for one hunt: two hunts may have events of the same id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    keys: (u64, u64),
}

impl Ids {
    pub(super) fn of_hunt(hunt: &str) -> Ids {
        let mut hasher = SipHasher13::new();
        hasher.write(hunt.as_bytes());
        let hash = hasher.finish128();
        Ids { keys: (hash.h1, hash.h2) }
    }

    /// The trace of the event that began it all.
    pub(super) fn event_trace(&self, event: &str) -> TraceId {
        let root = event.split(CAUSED).next().unwrap_or(event);
        self.trace(b"event", root.as_bytes())
    }

    /// The trace of what was written at that revision of the store.
    pub(super) fn edit_trace(&self, revision: u64) -> TraceId {
        self.trace(b"edit", &revision.to_be_bytes())
    }

    /// A stage; `of` says whose, where a trace has several of that name.
    pub(super) fn span(&self, trace: TraceId, stage: &str, of: &str) -> SpanId {
        let parts = [&trace.0.to_be_bytes()[..], stage.as_bytes(), of.as_bytes()];
        let id = self.hash(&parts) as u64;
        SpanId(id.max(1))
    }

    fn trace(&self, kind: &[u8], of: &[u8]) -> TraceId {
        TraceId(self.hash(&[kind, of]).max(1))
    }

    fn hash(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        for part in parts {
            hasher.write(part);
            // no two lists of parts look alike
            hasher.write(&part.len().to_be_bytes());
        }
        hasher.finish128().as_u128()
    }
}

impl TraceId {
    /// Whether a trace belongs to that part of all, 0 to 1. What is in a smaller part is in every
    /// larger one, so that nodes with different parts share the traces of the smaller.
    pub(super) fn is_in(self, part: f64) -> bool {
        // 52 bits are what a float tells apart
        let place = (self.0 as u64 >> 12) as f64 / (1_u64 << 52) as f64;
        place < part
    }
}

/// The id of the event that caused this one; `None` for those that producers send.
pub(super) fn cause(event: &str) -> Option<&str> {
    event.rsplit_once(CAUSED).map(|(cause, _)| cause)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_caused_is_of_its_trace_and_other_hunts_have_others() {
        let ids = Ids::of_hunt("default/harbour");
        let trace = ids.event_trace("e1");
        assert_eq!((ids.event_trace("e1~0"), ids.event_trace("e1~0~2")), (trace, trace));
        assert_ne!(ids.event_trace("e2"), trace);
        assert_ne!(Ids::of_hunt("default/other").event_trace("e1"), trace);
        assert_ne!(ids.span(trace, "accept", "e1"), ids.span(trace, "outcome", "e1"));
        assert_eq!((cause("e1~0~2"), cause("e1")), (Some("e1~0"), None));
    }

    /// Other builds and other nodes have to come to the same.
    #[test]
    fn ids_are_the_same_for_ever() {
        let ids = Ids::of_hunt("default/harbour");
        let trace = ids.event_trace("e1");
        let span = ids.span(trace, "publish", "e1");
        assert_eq!(trace.to_string(), "c16f81b1a2ec0108f244353266c89172");
        assert_eq!(format!("{span:?}"), "fb38228c67c9b2aa");
        assert_eq!(ids.edit_trace(7).to_string(), "08c7dacb0d8d5a0137a92139ab517444");
    }

    #[test]
    fn a_part_of_all_is_about_that_part_and_within_every_larger_one() {
        let ids = Ids::of_hunt("default/harbour");
        let traces: Vec<_> = (0..10_000).map(|id| ids.event_trace(&id.to_string())).collect();
        let part = |part| traces.iter().filter(|trace| trace.is_in(part)).count();
        assert_eq!((part(0.0), part(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&part(0.1)), "{}", part(0.1));
        assert!(traces.iter().all(|trace| !trace.is_in(0.1) || trace.is_in(0.2)));
    }
}
