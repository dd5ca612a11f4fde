//! What the checker can find, in words and counted. In: findings. Out: text, counts. Pure.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "wrong", rename_all = "camelCase")]
pub enum Finding {
    /// Acknowledged, and without an outcome.
    Lost { event: String },
    /// Played more than once.
    Doubled { event: String, times: usize },
    /// Played before an event of the same player that was acknowledged before this one was sent.
    Reordered { event: String, before: String },
    /// More than one player won it.
    Winners { treasure: String, winners: Vec<String> },
    /// Won or scored not exactly once.
    Points { treasure: String, won: usize, scored: usize },
    /// Played elsewhere than where its producer was told that it stands.
    Misplaced { event: String, told: u32, played: u32 },
    /// Its verdict did not come back exactly once.
    Verdicts { claim: String, count: usize },
    /// Refused by the rules, though its player kept them.
    Refused { event: String, why: String },
    /// Played, though its producer was told that nothing of it was kept.
    Kept { event: String, code: String },
    /// What a player did was counted from another number on: a state was lost, or is in two places.
    Miscounted { player: String, moves: usize, missing: u64 },
    /// An outcome log does not only grow: a second writer was believed.
    Log { partition: u32, what: String },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Lost { event } => write!(f, "{event} was acknowledged and is lost"),
            Finding::Doubled { event, times } => write!(f, "{event} was played {times} times"),
            Finding::Reordered { event, before } => {
                write!(f, "{event} was played before {before}, which was acknowledged earlier")
            }
            Finding::Winners { treasure, winners } => {
                write!(f, "{treasure} has several winners: {}", winners.join(", "))
            }
            Finding::Points { treasure, won, scored } => {
                write!(f, "{treasure} was won {won} times and scored {scored} times")
            }
            Finding::Misplaced { event, told, played } => {
                write!(f, "{event} stands in partition {told} and was played in {played}")
            }
            Finding::Verdicts { claim, count } => {
                write!(f, "the claim {claim} has {count} verdicts")
            }
            Finding::Refused { event, why } => write!(f, "{event} was refused: {why}"),
            Finding::Kept { event, code } => {
                write!(f, "{event} was turned away with {code} and played all the same")
            }
            Finding::Miscounted { player, moves, missing } => {
                write!(f, "{player} has {moves} moves, and none of them is the {missing}th")
            }
            Finding::Log { partition, what } => write!(f, "partition {partition}: {what}"),
        }
    }
}

/// How many acknowledged events went wrong, by the three ways that matter to a producer, and
/// treasures with two winners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Without an outcome.
    pub lost: usize,
    /// Played more than once.
    pub doubled: usize,
    /// Played before an event of the same player that was acknowledged earlier.
    pub reordered: usize,
    /// Treasures with more than one winner.
    pub several_winners: usize,
    /// Whatever else is wrong.
    pub other: usize,
}

/// Counts findings by their kind.
pub fn count(findings: &[Finding]) -> Tally {
    let mut tally = Tally::default();
    for finding in findings {
        *match finding {
            Finding::Lost { .. } => &mut tally.lost,
            Finding::Doubled { .. } => &mut tally.doubled,
            Finding::Reordered { .. } => &mut tally.reordered,
            Finding::Winners { .. } => &mut tally.several_winners,
            _ => &mut tally.other,
        } += 1;
    }
    tally
}
