//! What is broken on purpose in agents of a simulation, to see that it is found. One value per
//! thread, and so per simulated world. Feature `sim`; not for production. Pure.

use std::cell::Cell;

use events::{Machine, PartitionState};

thread_local! {
    static SABOTAGE: Cell<Sabotage> = const { Cell::new(Sabotage { parted: false, undrained: false, hasty: false }) };
}

/// How often the offset is kept that was parted from its effects, in events.
const KEPT_EVERY: u64 = 16;

/// What is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// A new owner reads on at an offset that was kept beside the effects and not with them, and
    /// knows no ids: the check that an event was handled before is gone.
    pub parted: bool,
    /// A partition is handed over without waiting for what is still to be played.
    pub undrained: bool,
    /// A partition that is new serves without waiting for what is its own.
    pub hasty: bool,
}

/// Breaks the agents of this thread.
pub fn set_sabotage(sabotage: Sabotage) {
    SABOTAGE.set(sabotage);
}

pub(crate) fn sabotage() -> Sabotage {
    SABOTAGE.get()
}

impl Sabotage {
    pub(crate) fn break_rebuilt<M: Machine>(self, state: &mut PartitionState<M>) {
        if self.parted {
            state.part_offset(KEPT_EVERY);
        }
    }
}
