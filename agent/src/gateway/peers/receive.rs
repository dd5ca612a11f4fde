//! Taking in events that another node hands over. In: a batch for one partition, and under which
//! epoch the sender believes this node to own it. Out: answers, or that it is not so. I/O.

use config_schemas::{Epoch, PartitionId, Revision};
use events::{Event, parse_wire, v1};

use crate::gateway::answer::{Answer, Refusal};
use crate::gateway::carry::refusal;
use crate::gateway::publish::Gateway;
use crate::gateway::sorted::Sorted;
use crate::partitions::answer::{NotTaken, Source};

/// Why nothing of the batch was taken in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// This node does not own the partition under that epoch; what it knows instead.
    WrongOwner { epoch: Option<Epoch>, revision: Option<Revision> },
    /// It does, and cannot take them in.
    Events(Refusal),
}

/// Appends a batch.
pub(crate) async fn take(
    gateway: &Gateway,
    request: v1::HandRequest,
) -> Result<Vec<Answer>, Refused> {
    let partition = PartitionId(request.partition);
    let routes = gateway.plane().routes().borrow().clone();
    let known = routes.of(partition).map(|route| route.epoch);
    let owned = routes.of(partition).is_some_and(|route| route.mine);
    if !owned || known != Some(Epoch(request.epoch)) {
        return Err(Refused::WrongOwner { epoch: known, revision: routes.revision });
    }
    let mut sorted = gateway.parse(|context| {
        Sorted::new(request.events.into_iter().map(|wire| {
            let id = wire.id.clone();
            parse_wire(wire, true, context).map_err(|problems| (Some(id), problems))
        }))
    });
    let events = sorted.take_events();
    if events.is_empty() {
        return Ok(sorted.answered([]));
    }
    let source = source(&events);
    match gateway.plane().append(partition, events, source).await {
        Ok(accepted) => Ok(sorted.answered(accepted.into_iter().map(Ok))),
        Err(NotTaken::NotMine { epoch }) => {
            Err(Refused::WrongOwner { epoch: epoch.or(known), revision: routes.revision })
        }
        Err(not_taken) => Err(Refused::Events(refusal(not_taken))),
    }
}

/// Events that events caused come from an outbox, whose length bounds them; a producer's need
/// credits. A gateway never mixes the two.
fn source(events: &[Event]) -> Source {
    let caused = |event: &Event| event.id.as_str().contains('~');
    if events.iter().all(caused) { Source::Outbox } else { Source::Producer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{EventId, Kind};

    #[test]
    fn only_a_batch_of_caused_events_needs_no_credits() {
        let cause = EventId::new("e").unwrap();
        let event = |id: &EventId| Event::new(id.clone(), Kind::Claim, 0);
        let caused = cause.caused(0).unwrap();
        let check = |ids: &[&EventId], expected| {
            let events: Vec<_> = ids.iter().map(|id| event(id)).collect();
            assert_eq!(source(&events), expected);
        };
        check(&[&caused], Source::Outbox);
        check(&[&cause], Source::Producer);
        check(&[&caused, &cause], Source::Producer);
    }
}
