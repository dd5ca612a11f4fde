//! What becomes of a record of the event log: it is played, or a dead letter that says why. In: a
//! record, the state before it, rules, the time. Out: an outcome that the log takes. Pure.

use broker::Record;
use config_schemas::{Config, Cuts, Offset, PartitionId};
use events::{
    Event, EventId, Machine, OUTCOME_BYTES_MAX, OutcomeRecord, PartitionState, Stamp, partition_of,
};

use super::dead_letters::Condemned;
use super::foreign;

/// What an outcome has beside what the machine says, at most, in bytes: ids, keys and numbers.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// What the record of deliveries has beside their ids, and what each id has beside its text.
const DELIVERED_BYTES: usize = 128;
const DELIVERED_ID_BYTES: usize = 8;

/// By what a batch is decided.
pub(crate) struct Deciding<'a, M: Machine> {
    pub(crate) rules: M::Rules,
    pub(crate) config: &'a Config,
    pub(crate) stamp: Stamp,
    pub(crate) cuts: &'a Cuts,
    /// What is not to be played.
    pub(crate) condemned: Option<Condemned>,
    /// Milliseconds since 1970: the arrival of what came by no gateway.
    pub(crate) now_millis: u64,
}

impl<M: Machine> Deciding<'_, M> {
    /// What becomes of a record; `None` if that is known already.
    pub(crate) fn outcome(
        &self,
        record: &Record,
        state: &PartitionState<M>,
    ) -> Option<OutcomeRecord> {
        let (offset, stamp) = (record.offset, self.stamp);
        let event = match record.ours {
            true => Event::decode(&record.payload).map_err(|error| error.to_string()),
            false => self.foreign(record),
        };
        let condemned = self.condemned.as_ref().filter(|it| it.offset == offset);
        match (event, condemned) {
            (Ok(event), None) => {
                let outcome = match self.elsewhere(&event, state) {
                    None => state.decide(offset, &event, &self.rules, stamp)?,
                    Some(home) => state.relay(offset, event.clone(), home, stamp)?,
                };
                match self.too_large(&outcome) {
                    None => Some(outcome),
                    Some(why) => {
                        state.dead_letter(offset, Some(event.id), &why, outcome.at_millis, stamp)
                    }
                }
            }
            (Ok(event), Some(Condemned { why, .. })) => {
                let (id, at) = (Some(event.id), event.received_millis);
                state.dead_letter(offset, id, why, at, stamp)
            }
            (Err(why), _) => state.dead_letter(offset, None, &why, self.now_millis, stamp),
        }
    }

    /// Whose the event is, if the hunt was cut finer under this partition: other clients of Kafka hear of
    /// new partitions late.
    fn elsewhere(&self, event: &Event, state: &PartitionState<M>) -> Option<PartitionId> {
        let (cut, vocabulary) = (state.ledger().cut()?, M::vocabulary());
        let home = partition_of(vocabulary.key(event).unwrap_or_default(), cut);
        (vocabulary.is_ordered(event) && home != self.stamp.partition).then_some(home)
    }

    /// An event that no owner appended.
    fn foreign(&self, record: &Record) -> Result<Event, String> {
        let place = foreign::Place {
            partition: self.stamp.partition,
            offset: record.offset,
            cuts: self.cuts,
        };
        foreign::read(&record.payload, &M::vocabulary(), place, self.now_millis)
    }

    /// Why the log does not take an outcome, if it does not.
    fn too_large(&self, outcome: &OutcomeRecord) -> Option<String> {
        let most = usize::try_from(self.config.record_bytes_max()).unwrap_or(usize::MAX);
        if most >= OUTCOME_BYTES_MAX + FRAME_BYTES_MAX {
            return None;
        }
        let mut encoded = Vec::new();
        outcome.clone().encode(&mut encoded);
        let bytes = encoded.len();
        (bytes > most).then(|| format!("an outcome of {bytes} bytes, and the log takes {most}"))
    }
}

/// The event whose outcome the log found too large, by its bytes; `places` has each outcome's event
/// and bytes.
pub(crate) fn not_taken(bytes: usize, places: &[(Offset, usize)]) -> Option<Condemned> {
    let (offset, _) = *places.iter().find(|(_, of)| *of == bytes)?;
    let why = format!("an outcome of {bytes} bytes is more than the log takes");
    Some(Condemned { offset, why })
}

