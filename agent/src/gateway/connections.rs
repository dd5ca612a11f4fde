//! How many connections there may be, and which have to go. When there is no room, those that have
//! been idle the longest go; when none is idle, the new one is not taken. In: connections that come,
//! work and end, and the time. Out: room, or not. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::GatewayMetrics;

/// What an idle connection has to end in order, when it has to go.
pub(crate) const FAREWELL: Duration = Duration::from_millis(200);
/// When there is no room, one in so many connections goes, so that not every newcomer has to wait
/// for one.
const MAKE_ROOM_DIVISOR: usize = 64;

/// The connections of a port, or of several that share a bound. Clones are the same.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    room: Arc<Semaphore>,
    table: Mutex<Table>,
    metrics: GatewayMetrics,
}

/// A connection's slot, until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    connections: Connections,
    number: u64,
    /// Cancelled when the connection has to go.
    pub(crate) end: CancellationToken,
    _room: OwnedSemaphorePermit,
}

/// A request that is worked on, until dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Slot>);

impl Connections {
    /// At most `max` at the same time.
    pub fn new(max: usize, metrics: GatewayMetrics) -> Connections {
        let room = Arc::new(Semaphore::new(max));
        Connections(Arc::new(Inner { max, room, table: Mutex::default(), metrics }))
    }

    /// Room for a new connection; `None` if there is none to be had.
    pub(crate) async fn enter(&self) -> Option<Slot> {
        let room = match self.0.room.clone().try_acquire_owned() {
            Ok(room) => room,
            Err(_) => self.make_room().await?,
        };
        let end = CancellationToken::new();
        let number = self.table().enter(Instant::now(), end.clone());
        self.0.metrics.connections.inc();
        Some(Slot { connections: self.clone(), number, end, _room: room })
    }

    /// Ends those that have been idle for `limit`.
    pub(crate) fn end_idle(&self, limit: Duration) {
        let Some(before) = Instant::now().checked_sub(limit) else { return };
        let ended = self.table().end_idle(before);
        self.count("idle", ended);
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        let ended = self.table().end_idlest((self.0.max / MAKE_ROOM_DIVISOR).max(1));
        self.count("room", ended);
        // Also when none was ended now: those that were ended a moment ago may still be going.
        let room = self.0.room.clone().acquire_owned();
        match tokio::time::timeout(2 * FAREWELL, room).await {
            Ok(Ok(room)) => Some(room),
            _ => {
                self.count("refused", 1);
                None
            }
        }
    }

    fn count(&self, reason: &str, connections: usize) {
        self.0.metrics.closed.with_label_values(&[reason]).inc_by(connections as u64);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// One more request of this connection.
    pub(crate) fn busy(self: &Arc<Slot>) -> Busy {
        self.connections.table().begin(self.number);
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.connections.table().finish(self.0.number, Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().leave(self.number);
        self.connections.0.metrics.connections.dec();
    }
}

/// Who is there, and who is idle since when.
#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
    idle: BTreeMap<(Instant, u64), CancellationToken>,
}

#[derive(Debug)]
struct Open {
    requests: usize,
    idle_since: Option<Instant>,
    end: CancellationToken,
}

impl Table {
    fn enter(&mut self, now: Instant, end: CancellationToken) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, Open { requests: 0, idle_since: Some(now), end: end.clone() });
        self.idle.insert((now, number), end);
        number
    }

    fn begin(&mut self, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        open.requests += 1;
        if let Some(since) = open.idle_since.take() {
            self.idle.remove(&(since, number));
        }
    }

    fn finish(&mut self, number: u64, now: Instant) {
        let Some(open) = self.open.get_mut(&number) else { return };
        open.requests = open.requests.saturating_sub(1);
        if open.requests == 0 && !open.end.is_cancelled() {
            open.idle_since = Some(now);
            self.idle.insert((now, number), open.end.clone());
        }
    }

    fn leave(&mut self, number: u64) {
        if let Some(since) = self.open.remove(&number).and_then(|open| open.idle_since) {
            self.idle.remove(&(since, number));
        }
    }

    fn end_idlest(&mut self, count: usize) -> usize {
        let mut ended = 0;
        while ended < count
            && let Some((_, end)) = self.idle.pop_first()
        {
            end.cancel();
            ended += 1;
        }
        ended
    }

    fn end_idle(&mut self, before: Instant) -> usize {
        let mut ended = 0;
        while let Some(first) = self.idle.first_entry()
            && first.key().0 <= before
        {
            first.remove().cancel();
            ended += 1;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;

    fn connections(max: usize) -> Connections {
        Connections::new(max, GatewayMetrics::register(&Registry::new()).unwrap())
    }

    fn closed(connections: &Connections, reason: &str) -> u64 {
        connections.0.metrics.closed.with_label_values(&[reason]).get()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_the_longest_makes_room() {
        let connections = connections(3);
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(Arc::new(connections.enter().await.unwrap()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first works, and the second did a moment ago: so the third is idle the longest.
        let _working = places[0].busy();
        drop(places[1].busy());
        let leaves = async {
            places[2].end.cancelled().await;
            places.truncate(2);
        };
        let (entered, ()) = tokio::join!(connections.enter(), leaves);
        let entered = entered.unwrap();
        assert!(!places[0].end.is_cancelled() && !places[1].end.is_cancelled());
        assert_eq!((closed(&connections, "room"), closed(&connections, "refused")), (1, 0));
        assert_eq!(connections.0.metrics.connections.get(), 3);
        drop((entered, _working, places));
        assert_eq!(connections.0.metrics.connections.get(), 0);
        let table = connections.table();
        assert!(table.open.is_empty() && table.idle.is_empty(), "{table:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_work_the_new_one_is_not_taken() {
        let connections = connections(2);
        let places = [
            Arc::new(connections.enter().await.unwrap()),
            Arc::new(connections.enter().await.unwrap()),
        ];
        let working: Vec<_> = places.iter().map(Slot::busy).collect();
        assert!(connections.enter().await.is_none());
        assert_eq!(closed(&connections, "refused"), 1);
        drop(working);
        assert!(places.iter().all(|place| !place.end.is_cancelled()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_are_ended_in_time_and_the_busy_are_not() {
        let connections = connections(3);
        let limit = Duration::from_secs(60);
        let old = Arc::new(connections.enter().await.unwrap());
        let busy = Arc::new(connections.enter().await.unwrap());
        let request = busy.busy();
        tokio::time::advance(limit).await;
        let young = connections.enter().await.unwrap();
        connections.end_idle(limit);
        let ended = [&old.end, &busy.end, &young.end].map(CancellationToken::is_cancelled);
        assert_eq!(ended, [true, false, false]);
        assert_eq!(closed(&connections, "idle"), 1);
        drop(request);
        connections.end_idle(limit);
        assert!(!busy.end.is_cancelled(), "it is idle only since now");
    }
}
