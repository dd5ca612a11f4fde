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

    /// Whether this is further than `before` on the same way, by however many steps: who was away has
    /// seen none of those between.
    pub fn follows(&self, before: &Cutting) -> bool {
        let (known, counts) = (before.counts(), self.counts());
        let all: Vec<u32> = counts.iter().copied().chain(self.next).collect();
        let finer = all.windows(2).all(|pair| {
            let [less, more] = *pair else { return false };
            more > less && more.is_multiple_of(less.max(1))
        });
        let further = counts.len() > known.len() || (before.next.is_none() && self.next.is_some());
        let promised = before.next.is_none_or(|next| all.contains(&next));
        finer && further && promised && counts.starts_with(&known)
    }

    fn counts(&self) -> Vec<u32> {
        self.before.iter().copied().chain([self.partitions]).collect()
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
