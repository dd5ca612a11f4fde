//! The Watch service: one watcher per stream, with fragments, progress, cancellation for
//! compacted revisions, and silence for future ones, as etcd has them.

use std::mem::size_of_val;

use etcd_client::proto::{
    PbEvent, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService,
};
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _, channel::mpsc};
use tonic::{Request, Response, Status, Streaming};

use super::SimEtcd;
use super::faults::Faults;

/// Messages that wait for the connection before the watcher stops reading the store.
const MESSAGES_WAITING: usize = 16;
/// etcd tells progress for all watchers of a stream under this id.
const ALL_WATCHERS: i64 = -1;

type Out = mpsc::Sender<Result<PbWatchResponse, Status>>;

struct Watcher {
    etcd: SimEtcd,
    out: Out,
    id: i64,
    from: Vec<u8>,
    to: Vec<u8>,
    /// The first revision asked for.
    start: i64,
    /// The next revision to deliver.
    next: i64,
    fragment: bool,
    live: bool,
}

/// The client is gone, or the stream was cut.
struct Over;

impl Watcher {
    async fn send(&mut self, message: PbWatchResponse) -> Result<(), Over> {
        self.etcd.thawed().await;
        self.out.send(Ok(message)).await.map_err(|_| Over)
    }

    fn message(&self) -> PbWatchResponse {
        let header = Some(self.etcd.header());
        PbWatchResponse { header, watch_id: self.id, ..PbWatchResponse::default() }
    }

    /// Delivers what there is; a start that is compacted away ends the watch, not the stream.
    async fn deliver(&mut self) -> Result<(), Over> {
        if !self.live {
            return Ok(());
        }
        let (now, compacted) = self.etcd.look(|store| (store.revision(), store.compacted()));
        if self.next < compacted {
            self.live = false;
            let cancel = PbWatchResponse {
                header: None,
                canceled: true,
                compact_revision: compacted,
                ..self.message()
            };
            return self.send(cancel).await;
        }
        if now < self.next {
            return Ok(());
        }
        let revisions = self.etcd.look(|store| store.events(&self.from, &self.to, self.next));
        self.next = now + 1;
        let events = self.spoil(revisions);
        if events.is_empty() {
            return Ok(());
        }
        let limit = match self.fragment {
            true => self.etcd.shared.faults.borrow().fragment_bytes,
            false => usize::MAX,
        };
        let mut parts = split(events, limit).into_iter().peekable();
        while let Some(events) = parts.next() {
            let fragment = parts.peek().is_some();
            self.send(PbWatchResponse { events, fragment, ..self.message() }).await?;
        }
        Ok(())
    }

    /// Applies the faults that concern events.
    fn spoil(&self, mut revisions: Vec<Vec<PbEvent>>) -> Vec<PbEvent> {
        self.etcd.shared.faults.send_if_modified(|faults: &mut Faults| {
            let swallowed = faults.swallow_revisions.min(revisions.len());
            faults.swallow_revisions -= swallowed;
            revisions.drain(..swallowed);
            let first = revisions.first_mut().and_then(|events| events.first_mut());
            if let Some(event) = first.filter(|_| faults.garble_events > 0) {
                faults.garble_events -= 1;
                event.r#type = 7;
            }
            false
        });
        revisions.into_iter().flatten().collect()
    }

    async fn asked(&mut self, request: PbWatchRequest) -> Result<(), Over> {
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                let now = self.etcd.look(|store| store.revision());
                (self.from, self.to) = (create.key, create.range_end);
                self.next = if create.start_revision > 0 { create.start_revision } else { now + 1 };
                self.start = create.start_revision;
                self.fragment = create.fragment;
                let refusal = self.etcd.shared.faults.borrow().refuse_watches.clone();
                if let Some(cancel_reason) = refusal {
                    let refused = PbWatchResponse {
                        watch_id: -1,
                        created: true,
                        canceled: true,
                        cancel_reason,
                        ..self.message()
                    };
                    return self.send(refused).await;
                }
                self.live = true;
                let created = PbWatchResponse { created: true, ..self.message() };
                self.send(created).await
            }
            Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                // A watch that starts in the future gets no answer.
                let now = self.etcd.look(|store| store.revision());
                if !self.live || now < self.start || self.etcd.shared.faults.borrow().mute {
                    return Ok(());
                }
                // Only what was delivered is promised.
                self.deliver().await?;
                let progress = PbWatchResponse { watch_id: ALL_WATCHERS, ..self.message() };
                self.send(progress).await
            }
            Some(PbWatchRequestUnion::CancelRequest(_)) => {
                self.live = false;
                let canceled = PbWatchResponse { canceled: true, ..self.message() };
                self.send(canceled).await
            }
            None => Ok(()),
        }
    }

    async fn run(mut self, mut requests: Streaming<PbWatchRequest>, era: u64) {
        let mut changed = self.etcd.shared.changed.subscribe();
        loop {
            let etcd = self.etcd.clone();
            let done = tokio::select! {
                biased;
                status = etcd.broken(era) => {
                    let _ = self.out.send(Err(status)).await;
                    return;
                }
                request = requests.message() => match request {
                    Ok(Some(request)) => {
                        self.etcd.thawed().await;
                        self.asked(request).await
                    }
                    Ok(None) | Err(_) => return,
                },
                _ = changed.changed() => Ok(()),
            };
            self.etcd.thawed().await;
            let stale = self.etcd.shared.faults.borrow().era != era;
            if done.is_err() || (!stale && self.deliver().await.is_err()) {
                return;
            }
        }
    }
}

/// Splits where the limit is passed, also in the middle of a revision.
fn split(events: Vec<PbEvent>, limit: usize) -> Vec<Vec<PbEvent>> {
    let size = |event: &PbEvent| {
        size_of_val(event) + event.kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len())
    };
    let mut parts: Vec<Vec<PbEvent>> = vec![Vec::new()];
    let mut filled = 0;
    for event in events {
        let bytes = size(&event);
        if filled > 0 && filled + bytes > limit {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(event);
        }
    }
    parts
}

#[tonic::async_trait]
impl PbWatchService for SimEtcd {
    type WatchStream = BoxStream<'static, Result<PbWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let era = self.admit().await?.era;
        let (out, messages) = mpsc::channel(MESSAGES_WAITING);
        let watcher = Watcher {
            etcd: self.clone(),
            out,
            id: 0,
            from: Vec::new(),
            to: Vec::new(),
            start: 0,
            next: 0,
            fragment: false,
            live: false,
        };
        tokio::spawn(watcher.run(request.into_inner(), era));
        Ok(Response::new(messages.boxed()))
    }
}
