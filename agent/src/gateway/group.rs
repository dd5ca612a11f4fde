//! Sorting a request's events by partition, each partition's in the order given. In: events and
//! their partitions. Out: groups with the events' places in the request. Pure.

use std::collections::BTreeMap;

use config_schemas::PartitionId;
use events::Event;

/// Events of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) partition: PartitionId,
    pub(crate) events: Vec<Event>,
    /// Where each stood in the request.
    pub(crate) places: Vec<usize>,
}

/// Groups by partition: `partitions` has one for each event.
pub(crate) fn groups(events: Vec<Event>, partitions: &[PartitionId]) -> Vec<Group> {
    let mut groups: BTreeMap<PartitionId, (Vec<Event>, Vec<usize>)> = BTreeMap::new();
    for (place, (event, partition)) in events.into_iter().zip(partitions).enumerate() {
        let (events, places) = groups.entry(*partition).or_default();
        events.push(event);
        places.push(place);
    }
    let group = |(partition, (events, places))| Group { partition, events, places };
    groups.into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{EventId, Kind};

    #[test]
    fn events_are_grouped_by_partition_and_keep_their_order() {
        let check = |partitions: &[u32], expected: &[(u32, &[usize])]| {
            let event =
                |at| Event::new(EventId::new(format!("e{at}")).unwrap(), Kind::Join, 1_700_000);
            let events = (0..partitions.len()).map(event).collect();
            let partitions: Vec<_> = partitions.iter().copied().map(PartitionId).collect();
            let grouped = groups(events, &partitions);
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
        check(&[12, 12, 12], &[(12, &[0, 1, 2])]);
        check(&[6, 7, 6], &[(6, &[0, 2]), (7, &[1])]);
        check(&[], &[]);
    }
}
