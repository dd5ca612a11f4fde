//! Between typed values and protobuf: events as they stand in event logs, outcome records as they
//! stand in outcome logs and go to watchers. Whatever is not understood is an error. Pure.

use config_schemas::{Epoch, Offset, PartitionId};
use prost::Message;

use crate::event::{Event, EventId, Kind, Problem, Verdict};
use crate::outcome::{Outcome, OutcomeRecord, Refusal};
use crate::v1;
use crate::v1::event::Internal;
use crate::v1::outcome_record::Outcome as Wire;

/// Why bytes of a log are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf of this type.
    #[error("record is not protobuf of treasurehunt.v1")]
    Protobuf(#[from] prost::DecodeError),
    /// A required part is not there, or from a newer version.
    #[error("record lacks {0}, or it is of a kind that this build does not know")]
    Missing(&'static str),
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Event {
    /// Appends the form that stands in event logs.
    pub fn encode(self, into: &mut Vec<u8>) {
        v1::Event::from(self).encode_raw(into);
    }

    /// Reads the form that stands in event logs. Bounds were checked when it was taken in.
    pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
        Event::try_from(v1::Event::decode(bytes)?)
    }
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> v1::Event {
        v1::Event {
            id: event.id.into(),
            kind: event.kind.into(),
            player: event.player.unwrap_or_default(),
            treasure: event.treasure.unwrap_or_default(),
            clue: event.clue.unwrap_or_default(),
            at_millis: event.at_millis.unwrap_or_default(),
            payload_json: event.payload_json.unwrap_or_default(),
            received_millis: event.received_millis,
            internal: event.verdict.map(|verdict| {
                let Verdict { won, points, winner } = verdict;
                Internal::Verdict(v1::Verdict { won, points, winner })
            }),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = DecodeError;

    fn try_from(wire: v1::Event) -> Result<Event, DecodeError> {
        if wire.id.is_empty() {
            return Err(DecodeError::Missing("id"));
        }
        if wire.kind.is_empty() {
            return Err(DecodeError::Missing("kind"));
        }
        Ok(Event {
            id: EventId::trusted(wire.id),
            kind: Kind::from(wire.kind),
            player: some(wire.player),
            treasure: some(wire.treasure),
            clue: (wire.clue != 0).then_some(wire.clue),
            at_millis: (wire.at_millis != 0).then_some(wire.at_millis),
            payload_json: some(wire.payload_json),
            received_millis: wire.received_millis,
            verdict: wire.internal.map(|Internal::Verdict(verdict)| Verdict {
                won: verdict.won,
                points: verdict.points,
                winner: verdict.winner,
            }),
        })
    }
}

impl From<Problem> for v1::Problem {
    fn from(problem: Problem) -> v1::Problem {
        v1::Problem { field: problem.field, value: problem.value, allowed: problem.allowed }
    }
}

impl OutcomeRecord {
    /// Appends the form that stands in outcome logs.
    pub fn encode(self, into: &mut Vec<u8>) {
        v1::OutcomeRecord::from(self).encode_raw(into);
    }

    /// Reads the form that stands in outcome logs.
    pub fn decode(bytes: &[u8]) -> Result<OutcomeRecord, DecodeError> {
        OutcomeRecord::try_from(v1::OutcomeRecord::decode(bytes)?)
    }
}

impl From<OutcomeRecord> for v1::OutcomeRecord {
    fn from(record: OutcomeRecord) -> v1::OutcomeRecord {
        v1::OutcomeRecord {
            partition: record.partition.0,
            epoch: record.epoch.0,
            source_offset: record.source_offset.map(|offset| offset.0),
            event_id: record.event_id.map(String::from).unwrap_or_default(),
            at_millis: record.at_millis,
            config_revision: record.config_revision,
            forwards: record.forwards.into_iter().map(v1::Event::from).collect(),
            outcome: Some(record.outcome.into()),
        }
    }
}

impl TryFrom<v1::OutcomeRecord> for OutcomeRecord {
    type Error = DecodeError;

    fn try_from(wire: v1::OutcomeRecord) -> Result<OutcomeRecord, DecodeError> {
        let outcome = wire.outcome.ok_or(DecodeError::Missing("outcome"))?;
        let forwards = wire.forwards.into_iter().map(Event::try_from);
        Ok(OutcomeRecord {
            partition: PartitionId(wire.partition),
            epoch: Epoch(wire.epoch),
            source_offset: wire.source_offset.map(Offset),
            event_id: some(wire.event_id).map(EventId::trusted),
            at_millis: wire.at_millis,
            config_revision: wire.config_revision,
            outcome: outcome.try_into()?,
            forwards: forwards.collect::<Result<_, _>>()?,
        })
    }
}

impl From<Outcome> for Wire {
    fn from(outcome: Outcome) -> Wire {
        match outcome {
            Outcome::Joined { player } => Wire::Joined(v1::Joined { player }),
            Outcome::Moved { player, moves } => Wire::Moved(v1::Moved { player, moves }),
            Outcome::Solved { player, treasure, clue, points, total } => {
                Wire::Solved(v1::Solved { player, treasure, clue, points, total })
            }
            Outcome::ClaimSent { player, treasure } => {
                Wire::ClaimSent(v1::ClaimSent { player, treasure })
            }
            Outcome::Won { player, treasure, points } => {
                Wire::Won(v1::Won { player, treasure, points })
            }
            Outcome::Lost { player, treasure, winner } => {
                Wire::Lost(v1::Lost { player, treasure, winner })
            }
            Outcome::Scored { player, treasure, points, total } => {
                Wire::Scored(v1::Scored { player, treasure, points, total })
            }
            Outcome::ClaimLost { player, treasure, winner } => {
                Wire::ClaimLost(v1::ClaimLost { player, treasure, winner })
            }
            Outcome::Refused(refusal) => Wire::Refused(refusal.into()),
            Outcome::DeadLetter { why } => Wire::DeadLetter(v1::DeadLetter { why }),
            Outcome::Duplicate { of_source_offset } => {
                Wire::Duplicate(v1::Duplicate { of_source_offset: of_source_offset.0 })
            }
            Outcome::Delivered { event_ids } => {
                let event_ids = event_ids.into_iter().map(String::from).collect();
                Wire::Delivered(v1::Delivered { event_ids })
            }
            Outcome::Split { partitions } => Wire::Split(v1::Split { partitions }),
            Outcome::Inherited { from: PartitionId(from), partitions, part, last } => {
                Wire::Inherited(v1::Inherited { from, partitions, part, last })
            }
            Outcome::Relayed { to: PartitionId(to) } => Wire::Relayed(v1::Relayed { to }),
            Outcome::Custom { name, data_json } => Wire::Custom(v1::Custom { name, data_json }),
        }
    }
}

impl TryFrom<Wire> for Outcome {
    type Error = DecodeError;

    fn try_from(wire: Wire) -> Result<Outcome, DecodeError> {
        Ok(match wire {
            Wire::Joined(v1::Joined { player }) => Outcome::Joined { player },
            Wire::Moved(v1::Moved { player, moves }) => Outcome::Moved { player, moves },
            Wire::Solved(v1::Solved { player, treasure, clue, points, total }) => {
                Outcome::Solved { player, treasure, clue, points, total }
            }
            Wire::ClaimSent(v1::ClaimSent { player, treasure }) => {
                Outcome::ClaimSent { player, treasure }
            }
            Wire::Won(v1::Won { player, treasure, points }) => {
                Outcome::Won { player, treasure, points }
            }
            Wire::Lost(v1::Lost { player, treasure, winner }) => {
                Outcome::Lost { player, treasure, winner }
            }
            Wire::Scored(v1::Scored { player, treasure, points, total }) => {
                Outcome::Scored { player, treasure, points, total }
            }
            Wire::ClaimLost(v1::ClaimLost { player, treasure, winner }) => {
                Outcome::ClaimLost { player, treasure, winner }
            }
            Wire::Refused(refused) => Outcome::Refused(refused.try_into()?),
            Wire::DeadLetter(v1::DeadLetter { why }) => Outcome::DeadLetter { why },
            Wire::Duplicate(v1::Duplicate { of_source_offset }) => {
                Outcome::Duplicate { of_source_offset: Offset(of_source_offset) }
            }
            Wire::Delivered(v1::Delivered { event_ids }) => {
                let event_ids = event_ids.into_iter().map(EventId::trusted).collect();
                Outcome::Delivered { event_ids }
            }
            Wire::Split(v1::Split { partitions }) => Outcome::Split { partitions },
            Wire::Inherited(v1::Inherited { from, partitions, part, last }) => {
                Outcome::Inherited { from: PartitionId(from), partitions, part, last }
            }
            Wire::Relayed(v1::Relayed { to }) => Outcome::Relayed { to: PartitionId(to) },
            Wire::Custom(v1::Custom { name, data_json }) => Outcome::Custom { name, data_json },
        })
    }
}

impl From<Refusal> for v1::Refused {
    fn from(refusal: Refusal) -> v1::Refused {
        let (reason, number, detail) = match refusal {
            Refusal::NotJoined => ("not_joined", 0, String::new()),
            Refusal::AlreadyJoined => ("already_joined", 0, String::new()),
            Refusal::ClueOutOfOrder { expected } => {
                ("clue_out_of_order", u64::from(expected), String::new())
            }
            Refusal::NoSuchClue { last } => ("no_such_clue", u64::from(last), String::new()),
            Refusal::CluesMissing { missing } => {
                ("clues_missing", u64::from(missing), String::new())
            }
            Refusal::CoolingDown { millis } => ("cooling_down", millis, String::new()),
            Refusal::AlreadyYours => ("already_yours", 0, String::new()),
            Refusal::UnknownKind => ("unknown_kind", 0, String::new()),
            Refusal::ChainTooLong => ("chain_too_long", 0, String::new()),
            Refusal::Custom { why } => ("custom", 0, why),
        };
        v1::Refused { reason: reason.to_owned(), number, detail }
    }
}

impl TryFrom<v1::Refused> for Refusal {
    type Error = DecodeError;

    fn try_from(wire: v1::Refused) -> Result<Refusal, DecodeError> {
        let clue = u32::try_from(wire.number);
        let clue = || clue.map_err(|_| DecodeError::Missing("a clue's number"));
        Ok(match wire.reason.as_str() {
            "not_joined" => Refusal::NotJoined,
            "already_joined" => Refusal::AlreadyJoined,
            "clue_out_of_order" => Refusal::ClueOutOfOrder { expected: clue()? },
            "no_such_clue" => Refusal::NoSuchClue { last: clue()? },
            "clues_missing" => Refusal::CluesMissing { missing: clue()? },
            "cooling_down" => Refusal::CoolingDown { millis: wire.number },
            "already_yours" => Refusal::AlreadyYours,
            "unknown_kind" => Refusal::UnknownKind,
            "chain_too_long" => Refusal::ChainTooLong,
            "custom" => Refusal::Custom { why: wire.detail },
            _ => return Err(DecodeError::Missing("a reason")),
        })
    }
}
