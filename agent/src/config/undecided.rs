//! Configurations that every worker runs while the clients of Kafka are still being proven: what will
//! be acked, and when. In: configurations in order, decisions. Out: the newest that is decided. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use config_schemas::layers::Effective;
use config_schemas::{Component, Revision};

use super::ack::Rejections;
use super::clients::Decision;

/// Configurations that wait at once. Attempts go by the newest wish, so that of many wishes only
/// those at either end are ever decided alone.
const WAITING_MAX: usize = 16;

/// What every worker runs.
#[derive(Debug, Clone)]
pub(super) struct Switched {
    /// What it is.
    pub(super) effective: Arc<Effective>,
    /// The store's revision that it takes in.
    pub(super) revision: Option<Revision>,
    /// What other components could not take over.
    pub(super) rejections: Rejections,
    /// The clients' newest wish in it.
    pub(super) wish: u64,
}

/// Those that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Undecided(VecDeque<Switched>);

impl Undecided {
    /// One more.
    pub(super) fn push(&mut self, switched: Switched) {
        let same_wish = self.0.back().is_some_and(|last| last.wish == switched.wish);
        if same_wish || self.0.len() == WAITING_MAX {
            self.0.pop_back();
        }
        self.0.push_back(switched);
    }

    /// The newest that is decided; older ones go with it.
    pub(super) fn take(&mut self, decision: &Decision) -> Option<Switched> {
        let decided = self.0.iter().take_while(|waits| waits.wish <= decision.number).count();
        self.0.drain(..decided).next_back()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Switched {
    /// What was not taken over, with what has been decided about the clients.
    pub(super) fn rejections(&self, decision: &Decision) -> Rejections {
        let mut all = self.rejections.clone();
        if let Err(reason) = &decision.outcome {
            all.insert(Component::Kafka, reason.clone());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::layers::{Edits, Held, resolve};

    fn switched(revision: u64, wish: u64) -> Switched {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let effective = Arc::new(resolve(None, &Edits::new(), None, &Held::new(), now));
        let revision = Revision::new(revision);
        Switched { effective, revision, rejections: Rejections::new(), wish }
    }

    fn check(pushed: &[(u64, u64)], decided: u64, taken: Option<u64>, left: usize) {
        let mut undecided = Undecided::default();
        for (revision, wish) in pushed {
            undecided.push(switched(*revision, *wish));
        }
        let found = undecided.take(&Decision { number: decided, outcome: Ok(()) });
        let revision = found.map(|found| found.revision.unwrap().get());
        assert_eq!((revision, undecided.0.len()), (taken, left), "{pushed:?} {decided}");
    }

    #[test]
    fn what_is_decided_is_acked_up_to_its_newest_revision() {
        check(&[(10, 0)], 0, Some(10), 0);
        check(&[(10, 1)], 0, None, 1);
        // an edit of something else, while a proof is under way, is acked with the proof's end
        check(&[(10, 1), (11, 1), (12, 1)], 1, Some(12), 0);
        check(&[(10, 1), (11, 2), (12, 3)], 1, Some(10), 2);
        check(&[(10, 1), (11, 2), (12, 3)], 3, Some(12), 0);
    }

    #[test]
    fn many_wishes_keep_the_oldest_and_the_newest() {
        let many: Vec<_> = (1..=100).map(|number| (10 + number, number)).collect();
        check(&many, 1, Some(11), WAITING_MAX - 1);
        check(&many, 100, Some(110), 0);
    }

    #[test]
    fn a_decision_against_the_clients_rejects_their_sections_alone() {
        let decision = Decision { number: 1, outcome: Err("nobody answers".to_owned()) };
        let rejections = switched(1, 1).rejections(&decision);
        assert_eq!(rejections, [(Component::Kafka, "nobody answers".to_owned())].into());
    }
}
