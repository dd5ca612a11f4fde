//! The gateway over gRPC: `Hunts` for producers and readers, `Peers` for other nodes, reflection
//! and health. In: requests of treasurehunt.v1. Out: answers with the codes that the proto
//! promises. I/O.

use std::pin::Pin;
use std::time::Duration;

use config_schemas::{Epoch, Offset, PartitionId, Revision};
use events::v1::hunts_server::{Hunts, HuntsServer};
use events::v1::peers_server::{Peers, PeersServer};
use events::{BATCH_EVENTS_MAX, BODY_BYTES_MAX, Cursor, FILE_DESCRIPTOR_SET, parse_wire, v1};
use futures::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::answer::{Answer, Refusal, Sum, millis, sum};
use super::bounds::{
    BUSY_RETRY, HAND_BYTES_MAX, LOG_RETRY, MAP_REVISION, OWNER_EPOCH, RETRY_AFTER_MS,
};
use super::hand;
use super::listen::incoming;
use super::outcomes::{OutcomesError, Placed, Wanted, follow};
use super::publish::Gateway;
use super::sorted::Parsed;
use crate::config::road::chain;

/// Calls under way on one connection; more are told to come back.
const CALLS_PER_CONNECTION_MAX: u32 = 256;
/// Longest call, beside streams: above the longest hold and forward that can be set.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How often an idle connection is proved, and how long the proof may take.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for calls under way when told to stop: streams of other services do not end by
/// themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest id that is repeated in an answer to an event that cannot be read.
const ECHO_LEN_MAX: usize = 64;

/// Why gRPC could not be served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The descriptors that were built in are broken.
    #[error("describing the services")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server failed.
    #[error("serving gRPC")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until `stop`: then streams end, calls under way are answered, and new ones refused.
pub async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    stop: CancellationToken,
) -> Result<(), GrpcError> {
    let service = Service { gateway, stop: stop.clone() };
    let hunts = HuntsServer::new(service.clone()).max_decoding_message_size(BODY_BYTES_MAX);
    let peers = PeersServer::new(service).max_decoding_message_size(HAND_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<HuntsServer<Service>>().await;
    reporter.set_serving::<PeersServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let ending = stop.clone();
    let serving = Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX as usize)
        .load_shed(true)
        .timeout(CALL_TIMEOUT)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(hunts)
        .add_service(peers)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming(listener), async move {
            ending.cancelled().await;
            reporter.set_not_serving::<HuntsServer<Service>>().await;
            reporter.set_not_serving::<PeersServer<Service>>().await;
        });
    tokio::select! {
        served = serving => Ok(served?),
        () = too_late(&stop) => {
            tracing::warn!("gRPC calls did not end in time");
            Ok(())
        }
    }
}

async fn too_late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}

#[derive(Clone)]
struct Service {
    gateway: Gateway,
    stop: CancellationToken,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Hunts for Service {
    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        let answers = self.answers(request.into_inner()).await?;
        match sum(&answers) {
            Sum::Overloaded { retry_after } => Err(overloaded(retry_after)),
            Sum::Unavailable { retry_after } => {
                Err(unavailable("no owner, or the log cannot be written", retry_after))
            }
            Sum::Accepted | Sum::Invalid | Sum::Mixed => Ok(Response::new(response(answers))),
        }
    }

    type PublishStreamStream = Answers<v1::PublishResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let state = Some((self.clone(), request.into_inner()));
        // One request after the other, so that those of one partition keep their order. An error
        // ends the stream.
        let answers = futures::stream::unfold(state, |state| async move {
            let (service, mut requests) = state?;
            let request = service.stop.run_until_cancelled(requests.message()).await?;
            let answers = match request {
                Ok(Some(request)) => service.answers(request).await,
                Ok(None) => return None,
                Err(status) => Err(status),
            };
            match answers {
                Ok(answers) => Some((Ok(response(answers)), Some((service, requests)))),
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
        let stop = self.stop.clone().cancelled_owned();
        let ended = unavailable("the agent stops; resume on another one", BUSY_RETRY);
        let watched = followed
            .map(move |placed| {
                let _for_as_long_as_the_stream = &admitted;
                placed.map(watched).map_err(|error| unreadable(&error))
            })
            .take_until(stop)
            .chain(futures::stream::once(async { Err(ended) }));
        Ok(Response::new(Box::pin(watched)))
    }
}

#[tonic::async_trait]
impl Peers for Service {
    async fn hand(
        &self,
        request: Request<v1::HandRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.hunt)?;
        bounded(request.events.len())?;
        let _admitted = self.gateway.admit_hand().ok_or_else(|| overloaded(BUSY_RETRY))?;
        match hand::take(&self.gateway, request).await {
            Ok(answers) => Ok(Response::new(response(answers))),
            Err(hand::Refused::WrongOwner { epoch, revision }) => Err(wrong_owner(epoch, revision)),
            Err(hand::Refused::Events(Refusal::Overloaded { retry_after })) => {
                Err(overloaded(retry_after))
            }
            Err(hand::Refused::Events(refusal)) => {
                let retry_after = refusal.retry_after().unwrap_or(BUSY_RETRY);
                Err(unavailable("the log cannot be written", retry_after))
            }
        }
    }
}

impl Service {
    async fn answers(&self, request: v1::PublishRequest) -> Result<Vec<Answer>, Status> {
        self.known(&request.hunt)?;
        bounded(request.events.len())?;
        let Some(_admitted) = self.gateway.admit() else {
            return Ok(self.gateway.busy(request.events.iter().map(|event| echo(&event.id))));
        };
        let parsed: Vec<Parsed> = self.gateway.intake(|intake| {
            let parse = |event: v1::Event| {
                let id = echo(&event.id);
                parse_wire(event, false, intake).map_err(|problems| (id, problems))
            };
            request.events.into_iter().map(parse).collect()
        });
        Ok(self.gateway.publish_parsed(parsed).await)
    }

