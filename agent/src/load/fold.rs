//! What a node carries, from what it counted: the figures before and a window's counts in, the
//! figures after and the report out. Pure.
//!
//! A partition costs what it keeps the node from doing otherwise: the processor's time for
//! deciding, and of the time that a worker is held up by the log as much as the lack of that turn
//! costs the node. Costs and weight are scaled by the node's speed, so that a partition costs the
//! same on a slow node, and the slow node is worth less; the share in use is right on both.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::hot::HotReport;
use config_schemas::{LOAD_WINDOW, Load, PartitionId, rounded};

use super::health::{Health, Signs};
use super::meter::{Counted, Tally};

/// Weight of the newest window in averages.
const NEWEST: f64 = 0.5;
/// Shed events are charged up to this many times what was served. Producers that try again are
/// counted with each try, so the demand is overstated while a queue is full; a partition that
/// needs more room yet shows it again in the next window.
const SHED_MAX: f64 = 3.0;
/// A window shorter than this tells no rates.
const SERVED_MIN: Duration = Duration::from_secs(1);
/// Costs below this are nothing: averages would otherwise take for ever to end.
const COST_MIN: f64 = 1e-6;
/// Below this share of its weight a node is at rest.
const REST_SHARE: f64 = 0.005;

/// What a window brought.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// How long it was.
    pub lasted: Duration,
    /// By the meters.
    pub counted: Counted,
    /// Hot keys of the gateway that have to stay in order, at its end.
    pub hot: Vec<HotReport>,
    /// Events that wait, at its end.
    pub queued: u64,
    /// Time in which the process did not run when it should have.
    pub late: Duration,
    /// Processor time of the whole process.
    pub cpu: Duration,
}

/// What the node has to work with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Processor cores that it may use.
    pub cores: f64,
    /// `workers.concurrency`.
    pub turns: u64,
    /// `workers.turn`.
    pub turn: Duration,
}

/// Who reports, and when.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Which life of the node.
    pub incarnation: &'a str,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// What is known of the load.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// As reported.
    pub load: Load,
    /// The cost of every partition served, in the unit of [`Load::cost`].
    pub costs: BTreeMap<PartitionId, f64>,
    /// Seconds that an event of each partition took, on average.
    service: BTreeMap<PartitionId, f64>,
    speed: Speed,
    health: Health,
}

impl Means {
    /// How many seconds of work a second has: no more than cores, and no more than turns.
    fn capacity(&self) -> f64 {
        self.cores.min(self.turns.max(1) as f64)
    }

    /// What a partition kept the node from doing, in seconds.
    fn busy(&self, tally: &Tally) -> f64 {
        let held_up = self.capacity() / self.turns.max(1) as f64;
        tally.decided.as_secs_f64() + tally.waited.as_secs_f64() * held_up
    }
}

impl Figures {
    /// Before anything was measured.
    pub fn first(means: &Means, stamp: Stamp<'_>) -> Figures {
        Figures {
            load: Load::at_rest(stamp.incarnation, stamp.at_ms, means.capacity()),
            costs: BTreeMap::new(),
            service: BTreeMap::new(),
            speed: Speed::default(),
            health: Health::default(),
        }
    }

    /// The figures after a further window.
    #[must_use]
    pub fn after(&self, window: &Window, means: &Means, stamp: Stamp<'_>) -> Figures {
        let tallies = &window.counted.partitions;
        let decided = tallies.values().map(|tally| tally.decided.as_secs_f64()).sum();
        let events = tallies.values().map(|tally| tally.events).sum();
        let speed = self.speed.after(decided, events);
        let service = self.service(tallies, means);
        let costs = tallies.iter().map(|(id, tally)| {
            let now = self.cost_now(*id, tally, window.lasted, means, &service) * speed.factor();
            let average = match self.costs.get(id) {
                Some(before) => NEWEST * now + (1.0 - NEWEST) * before,
                // A partition that has just come is not averaged with the time before.
                None => now,
            };
            (*id, if average < COST_MIN { 0.0 } else { average })
        });
        let costs: BTreeMap<_, _> = costs.collect();
        let latency = latency(&window.counted);
        let health = self.health.after(&Signs {
            // Of a full window: the first one is shorter, and chance weighs more in it.
            late_share: ratio(
                window.late.as_secs_f64(),
                window.lasted.max(LOAD_WINDOW).as_secs_f64(),
            ),
            work_ratio: speed.against_usual,
            longest_batch: window.counted.longest_batch,
            turn: means.turn,
            latency,
        });
        let seconds = window.lasted.as_secs_f64();
        let load = Load {
            latency_p99_ms: rounded(latency.as_secs_f64() * 1e3),
            queued: window.queued,
            rate: rounded(ratio(events as f64, seconds)),
            shed: tallies.values().map(|tally| tally.shed).sum(),
            cpu: rounded(ratio(window.cpu.as_secs_f64(), seconds)),
            slow: health.slow.clone(),
            hot: window.hot.clone(),
            ..Load::at_rest(stamp.incarnation, stamp.at_ms, means.capacity() * speed.factor())
        };
        let mut load = load.with_costs(&costs).with_troubles(&window.counted.troubles);
        if !is_at_rest(&load) {
            load.next_ms = Some(LOAD_WINDOW.as_millis() as u64);
        }
        Figures { load, costs, service, speed, health }
    }

