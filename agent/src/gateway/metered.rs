//! gRPC requests within bounds as they arrive: bytes of all of them together, records in each, and
//! time for each message from its first byte to its last. What has not arrived takes no room, so a
//! slow sender costs others nothing; what has keeps its room while the method works on it. What tonic
//! cannot decode is the caller's mistake. In: request bodies. Out: the same, or an end with a status.
//! I/O.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use events::{BATCH_EVENTS_MAX, Flaw, Problem};
use futures::{Stream, StreamExt as _};
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

use super::body::BODY_TIMEOUT;
use super::bounds::BUSY_RETRY;
use super::framing::{Framing, Unfit};
use super::publish::Gateway;
use super::status::{overloaded, undecoded};

/// Fields of a request that are no events and take a record each.
const OTHER_RECORDS: usize = 16;

/// Methods that answer one message after the other, as gRPC names them: they ask for the next one
/// when they are done with the last. All others are called when their request has ended.
const STREAMED: [&str; 2] = ["/PublishStream", "/ServerReflectionInfo"];

/// `router` with every request's body metered, in the bytes that `bodies` has.
pub(crate) fn around(gateway: Gateway, bodies: Arc<Semaphore>, router: Router) -> Router {
    router.layer(from_fn_with_state((gateway, bodies), meter))
}

async fn meter(
    State((gateway, bodies)): State<(Gateway, Arc<Semaphore>)>,
    request: Request,
    next: Next,
) -> Response {
    // Kept until the method has answered: what it works on was decoded from these bytes.
    let room = Room::default();
    let asked = gateway.clone();
    let streamed = STREAMED.iter().any(|method| request.uri().path().ends_with(method));
    let mut request = request;
    request.extensions_mut().insert(room.clone());
    let request = request.map(|body| {
        let meter = Meter {
            chunks: body.into_data_stream(),
            framing: Framing::new(BATCH_EVENTS_MAX + OTHER_RECORDS),
            since: Instant::now(),
            streamed,
            bodies,
            room: room.clone(),
            shed: gateway.metrics().shed.with_label_values(&["bytes"]),
            mistaken: Box::new(move |problem| gateway.count_mistake(&problem)),
        };
        Body::from_stream(meter.metered())
    });
    let response = next.run(request).await;
    drop(room);
    let refused = Status::from_header_map(response.headers());
    match refused.and_then(|status| mistaken(&asked, &status)) {
        Some(status) => status.into_http(),
        None => response,
    }
}

/// If `status` says that a request could not be decoded: what its caller is told. Counts it.
pub(crate) fn mistaken(gateway: &Gateway, status: &Status) -> Option<Status> {
    let (status, problem) = undecoded(status)?;
    gateway.count_mistake(&problem);
    Some(status)
}

/// The room of a request's messages. What is drawn from it ends with the last clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Messages>>);