    fn known(&self, hunt: &str) -> Result<(), Status> {
        if self.gateway.serves(hunt) {
            return Ok(());
        }
        let ours = self.gateway.plane().hunt();
        Err(Status::not_found(format!("this agent serves the hunt {ours} and no other")))
    }
}

fn bounded(events: usize) -> Result<(), Status> {
    if events <= BATCH_EVENTS_MAX {
        return Ok(());
    }
    let message = format!("{events} events; at most {BATCH_EVENTS_MAX} are taken at once");
    Err(Status::invalid_argument(message))
}

fn echo(id: &str) -> Option<String> {
    (!id.is_empty()).then(|| id.chars().take(ECHO_LEN_MAX).collect())
}

fn response(answers: Vec<Answer>) -> v1::PublishResponse {
    v1::PublishResponse { results: answers.into_iter().map(Into::into).collect() }
}

fn watched(placed: Placed) -> v1::WatchResponse {
    v1::WatchResponse { offset: placed.offset.0, record: Some(placed.record.into()) }
}

fn wanted(request: v1::WatchRequest, count: u32) -> Result<Wanted, Status> {
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
        return Err(Status::invalid_argument(message));
    }
    Ok(Wanted { partitions: partitions.into_iter().map(PartitionId).collect(), from })
}

fn overloaded(retry_after: Duration) -> Status {
    let message = "out of credits; nothing was queued";
    with_metadata(Status::resource_exhausted(message), RETRY_AFTER_MS, Some(millis(retry_after)))
}

fn unavailable(message: &str, retry_after: Duration) -> Status {
    with_metadata(Status::unavailable(message), RETRY_AFTER_MS, Some(millis(retry_after)))
}

fn wrong_owner(epoch: Option<Epoch>, revision: Option<Revision>) -> Status {
    let status = Status::failed_precondition("wrong owner");
    let status = with_metadata(status, OWNER_EPOCH, epoch.map(|epoch| epoch.0));
    with_metadata(status, MAP_REVISION, revision.map(Revision::get))
}

fn with_metadata(mut status: Status, key: &'static str, number: Option<u64>) -> Status {
    if let Some(number) = number {
        status.metadata_mut().insert(key, number.into());
    }
    status
}

fn unreadable(error: &OutcomesError) -> Status {
    let why = chain(error);
    match error {
        OutcomesError::Unknown => unavailable(&why, BUSY_RETRY),
        OutcomesError::Read { source, .. } if source.retryable() => unavailable(&why, LOG_RETRY),
        OutcomesError::Read { .. } | OutcomesError::Decode { .. } => {
            tracing::error!(error = %why, "outcomes cannot be read");
            Status::data_loss(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn statuses_carry_what_the_proto_promises() {
        let check = |status: Status, code, expected: &[(&str, &str)]| {
            assert_eq!(status.code(), code);
            for (key, value) in expected {
                assert_eq!(status.metadata().get(*key).unwrap(), value);
            }
            assert_eq!(status.metadata().len(), expected.len());
        };
        let ms = Duration::from_millis;
        check(overloaded(ms(7)), Code::ResourceExhausted, &[(RETRY_AFTER_MS, "7")]);
        check(unavailable("why", ms(0)), Code::Unavailable, &[(RETRY_AFTER_MS, "1")]);
        check(
            wrong_owner(Some(Epoch(3)), Revision::new(40)),
            Code::FailedPrecondition,
            &[(OWNER_EPOCH, "3"), (MAP_REVISION, "40")],
        );
        check(wrong_owner(None, None), Code::FailedPrecondition, &[]);
    }

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
