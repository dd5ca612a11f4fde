//! `Hunts` of treasurehunt.v1: what producers and readers call. In: requests. Out: answers with the
//! codes that the proto promises. I/O.

use std::pin::Pin;

use config_schemas::{Offset, PartitionId};
use events::v1::hunts_server::Hunts;
use events::{BATCH_EVENTS_MAX, Cursor, Flaw, Problem, parse_wire, v1};
use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::answer::{Answer, Sum, sum};
use super::bounds::BUSY_RETRY;
use super::metered::{Room, mistaken};
use super::outcomes::{OutcomesError, Placed, Wanted, follow};
use super::patient::patient;
use super::publish::Gateway;
use super::sorted::Parsed;
use super::status::{overloaded, unavailable, unreadable};

/// Longest id that is repeated in an answer to an event that cannot be read.
const ECHO_LEN_MAX: usize = 64;

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) gateway: Gateway,
    pub(crate) stop: CancellationToken,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Hunts for Service {
    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        let bytes = bytes_of(&request);
        let answers = self.answers(request.into_inner(), bytes).await?;
        match sum(&answers) {
            Sum::Overloaded { retry_after } => Err(overloaded(retry_after)),
            Sum::Unavailable { retry_after } => {
                Err(unavailable("no owner, or the log cannot be written", retry_after))
            }
            Sum::Accepted | Sum::Invalid | Sum::TooLarge | Sum::Mixed => {
                Ok(Response::new(response(answers)))
            }
        }
    }

    type PublishStreamStream = Answers<v1::PublishResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let admitted = self.gateway.admit_stream().ok_or_else(|| overloaded(BUSY_RETRY))?;
        let room = request.extensions().get::<Room>().cloned().unwrap_or_default();
        let state = Some((self.clone(), request.into_inner(), (admitted, room)));
        // One request after the other, so that those of one partition keep their order. An error
        // ends the stream.
        let answers = futures::stream::unfold(state, |state| async move {
            let (service, mut requests, admitted) = state?;
            let request = service.stop.run_until_cancelled(requests.message()).await?;
            let answers = match request {
                Ok(Some(request)) => service.answers(request, admitted.1.bytes()).await,
                Ok(None) => return None,
                Err(status) => Err(mistaken(&service.gateway, &status).unwrap_or(status)),
            };
            match answers {
                Ok(answers) => Some((Ok(response(answers)), Some((service, requests, admitted)))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.known(&request.hunt)?;
        let partitions =
            self.gateway.partitions().ok_or_else(|| unreadable(&OutcomesError::Unknown))?;
        let wanted = wanted(request, partitions)?;
        let admitted = self.gateway.admit_reader().ok_or_else(|| overloaded(BUSY_RETRY))?;
        let followed = follow(self.gateway.plane(), &wanted).map_err(|error| unreadable(&error))?;
        let why = "the agent stops, the hunt has more partitions now, or you read nothing; resume";
        let ended = unavailable(why, BUSY_RETRY);
        let (stop, mut routes) = (self.stop.clone(), self.gateway.plane().routes());
        let over = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = routes.wait_for(|routes| routes.cut() > partitions) => {}
            }
        };
        let watched = followed
            .map(move |placed| {
                let _for_as_long_as_the_stream = &admitted;
                placed.map(watched).map_err(|error| unreadable(&error))
            })
            .take_until(Box::pin(over));
        let watched = patient(watched, Err(ended));
        Ok(Response::new(Box::pin(watched)))
    }
}

impl Service {
    /// `bytes`: what the request takes in memory.
    async fn answers(
        &self,
        request: v1::PublishRequest,
        bytes: usize,
    ) -> Result<Vec<Answer>, Status> {
        self.known(&request.hunt)?;
        bounded(&self.gateway, request.events.len())?;
        let room = self.gateway.room_of(request.events.len());
        let (Some(_room), Some(admitted)) = (room, self.gateway.admit(bytes)) else {
            return Ok(self.gateway.busy(request.events.iter().map(|event| echo(&event.id))));
        };
        let parsed: Vec<Parsed> = self.gateway.parse(|context| {
            let parse = |event: v1::Event| {
                let id = echo(&event.id);
                parse_wire(event, false, context).map_err(|problems| (id, problems))
            };
            request.events.into_iter().map(parse).collect()
        });
        Ok(self.gateway.publish(&admitted, parsed).await)
    }

