//! Cutting a hunt finer, step by step: topics get their new partitions, those are placed, and only then
//! do keys go to them. In: what the marker says, what the resource wants, what is there. Out: what the
//! marker is to say. Level, not edge. Pure.

use config_schemas::documents::{Meta, PartitionRecord};
use config_schemas::{Cuts, PartitionId};

use super::Note;
use crate::state::HuntView;

/// What of the marker is about partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutting {
    /// As [`Meta::partitions`].
    pub partitions: u32,
    /// As [`Meta::before`].
    pub before: Vec<u32>,
    /// As [`Meta::next`].
    pub next: Option<u32>,
}

impl Cutting {
    /// A hunt that never was cut finer.
    pub fn first(partitions: u32) -> Cutting {
        Cutting { partitions, before: Vec::new(), next: None }
    }

    /// What the marker says.
    pub fn of(meta: &Meta) -> Cutting {
        Cutting { partitions: meta.partitions, before: meta.before.clone(), next: meta.next }
    }

    /// Whether this is one step further than `before`.
    pub fn follows(&self, before: &Cutting) -> bool {
        let Cutting { partitions, before: counts, next } = self;
        match (before.next, *next) {
            (None, Some(to)) => {
                let same = Cutting { next: None, ..self.clone() } == *before;
                same && to > *partitions && to.is_multiple_of((*partitions).max(1))
            }
            (Some(to), None) => {
                let earlier = before.before.iter().chain([&before.partitions]);
                *partitions == to && counts.iter().eq(earlier)
            }
            _ => false,
        }
    }

    /// What it is to say next, one step at a time.
    pub fn towards(self, wanted: u32, view: &HuntView<'_>) -> Cutting {
        match self.next {
            Some(next) if all_placed(self.partitions, next, view) => {
                let before = self.before.into_iter().chain([self.partitions]).collect();
                Cutting { partitions: next, before, next: None }
            }
            Some(_) => self,
            None if wanted > self.partitions && wanted.is_multiple_of(self.partitions.max(1)) => {
                Cutting { next: Some(wanted), ..self }
            }
            None => self,
        }
    }
}

/// What is told of a marker that says a next step and nothing else.
pub(super) fn told(found: &Meta, expected: &Meta) -> Option<Note> {
    let Cutting { partitions, before, next } = Cutting::of(found);
    let same = Meta { partitions, before, next, ..expected.clone() } == *found;
    let step = Cutting::of(expected);
    if !same || !step.follows(&Cutting::of(found)) {
        return None;
    }
    let about = step.next.unwrap_or(step.partitions).to_string();
    Some(match step.next {
        Some(next) => {
            let text = format!("the hunt is to be cut into {next} partitions, {partitions} before");
            Note::normal("PartitionsPrepared", about, text)
        }
        None => {
            let text = format!(
                "the hunt has {} partitions now, {partitions} before; keys go over to the new ones",
                step.partitions
            );
            Note::normal("PartitionsCut", about, text)
        }
    })
}

/// Whether each of the new partitions has an owner.
fn all_placed(from: u32, to: u32, view: &HuntView<'_>) -> bool {
    let owned = |id| {
        let record = view.partitions.get(&PartitionId(id)).and_then(|slot| slot.value());
        matches!(record, Some(PartitionRecord::Own { .. } | PartitionRecord::Mov { .. }))
    };
    (from..to).all(owned)
}

/// Partitions that may be placed now: new ones only where the log has room for them, which in Kafka
/// the topics say.
pub fn placeable(meta: &Meta, topics_have: Option<u32>) -> u32 {
    let cuts = Cuts::of(meta);
    match meta.broker {
        config_schemas::BrokerKind::Embedded => cuts.placed(),
        config_schemas::BrokerKind::Kafka => {
            let there = topics_have.unwrap_or(0).min(cuts.placed());
            cuts.partitions().max(there)
        }
    }
}
