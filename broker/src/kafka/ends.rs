//! How far the partitions of each topic reach, as far as this process knows. In: what was
//! acknowledged, read, or told by the cluster. Out: the same, also to whoever waits for more. Asking
//! the cluster is I/O, the rest no more than a lock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use config_schemas::{PartitionId, TopicRole};
use tokio::sync::watch;

use super::Shared;
use crate::error::Error;

/// The ends of all topics of a hunt.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<HashMap<(PartitionId, TopicRole), watch::Sender<u64>>>);

/// What the cluster says of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// As far as was known, or further.
    Grown,
    /// What was known to be there is not: another topic has its name, or it was cut.
    Shrunk,
}

impl Ends {
    pub(crate) fn of(&self, partition: PartitionId, topic: TopicRole) -> watch::Sender<u64> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.entry((partition, topic)).or_insert_with(|| watch::Sender::new(0)).clone()
    }

    pub(crate) fn known(&self, partition: PartitionId, topic: TopicRole) -> u64 {
        *self.of(partition, topic).borrow()
    }

    /// It reaches so far at least.
    pub(crate) fn note(&self, partition: PartitionId, topic: TopicRole, seen: u64) {
        self.of(partition, topic).send_if_modified(|end| {
            let grows = *end < seen;
            *end = (*end).max(seen);
            grows
        });
    }

    /// The cluster said so when asked after `before` was known. What was acknowledged while it was
    /// asked counts more than its answer.
    pub(crate) fn learn(
        &self,
        (partition, topic): (PartitionId, TopicRole),
        before: u64,
        told: u64,
    ) -> Told {
        self.of(partition, topic).send_if_modified(|end| {
            let was = *end;
            *end = if was == before { told } else { was.max(told) };
            *end > was
        });
        if told < before { Told::Shrunk } else { Told::Grown }
    }
}

impl Shared {
    /// How far a topic's partition reaches, as far as this process knows.
    pub(crate) fn end_of(&self, partition: PartitionId, topic: TopicRole) -> watch::Sender<u64> {
        self.ends.of(partition, topic)
    }

    pub(crate) fn known_end(&self, partition: PartitionId, topic: TopicRole) -> u64 {
        self.ends.known(partition, topic)
    }

    pub(crate) fn note_end(&self, partition: PartitionId, topic: TopicRole, seen: u64) {
        self.ends.note(partition, topic, seen);
    }

    /// Where the partition begins and ends by the cluster's word, which counts more than what was
    /// known here: a topic may have been made anew.
    pub(crate) async fn bounds(
        &self,
        partition: PartitionId,
        topic: TopicRole,
    ) -> Result<(u64, u64), Error> {
        let before = self.known_end(partition, topic);
        // by a client that hardly ever reads: those of the others wait for what nobody has written
        let asked = self.consumers(TopicRole::Snapshots);
        let (low, high) = asked.bounds_of(self.consumers(topic).topic(), partition).await?;
        let told = self.ends.learn((partition, topic), before, high);
        if told == Told::Shrunk {
            let topic = topic.as_str();
            tracing::warn!(%partition, topic, before, high, "a topic is shorter than it was");
        }
        if told == Told::Shrunk && topic == TopicRole::Outcomes {
            self.checkpoints.forget(partition);
        }
        Ok((low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_goes_down_only_by_the_clusters_word_and_not_below_what_was_acknowledged_meanwhile() {
        let (ends, partition, topic) = (Ends::default(), PartitionId(1), TopicRole::Events);
        ends.note(partition, topic, 1_000);
        ends.note(partition, topic, 5);
        assert_eq!(ends.known(partition, topic), 1_000);
        let check = |acknowledged: Option<u64>, told, expected, says| {
            let before = ends.known(partition, topic);
            if let Some(end) = acknowledged {
                ends.note(partition, topic, end);
            }
            assert_eq!(ends.learn((partition, topic), before, told), says, "{told}");
            assert_eq!(ends.known(partition, topic), expected, "{told}");
        };
        check(None, 1_000, 1_000, Told::Grown);
        check(Some(1_007), 1_003, 1_007, Told::Grown);
        check(Some(1_009), 1_010, 1_010, Told::Grown);
        check(None, 5, 5, Told::Shrunk);
        check(None, 6, 6, Told::Grown);
    }
}