    pub(crate) fn known(&self, hunt: &str) -> Result<(), Status> {
        if self.gateway.serves(hunt) {
            return Ok(());
        }
        let ours = self.gateway.plane().hunt();
        self.gateway.count_unread("unknown_hunt");
        Err(Status::not_found(format!("this agent serves the hunt {ours} and no other")))
    }
}

/// As metered.
fn bytes_of<T>(request: &Request<T>) -> usize {
    request.extensions().get::<Room>().map_or(0, Room::bytes)
}

pub(crate) fn bounded(gateway: &Gateway, events: usize) -> Result<(), Status> {
    if events <= BATCH_EVENTS_MAX {
        return Ok(());
    }
    let message = format!("{events} events; at most {BATCH_EVENTS_MAX} are taken at once");
    gateway.count_mistake(&Problem::new("events", events, &*message).of(Flaw::TooMany));
    Err(Status::invalid_argument(message))
}

fn echo(id: &str) -> Option<String> {
    (!id.is_empty()).then(|| id.chars().take(ECHO_LEN_MAX).collect())
}

pub(crate) fn response(answers: Vec<Answer>) -> v1::PublishResponse {
    v1::PublishResponse { results: answers.into_iter().map(Into::into).collect() }
}

fn watched(placed: Placed) -> v1::WatchResponse {
    v1::WatchResponse { offset: placed.offset.0, record: Some(placed.record.into()) }
}

fn wanted(request: v1::WatchRequest, count: u32) -> Result<Wanted, Status> {
    let cursor = !request.cursor.is_empty();
    let from = if request.cursor.is_empty() {
        let place = |at: v1::Position| (PartitionId(at.partition), Offset(at.offset));
        Cursor(request.from.into_iter().map(place).collect())
    } else if request.from.is_empty() {
        request.cursor.parse::<Cursor>().map_err(|why| Status::invalid_argument(why.to_string()))?
    } else {
        return Err(Status::invalid_argument("from and cursor are both set; one is enough"));
    };
    let partitions: Vec<_> = match request.partitions.is_empty() {
        true => (0..count).collect(),
        // Naming one twice would send its records twice.
        false => std::collections::BTreeSet::from_iter(request.partitions).into_iter().collect(),
    };
    let named = partitions.iter().copied().chain(from.0.keys().map(|partition| partition.0));
    if let Some(number) = named.max().filter(|number| *number >= count) {
        let message = format!("partition {number}; the hunt has {count}, counted from 0");
        // a cursor is one of ours: its agent has heard of more partitions before this one
        let refused = if cursor { Status::unavailable } else { Status::invalid_argument };
        return Err(refused(message));
    }
    Ok(Wanted { partitions: partitions.into_iter().map(PartitionId).collect(), from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_begins_where_it_is_told_and_is_refused_beyond_the_hunt() {
        let check = |from: &[(u32, u64)], partitions: &[u32], cursor: &str, expected| {
            let position = |(partition, offset): &(u32, u64)| v1::Position {
                partition: *partition,
                offset: *offset,
            };
            let request = v1::WatchRequest {
                hunt: String::new(),
                from: from.iter().map(position).collect(),
                partitions: partitions.to_vec(),
                cursor: cursor.to_owned(),
            };
            let found = wanted(request, 3).ok().map(|wanted| {
                let partitions = wanted.partitions.iter().map(|id| id.0).collect();
                (partitions, wanted.from.to_string())
            });
            let expected: Option<(Vec<u32>, &str)> = expected;
            assert_eq!(found, expected.map(|(partitions, from)| (partitions, from.to_owned())));
        };
        check(&[], &[], "", Some((vec![0, 1, 2], "")));
        check(&[(1, 5)], &[], "", Some((vec![0, 1, 2], "1:5")));
        check(&[], &[2, 1, 2], "1:5,2:8", Some((vec![1, 2], "1:5,2:8")));
        check(&[], &[3], "", None);
        check(&[(3, 0)], &[], "", None);
        check(&[(1, 5)], &[], "1:5", None);
        check(&[], &[], "nonsense", None);
    }
}
