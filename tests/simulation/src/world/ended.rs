//! What there is to tell of a world that came to rest. In: the world. Out: counts, and one number
//! that is the same whenever the same seed ran. Pure.

use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::World;

/// How a world ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Simulated time that it took.
    pub took: Duration,
    /// Events that were acknowledged.
    pub acknowledged: usize,
    /// Tries that were not.
    pub refused: u64,
    /// Moves that were begun.
    pub moves: usize,
    /// Partitions that an owner handed over.
    pub handed_over: usize,
    /// Partitions that were taken from an owner that was gone, or thought to be.
    pub forced: usize,
    /// Faults that happened.
    pub faults: usize,
    /// The same for the same seed, if all is deterministic.
    pub fingerprint: u64,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { took, acknowledged, refused, moves, handed_over, forced, faults, fingerprint } =
            self;
        write!(
            f,
            "{acknowledged} events acknowledged, {refused} tries refused, {moves} moves begun, {handed_over} \
             hand-overs, {forced} forced, {faults} \
             faults, at rest after {took:?}, fingerprint {fingerprint:016x}"
        )
    }
}

impl World<'_> {
    pub(super) fn ended(&self) -> Ended {
        let receipts = self.receipts.all();
        let mut hasher = SipHasher13::new();
        self.revision.hash(&mut hasher);
        for receipt in &receipts {
            (&receipt.acked.id, receipt.offset, receipt.epoch).hash(&mut hasher);
        }
        for line in &self.judge.lines {
            (line.offset, line.record.epoch.0, line.record.at_millis).hash(&mut hasher);
        }
        Ended {
            took: self.sim.elapsed(),
            acknowledged: receipts.len(),
            refused: self.receipts.refused(),
            moves: self.records.moves,
            handed_over: self.records.handed_over(),
            forced: self.records.forced,
            faults: self.faults,
            fingerprint: hasher.finish(),
        }
    }
}
