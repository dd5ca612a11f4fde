//! Waiting with events whose partition is between two owners: bounded in number over the whole
//! gateway and in time for each, woken by new routes. In: routes, limits, one attempt at delivery.
//! Out: what the attempt gave, or "no owner". No I/O of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config_schemas::{PartitionId, Revision};
use prometheus::IntGauge;
use telemetry::metrics::Counters;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::Refusal;
use crate::partitions::routes::{Route, Routes};

/// Told to producers when a partition has no owner: about what a hand-over takes.
const NO_OWNER_RETRY: Duration = Duration::from_millis(200);
/// First and longest wait for an owner that the routes name already and that still reads its log:
/// nothing but asking again tells when it is ready.
const OPENING_MIN: Duration = Duration::from_millis(2);
const OPENING_MAX: Duration = Duration::from_millis(50);

/// Longest wait for another node's answer in a place of those that are worked on. A node that
/// answers does so far sooner; one that is frozen would keep the places of everybody for as long as
/// an answer is waited for.
const FOREIGN_MAX: Duration = Duration::from_millis(50);

/// How long and how much may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) hold: Duration,
    pub(crate) held: u64,
}

/// What one attempt at delivery gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt<T> {
    /// Done, for good or ill.
    Over(Result<T, Refusal>),
    /// Whoever was asked does not serve the partition, or cannot be reached.
    Away(Away),
}

/// What is known of a partition that could not be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Away {
    /// The events may have been taken in although no answer came.
    pub(crate) ambiguous: bool,
    /// Who was asked knows the records up to here.
    pub(crate) knows: Option<Revision>,
}

/// Events held by a gateway, over all partitions.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    count: Arc<AtomicU64>,
    gauge: IntGauge,
    /// How it ended, by event: delivered, expired, or no room to hold it.
    ended: Counters<1>,
}

/// Some of them, until dropped.
#[derive(Debug)]
struct Holding<'a> {
    held: &'a Held,
    events: u64,
}

impl Held {
    pub(crate) fn new(gauge: IntGauge, ended: Counters<1>) -> Held {
        Held { count: Arc::default(), gauge, ended }
    }

    fn ended(&self, how: &str, events: u64) {
        self.ended.with_label_values(&[how]).inc_by(events);
    }

    fn enter(&self, events: u64, limit: u64) -> Option<Holding<'_>> {
        let grown = |count: u64| count.checked_add(events).filter(|count| *count <= limit);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).ok()?;
        self.gauge.add(i64::try_from(events).unwrap_or(i64::MAX));
        Some(Holding { held: self, events })
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.held.count.fetch_sub(self.events, Ordering::Relaxed);
        self.held.gauge.sub(i64::try_from(self.events).unwrap_or(i64::MAX));
    }
}

/// What is to be delivered, and by what.
pub(crate) struct Delivery<'a, L, H> {
    pub(crate) partition: PartitionId,
    pub(crate) events: u64,
    /// Into how many partitions the hunt was cut when these were found to be this one's.
    pub(crate) cut: u32,
    pub(crate) routes: watch::Receiver<Arc<Routes>>,
    pub(crate) held: &'a Held,
    /// Read anew each time, since limits change live.
    pub(crate) limits: L,
    /// Whether the request that they came in has room to wait.
    pub(crate) hold: H,
}

