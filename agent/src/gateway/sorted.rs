//! A request taken apart into what goes on and what is refused at once, and put together again as
//! answers in the order of the request. Pure.

use events::{Event, Problem};

use super::answer::{Answer, Refusal};
use crate::partitions::answer::Accepted;

/// An event as it was sent: parsed, or refused with the id that could be read.
pub(crate) type Parsed = Result<Event, (Option<String>, Vec<Problem>)>;

/// A request taken apart.
#[derive(Debug)]
pub(crate) struct Sorted {
    events: Vec<Event>,
    /// By place in the request; those of events that go on are settled later.
    answers: Vec<Answer>,
    /// Where each event that goes on stood.
    places: Vec<usize>,
}

impl Sorted {
    pub(crate) fn new(request: impl Iterator<Item = Parsed>) -> Sorted {
        let mut sorted = Sorted { events: Vec::new(), answers: Vec::new(), places: Vec::new() };
        for (place, parsed) in request.enumerate() {
            let (id, problems) = match parsed {
                Ok(event) => {
                    let id = event.id.to_string();
                    sorted.places.push(place);
                    sorted.events.push(event);
                    (Some(id), Vec::new())
                }
                Err(refused) => refused,
            };
            sorted.answers.push(Answer { id, result: Err(Refusal::Invalid { problems }) });
        }
        sorted
    }

    /// What goes on, in order.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// All answers, given the results of what went on, one for each and in order.
    pub(crate) fn answered(
        mut self,
        results: impl IntoIterator<Item = Result<Accepted, Refusal>>,
    ) -> Vec<Answer> {
        for (place, result) in self.places.into_iter().zip(results) {
            self.answers[place].result = result;
        }
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::{Epoch, Offset, PartitionId};
    use events::{EventId, Kind};

    #[test]
    fn answers_come_in_the_order_of_the_request() {
        let event = |id: &str| Ok(Event::new(EventId::new(id).unwrap(), Kind::Join, 0));
        let bad = |id: Option<&str>| {
            Err((id.map(str::to_owned), vec![Problem::new("kind", "missing", "a kind")]))
        };
        let request = [bad(None), event("a"), bad(Some("b")), event("c")];
        let mut sorted = Sorted::new(request.into_iter());
        let events = sorted.take_events();
        let accepted = |offset| {
            Ok(Accepted { partition: PartitionId(0), offset: Offset(offset), epoch: Epoch(1) })
        };
        let answers = sorted.answered((7..).map(accepted).take(events.len()));
        let shown: Vec<_> = answers
            .iter()
            .map(|answer| (answer.id.as_deref(), answer.result.as_ref().ok().map(|at| at.offset.0)))
            .collect();
        assert_eq!(
            shown,
            [(None, None), (Some("a"), Some(7)), (Some("b"), None), (Some("c"), Some(8))]
        );
    }
}
