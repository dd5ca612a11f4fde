//! Carries out what the machine decides: reads lists, opens and reads the stream, keeps time.
//! I/O, and no decisions. It runs inside `next` and nowhere else.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use config_schemas::Revision;
use etcd_client::proto::PbWatchResponse;
use etcd_client::{Client, WatchOptions, WatchRequestSender, WatchResponseStream, WatchStream};
use futures::future::{BoxFuture, FutureExt as _, poll_fn};
use futures::stream::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::machine::{Action, Machine};
use super::wire::Message;
use super::{FollowOptions, FollowStatus, Update};
use crate::connect::{Store, Use};
use crate::error::{Intent, StoreError, classify_status};
use crate::keys::{Entry, KeyRange};
use crate::read::{DECODE_MAX, Listing};

/// Messages taken from the stream before the consumer gets its update and other tasks their
/// turn; what waits longer is conflated by the next call.
const MESSAGES_AT_ONCE: usize = 256;

/// Follows a range of keys. Nothing is asked of the store before the first `next`.
pub fn follow(store: &Store, options: FollowOptions) -> Follower {
    let machine = Machine::new(&options, store.randomness(), Instant::now());
    let (status, _) = watch::channel(machine.status());
    Follower {
        store: store.clone(),
        range: options.range,
        name: options.name,
        timer: Box::pin(sleep_until(machine.wake_at())),
        machine,
        lists: None,
        audits: None,
        marker: options.marker,
        looks: None,
        opening: None,
        stream: None,
        status,
    }
}

/// A range of keys followed live. It works only while `next` is awaited; while nobody does, what
/// the store sends waits in the connection's window and is conflated later.
pub struct Follower {
    store: Store,
    range: KeyRange,
    name: String,
    machine: Machine,
    lists: Option<Lists>,
    audits: Option<Lists>,
    marker: Option<String>,
    looks: Option<BoxFuture<'static, Result<Option<Entry>, StoreError>>>,
    opening: Option<BoxFuture<'static, (usize, Result<WatchStream, StoreError>)>>,
    stream: Option<Live>,
    timer: Pin<Box<Sleep>>,
    status: watch::Sender<FollowStatus>,
}

type Lists = BoxFuture<'static, Result<Listing, StoreError>>;

/// An open watch. Both halves are kept: the server may end a stream whose sender is gone.
struct Live {
    at: usize,
    requests: WatchRequestSender,
    messages: WatchResponseStream,
}

impl Follower {
    /// The next update. The first one always comes, even for an empty range; after that only
    /// changes do. Can be cancelled and called again without losing anything. Never ends and
    /// never fails: what is wrong is in the status.
    pub async fn next(&mut self) -> Update {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// How fresh it is and what it is doing.
    pub fn status(&self) -> watch::Receiver<FollowStatus> {
        self.status.subscribe()
    }

    /// What is held, as of the last `next`.
    pub fn held(&self) -> &BTreeMap<String, Entry> {
        self.machine.entries()
    }

    /// The name for logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Update> {
        let mut messages = 0;
        loop {
            let mut moved = self.poll_stream(cx, &mut messages);
            moved |= self.poll_calls(cx);
            moved |= self.poll_timer(cx);
            while let Some(action) = self.machine.action() {
                self.act(action);
                moved = true;
            }
            if !moved {
                break;
            }
            if messages >= MESSAGES_AT_ONCE {
                cx.waker().wake_by_ref();
                break;
            }
        }
        let update = self.machine.update();
        let status = self.machine.status();
        self.status.send_if_modified(|known| std::mem::replace(known, status) != status);
        update.map_or(Poll::Pending, Poll::Ready)
    }

    /// Reads what the stream has.
    fn poll_stream(&mut self, cx: &mut Context<'_>, messages: &mut usize) -> bool {
        let mut moved = false;
        while *messages < MESSAGES_AT_ONCE {
            let Some(live) = &mut self.stream else { break };
            let polled = catch_unwind(AssertUnwindSafe(|| live.messages.0.poll_next_unpin(cx)));
            let (at, now) = (live.at, Instant::now());
            match polled {
                Ok(Poll::Pending) => break,
                Ok(Poll::Ready(Some(Ok(raw)))) => self.message(at, raw, now),
                Ok(Poll::Ready(Some(Err(status)))) => {
                    self.end(at, classify_status(status, Intent::Read, self.store.endpoint()));
                }
                Ok(Poll::Ready(None)) => {
                    self.end(at, StoreError::Malformed { what: "the watch ended by itself" });
                }
                Err(_) => self.end(at, StoreError::Malformed { what: "a panic while decoding" }),
            }
            *messages += 1;
            moved = true;
        }
        moved
    }

