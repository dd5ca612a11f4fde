//! What is said of a hunt's topics in Kafka: the condition, and events when it changes. In: how they
//! stand. Out: words. Pure.

use crds::{ConditionKind, TreasureHuntStatus, Truth};

use super::{Verdict, verdict};
use crate::plan::Note;
use crate::topics::Standing;

/// The condition; none for a hunt that has no topics.
pub(super) fn condition(standing: Option<&Standing>) -> Option<(ConditionKind, Verdict)> {
    let standing = standing?;
    let said = verdict(standing.truth, standing.reason, standing.message.clone());
    Some((ConditionKind::TopicsReady, said))
}

/// Told when topics become ready, and when something else keeps them from it than before.
pub(super) fn notes(before: &TreasureHuntStatus, after: &TreasureHuntStatus) -> Option<Note> {
    let of = |status: &TreasureHuntStatus| {
        let found = status.condition(ConditionKind::TopicsReady);
        found.map(|found| (found.status, found.reason.clone()))
    };
    let now = after.condition(ConditionKind::TopicsReady)?;
    if of(before) == of(after) {
        return None;
    }
    let about = format!("topics {}", now.reason);
    if now.status == Truth::True {
        return Some(Note::normal("TopicsReady", about, now.message.clone()));
    }
    let under_way = Standing::UNDER_WAY.contains(&now.reason.as_str());
    (!under_way).then(|| Note::warning("TopicsNotReady", about, now.message.clone()))
}