impl<L: Fn() -> Limits, H: Fn() -> bool> Delivery<'_, L, H> {
    /// Attempts until it is over, or has been held for as long as may be.
    pub(crate) async fn deliver<T, F, A>(mut self, mut attempt: F) -> Result<T, Refusal>
    where
        F: FnMut(Route) -> A,
        A: Future<Output = Attempt<T>>,
    {
        let mut holding = None;
        let mut since = None;
        let mut ambiguous = false;
        let mut asked: Option<Asked> = None;
        loop {
            let routes = self.routes.borrow_and_update().clone();
            if routes.cut() != self.cut {
                // the keys may be another partition's now
                return Err(gave_up(ambiguous));
            }
            let route = routes.of(self.partition);
            if let Some(route) = route
                && asked.as_ref().is_none_or(|asked| asked.is_over(route, routes.revision))
            {
                let mine = route.mine;
                match unhurried(attempt(route.clone()), mine, &self.hold).await {
                    Attempt::Over(result) => {
                        if holding.is_some() {
                            self.held.ended("delivered", self.events);
                        }
                        return result.map_err(|refusal| told(refusal, ambiguous));
                    }
                    Attempt::Away(away) => {
                        ambiguous |= away.ambiguous;
                        asked = Some(Asked::new(asked, route, away, routes.revision));
                    }
                }
            }
            let again = asked.as_ref().filter(|_| route.is_some()).and_then(|asked| asked.again);
            let limits = (self.limits)();
            let until = *since.get_or_insert_with(Instant::now) + limits.hold;
            if holding.is_none() {
                let entered = self.held.enter(self.events, limits.held);
                holding = entered.filter(|_| !limits.hold.is_zero() && (self.hold)());
            }
            if holding.is_none() || Instant::now() >= until {
                // Who holds nothing on purpose has not lost anything.
                if !limits.hold.is_zero() {
                    let how = if holding.is_some() { "expired" } else { "no_room" };
                    self.held.ended(how, self.events);
                }
                return Err(gave_up(ambiguous));
            }
            tokio::select! {
                changed = self.routes.changed() => if changed.is_err() {
                    return Err(gave_up(ambiguous));
                },
                () = tokio::time::sleep_until(until) => {
                    self.held.ended("expired", self.events);
                    return Err(gave_up(ambiguous));
                }
                () = wait_until(again) => {}
            }
        }
    }
}

/// `attempt` to its end. If another node keeps it waiting, the request makes room for others; when
/// there is no room to wait either, it stays where it is, since it may be taken in by now.
async fn unhurried<T>(
    attempt: impl Future<Output = Attempt<T>>,
    mine: bool,
    hold: impl Fn() -> bool,
) -> Attempt<T> {
    let mut attempt = pin!(attempt);
    if !mine {
        match tokio::time::timeout(FOREIGN_MAX, attempt.as_mut()).await {
            Ok(attempted) => return attempted,
            Err(_) => {
                hold();
            }
        }
    }
    attempt.await
}

/// Who was asked in vain, and until when it would be in vain again.
struct Asked {
    route: Route,
    knows: Option<Revision>,
    pause: Duration,
    /// If the routes stay as they are. Never if who was asked knows newer records: they are on
    /// their way to us too.
    again: Option<Instant>,
}

impl Asked {
    fn new(before: Option<Asked>, route: &Route, away: Away, ours: Option<Revision>) -> Asked {
        let same = before.filter(|before| before.route == *route);
        let longer = same.map(|before| (before.pause * 2).min(OPENING_MAX));
        // That a hand-over is done, or called off, is told by the routes.
        let first = if route.leaving { OPENING_MAX } else { OPENING_MIN };
        let pause = longer.unwrap_or(first);
        let again = (away.knows <= ours).then(|| Instant::now() + pause);
        Asked { route: route.clone(), knows: away.knows, pause, again }
    }

    /// Whether to ask now. Most changes of the routes are about other partitions.
    fn is_over(&self, route: &Route, ours: Option<Revision>) -> bool {
        *route != self.route
            || match self.again {
                Some(again) => Instant::now() >= again,
                None => self.knows <= ours,
            }
    }
}

/// An earlier attempt may have been heard although its answer was not: whoever says now that
/// nothing was kept speaks for the last one alone.
fn told(refusal: Refusal, ambiguous: bool) -> Refusal {
    match refusal {
        Refusal::Overloaded { retry_after } | Refusal::NoOwner { retry_after } if ambiguous => {
            Refusal::LogUnavailable { retry_after }
        }
        refusal => refusal,
    }
}

fn gave_up(ambiguous: bool) -> Refusal {
    told(Refusal::NoOwner { retry_after: NO_OWNER_RETRY }, ambiguous)
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
