//! The gRPC side of passing events on to the node that serves their partition. In: a route and
//! events. Out: what became of the attempt. Channels are kept for the nodes that have routes, and
//! connect when first used. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use config_schemas::{Epoch, HuntName, Offset, PartitionId, Revision};
use events::v1::peers_client::PeersClient;
use events::{BODY_BYTES_MAX, Event, v1};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Status};

use super::pass::PASS;
use crate::gateway::answer::{Refusal, too_large};
use crate::gateway::bounds::{MAP_REVISION, PEER_BATCH_BYTES_MAX, RETRY_AFTER_MS};
use crate::gateway::delivery::{Attempt, Away};
use crate::partitions::answer::Accepted;
use crate::partitions::routes::{Route, Routes};

/// Longest time for a connection to come about: nodes of a hunt are near each other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often an idle connection is proved, and how long the proof may take: together well under
/// the lease of a node that is cut off.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls under way to one node; more wait, within their own deadline.
const CALLS_MAX: usize = 128;
/// Told to producers when a node refuses for want of room and does not say for how long.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What each event of a batch got.
pub(crate) type BatchResults = Vec<Result<Accepted, Refusal>>;

/// Channels to other nodes, by address.
#[derive(Debug, Default)]
pub(crate) struct Peers(Mutex<BTreeMap<String, Channel>>);

/// Events on their way to another node.
pub(crate) struct Batch {
    pub(crate) hunt: HuntName,
    pub(crate) partition: PartitionId,
    pub(crate) events: Vec<Event>,
    /// Longest wait for the answer.
    pub(crate) timeout: Duration,
}

impl Peers {
    /// Hands events to the node that `route` names.
    pub(crate) async fn send(
        &self,
        route: &Route,
        routes: &Routes,
        batch: Batch,
    ) -> Attempt<BatchResults> {
        let channel = match self.channel(&route.grpc, routes) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(node = %route.node, address = %route.grpc, %error, "no address");
                return Attempt::Away(Away::default());
            }
        };
        let count = batch.events.len();
        let request = v1::HandRequest {
            hunt: batch.hunt.to_string(),
            partition: batch.partition.0,
            epoch: route.epoch.0,
            events: batch.events.into_iter().map(v1::Event::from).collect(),
        };
        let mut request = Request::new(request);
        if let Some(pass) = routes.pass.as_ref().and_then(|pass| pass.parse().ok()) {
            request.metadata_mut().insert(PASS, pass);
        }
        let mut client = PeersClient::new(channel)
            .max_encoding_message_size(PEER_BATCH_BYTES_MAX)
            .max_decoding_message_size(PEER_BATCH_BYTES_MAX + BODY_BYTES_MAX);
        match tokio::time::timeout(batch.timeout, client.hand(request)).await {
            Ok(Ok(response)) => read_response(response.into_inner(), count),
            Ok(Err(status)) => read_status(&status),
            Err(_) => Attempt::Away(Away { ambiguous: true, knows: None }),
        }
    }

    fn channel(&self, address: &str, routes: &Routes) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        // A node that has no partition any more is not called: as many channels as routes at most.
        let named: BTreeSet<&str> =
            routes.partitions.iter().flatten().map(|route| route.grpc.as_ref()).collect();
        channels.retain(|address, _| named.contains(address.as_str()));
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .concurrency_limit(CALLS_MAX)
            .connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

fn read_response(response: v1::PublishResponse, count: usize) -> Attempt<BatchResults> {
    use v1::publish_result::Result as Wire;
    if response.results.len() != count {
        tracing::error!(sent = count, answered = response.results.len(), "answers do not fit");
        return Attempt::Over(Err(Refusal::LogUnavailable { retry_after: RETRY_AFTER }));
    }
    let read = |result: v1::PublishResult| match result.result {
        Some(Wire::Accepted(v1::Accepted { partition, offset, epoch })) => Ok(Accepted {
            partition: PartitionId(partition),
            offset: Offset(offset),
            epoch: Epoch(epoch),
        }),
        Some(Wire::Rejected(rejected)) => Err(read_rejected(rejected)),
        None => Err(Refusal::LogUnavailable { retry_after: RETRY_AFTER }),
    };
    Attempt::Over(Ok(response.results.into_iter().map(read).collect()))
}

