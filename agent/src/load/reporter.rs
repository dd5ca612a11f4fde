//! Measures each window and writes the report on the node's lease. In: meters, queues, settings,
//! the session. Out: the figures for those who ask here, and `load/<node>` in etcd when there is
//! news. I/O, thin; what a window means is decided in `fold`.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::documents::write;
use config_schemas::{Load, PartitionId};
use rand::Rng as _;
use rustix::time::{ClockId, clock_gettime};
use store::{Claim, Session};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::cores;
use super::fold::{Figures, Means, Stamp, Window, is_news};
use super::meter::{Meters, Tally};
use crate::capacity::queues::Queues;
use crate::config::live::Live;
use crate::config::road::chain;
use crate::hotkeys::HotKeys;
use crate::registration::Standing;

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
    /// Whether the node is registered: otherwise nothing is written.
    pub standing: watch::Receiver<Standing>,
    /// What is counted.
    pub meters: Meters,
    /// What the gateway sees of hot keys.
    pub hot: HotKeys,
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
    /// Measures until `stop`, and reports while the node is registered.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.report() => {}
        }
    }

    async fn report(&mut self) {
        let mut reported = Reported { attached: false, load: None };
        let mut news = Some(self.figures.borrow().load.clone());
        let mut cores = cores::available();
        let (mut began, mut cpu) = (Instant::now(), own_cpu());
        // Agents that start together need not write together for ever.
        let mut length = self.window.mul_f64(rand::rng().random_range(0.5..1.0));
        for window in 1_u32.. {
            let end = began + length;
            length = self.window;
            let (late, ()) =
                tokio::join!(lateness(end), self.write(news.take(), &mut reported, end));
            if window % LIMIT_EVERY == 0 {
                cores = cores::available();
            }
            let (now, cpu_now) = (Instant::now(), own_cpu());
            let counted = self.meters.take();
            let used = self.queues.used();
            // what others wrote into the log waits too, and was never given credits
            let waiting = |(partition, tally): (&PartitionId, &Tally)| {
                tally.lag.max(used.get(partition).map_or(0, |used| used.events))
            };
            let window = Window {
                lasted: now - began,
                hot: self.hot.ordered(now),
                queued: counted.partitions.iter().map(waiting).sum(),
                counted,
                late,
                cpu: cpu_now.saturating_sub(cpu),
            };
            (began, cpu) = (now, cpu_now);
            let load = self.take(&window, cores);
            let is_news = reported.load.as_ref().is_none_or(|reported| is_news(reported, &load));
            news = is_news.then_some(load);
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

    /// Hands the report to the session as soon as the node is registered, and waits for the answer,
    /// both until `end` at most: what the session has, it writes as soon as the store answers.
    async fn write(&self, load: Option<Load>, reported: &mut Reported, end: Instant) {
        let Some(load) = load else { return };
        let mut standing = self.standing.clone();
        let registered = standing.wait_for(|standing| *standing == Standing::Registered);
        if !matches!(timeout_at(end, registered).await, Ok(Ok(_))) {
            return;
        }
        let (key, value) = (self.key.clone(), write(&load));
        let attached = std::mem::replace(&mut reported.attached, true);
        reported.load = Some(load);
        let written = async {
            match attached {
                true => self.session.update(key, value).await,
                false => self.session.attach(key, value, Claim::or_if(|_| true)).await,
            }
        };
        if let Ok(Err(error)) = timeout_at(end, written).await {
            tracing::warn!(error = %chain(&error), "cannot report this node's load; trying again");
            *reported = Reported { attached: false, load: None };
        }
    }
}

/// What the session has been given.
struct Reported {
    attached: bool,
    load: Option<Load>,
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
    // All simulated hosts are one process, and its time differs from run to run.
    if cfg!(feature = "sim") {
        return Duration::ZERO;
    }
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
