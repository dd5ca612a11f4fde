//! Events that a partition sends to others: every one is durable in the outcome log first, and is
//! sent again until its receiver has it. In: forwards. Out: deliveries, for the worker to write
//! down. I/O.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::{Event, EventId};
use tokio::sync::Notify;

/// Carries events to the partitions that their keys say, wherever those are served.
pub trait Forward: Send + Sync {
    /// For each event, whether it is durable at its destination. What is not will be sent again.
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>>;
}

/// Events sent in one go.
const BATCH: usize = 256;
/// First and longest wait before what could not be delivered is sent again.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// Between a worker and its outbox. Both lists are bounded by the ledger's outbox: a worker stops
/// reading events when that is full.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lists: Mutex<Lists>,
    to_send: Notify,
    to_note: Notify,
}

#[derive(Default)]
struct Lists {
    forwards: VecDeque<Event>,
    delivered: Vec<EventId>,
}

impl Outbox {
    /// These are durable and may go.
    pub(crate) fn send(&self, events: impl IntoIterator<Item = Event>) {
        let mut lists = self.lists();
        lists.forwards.extend(events);
        if !lists.forwards.is_empty() {
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
    pub(crate) async fn run(&self, forward: &dyn Forward) {
        let mut wait = RETRY_MIN;
        loop {
            let batch = self.next_batch().await;
            let results = forward.forward(batch.clone()).await;
            if self.settle(batch, &results) {
                wait = RETRY_MIN;
            } else {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }

    /// Notes what was delivered and keeps the rest for the next try. Out: whether all was.
    fn settle(&self, batch: Vec<Event>, results: &[bool]) -> bool {
        let mut left = Vec::new();
        let mut lists = self.lists();
        for (index, event) in batch.into_iter().enumerate() {
            match results.get(index) {
                Some(true) => lists.delivered.push(event.id),
                _ => left.push(event),
            }
        }
        if !lists.delivered.is_empty() {
            self.0.to_note.notify_one();
        }
        let all = left.is_empty();
        for event in left.into_iter().rev() {
            lists.forwards.push_front(event);
        }
        all
    }

    async fn next_batch(&self) -> Vec<Event> {
        loop {
            {
                let mut lists = self.lists();
                let count = lists.forwards.len().min(BATCH);
                if count > 0 {
                    return lists.forwards.drain(..count).collect();
                }
            }
            self.0.to_send.notified().await;
        }
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, Lists> {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Kind;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct EverySecond(AtomicUsize);

    impl Forward for EverySecond {
        fn forward(
            &self,
            events: Vec<Event>,
        ) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
            let passes = |_| self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            let results = events.iter().map(passes).collect();
            Box::pin(async move { results })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_delivered_is_sent_again_until_it_is() {
        let outbox = Outbox::default();
        let event = |number: usize| {
            Event::new(EventId::new(format!("e{number}")).unwrap(), Kind::Verdict, 0)
        };
        outbox.send((0..1000).map(event));
        let forward = EverySecond(AtomicUsize::new(0));
        let mut delivered = std::collections::BTreeSet::new();
        let collect = async {
            while delivered.len() < 1000 {
                outbox.noteworthy().await;
                delivered.extend(outbox.delivered());
            }
        };
        tokio::select! {
            () = collect => {}
            () = outbox.run(&forward) => {}
        }
        assert_eq!(delivered.len(), 1000);
    }
}
