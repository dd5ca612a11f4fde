//! Hosts of the simulation. In: what is to run on which host. Out: the same futures, stopped while
//! their host is frozen (as by SIGSTOP: time goes on, nothing of theirs does), and a wall clock
//! that each host reads with its own error. Feature `sim`; not for production. No I/O.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

thread_local! {
    /// The host whose future is polled at the moment.
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
    /// How much simulated time has passed.
    static ELAPSED: Cell<Option<Elapsed>> = const { Cell::new(None) };
}

/// Reads simulated time; `None` outside of a simulation.
pub type Elapsed = fn() -> Option<Duration>;

/// When simulated time begins: 2026-01-01T00:00:00Z, in seconds since 1970.
const BEGINS: i64 = 1_767_225_600;

/// A simulated machine. Clones are the same machine.
#[derive(Debug, Clone, Default)]
pub struct Host(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    gate: Mutex<Gate>,
    skew_millis: AtomicI64,
}

#[derive(Debug, Default)]
struct Gate {
    frozen: bool,
    /// Those that wanted to run meanwhile.
    waiting: Vec<Waker>,
}

impl Host {
    /// Stops everything that runs on it.
    pub fn freeze(&self) {
        self.gate().frozen = true;
    }

    /// Lets everything go on; what became due meanwhile is due now.
    pub fn thaw(&self) {
        let waiting = {
            let mut gate = self.gate();
            gate.frozen = false;
            std::mem::take(&mut gate.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Sets its wall clock wrong by so many milliseconds.
    pub fn skew(&self, millis: i64) {
        self.0.skew_millis.store(millis, Ordering::Relaxed);
    }

    /// Runs a future on this host, and with it all that it spawns by
    /// [`Tasks`](crate::tasks::Tasks).
    pub fn run<F: Future>(&self, task: F) -> OnHost<F> {
        OnHost { host: Some(self.clone()), task: Box::pin(task) }
    }

    /// Whether it is frozen; if so, `waker` is woken when it thaws.
    fn stops(&self, waker: &Waker) -> bool {
        let mut gate = self.gate();
        if gate.frozen {
            gate.waiting.push(waker.clone());
        }
        gate.frozen
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a future where its spawner runs; anywhere if that is on no host.
pub fn on_this_host<F: Future>(task: F) -> OnHost<F> {
    OnHost { host: CURRENT.with_borrow(Clone::clone), task: Box::pin(task) }
}

/// Says how simulated time is read on this thread.
pub fn set_clock(elapsed: Elapsed) {
    ELAPSED.set(Some(elapsed));
}

/// The wall clock of the host that asks; `None` outside of a simulation.
pub(crate) fn now() -> Option<Timestamp> {
    let elapsed = ELAPSED.get()?()?;
    let skew = CURRENT.with_borrow(|host| {
        host.as_ref().map_or(0, |host| host.0.skew_millis.load(Ordering::Relaxed))
    });
    let began = Timestamp::from_second(BEGINS).ok()?;
    let elapsed = SignedDuration::try_from(elapsed).ok()? + SignedDuration::from_millis(skew);
    began.checked_add(elapsed).ok()
}

/// A future on its host.
pub struct OnHost<F> {
    host: Option<Host>,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(host) = self.host.clone() else { return self.task.as_mut().poll(context) };
        if host.stops(context.waker()) {
            return Poll::Pending;
        }
        let outer = CURRENT.replace(Some(host));
        let polled = self.task.as_mut().poll(context);
        CURRENT.set(outer);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;
    use std::sync::atomic::AtomicU32;

    #[tokio::test(start_paused = true)]
    async fn what_runs_on_a_frozen_host_stops_and_goes_on_when_it_thaws() {
        let (host, tasks, counted) =
            (Host::default(), Tasks::default(), Arc::<AtomicU32>::default());
        let count = counted.clone();
        let spawner = tasks.clone();
        host.run(async move {
            spawner.spawn("counts", async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        })
        .await;
        let after = async |secs: u64| {
            tokio::time::sleep(Duration::from_millis(secs * 1000 + 1)).await;
            counted.load(Ordering::Relaxed)
        };
        assert_eq!(after(3).await, 3);
        host.freeze();
        assert_eq!(after(10).await, 3);
        host.thaw();
        assert_eq!(after(0).await, 4, "what became due meanwhile is due now, once");
        assert_eq!(after(2).await, 6);
    }
}
