//! Events that ordinary clients of Kafka wrote straight into the event log, as JSON or protobuf:
//! nobody has looked at them before. In: their bytes and where they stand. Out: an event as the
//! gateway would have made it, or why there is none. Pure.

use config_schemas::{Cuts, Offset, PartitionId};
use events::{
    Event, EventId, ParseContext, Problem, Vocabulary, parse_body, parse_bytes, partition_of,
};

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    /// Of the hunt. A producer may go by an earlier number of partitions than the one in force.
    pub(crate) cuts: &'a Cuts,
}

/// Whether it is JSON: no event in protobuf begins like this, as no message has such a field.
fn is_json(payload: &[u8]) -> bool {
    payload.trim_ascii_start().first() == Some(&b'{')
}

/// The event, by the same rules as over HTTP and gRPC: what only agents may say is refused. One that
/// brings no id is known by its place, which is the same however often it is read.
pub(crate) fn read(
    payload: &[u8],
    vocabulary: &Vocabulary,
    place: Place<'_>,
    now_millis: u64,
) -> Result<Event, String> {
    let Place { partition, offset, cuts } = place;
    let id = EventId::new(format!("kafka:{partition}:{offset}"));
    let id = id.ok_or_else(|| format!("offset {offset} makes no id"))?;
    let mut new_id = || id.clone();
    let mut context = ParseContext { vocabulary, now_millis, new_id: &mut new_id };
    let event = if is_json(payload) {
        let parsed = parse_body(payload, &mut context).map_err(|problem| problem.to_string())?;
        let [event] = <[_; 1]>::try_from(parsed).map_err(|all| format!("{} events", all.len()))?;
        event.map_err(|problems| named(&problems))?
    } else {
        let parsed = parse_bytes(payload, &mut context).map_err(|error| error.to_string())?;
        parsed.map_err(|problems| named(&problems))?
    };
    let key = vocabulary.key(&event).unwrap_or_default();
    let homes = || cuts.counts().iter().rev().map(|count| partition_of(key, *count));
    if let Some(home) = homes().next()
        && homes().all(|home| home != partition)
    {
        return Err(format!(
            "it stands in partition {partition}, and its key {key:?} belongs to {home}: send it \
             with that key, and leave the partition to the producer's default (murmur2)"
        ));
    }
    Ok(event)
}

fn named(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use events::{HuntGame, Kind, Machine as _, Verdict};

    use super::*;

    fn cuts(counts: &[u32]) -> Cuts {
        let (last, before) = counts.split_last().unwrap();
        let meta = serde_json::json!({"format": 1, "storeEpoch": "e", "uid": "u",
            "partitions": last, "before": before, "hash": "murmur2"});
        Cuts::of(&serde_json::from_value(meta).unwrap())
    }

    type Expected<'a> = Result<(&'a str, &'a str), &'a str>;

    fn check_bytes(payload: &[u8], partition: u32, expected: Expected<'_>) {
        let cuts = cuts(&[16]);
        let place = Place { partition: PartitionId(partition), offset: Offset(7), cuts: &cuts };
        let read = read(payload, &HuntGame::vocabulary(), place, 1_000);
        match (&read, expected) {
            (Ok(event), Ok((id, kind))) => {
                assert_eq!((event.id.as_str(), event.kind.as_str()), (id, kind));
                assert_eq!(event.received_millis, 1_000);
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            _ => panic!("{payload:?}: {read:?}"),
        }
    }

    fn check(payload: &str, partition: u32, expected: Expected<'_>) {
        check_bytes(payload.as_bytes(), partition, expected);
    }

    fn encoded(event: Event) -> Vec<u8> {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        bytes
    }

    fn event(id: &str, kind: Kind) -> Event {
        let player = Some("ana".to_owned());
        Event { player, ..Event::new(EventId::new(id).unwrap(), kind, 5) }
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
        check("not an event", home, Err("not protobuf"));
    }

    #[test]
    fn protobuf_that_no_gateway_wrote_is_held_to_the_same_rules() {
        let home = partition_of("ana", 16).0;
        let join = || event("x-1", Kind::Join);
        check_bytes(&encoded(join()), home, Ok(("x-1", "join")));
        check_bytes(&encoded(join()), home + 1, Err("belongs to"));
        check_bytes(&encoded(Event { player: None, ..join() }), home, Err("player"));
        check_bytes(&encoded(event("x-1", Kind::Custom("dance".to_owned()))), home, Err("kind"));
        let caused = Event { id: join().id.caused(0).unwrap(), ..join() };
        check_bytes(&encoded(caused), home, Err("id"));
        let claim =
            Event { treasure: Some("chest".to_owned()), ..event("x", Kind::ClaimForwarded) };
        let home_of_chest = partition_of("chest", 16).0;
        check_bytes(&encoded(claim), home_of_chest, Err("kind"));
        let won = Verdict { won: true, points: 1_000, winner: "ana".to_owned() };
        let treasure = Some("chest".to_owned());
        let verdict = Event { treasure, verdict: Some(won), ..event("x", Kind::Verdict) };
        check_bytes(&encoded(verdict.clone()), home, Err("only agents"));
        check_bytes(&encoded(Event { verdict: None, ..verdict }), home, Err("kind"));
        let won = Event { kind: Kind::Join, ..join() };
        check_bytes(
            &encoded(Event { payload_json: Some("{".to_owned()), ..won }),
            home,
            Err("json"),
        );
    }
}