/// What was delivered, in its order and in parts that the log takes as one record.
pub(crate) fn parts(delivered: Vec<EventId>, bytes_max: u64) -> Vec<Vec<EventId>> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let (mut parts, mut bytes) = (Vec::<Vec<EventId>>::new(), usize::MAX);
    for id in delivered {
        let more = id.as_str().len() + DELIVERED_ID_BYTES;
        match parts.last_mut() {
            Some(part) if bytes.saturating_add(more) <= bytes_max => {
                part.push(id);
                bytes += more;
            }
            _ => {
                parts.push(vec![id]);
                bytes = DELIVERED_BYTES + more;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use config_schemas::{BrokerKind, Epoch, PartitionId};
    use events::{HuntGame, Kind, Outcome, Verdict};

    use super::super::scripted::{Does, Scripted, step};
    use super::*;

    fn record(event: Event, ours: bool) -> Record {
        let mut payload = Vec::new();
        event.encode(&mut payload);
        Record { offset: Offset(0), epoch: Epoch(1), payload: payload.into(), ours }
    }

    fn outcome<M: Machine>(record: &Record, config: &Config) -> Outcome {
        let deciding = Deciding::<M> {
            rules: M::rules(&config.rules),
            config,
            stamp: Stamp { partition: PartitionId(0), epoch: Epoch(1), config_revision: 1 },
            cuts: &Cuts::default(),
            condemned: None,
            now_millis: 1,
        };
        let decided = deciding.outcome(record, &PartitionState::default()).unwrap();
        decided.outcome
    }

    #[test]
    fn only_what_an_owner_appended_may_say_what_agents_say() {
        let mut config = Config::default();
        config.partitions.count = 1;
        let won = Verdict { won: true, points: 1_000, winner: "ana".to_owned() };
        let said = Event {
            player: Some("ana".to_owned()),
            treasure: Some("chest".to_owned()),
            verdict: Some(won),
            ..Event::new(EventId::new("e").unwrap(), Kind::Verdict, 1)
        };
        let ours = outcome::<HuntGame>(&record(said.clone(), true), &config);
        assert!(matches!(ours, Outcome::Refused(_)), "it is played: {ours:?}");
        let theirs = outcome::<HuntGame>(&record(said, false), &config);
        assert!(
            matches!(&theirs, Outcome::DeadLetter { why } if why.contains("only agents")),
            "{theirs:?}"
        );
    }

    #[test]
    fn an_outcome_that_the_log_does_not_take_makes_its_event_a_dead_letter() {
        let check = |kind, message, taken| {
            let mut config = Config::default();
            (config.broker.kind, config.producer.message) = (kind, message);
            let talks = step("e", "large", Does::Talk);
            let found = outcome::<Scripted>(&record(talks, true), &config);
            let is_taken = matches!(found, Outcome::Custom { .. });
            assert_eq!(is_taken, taken, "{kind:?} {message}: {found:?}");
            assert_eq!(!is_taken, matches!(found, Outcome::DeadLetter { .. }));
        };
        check(BrokerKind::Kafka, 1 << 20, true);
        check(BrokerKind::Kafka, 8 << 10, true);
        check(BrokerKind::Kafka, 4 << 10, false);
        check(BrokerKind::Embedded, 4 << 10, true);
    }

    #[test]
    fn a_refused_outcome_leads_to_its_event() {
        let places = [(Offset(4), 10), (Offset(6), 999)];
        let found = not_taken(999, &places).map(|condemned| condemned.offset);
        assert_eq!(found, Some(Offset(6)));
        assert!(not_taken(11, &places).is_none());
    }

    #[test]
    fn deliveries_are_told_in_parts_that_are_not_too_large() {
        let check = |count: usize, bytes_max, expected: &[usize]| {
            let ids: Vec<_> =
                (0..count).map(|id| EventId::new(format!("{id:02}")).unwrap()).collect();
            let parts = parts(ids.clone(), bytes_max);
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            assert_eq!(parts.concat(), ids);
        };
        check(0, 1_000, &[]);
        check(30, 1 << 20, &[30]);
        check(30, 128 + 100, &[10, 10, 10]);
        check(3, 1, &[1, 1, 1]);
    }
}