    /// A partition's share of the window, before averages and speed.
    fn cost_now(
        &self,
        id: PartitionId,
        tally: &Tally,
        lasted: Duration,
        means: &Means,
        service: &BTreeMap<PartitionId, f64>,
    ) -> f64 {
        let seconds = lasted.min(tally.served).max(SERVED_MIN).as_secs_f64();
        let served = means.busy(tally) / seconds;
        let before = self.costs.get(&id).copied().unwrap_or(0.0);
        let each = service.get(&id).copied().unwrap_or_else(|| mean(service));
        let shed = tally.shed as f64 * each / seconds;
        served + shed.min(SHED_MAX * served.max(before))
    }

    /// The time that an event takes, for those partitions of which it is known.
    fn service(
        &self,
        tallies: &BTreeMap<PartitionId, Tally>,
        means: &Means,
    ) -> BTreeMap<PartitionId, f64> {
        let of = |(id, tally): (&PartitionId, &Tally)| {
            let before = self.service.get(id).copied();
            let after = match (tally.events, before) {
                (0, before) => before?,
                (events, None) => means.busy(tally) / events as f64,
                (events, Some(before)) => {
                    NEWEST * means.busy(tally) / events as f64 + (1.0 - NEWEST) * before
                }
            };
            Some((*id, after))
        };
        tallies.iter().filter_map(of).collect()
    }
}

/// Whether `next` says what a reader of `written` does not know: a node that works reports each
/// window, one at rest only changes of what it is.
pub fn is_news(written: &Load, next: &Load) -> bool {
    let served = |load: &Load| load.cost.len() + load.rest.partitions as usize;
    let slow = |load: &Load| load.slow.as_ref().map(|slow| slow.code);
    next.next_ms.is_some()
        || written.next_ms.is_some()
        || slow(next) != slow(written)
        || next.troubles != written.troubles
        || served(next) != served(written)
        || (next.weight - written.weight).abs() > WEIGHT_NOISE * written.weight
}

/// A weight that changes by less does so by chance.
const WEIGHT_NOISE: f64 = 0.1;

fn is_at_rest(load: &Load) -> bool {
    load.utilisation() < REST_SHARE && load.queued == 0 && load.shed == 0 && load.slow.is_none()
}

/// What still waits counts with its age so far: a worker that is stuck answers nothing.
fn latency(counted: &Counted) -> Duration {
    let oldest = counted.partitions.values().map(|tally| tally.oldest).max();
    counted.latency.quantile(0.99).max(oldest).unwrap_or_default()
}

fn mean(service: &BTreeMap<PartitionId, f64>) -> f64 {
    ratio(service.values().sum(), service.len() as f64)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// How fast the node decides, against what it is used to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Speed {
    /// Windows that had enough events.
    windows: u32,
    /// Seconds that an event usually takes.
    usual: f64,
    /// The same of late.
    lately: f64,
    /// The last window's against the usual; `None` with too few events, now or ever.
    against_usual: Option<f64>,
}

/// Fewer events say more of themselves than of the node.
const EVENTS_MIN: u64 = 500;
/// Windows whose plain mean is the first idea of what is usual.
const WARM_UP: u32 = 8;
/// Then it is learned: quickly downwards, since a node can only by luck be faster than it is, and
/// upwards over half an hour, so that a node that stays slow is in the end taken as it is.
const LEARN_DOWN: f64 = 0.05;
const LEARN_UP: f64 = 0.005;
/// How much of a deviation remains after each window with too few events.
const FORGET: f64 = 0.9;
/// A weight says no more than this; see `health` for what is slower.
const FACTOR_MIN: f64 = 0.5;
const FACTOR_MAX: f64 = 2.0;

impl Speed {
    fn after(&self, decided: f64, events: u64) -> Speed {
        if events < EVENTS_MIN {
            let lately = self.usual + (self.lately - self.usual) * FORGET;
            return Speed { lately, against_usual: None, ..*self };
        }
        let now = decided / events as f64;
        let windows = self.windows.saturating_add(1);
        let learn = match windows {
            1..=WARM_UP => 1.0 / f64::from(windows),
            _ if now < self.usual => LEARN_DOWN,
            _ => LEARN_UP,
        };
        let usual = self.usual + (now - self.usual) * learn;
        let lately = if windows == 1 { now } else { NEWEST * now + (1.0 - NEWEST) * self.lately };
        let against_usual = (windows > WARM_UP).then(|| ratio(now, usual));
        Speed { windows, usual, lately, against_usual }
    }

    /// 1 at the usual speed.
    fn factor(&self) -> f64 {
        if self.lately <= 0.0 || self.usual <= 0.0 {
            return 1.0;
        }
        (self.usual / self.lately).clamp(FACTOR_MIN, FACTOR_MAX)
    }
}
