//! Events that ordinary clients of Kafka wrote straight into the event log, as JSON: nobody has
//! looked at them before. In: their bytes and where they stand. Out: an event as the gateway would
//! have made it, or why there is none. Pure.

use config_schemas::{Offset, PartitionId};
use events::{Event, EventId, ParseContext, Vocabulary, parse_body, partition_of};

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    /// Of the hunt.
    pub(crate) partitions: u32,
}

/// Whether the bytes are not ours: no event that a gateway wrote begins like this, as no message
/// has such a field.
pub(crate) fn is_json(payload: &[u8]) -> bool {
    payload.trim_ascii_start().first() == Some(&b'{')
}

/// The event, by the same rules as over HTTP. One that brings no id is known by its place, which is
/// the same however often it is read.
pub(crate) fn read(
    payload: &[u8],
    vocabulary: &Vocabulary,
    place: Place,
    now_millis: u64,
) -> Result<Event, String> {
    let Place { partition, offset, partitions } = place;
    let id = EventId::new(format!("kafka:{partition}:{offset}"));
    let id = id.ok_or_else(|| format!("offset {offset} makes no id"))?;
    let mut new_id = || id.clone();
    let mut context = ParseContext { vocabulary, now_millis, new_id: &mut new_id };
    let parsed = parse_body(payload, &mut context).map_err(|problem| problem.to_string())?;
    let [event] = <[_; 1]>::try_from(parsed).map_err(|all| format!("{} events", all.len()))?;
    let event = event.map_err(|problems| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })?;
    let key = vocabulary.key(&event).unwrap_or_default();
    let home = partition_of(key, partitions);
    if home != partition {
        return Err(format!(
            "it stands in partition {partition}, and its key {key:?} belongs to {home}: send it \
             with that key, and leave the partition to the producer's default (murmur2)"
        ));
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use events::{HuntGame, Machine as _};

    use super::*;

    fn check(payload: &str, partition: u32, expected: Result<(&str, &str), &str>) {
        let place = Place { partition: PartitionId(partition), offset: Offset(7), partitions: 16 };
        let read = read(payload.as_bytes(), &HuntGame::vocabulary(), place, 1_000);
        match (&read, expected) {
            (Ok(event), Ok((id, kind))) => {
                assert_eq!((event.id.as_str(), event.kind.as_str()), (id, kind));
                assert_eq!(event.received_millis, 1_000);
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            _ => panic!("{payload}: {read:?}"),
        }
    }

    #[test]
    fn what_another_client_wrote_is_an_event_or_says_why_not() {
        let home = partition_of("ana", 16).0;
        let join = r#"{"kind":"join","player":"ana"}"#;
        check(join, home, Ok((&format!("kafka:{home}:7"), "join")));
        check(r#" {"id":"x-1","kind":"join","player":"ana"}"#, home, Ok(("x-1", "join")));
        check(join, home + 1, Err("belongs to"));
        check(r#"{"kind":"dance","player":"ana"}"#, home, Err("kind"));
        check(r#"{"kind":"join"}"#, home, Err("player"));
        check("{", home, Err("body"));
        check(&format!("{join}\n{join}"), home, Err("2 events"));
    }

    #[test]
    fn what_a_gateway_writes_is_never_taken_for_json() {
        let mut bytes = Vec::new();
        let place = Place { partition: partition_of("ana", 1), offset: Offset(1), partitions: 1 };
        let json = br#"{"kind":"join","player":"ana"}"#;
        let event = read(json, &HuntGame::vocabulary(), place, 5).unwrap();
        event.encode(&mut bytes);
        assert!(is_json(json) && !is_json(&bytes) && !is_json(b""));
    }
}