    fn message(&mut self, at: usize, raw: PbWatchResponse, now: Instant) {
        match Message::read(raw) {
            Ok(message) => self.machine.message(message, now),
            Err(_) => self.end(at, StoreError::Malformed { what: "an unknown event" }),
        }
    }

    fn end(&mut self, at: usize, error: StoreError) {
        self.stream = None;
        if error.blames_endpoint() {
            self.store.rotate(at);
        }
        self.machine.ended(&error, Instant::now());
    }

    fn poll_calls(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        if let Some(Poll::Ready(answer)) = self.lists.as_mut().map(|call| call.poll_unpin(cx)) {
            self.lists = None;
            self.machine.listed(answer, Instant::now());
            moved = true;
        }
        if let Some(Poll::Ready(answer)) = self.audits.as_mut().map(|call| call.poll_unpin(cx)) {
            self.audits = None;
            self.machine.audited(answer, Instant::now());
            moved = true;
        }
        if let Some(Poll::Ready(answer)) = self.looks.as_mut().map(|call| call.poll_unpin(cx)) {
            self.looks = None;
            self.machine.recognised(answer, Instant::now());
            moved = true;
        }
        if let Some(Poll::Ready((at, answer))) =
            self.opening.as_mut().map(|call| call.poll_unpin(cx))
        {
            self.opening = None;
            match answer {
                Ok(stream) => {
                    let (requests, messages) = stream.split();
                    self.stream = Some(Live { at, requests, messages });
                }
                Err(error) => self.end(at, error),
            }
            moved = true;
        }
        moved
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let wake_at = self.machine.wake_at();
        if self.timer.deadline() != wake_at {
            self.timer.as_mut().reset(wake_at);
        }
        let due = self.timer.as_mut().poll(cx).is_ready();
        if due {
            self.machine.tick(Instant::now());
        }
        due
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::List => self.lists = Some(self.list()),
            Action::Audit => self.audits = Some(self.list()),
            Action::Recognise => self.looks = self.marker.clone().map(|key| self.look(key)),
            Action::Open(start) => {
                self.stream = None;
                self.looks = None;
                self.opening = Some(self.store.clone().watch(self.range.clone(), start).boxed());
            }
            Action::Close => {
                self.stream = None;
                self.opening = None;
                self.audits = None;
                self.looks = None;
            }
            Action::RequestProgress => {
                if let Some(live) = &mut self.stream {
                    // A queue that is full is a stream that is stuck: the silence will show it.
                    let _ = live.requests.request_progress().now_or_never();
                }
            }
            Action::ForgetToken => self.store.forget_token(self.at()),
            Action::Rotate => self.store.rotate(self.at()),
        }
    }

    /// The endpoint that the watch runs on.
    fn at(&self) -> usize {
        self.stream.as_ref().map_or_else(|| self.store.current(), |live| live.at)
    }

    fn look(&self, key: String) -> BoxFuture<'static, Result<Option<Entry>, StoreError>> {
        let store = self.store.clone();
        async move { store.read(&key).await }.boxed()
    }

    fn list(&self) -> Lists {
        let (store, range) = (self.store.clone(), self.range.clone());
        async move { store.list(&range).await }.boxed()
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Store {
    async fn watch(
        self,
        range: KeyRange,
        start: Revision,
    ) -> (usize, Result<WatchStream, StoreError>) {
        let at = self.current();
        let (from, to) = range.bounds();
        let options =
            WatchOptions::new().with_range(to).with_start_revision(start.to_etcd()).with_fragment();
        let call = |client: Client| {
            let (from, options) = (from.clone(), options.clone());
            async move {
                let mut watch = client.watch_client().max_decoding_message_size(DECODE_MAX);
                watch.watch(from, Some(options)).await
            }
        };
        (at, self.call_at(at, Use::Streams, Intent::Read, &call).await)
    }
}
