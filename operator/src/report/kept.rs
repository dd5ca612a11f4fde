//! What is said of generations: which are kept, and which one was gone back to. Pure.

use crds::{Kept, Rollback};

use super::signed;
use crate::evaluate::Evaluation;
use crate::state::HuntView;

/// The rollback in effect.
pub(super) fn rollback(judged: &Evaluation) -> Option<Rollback> {
    let edit = judged.choice.rollback.as_ref()?;
    let text = |text: &Option<String>| text.as_deref().map(config_schemas::excerpt);
    Some(Rollback {
        generation: signed(edit.value),
        owner: text(&edit.signature.owner),
        reason: text(&edit.signature.reason),
        until: edit.signature.until,
    })
}

/// Every kept generation, oldest first.
pub(super) fn history(view: &HuntView<'_>) -> Vec<Kept> {
    let kept = view.desired.iter().map(|(generation, slot)| Kept {
        generation: signed(*generation),
        written_at: slot.value().map(|document| document.written_at),
    });
    kept.take(64).collect()
}
