//! `Store`: one endpoint at a time, kept until it fails, then the next. Every call has a time
//! limit of its own; tokens are refreshed here. I/O.
//!
//! Each endpoint has two connections: one for calls, one for watches and keepalives, so that a
//! big read cannot starve a stream; or one for both, where that is asked for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions};
use futures::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::error::{Intent, StoreError, classify, unanswered};
use crate::options::{CALL_TIMEOUT, StoreOptions, User};

/// A token older than this is renewed before the next call: half of etcd's default lifetime
/// of both simple and JWT tokens (5 minutes).
const TOKEN_AGE_MAX: Duration = Duration::from_secs(150);
/// Lists that one store runs at the same time, so that a thousand followers which lost their
/// place do not ask etcd for everything at once.
const LISTS_AT_ONCE: usize = 8;

/// A connection to etcd. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    members: Vec<Member>,
    current: AtomicUsize,
    rotations: AtomicUsize,
    user: Option<User>,
    lists: Semaphore,
    seed: u64,
    seeds_taken: AtomicU64,
}

struct Member {
    url: String,
    calls: Line,
    streams: Line,
}

/// One HTTP/2 connection and the age of its token.
struct Line {
    client: Client,
    token_since: Mutex<Option<Instant>>,
    /// A stream was refused with the token, in a message, where no call could be repeated.
    token_refused: AtomicBool,
}

/// Which of an endpoint's two connections to use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    Calls,
    Streams,
}

impl Store {
    /// Prepares the connection; nothing is sent yet, so this neither waits for etcd nor fails
    /// because it is down. Must run inside a tokio runtime.
    pub fn open(options: StoreOptions) -> Result<Store, StoreError> {
        Self::open_with(options, rand::random(), |endpoint| endpoint.connect_lazy())
    }

    /// As `open`, with the seed of all jitter and with channels made by the caller: how the
    /// simulation brings its own network, and can be replayed.
    pub fn open_with(
        options: StoreOptions,
        seed: u64,
        connect: impl Fn(&Endpoint) -> tonic::transport::Channel,
    ) -> Result<Store, StoreError> {
        let one_connection = options.one_connection;
        let members = options.resolve()?.into_iter().map(|endpoint| {
            let calls = connect(&endpoint);
            let streams = match one_connection {
                true => calls.clone(),
                false => connect(&endpoint),
            };
            Ok(Member {
                url: endpoint.uri().to_string(),
                calls: Line::new(calls)?,
                streams: Line::new(streams)?,
            })
        });
        let members = members.collect::<Result<Vec<_>, StoreError>>()?;
        let shared = Shared {
            // Which member comes first is random, so that many clients spread over all of them.
            current: AtomicUsize::new(SmallRng::seed_from_u64(seed).random_range(0..members.len())),
            members,
            rotations: AtomicUsize::new(0),
            user: options.user,
            lists: Semaphore::new(LISTS_AT_ONCE),
            seed,
            seeds_taken: AtomicU64::new(1),
        };
        Ok(Store { shared: Arc::new(shared) })
    }

    /// The endpoint in use now.
    pub fn endpoint(&self) -> &str {
        &self.shared.members[self.current()].url
    }

    /// How often another endpoint was taken because one failed.
    pub fn rotations(&self) -> usize {
        self.shared.rotations.load(Ordering::Relaxed)
    }

    /// Randomness for one more follower or session, the same in each replay.
    pub(crate) fn randomness(&self) -> SmallRng {
        let taken = self.shared.seeds_taken.fetch_add(1, Ordering::Relaxed);
        SmallRng::seed_from_u64(self.shared.seed.wrapping_add(taken))
    }

    pub(crate) fn lists(&self) -> &Semaphore {
        &self.shared.lists
    }

    pub(crate) fn current(&self) -> usize {
        self.shared.current.load(Ordering::Relaxed) % self.shared.members.len()
    }

