//! Events that a partition sends to others: every one is durable in the outcome log first, and is
//! sent again until its receiver has it. Each destination has a lane of its own, so that one that
//! cannot be reached holds up nobody else. In: forwards. Out: deliveries, for the worker to write
//! down. I/O; who is next is decided in `lanes`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config_schemas::PartitionId;
use events::{Event, EventId};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lanes::Lanes;

/// Carries events to the partitions that their keys say, wherever those are served.
pub trait Forward: Send + Sync {
    /// For each event, whether it is durable at its destination. What is not will be sent again.
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>>;

    /// Where the event goes, as far as that is known: events for one destination keep their order
    /// and wait for each other.
    fn destination(&self, _event: &Event) -> Option<PartitionId> {
        None
    }
}

/// Batches that are under way at the same time, each to another destination.
const UNDER_WAY_MAX: usize = 16;

/// Between a worker and its outbox. Both lists are bounded by the ledger's outbox: a worker stops
/// reading events when that is full.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Shared>);

struct Shared {
    forward: Arc<dyn Forward>,
    lists: Mutex<Lists>,
    to_send: Notify,
    to_note: Notify,
}

#[derive(Default)]
struct Lists {
    lanes: Lanes,
    delivered: Vec<EventId>,
}

impl Outbox {
    pub(crate) fn new(forward: Arc<dyn Forward>) -> Outbox {
        let (to_send, to_note) = (Notify::new(), Notify::new());
        Outbox(Arc::new(Shared { forward, lists: Mutex::default(), to_send, to_note }))
    }

    /// These are durable and may go.
    pub(crate) fn send(&self, events: impl IntoIterator<Item = Event>) {
        let mut some = false;
        for event in events {
            let lane = self.0.forward.destination(&event);
            self.lists().lanes.push(lane, event);
            some = true;
        }
        if some {
            self.0.to_send.notify_one();
        }
    }

    /// Waits until there is something delivered to write down.
    pub(crate) async fn noteworthy(&self) {
        while self.lists().delivered.is_empty() {
            self.0.to_note.notified().await;
        }
    }

    /// What was delivered since the last call.
    pub(crate) fn delivered(&self) -> Vec<EventId> {
        std::mem::take(&mut self.lists().delivered)
    }

    /// Sends until dropped.
    pub(crate) async fn run(&self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < UNDER_WAY_MAX {
                let Some((lane, batch)) = self.lists().lanes.start(Instant::now()) else { break };
                under_way.push(async move {
                    let results = self.0.forward.forward(batch.clone()).await;
                    (lane, batch, results)
                });
            }
            let full = under_way.len() >= UNDER_WAY_MAX;
            let wake = self.lists().lanes.wake_at().filter(|_| !full);
            tokio::select! {
                Some((lane, batch, results)) = under_way.next() => {
                    self.settle(lane, batch, &results);
                }
                () = self.0.to_send.notified(), if !full => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Notes what was delivered and keeps the rest for the next try.
    fn settle(&self, lane: Option<PartitionId>, batch: Vec<Event>, results: &[bool]) {
        let mut left = Vec::new();
        let mut lists = self.lists();
        for (index, event) in batch.into_iter().enumerate() {
            match results.get(index) {
                Some(true) => lists.delivered.push(event.id),
                _ => left.push(event),
            }
        }
        lists.lanes.end(lane, left, Instant::now());
        if !lists.delivered.is_empty() {
            self.0.to_note.notify_one();
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Kind;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Results<'a> = Pin<Box<dyn Future<Output = Vec<bool>> + Send + 'a>>;

    fn event(number: usize) -> Event {
        Event::new(EventId::new(format!("e{number}")).unwrap(), Kind::Verdict, number as u64)
    }

    async fn collect(outbox: &Outbox, count: usize) {
        let mut delivered = BTreeSet::new();
        let collect = async {
            while delivered.len() < count {
                outbox.noteworthy().await;
                delivered.extend(outbox.delivered());
            }
        };
        let hour = std::time::Duration::from_secs(3600);
        tokio::select! {
            () = collect => {}
            () = outbox.run() => {}
            () = tokio::time::sleep(hour) => {}
        }
        assert_eq!(delivered.len(), count);
    }

    struct EverySecond(AtomicUsize);

    impl Forward for EverySecond {
        fn forward(&self, events: Vec<Event>) -> Results<'_> {
            let passes = |_| self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            let results = events.iter().map(passes).collect();
            Box::pin(async move { results })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_delivered_is_sent_again_until_it_is() {
        let outbox = Outbox::new(Arc::new(EverySecond(AtomicUsize::new(0))));
        outbox.send((0..1000).map(event));
        collect(&outbox, 1000).await;
    }

    /// Partition 0 is away, and whoever asks waits for ever; 1 refuses; the others are well.
    struct TwoAway;

    impl Forward for TwoAway {
        fn forward(&self, events: Vec<Event>) -> Results<'_> {
            let (count, to) = (events.len(), events[0].received_millis % 8);
            Box::pin(async move {
                if to == 0 {
                    std::future::pending::<()>().await;
                }
                vec![to != 1; count]
            })
        }

        fn destination(&self, event: &Event) -> Option<PartitionId> {
            Some(PartitionId((event.received_millis % 8) as u32))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn destinations_that_cannot_be_reached_hold_up_nobody_else() {
        let outbox = Outbox::new(Arc::new(TwoAway));
        outbox.send((0..8000).map(event));
        collect(&outbox, 6000).await;
    }
}