fn read_rejected(rejected: v1::Rejected) -> Refusal {
    use v1::rejected::Code;
    let retry_after = Duration::from_millis(rejected.retry_after_millis);
    match rejected.code() {
        Code::Invalid => {
            let problems = rejected.problems.into_iter().map(read_problem);
            Refusal::Invalid { problems: problems.collect() }
        }
        Code::TooLarge => {
            let [problem] = <[_; 1]>::try_from(rejected.problems).unwrap_or_default();
            Refusal::TooLarge { problem: read_problem(problem) }
        }
        Code::Overloaded => Refusal::Overloaded { retry_after },
        Code::NoOwner => Refusal::NoOwner { retry_after },
        Code::LogUnavailable | Code::Unspecified => Refusal::LogUnavailable { retry_after },
    }
}

fn read_problem(problem: v1::Problem) -> events::Problem {
    events::Problem::new(&problem.field, problem.value, problem.allowed)
}

/// What a refused call means for its events, by the codes of treasurehunt.v1.
fn read_status(status: &Status) -> Attempt<BatchResults> {
    let number = |key| status.metadata().get(key)?.to_str().ok()?.parse::<u64>().ok();
    let retry_after = number(RETRY_AFTER_MS).map(Duration::from_millis);
    match status.code() {
        Code::FailedPrecondition => {
            let knows = number(MAP_REVISION).and_then(Revision::new);
            Attempt::Away(Away { ambiguous: false, knows })
        }
        Code::ResourceExhausted => {
            let retry_after = retry_after.unwrap_or(RETRY_AFTER);
            Attempt::Over(Err(Refusal::Overloaded { retry_after }))
        }
        Code::OutOfRange => Attempt::Over(Err(too_large(status.message()))),
        // Another hunt, or the same in another life: what we know of it is about to change.
        Code::NotFound | Code::Unauthenticated => Attempt::Away(Away::default()),
        Code::Unavailable if never_connected(status) => Attempt::Away(Away::default()),
        Code::Unavailable => match retry_after {
            Some(retry_after) => Attempt::Over(Err(Refusal::LogUnavailable { retry_after })),
            None => Attempt::Away(Away { ambiguous: true, knows: None }),
        },
        Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Internal => {
            Attempt::Away(Away { ambiguous: true, knows: None })
        }
        _ => {
            tracing::error!(%status, "another node does not understand this one");
            Attempt::Over(Err(Refusal::LogUnavailable { retry_after: RETRY_AFTER }))
        }
    }
}

/// Whether the connection never came about, so that nothing was sent.
fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_wait_to_refuse_or_to_route_again() {
        let check = |code, metadata: &[(&'static str, &str)], expected| {
            let mut status = Status::new(code, "said");
            for (key, value) in metadata {
                status.metadata_mut().insert(*key, value.parse().unwrap());
            }
            assert_eq!(read_status(&status), expected, "{status:?}");
        };
        let away = |ambiguous, knows| Attempt::Away(Away { ambiguous, knows });
        let refused = |refusal| Attempt::Over(Err(refusal));
        let ms = Duration::from_millis;
        check(
            Code::FailedPrecondition,
            &[("owner-epoch", "4"), (MAP_REVISION, "90")],
            away(false, Revision::new(90)),
        );
        check(Code::FailedPrecondition, &[], away(false, None));
        check(
            Code::ResourceExhausted,
            &[(RETRY_AFTER_MS, "7")],
            refused(Refusal::Overloaded { retry_after: ms(7) }),
        );
        check(
            Code::ResourceExhausted,
            &[],
            refused(Refusal::Overloaded { retry_after: RETRY_AFTER }),
        );
        check(
            Code::Unavailable,
            &[(RETRY_AFTER_MS, "9")],
            refused(Refusal::LogUnavailable { retry_after: ms(9) }),
        );
        check(Code::Unavailable, &[], away(true, None));
        check(Code::Internal, &[], away(true, None));
        check(Code::NotFound, &[], away(false, None));
        check(Code::Unauthenticated, &[], away(false, None));
        check(Code::OutOfRange, &[], refused(too_large("said")));
        check(
            Code::Unimplemented,
            &[],
            refused(Refusal::LogUnavailable { retry_after: RETRY_AFTER }),
        );
    }

    #[tokio::test]
    async fn a_refused_connection_is_known_to_have_sent_nothing() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = free.local_addr().unwrap().to_string();
        drop(free);
        let node = config_schemas::NodeName::new("a").unwrap();
        let (grpc, revision) = (grpc.into(), Revision::FIRST);
        let route = Route { node, grpc, epoch: Epoch(1), mine: false, leaving: false, revision };
        let batch = Batch {
            hunt: HuntName::new("default", "harbour").unwrap(),
            partition: PartitionId(0),
            events: Vec::new(),
            timeout: Duration::from_secs(3),
        };
        let attempt = Peers::default().send(&route, &Routes::default(), batch).await;
        assert_eq!(attempt, Attempt::Away(Away::default()));
    }
}
