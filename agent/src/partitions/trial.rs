//! A second state, which folds each outcome before the partition's own does. It is there once the
//! machine has failed to fold something: a failure leaves a state half of something, and opening
//! the partition anew for every such event would be a crash loop by another name. In: outcomes.
//! Out: whether the machine can fold them. Pure.

use events::{Machine, OutcomeRecord, Panicked, PartitionState};

/// Outcomes without a failure after which the trial ends: it costs folding twice, and the state's
/// memory once more.
const OUTCOMES: u32 = 65_536;

/// The state that may break.
pub(crate) struct Trial<M: Machine> {
    state: PartitionState<M>,
    left: u32,
}

impl<M: Machine> Trial<M> {
    pub(crate) fn new(of: &PartitionState<M>) -> Trial<M> {
        Trial { state: of.clone(), left: OUTCOMES }
    }

    /// Folds what is `state`'s next outcome. After an error it is as `state` again.
    pub(crate) fn fold(
        &mut self,
        state: &PartitionState<M>,
        outcome: &OutcomeRecord,
    ) -> Result<(), Panicked> {
        self.left = self.left.saturating_sub(1);
        let folded = self.state.try_fold(outcome);
        if folded.is_err() {
            *self = Trial::new(state);
        }
        folded.map(drop)
    }

    /// Folds a record that is not the machine's.
    pub(crate) fn note(&mut self, record: &OutcomeRecord) {
        self.state.fold(record);
    }

    /// Whether nothing has failed for a long time.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }
}
