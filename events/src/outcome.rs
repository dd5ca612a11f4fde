//! What became of an event, as typed values. A partition's state is the fold of these records, so
//! one record holds all that one event did: it is written whole or not at all. Pure.

use config_schemas::{Epoch, Offset, PartitionId};
use serde::{Deserialize, Serialize};

use crate::event::{Event, EventId};
use crate::parts;

/// Why an event was refused by the rules. Refusals are outcomes: the event was handled and its id
/// is spent, whatever changes afterwards. Sent again under the same id it is a duplicate of its
/// refusal, so that a retry can never do what the first try did not; who wants to try once more,
/// such as after a cooldown, sends a new event under a new id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// The player has not joined.
    NotJoined,
    /// The player is in the hunt already.
    AlreadyJoined,
    /// Clues are solved in order.
    ClueOutOfOrder {
        /// The clue that is next.
        expected: u32,
    },
    /// The treasure has fewer clues.
    NoSuchClue {
        /// The last one.
        last: u32,
    },
    /// The treasure cannot be claimed before its clues are solved.
    CluesMissing {
        /// How many.
        missing: u32,
    },
    /// The player claimed something a moment ago.
    CoolingDown {
        /// How much longer, in milliseconds.
        millis: u64,
    },
    /// The player has won this treasure already.
    AlreadyYours,
    /// The machine does not know this kind of event.
    UnknownKind,
    /// Events caused by events, too many in a row.
    ChainTooLong,
    /// A reason of another machine.
    Custom {
        /// In its words.
        why: String,
    },
}

/// Longest reason of a dead letter, in characters: a panic's message, not its backtrace.
pub const DEAD_LETTER_WHY_MAX: usize = 256;

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// The player is in the hunt.
    Joined {
        /// Who.
        player: String,
    },
    /// The player is somewhere else.
    Moved {
        /// Who.
        player: String,
        /// How often, all in all.
        moves: u64,
    },
    /// A clue is solved.
    Solved {
        /// By whom.
        player: String,
        /// Of which treasure.
        treasure: String,
        /// Which clue, counted from 1.
        clue: u32,
        /// What it brought.
        points: u64,
        /// The player's score now.
        total: u64,
    },
    /// The claim is let through and sent on to the treasure's partition.
    ClaimSent {
        /// Who claims.
        player: String,
        /// What.
        treasure: String,
    },
    /// At the treasure's partition: the one winner, for ever.
    Won {
        /// Who won.
        player: String,
        /// What.
        treasure: String,
        /// What it brings.
        points: u64,
    },
    /// At the treasure's partition: somebody has it already.
    Lost {
        /// Who claimed.
        player: String,
        /// What.
        treasure: String,
        /// Who has it.
        winner: String,
    },
    /// At the player's partition: the treasure's points have arrived.
    Scored {
        /// Who.
        player: String,
        /// For what.
        treasure: String,
        /// How many.
        points: u64,
        /// The player's score now.
        total: u64,
    },
    /// At the player's partition: the claim came too late.
    ClaimLost {
        /// Who claimed.
        player: String,
        /// What.
        treasure: String,
        /// Who has it.
        winner: String,
    },
    /// The rules said no.
    Refused(Refusal),
    /// The event could not be played: it is no event, or the machine failed on it, as it would
    /// again. It stays where it is in the event log, and the partition goes on behind it.
    DeadLetter {
        /// The reason, at most [`DEAD_LETTER_WHY_MAX`] characters.
        why: String,
    },
    /// This event id was handled before, be it that it was refused.
    Duplicate {
        /// There.
        of_source_offset: Offset,
    },
    /// These forwarded events are durable where they were sent.
    Delivered {
        /// Which.
        event_ids: Vec<EventId>,
    },
    /// From here on the hunt has more partitions: what this one keeps under keys of the new ones is
    /// frozen, and theirs.
    Split {
        /// How many it has.
        partitions: u32,
    },
    /// A part of the state of the partition that this one was cut from. Nothing is played before the
    /// last part is here.
    Inherited {
        /// Whose it was.
        from: PartitionId,
        /// How many partitions the hunt had when this one came to be.
        partitions: u32,
        /// See [`PartitionState::parts`](crate::PartitionState::parts).
        #[serde(serialize_with = "parts::to_text", deserialize_with = "parts::from_text")]
        part: Vec<u8>,
        /// Whether it is the last.
        last: bool,
    },
    /// The event's key is another partition's since the hunt was cut finer. It went on to it under
    /// its own id.
    Relayed {
        /// Whose it is.
        to: PartitionId,
    },
    /// An outcome of another machine.
    Custom {
        /// In its words.
        name: String,
        /// One JSON value, compact.
        data_json: String,
    },
}

impl Outcome {
    /// A dead letter, with the reason cut to its bound.
    pub fn dead_letter(why: &str) -> Outcome {
        Outcome::DeadLetter { why: why.chars().take(DEAD_LETTER_WHY_MAX).collect() }
    }

    /// Whether it is what became of an event, and not another word about one that has its outcome
    /// elsewhere, or about the partition itself.
    pub fn is_first(&self) -> bool {
        !self.is_of_the_partition() || matches!(self, Outcome::DeadLetter { .. })
    }

    /// Whether it is the partition's own: the machine is not asked to fold it.
    pub(crate) fn is_of_the_partition(&self) -> bool {
        matches!(
            self,
            Outcome::DeadLetter { .. }
                | Outcome::Duplicate { .. }
                | Outcome::Delivered { .. }
                | Outcome::Split { .. }
                | Outcome::Inherited { .. }
                | Outcome::Relayed { .. }
        )
    }
}

/// One record of a partition's outcome log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// Whose log.
    pub partition: PartitionId,
    /// Ownership under which it was decided.
    pub epoch: Epoch,
    /// Place of the event in the partition's event log; none where the outcome is no event's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_offset: Option<Offset>,
    /// Which event; none where it is no event's, and for poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// When the event was taken in, milliseconds since 1970.
    pub at_millis: u64,
    /// Revision of the configuration under which it was decided.
    pub config_revision: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Events sent to other partitions on account of it; pending until [`Outcome::Delivered`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Event>,
}
