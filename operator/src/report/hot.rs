//! What is said of partitions that one ordered key fills: in the status, as a trouble, as Events. In:
//! what placement remembers of them. Out: the same in words, steady. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use config_schemas::PartitionId;
use config_schemas::hot::sentence;
use crds::{HOT_MAX, HotPartition, TreasureHuntStatus};

use crate::placement::Hot;
use crate::plan::Note;

/// A key that takes this part of a node leaves no room for a burst, and nothing can be moved away.
const FULL: f64 = 0.9;

/// What a person should look at.
pub(super) fn troubles(
    all: &BTreeMap<PartitionId, Hot>,
) -> impl Iterator<Item = (&'static str, String)> {
    let full = all.iter().filter(|(_, hot)| hot.of_node >= FULL);
    full.map(|(id, hot)| ("HotKey", sentence(*id, hot.of_node)))
}

/// As the status has them, the heaviest first.
pub(super) fn status(all: &BTreeMap<PartitionId, Hot>) -> Vec<HotPartition> {
    let percent = |share: f64| (share * 1e2).round().clamp(0.0, f64::from(i32::MAX)) as i32;
    let one = |(id, hot): (&PartitionId, &Hot)| HotPartition {
        partition: i32::try_from(id.0).unwrap_or(i32::MAX),
        node: hot.node.as_ref().map(ToString::to_string),
        key: hot.key.clone(),
        percent_of_node: percent(hot.of_node),
        percent_of_mean: percent(hot.of_mean),
        apart: hot.apart,
        message: sentence(*id, hot.of_node),
    };
    let mut hot: Vec<_> = all.iter().take(HOT_MAX).map(one).collect();
    hot.sort_by_key(|hot| (Reverse(hot.percent_of_mean), hot.partition));
    hot
}

/// What is new or over of hot keys: an alarm only where the key sets the bound.
pub(super) fn notes(before: &TreasureHuntStatus, after: &TreasureHuntStatus) -> Vec<Note> {
    let of = |status: &TreasureHuntStatus, hot: &HotPartition| {
        status.hot.iter().find(|other| other.partition == hot.partition).cloned()
    };
    let about = |hot: &HotPartition| format!("partition/{}", hot.partition);
    let new =
        after.hot.iter().filter(|hot| of(before, hot).is_none_or(|was| !was.apart && hot.apart));
    let gone = before.hot.iter().filter(|hot| of(after, hot).is_none());
    let new = new.map(|hot| match hot.apart {
        true => Note::warning("HotKey", about(hot), hot.message.clone()),
        false => Note::normal("HotKey", about(hot), hot.message.clone()),
    });
    let gone = gone.map(|hot| {
        let text = format!("partition {}: no ordered key fills it any more", hot.partition);
        Note::normal("HotKeyCooled", about(hot), text)
    });
    new.chain(gone).collect()
}