    /// Goes on to the next endpoint, unless somebody already left the failed one.
    pub(crate) fn rotate(&self, failed: usize) {
        let next = (failed + 1) % self.shared.members.len();
        let moved = self.shared.current.compare_exchange(
            failed,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if moved.is_ok() && next != failed {
            self.shared.rotations.fetch_add(1, Ordering::Relaxed);
            tracing::info!(
                from = self.shared.members[failed].url,
                to = self.shared.members[next].url,
                "another etcd endpoint is used"
            );
        }
    }

    /// A call that changes nothing: repeated on the next endpoint, at most once per endpoint,
    /// and once more on a single endpoint whose connection had broken.
    pub(crate) async fn read_call<T, F, Fut>(&self, call: F) -> Result<T, StoreError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let tries = self.shared.members.len().max(2);
        let mut tried = 1;
        loop {
            let at = self.current();
            match self.call_at(at, Use::Calls, Intent::Read, &call).await {
                Err(error) if error.blames_endpoint() && tried < tries => {
                    if self.shared.members.len() == 1 && matches!(error, StoreError::Timeout) {
                        return Err(error);
                    }
                    tried += 1;
                }
                done => return done,
            }
        }
    }

    /// A call that may change something: repeated only where nothing was sent at all.
    pub(crate) async fn write_call<T, F, Fut>(&self, call: F) -> Result<T, StoreError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut tried = 1;
        loop {
            let at = self.current();
            match self.call_at(at, Use::Calls, Intent::Write, &call).await {
                Err(StoreError::Unreachable { .. } | StoreError::NoLeader)
                    if tried < self.shared.members.len() =>
                {
                    tried += 1;
                }
                done => return done,
            }
        }
    }

    /// One call to one endpoint within the time limit; with a refused token once more with a
    /// fresh one, which is safe because a refused call did nothing.
    pub(crate) async fn call_at<T, F, Fut>(
        &self,
        at: usize,
        line: Use,
        intent: Intent,
        call: &F,
    ) -> Result<T, StoreError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let member = &self.shared.members[at];
        let line = match line {
            Use::Calls => &member.calls,
            Use::Streams => &member.streams,
        };
        let once = || async {
            match timeout(CALL_TIMEOUT, call(line.client.clone())).await {
                Ok(answer) => answer.map_err(|e| classify(e, intent, &member.url)),
                Err(_) => Err(unanswered(intent, CALL_TIMEOUT)),
            }
        };
        let began = Instant::now();
        let mut answer = match self.authenticate(at, line, None).await {
            Ok(()) => once().await,
            Err(error) => Err(error),
        };
        if answer.as_ref().is_err_and(StoreError::wants_token) && self.shared.user.is_some() {
            answer = match self.authenticate(at, line, Some(began)).await {
                Ok(()) => once().await,
                Err(error) => Err(error),
            };
        }
        if answer.as_ref().is_err_and(StoreError::blames_endpoint) {
            self.rotate(at);
        }
        answer
    }

    /// Makes sure of a token that is young enough, and younger than `refused` if one was
    /// refused then. Callers wait for one refresh instead of each making their own.
    async fn authenticate(
        &self,
        at: usize,
        line: &Line,
        refused: Option<Instant>,
    ) -> Result<(), StoreError> {
        let Some(user) = &self.shared.user else { return Ok(()) };
        let mut since = line.token_since.lock().await;
        let forgotten = line.token_refused.swap(false, Ordering::Relaxed);
        let good = !forgotten
            && since.is_some_and(|made| {
                made.elapsed() < TOKEN_AGE_MAX && refused.is_none_or(|then| made > then)
            });
        if good {
            return Ok(());
        }
        let mut client = line.client.clone();
        let pair = Some((user.name.clone(), user.password.clone()));
        // Only the moment of asking is surely before the token's birth.
        let asked = Instant::now();
        match timeout(CALL_TIMEOUT, client.update_user(pair)).await {
            Ok(Ok(())) => {
                *since = Some(asked);
                Ok(())
            }
            Ok(Err(error)) => Err(classify(error, Intent::Read, &self.shared.members[at].url)),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Forgets the token of the stream connection, so that the next watch gets a fresh one.
    pub(crate) fn forget_token(&self, at: usize) {
        self.shared.members[at].streams.token_refused.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl Line {
    fn new(channel: tonic::transport::Channel) -> Result<Self, StoreError> {
        // `new`, not `default`: the latter switches idle pings off. No user here: with one,
        // connecting would authenticate at once, and hang on a frozen server.
        let options = ConnectOptions::new().with_require_leader(true);
        let client = Client::from_channel(Channel::Tonic(channel), Some(options))
            .now_or_never()
            .and_then(Result::ok)
            .ok_or(StoreError::Malformed { what: "the client waited without a user" })?;
        Ok(Self { client, token_since: Mutex::new(None), token_refused: AtomicBool::new(false) })
    }
}