impl Room {
    /// Bytes of the messages that are worked on.
    pub(crate) fn bytes(&self) -> usize {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.whole.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[derive(Debug, Default)]
struct Messages {
    /// Of messages that are whole: worked on, until the next bytes of a stream are asked for, and
    /// else until the call ends.
    whole: Option<OwnedSemaphorePermit>,
    /// Of the one that is arriving.
    arriving: Option<OwnedSemaphorePermit>,
}

struct Meter {
    chunks: BodyDataStream,
    framing: Framing,
    /// When the message that is arriving began.
    since: Instant,
    /// Whether its messages are worked on one after the other.
    streamed: bool,
    bodies: Arc<Semaphore>,
    room: Room,
    /// Requests for whose bytes there was no room.
    shed: IntCounter,
    mistaken: Box<dyn Fn(Problem) + Send + Sync>,
}

impl Meter {
    fn metered(self) -> impl Stream<Item = Result<Bytes, Status>> + Send {
        futures::stream::unfold(Some(self), |meter| async move {
            let mut meter = meter?;
            match meter.next().await? {
                Ok(chunk) => Some((Ok(chunk), Some(meter))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        // A call begins when its request has ended, so that until then it holds room for nothing.
        let unended = !self.streamed && self.room.bytes() > 0;
        let chunk = if self.framing.is_inside() || unended {
            match tokio::time::timeout_at(self.since + BODY_TIMEOUT, self.chunks.next()).await {
                Ok(chunk) => chunk?,
                Err(_) => return Some(Err(self.too_slow())),
            }
        } else {
            let chunk = self.chunks.next().await?;
            self.since = Instant::now();
            chunk
        };
        Some(match chunk {
            Ok(chunk) => self.take(&chunk).map(|()| chunk),
            Err(error) => Err(Status::cancelled(error.to_string())),
        })
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Status> {
        let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let after = self.framing.take(chunk).map_err(|unfit| self.unfit(unfit))?;
        let mut messages = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a stream more is asked for only when what was whole has been answered. Elsewhere more is
        // the end of the request, empty or not, which comes before the method is called.
        if self.streamed {
            messages.whole = None;
        }
        let drawn = self.bodies.clone().try_acquire_many_owned(size);
        let drawn = drawn.map_err(|_| {
            self.shed.inc();
            overloaded(BUSY_RETRY)
        })?;
        merge(&mut messages.arriving, Some(drawn));
        if let Some(after) = after {
            let next = messages.arriving.as_mut().and_then(|arriving| arriving.split(after));
            let whole = std::mem::replace(&mut messages.arriving, next);
            merge(&mut messages.whole, whole);
        }
        Ok(())
    }

    fn too_slow(&self) -> Status {
        let problem =
            Problem::new("message", "unfinished", format!("whole within {BODY_TIMEOUT:?}"));
        (self.mistaken)(problem.of(Flaw::Malformed));
        Status::deadline_exceeded(format!("the message did not arrive within {BODY_TIMEOUT:?}"))
    }

    fn unfit(&self, unfit: Unfit) -> Status {
        let (flaw, message) = match unfit {
            Unfit::TooMany(_) => {
                (Flaw::TooMany, format!("at most {BATCH_EVENTS_MAX} events are taken at once"))
            }
            Unfit::Malformed => (Flaw::Malformed, unfit.to_string()),
        };
        (self.mistaken)(Problem::new("message", unfit, &*message).of(flaw));
        Status::invalid_argument(message)
    }
}

fn merge(room: &mut Option<OwnedSemaphorePermit>, more: Option<OwnedSemaphorePermit>) {
    match (room, more) {
        (Some(room), Some(more)) => room.merge(more),
        (Some(_), None) => {}
        (none, more) => *none = more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tonic::Code;

    const ROOM: usize = 1000;

    fn metered<C: Stream<Item = Vec<u8>> + Send + 'static>(
        chunks: C,
        bodies: &Arc<Semaphore>,
    ) -> impl Stream<Item = Result<Bytes, Status>> + Unpin + use<C> {
        metered_as(true, chunks, bodies.clone(), Room::default())
    }

    fn metered_as(
        streamed: bool,
        chunks: impl Stream<Item = Vec<u8>> + Send + 'static,
        bodies: Arc<Semaphore>,
        room: Room,
    ) -> impl Stream<Item = Result<Bytes, Status>> + Unpin {
        let body = Body::from_stream(chunks.map(Ok::<_, std::io::Error>));
        let meter = Meter {
            chunks: body.into_data_stream(),
            framing: Framing::new(3),
            since: Instant::now(),
            streamed,
            bodies,
            room,
            shed: IntCounter::new("shed", "shed").unwrap(),
            mistaken: Box::new(|problem| assert_ne!(problem.flaw, Flaw::Value)),
        };
        Box::pin(meter.metered())
    }

    /// A message of `size` bytes, one record.
    fn message(size: usize) -> Vec<u8> {
        let length = u32::try_from(size).unwrap().to_be_bytes();
        let record = u8::try_from(size - 2).unwrap();
        [[0].as_slice(), &length, &[0x12, record], &vec![7; size - 2]].concat()
    }

    #[tokio::test]
    async fn messages_take_room_until_the_next_one_is_asked_for() {
        let bodies = Arc::new(Semaphore::new(ROOM));
        let two_and_a_half = [message(100), message(60), message(40)[..20].to_vec()].concat();
        let last = message(10);
        let chunks =
            [two_and_a_half, message(40)[20..].to_vec(), last[..6].to_vec(), last[6..].to_vec()];
        let mut stream = metered(futures::stream::iter(chunks), &bodies);
        for left in [105 + 65 + 20, 45, 6, 15] {
            stream.next().await.unwrap().unwrap();
            assert_eq!(ROOM - bodies.available_permits(), left);
        }
        assert!(stream.next().await.is_none());
        assert_eq!(bodies.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn a_call_that_is_no_stream_keeps_all_its_room_until_it_ends() {
        let bodies = Arc::new(Semaphore::new(ROOM));
        let room = Room::default();
        // The end of a request comes as an empty piece; a second message is nobody's.
        let chunks = [message(100), Vec::new(), message(10), message(20)[..9].to_vec()];
        let stream = futures::stream::iter(chunks);
        let mut stream = metered_as(false, stream, bodies.clone(), room.clone());
        for (kept, whole) in [(105, 105), (105, 105), (120, 120), (129, 120)] {
            stream.next().await.unwrap().unwrap();
            assert_eq!((ROOM - bodies.available_permits(), room.bytes()), (kept, whole));
        }
        assert!(stream.next().await.is_none());
        drop(stream);
        assert_eq!(ROOM - bodies.available_permits(), 129, "the call has not ended");
        drop(room);
        assert_eq!(bodies.available_permits(), ROOM);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_request_does_not_end_is_given_up() {
        let bodies = Arc::new(Semaphore::new(ROOM));
        let chunks = futures::stream::iter([message(100)]).chain(futures::stream::pending());
        let mut stream = metered_as(false, chunks, bodies, Room::default());
        stream.next().await.unwrap().unwrap();
        let ended = tokio::time::timeout(2 * BODY_TIMEOUT, stream.next()).await.expect("given up");
        assert_eq!(ended.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }

    async fn refused(chunks: impl Stream<Item = Vec<u8>> + Send + 'static) -> Code {
        let bodies = Arc::new(Semaphore::new(ROOM));
        let mut stream = metered(chunks, &bodies);
        let status = loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(status) => break status,
            }
        };
        assert!(stream.next().await.is_none());
        assert_eq!(bodies.available_permits(), ROOM, "its room returns");
        status.code()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_or_too_slow_is_ended_with_its_reason() {
        let large = [vec![0, 0, 0, 255, 255, 0x12, 0xff, 0xff, 0x03], vec![0; 2000]];
        assert_eq!(refused(futures::stream::iter(large)).await, Code::ResourceExhausted);
        let many = [0, 0, 0, 0, 8, 0x12, 0, 0x12, 0, 0x12, 0, 0x12, 0].to_vec();
        assert_eq!(refused(futures::stream::iter([many])).await, Code::InvalidArgument);
        let drip = futures::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let header = [0, 0, 0, 0, 200, 0x12, 198];
            Some((vec![header.get(sent).copied().unwrap_or(7)], sent + 1))
        });
        assert_eq!(refused(drip).await, Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_rest_between_messages() {
        let bodies = Arc::new(Semaphore::new(ROOM));
        let resting = futures::stream::unfold((), |()| async {
            tokio::time::sleep(10 * BODY_TIMEOUT).await;
            Some((message(50), ()))
        });
        let mut stream = metered(resting, &bodies);
        for _ in 0..3 {
            stream.next().await.unwrap().unwrap();
        }
    }
}
