//! One line for each edit that is taken over or refused: who, what, from, to, at which revision.
//! In: what ran and what runs. Out: log lines, as few as there are changed fields.

use config_schemas::diff::Plan;
use config_schemas::layers::Effective;

/// Lines that one change may write; the rest is counted in one more.
const LINES_MAX: usize = 64;

/// Writes down what `plan` changes between `old` and `new`, and what is newly refused.
pub(crate) fn record(old: &Effective, new: &Effective, plan: &Plan) {
    let changes = plan.values().flat_map(|component| &component.changes);
    for change in changes.take(LINES_MAX) {
        let winner = new.winner(change.path);
        tracing::info!(
            field = %change.path,
            from = %change.from,
            to = %change.to,
            layer = ?winner.layer,
            owner = winner.signature.owner.as_deref().map(config_schemas::excerpt),
            revision = winner.revision.map(config_schemas::Revision::get),
            "setting changes"
        );
    }
    let fresh = new.refused.iter().filter(|refusal| !old.refused.contains(refusal));
    for refusal in fresh.take(LINES_MAX) {
        tracing::warn!(
            key = %refusal.key,
            found = %refusal.found,
            reason = %refusal.reason,
            code = refusal.code.as_str(),
            revision = refusal.revision.get(),
            "edit refused"
        );
    }
    if new.generation != old.generation {
        tracing::info!(from = ?old.generation, to = ?new.generation, "generation changes");
    }
}
