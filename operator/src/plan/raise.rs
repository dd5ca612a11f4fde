//! Cutting a hunt finer, step by step: topics get their new partitions, those are placed and load what
//! they are cut from, and only then do keys go to them. In: what the marker says, what the resource wants, what is there. Out: what the
//! marker is to say. Level, not edge. Pure.

use config_schemas::documents::{Meta, PartitionRecord};
use config_schemas::{Cuts, PartitionId, cuts};

use super::Note;
use crate::state::{Cutting, HuntView};

/// What the marker is to say next, one step at a time.
pub(super) fn towards(now: Cutting, wanted: u32, view: &HuntView<'_>) -> Cutting {
    match now.next {
        // written by hand before anybody remembered
        Some(next) if next <= now.partitions => Cutting { next: None, ..now },
        Some(next) if loaded(now.partitions, next, view) == next - now.partitions => {
            let before = now.before.into_iter().chain([now.partitions]).collect();
            Cutting { partitions: next, before, next: None }
        }
        Some(_) => now,
        None if wanted > now.partitions && wanted.is_multiple_of(now.partitions.max(1)) => {
            Cutting { next: Some(cuts::step(now.partitions, wanted)), ..now }
        }
        None => now,
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

/// How many of the new partitions have an owner that has loaded what they are cut from.
pub fn loaded(from: u32, to: u32, view: &HuntView<'_>) -> u32 {
    let is_loaded = |id: &PartitionId| {
        let record = view.partitions.get(id).and_then(|slot| slot.value());
        let Some(PartitionRecord::Own { owner, epoch }) = record else { return false };
        view.warm.get(id).is_some_and(|warm| (&warm.owner, warm.epoch) == (owner, *epoch))
    };
    let count = (from..to).map(PartitionId).filter(is_loaded).count();
    u32::try_from(count).unwrap_or(u32::MAX)
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
