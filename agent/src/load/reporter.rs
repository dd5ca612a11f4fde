//! Measures each window and writes the report on the node's lease. In: meters, queues, settings,
//! the session. Out: the figures for those who ask here, and `load/<node>` in etcd when there is
//! news. I/O, thin; what a window means is decided in `fold`.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::Load;
use config_schemas::documents::write;
use rand::Rng as _;
use rustix::time::{ClockId, clock_gettime};
use store::{Claim, Session};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::cores;
use super::fold::{Figures, Means, Stamp, Window, is_news};
use super::meter::Meters;
use crate::config::live::Live;
use crate::config::road::chain;
use crate::core::Standing;
use crate::partitions::queues::Queues;

/// Between two looks at whether this process runs when it should. Four a second cost a node at
/// rest some hundredths of a thousandth of a core.
const TICK: Duration = Duration::from_millis(250);
/// Windows between two looks at the limit of cores: it is seldom changed while a process runs.
const LIMIT_EVERY: u32 = 12;

/// What a reporter works with.
pub struct Reporter {
    /// Which life of the node.
    pub incarnation: String,
    /// `load/<node>`.
    pub key: String,
    /// The node's lease.
    pub session: Session,
    /// Whether the node is registered: before that nothing is written.
    pub standing: watch::Receiver<Standing>,
    /// What is counted.
    pub meters: Meters,
    /// What waits.
    pub queues: Queues,
    /// The settings.
    pub live: Live,
    /// Where the figures go.
    pub figures: watch::Sender<Arc<Figures>>,
    /// How long a window is: [`LOAD_WINDOW`](config_schemas::LOAD_WINDOW) but in tests.
    pub window: Duration,
}

/// The figures of a node that starts with these settings.
pub fn first(incarnation: &str, live: &Live) -> Figures {
    Figures::first(&means(cores::available(), live), stamp(incarnation))
}

impl Reporter {
    /// Reports until `stop`, or until the name is another's.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.report() => {}
        }
    }

    async fn report(&mut self) {
        let registered = self.standing.wait_for(|standing| *standing != Standing::Registering);
        if registered.await.map_or(true, |standing| *standing != Standing::Registered) {
            return;
        }
        let mut written = self.figures.borrow().load.clone();
        let anybodys = Claim::or_if(|_| true);
        let attached = self.session.attach(self.key.clone(), write(&written), anybodys).await;
        if let Err(error) = attached {
            tracing::error!(error = %chain(&error), "cannot report this node's load");
            return;
        }
        let mut cores = cores::available();
        let (mut began, mut cpu) = (Instant::now(), own_cpu());
        // What was counted before belongs to no window.
        self.meters.take();
        // Agents that start together need not write together for ever.
        let mut length = self.window.mul_f64(rand::rng().random_range(0.5..1.0));
        let mut unwritten = None;
        for window in 1_u32.. {
            let end = began + length;
            length = self.window;
            let (late, ()) = tokio::join!(lateness(end), self.write(unwritten.take(), end));
            if window % LIMIT_EVERY == 0 {
                cores = cores::available();
            }
            let (now, cpu_now) = (Instant::now(), own_cpu());
            let window = Window {
                lasted: now - began,
                counted: self.meters.take(),
                queued: self.queues.used().values().map(|used| used.events).sum(),
                late,
                cpu: cpu_now.saturating_sub(cpu),
            };
            (began, cpu) = (now, cpu_now);
            let load = self.take(&window, cores);
            if is_news(&written, &load) {
                written = load.clone();
                unwritten = Some(load);
            }
        }
    }

    /// Folds a window in and shows the figures.
    fn take(&self, window: &Window, cores: f64) -> Load {
        let means = means(cores, &self.live);
        let before = self.figures.borrow().clone();
        let next = before.after(window, &means, stamp(&self.incarnation));
        if next.load.slow != before.load.slow {
            match &next.load.slow {
                Some(slow) => tracing::warn!(code = slow.code.as_str(), reason = %slow.reason,
                    "this node is slow"),
                None => tracing::info!("this node is no longer slow"),
            }
        }
        let load = next.load.clone();
        self.figures.send_replace(Arc::new(next));
        load
    }

    /// Waits for the answer until `end` at most: from then on the session itself writes the newest
    /// value as soon as the store answers.
    async fn write(&self, load: Option<Load>, end: Instant) {
        let Some(load) = load else { return };
        let written = self.session.update(self.key.clone(), write(&load));
        if let Ok(Err(error)) = timeout_at(end, written).await {
            tracing::warn!(error = %chain(&error), "cannot report this node's load");
        }
    }
}

/// Waits until `end`; how much later than asked for the process ran, over all looks.
async fn lateness(end: Instant) -> Duration {
    let mut late = Duration::ZERO;
    loop {
        let wanted = (Instant::now() + TICK).min(end);
        sleep_until(wanted).await;
        let now = Instant::now();
        late += now - wanted;
        if now >= end {
            return late;
        }
    }
}

fn means(cores: f64, live: &Live) -> Means {
    let workers = &live.snapshot().config.workers;
    Means { cores, turns: workers.concurrency, turn: workers.turn }
}

fn stamp(incarnation: &str) -> Stamp<'_> {
    Stamp { incarnation, at_ms: telemetry::clock::now_millis() }
}

/// Processor time of this process so far.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
