//! The topics of a hunt: what each is for and how it is called. Pure.

use std::sync::Arc;

use crate::traits::LogKind;

/// What a topic of a hunt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// What comes in, from anybody.
    Events,
    /// What became of it.
    Outcomes,
    /// What was made of the outcomes; compacted.
    Snapshots,
    /// Events that could not be played, for people.
    Dead,
}

impl Topic {
    /// All of them.
    pub(crate) const ALL: [Topic; 4] =
        [Topic::Events, Topic::Outcomes, Topic::Snapshots, Topic::Dead];
    /// Those that we read ourselves.
    pub(crate) const READ: [Topic; 3] = [Topic::Events, Topic::Outcomes, Topic::Snapshots];
}

impl From<LogKind> for Topic {
    fn from(log: LogKind) -> Topic {
        match log {
            LogKind::Events => Topic::Events,
            LogKind::Outcomes => Topic::Outcomes,
        }
    }
}

/// The names of a hunt's topics.
#[derive(Debug, Clone)]
pub(crate) struct Topics([Arc<str>; Topic::ALL.len()]);

impl Topics {
    /// In the order of [`Topic::ALL`].
    pub(crate) fn new(names: [&str; Topic::ALL.len()]) -> Topics {
        Topics(names.map(Arc::from))
    }

    pub(crate) fn name(&self, topic: Topic) -> &Arc<str> {
        &self.0[topic as usize]
    }
}
