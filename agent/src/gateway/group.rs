//! Sorting a request's events by partition, each partition's in the order given, and the bound on
//! one event. In: events. Out: groups with the events' places in the request. Pure.

use std::collections::BTreeMap;

use config_schemas::PartitionId;
use events::{Event, Problem, Vocabulary, partition_of};

/// Events of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) partition: PartitionId,
    pub(crate) events: Vec<Event>,
    /// Where each stood in the request.
    pub(crate) places: Vec<usize>,
}

/// Groups by partition. An event without a key (no parsed one is) goes as if its key were empty.
pub(crate) fn groups(events: Vec<Event>, vocabulary: &Vocabulary, partitions: u32) -> Vec<Group> {
    let mut groups: BTreeMap<PartitionId, (Vec<Event>, Vec<usize>)> = BTreeMap::new();
    for (place, event) in events.into_iter().enumerate() {
        let partition = partition_of(vocabulary.key(&event).unwrap_or_default(), partitions);
        let (events, places) = groups.entry(partition).or_default();
        events.push(event);
        places.push(place);
    }
    let group = |(partition, (events, places))| Group { partition, events, places };
    groups.into_iter().map(group).collect()
}

/// Most bytes that an event has beside its texts, as it stands in the log: tags, lengths, numbers.
const FRAME_BYTES_MAX: usize = 64;

/// Why `event` is above the bound, if it is.
pub(crate) fn too_large(event: &Event, bound: u64) -> Option<Problem> {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = event.id.as_str().len()
        + event.kind.as_str().len()
        + len(&event.player)
        + len(&event.treasure)
        + len(&event.payload_json);
    if (texts + FRAME_BYTES_MAX) as u64 <= bound {
        return None;
    }
    let mut encoded = Vec::new();
    event.clone().encode(&mut encoded);
    let allowed = format!("at most {bound} bytes (buffers.event)");
    (encoded.len() as u64 > bound)
        .then(|| Problem::new("event", format!("{} bytes", encoded.len()), allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{EventId, HuntGame, Kind, Machine as _};

    fn join(id: &str, player: &str) -> Event {
        let event = Event::new(EventId::new(id).unwrap(), Kind::Join, 1_700_000_000_000);
        Event { player: Some(player.to_owned()), ..event }
    }

    #[test]
    fn events_are_grouped_by_key_and_keep_their_order() {
        let check = |players: &[&str], partitions, expected: &[(u32, &[usize])]| {
            let events =
                players.iter().enumerate().map(|(at, player)| join(&format!("e{at}"), player));
            let grouped = groups(events.collect(), &HuntGame::vocabulary(), partitions);
            let shown: Vec<_> =
                grouped.iter().map(|group| (group.partition.0, group.places.clone())).collect();
            let expected: Vec<_> = expected.iter().map(|(id, at)| (*id, at.to_vec())).collect();
            assert_eq!(shown, expected);
            for group in grouped {
                let ids: Vec<_> = group.places.iter().map(|at| format!("e{at}")).collect();
                let found: Vec<_> = group.events.iter().map(|event| event.id.as_str()).collect();
                assert_eq!(found, ids);
            }
        };
        // The partitions of Kafka's own test vectors, see events::key.
        check(&["21", "21", "21"], 16, &[(12, &[0, 1, 2])]);
        check(&["foobar", "abc", "foobar"], 10, &[(6, &[0, 2]), (7, &[1])]);
        check(&["foobar", "abc"], 1, &[(0, &[0, 1])]);
        check(&[], 16, &[]);
    }

    #[test]
    fn the_bound_on_an_event_is_exact_and_named() {
        let mut event = join("e", &"p".repeat(128));
        event.payload_json = Some(format!("\"{}\"", "x".repeat(300)));
        let mut encoded = Vec::new();
        event.clone().encode(&mut encoded);
        let size = encoded.len() as u64;
        assert_eq!(too_large(&event, size), None);
        assert_eq!(too_large(&event, u64::MAX), None);
        let problem = too_large(&event, size - 1).unwrap();
        assert_eq!(problem.value, format!("{size} bytes"));
        assert_eq!(problem.allowed, format!("at most {} bytes (buffers.event)", size - 1));
    }
}
