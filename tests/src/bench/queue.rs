//! A queue that is resized 64 -> 65,536 -> 64 under full load, against the same queue whose
//! capacity stays, and against one whose capacity is but a number: one producer, one consumer,
//! batches of up to 64 events of 64 bytes. Each event is numbered, so that a lost or a moved one
//! shows. Threads, no I/O.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent::capacity::credits::{Credits, Permit, Size};
use servers::ProcessStat;

use super::numbers::median;
use super::{Row, Setting};

const SMALL: u64 = 64;
const LARGE: u64 = 65_536;
/// Sizes of batches, in turn.
const BATCHES: [u64; 5] = [64, 64, 17, 64, 1];
const EVENT_BYTES: u64 = 64;
/// Most events that the consumer takes at once.
const TAKEN_MAX: usize = 256;
/// How long one capacity holds.
const PHASE: Duration = Duration::from_secs(1);
const ROUNDS: usize = 6;
/// Nanoseconds per event over the fixed queue.
const GOAL: f64 = 5.0;

type Event = [u64; 8];

struct Batch {
    events: Vec<Event>,
    permit: Option<Permit>,
}

/// What lets batches in.
enum Gate {
    /// A number, which nothing can change.
    Number(u64),
    /// The agent's own credits.
    Credits(Credits),
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Events in the queue or with the consumer; kept for the fixed gate.
    in_use: u64,
}

struct Queue {
    gate: Gate,
    state: Mutex<State>,
    filled: Condvar,
    freed: Condvar,
    ended: AtomicBool,
    consumed: AtomicU64,
}

/// What the consumer found wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wrong {
    lost: u64,
    reordered: u64,
}

/// Which of a cost's two measures.
type Measure = fn(&Cost) -> f64;

/// Nanoseconds per event.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// By the clock.
    wall: f64,
    /// Of both threads on their cores: what a busy machine cannot stretch.
    cpu: f64,
}

struct Run {
    /// Phase by phase, with its capacity.
    phases: Vec<(u64, Cost)>,
    wrong: Wrong,
}

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let phase = setting.lasting(PHASE);
    rows.extend(tokio::task::spawn_blocking(move || measure(phase)).await?);
    Ok(())
}

fn measure(phase: Duration) -> Vec<Row> {
    let mut wrong = Wrong::default();
    let (mut number, mut fixed, mut live) = (Both::default(), Both::default(), Both::default());
    for _ in 0..ROUNDS {
        for capacity in [SMALL, LARGE] {
            let twice = [capacity, capacity];
            number.add(&run(Gate::Number(capacity), &twice, phase));
            fixed.add(&run(Gate::Credits(Credits::new(size(capacity))), &twice, phase));
        }
        let credits = Credits::new(size(SMALL));
        let run = run(Gate::Credits(credits), &[SMALL, LARGE, SMALL, LARGE], phase);
        wrong.lost += run.wrong.lost;
        wrong.reordered += run.wrong.reordered;
        live.add(&run);
    }
    rows(wrong, &number, &fixed, &live)
}

/// The costs of one kind of queue.
#[derive(Default)]
struct Both {
    small: Vec<Cost>,
    large: Vec<Cost>,
}

impl Both {
    fn add(&mut self, run: &Run) {
        for (capacity, cost) in &run.phases {
            if *capacity == SMALL { self.small.push(*cost) } else { self.large.push(*cost) }
        }
    }

    /// How much more this costs than `other`, at the worse capacity.
    fn over(&self, other: &Both, of: Measure) -> f64 {
        let more = |ours: &[Cost], others: &[Cost]| of(&middle(ours)) - of(&middle(others));
        more(&self.small, &other.small).max(more(&self.large, &other.large))
    }
}

fn rows(wrong: Wrong, number: &Both, fixed: &Both, live: &Both) -> Vec<Row> {
    let (wall, cpu): (Measure, Measure) = (|cost| cost.wall, |cost| cost.cpu);
    let mut rows = vec![
        Row::new("events lost", wrong.lost as f64, "events").at_most(0.0),
        Row::new("events reordered", wrong.reordered as f64, "events").at_most(0.0),
        Row::new(
            "over the same queue with a fixed capacity, per event",
            live.over(fixed, wall),
            "ns",
        )
        .at_most(GOAL),
        Row::new("the same, processor time of both threads", live.over(fixed, cpu), "ns"),
        Row::new("over a queue bounded by a number, per event", live.over(number, wall), "ns"),
        Row::new("the same, processor time of both threads", live.over(number, cpu), "ns"),
    ];
    for (kind, both) in [("a number", number), ("fixed credits", fixed), ("resized", live)] {
        for (capacity, costs) in [("64", &both.small), ("65,536", &both.large)] {
            let cost = middle(costs);
            rows.push(Row::new(format!("{kind}, {capacity}: per event"), cost.wall, "ns"));
            rows.push(Row::new(format!("{kind}, {capacity}: processor time"), cost.cpu, "ns"));
        }
    }
    rows
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |each: fn(&Cost) -> f64| median(&costs.iter().map(each).collect::<Vec<_>>());
    Cost { wall: of(|cost| cost.wall), cpu: of(|cost| cost.cpu) }
}

/// Runs producer and consumer at full speed, with one capacity after the other.
fn run(gate: Gate, capacities: &[u64], phase: Duration) -> Run {
    let queue = Arc::new(Queue::new(gate));
    let producer = std::thread::spawn({
        let queue = queue.clone();
        move || queue.produce()
    });
    let consumer = std::thread::spawn({
        let queue = queue.clone();
        move || queue.consume()
    });
    let mut phases = Vec::new();
    for capacity in capacities {
        queue.resize(*capacity);
        let (started, cpu) = (Instant::now(), own_cpu());
        let before = queue.consumed.load(Ordering::Relaxed);
        std::thread::sleep(phase);
        let events = (queue.consumed.load(Ordering::Relaxed) - before).max(1) as f64;
        let per_event = |time: Duration| time.as_nanos() as f64 / events;
        let (wall, cpu) = (per_event(started.elapsed()), per_event(own_cpu() - cpu));
        phases.push((*capacity, Cost { wall, cpu }));
    }
    queue.end();
    let produced = producer.join().unwrap_or(u64::MAX);
    let (mut wrong, next) = consumer.join().unwrap_or_default();
    wrong.lost += produced - next;
    Run { phases, wrong }
}

/// Of the whole process, which does nothing else at the time.
fn own_cpu() -> Duration {
    ProcessStat::read(std::process::id()).map_or(Duration::ZERO, |stat| stat.cpu_time())
}

fn size(events: u64) -> Size {
    Size { events, bytes: events * EVENT_BYTES }
}

impl Queue {
    fn new(gate: Gate) -> Queue {
        Queue {
            gate,
            state: Mutex::default(),
            filled: Condvar::new(),
            freed: Condvar::new(),
            ended: AtomicBool::new(false),
            consumed: AtomicU64::new(0),
        }
    }

    fn resize(&self, capacity: u64) {
        if let Gate::Credits(credits) = &self.gate {
            credits.resize(size(capacity));
            let _state = self.state();
            self.freed.notify_one();
        }
    }

    fn end(&self) {
        let _state = self.state();
        self.ended.store(true, Ordering::SeqCst);
        self.filled.notify_one();
        self.freed.notify_one();
    }

    /// Puts numbered events in until the end; how many.
    fn produce(&self) -> u64 {
        let mut next = 0;
        for count in BATCHES.iter().cycle() {
            let events = (next..next + count).map(|number| [number; 8]).collect();
            if !self.put(events, *count) {
                break;
            }
            next += count;
        }
        next
    }

    /// Waits for room; false at the end.
    fn put(&self, events: Vec<Event>, count: u64) -> bool {
        let mut state = self.state();
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return false;
            }
            let permit = match &self.gate {
                Gate::Number(capacity) => (state.in_use + count <= *capacity).then_some(None),
                Gate::Credits(credits) => credits.take(size(count)).map(Some),
            };
            if let Some(permit) = permit {
                state.in_use += count;
                state.batches.push_back(Batch { events, permit });
                drop(state);
                self.filled.notify_one();
                return true;
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes events out until the end, in the order of their numbers if all is well; what was
    /// wrong, and the number that would have come next.
    fn consume(&self) -> (Wrong, u64) {
        let (mut wrong, mut next) = (Wrong::default(), 0);
        while let Some(batches) = self.next_batches() {
            let events = batches.iter().flat_map(|batch| &batch.events);
            events.for_each(|event| check(event[0], &mut next, &mut wrong));
            let count = batches.iter().map(|batch| batch.events.len() as u64).sum::<u64>();
            self.consumed.fetch_add(count, Ordering::Relaxed);
            batches.into_iter().for_each(|batch| drop(batch.permit));
            self.state().in_use -= count;
            self.freed.notify_one();
        }
        (wrong, next)
    }

    fn next_batches(&self) -> Option<Vec<Batch>> {
        let mut state = self.state();
        while state.batches.is_empty() {
            if self.ended.load(Ordering::SeqCst) {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut events = 0;
        let mut taken = Vec::new();
        while let Some(batch) = state.batches.front()
            && (taken.is_empty() || events + batch.events.len() <= TAKEN_MAX)
        {
            events += batch.events.len();
            taken.extend(state.batches.pop_front());
        }
        Some(taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(number: u64, next: &mut u64, wrong: &mut Wrong) {
    if number < *next {
        wrong.reordered += 1;
        return;
    }
    wrong.lost += number - *next;
    *next = number + 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_comes_late_are_counted() {
        let (mut next, mut wrong) = (0, Wrong::default());
        for number in [0, 1, 4, 2, 5] {
            check(number, &mut next, &mut wrong);
        }
        assert_eq!((next, wrong), (6, Wrong { lost: 2, reordered: 1 }));
    }

    #[test]
    fn both_gates_hand_over_everything_in_order() {
        let short = Duration::from_millis(5);
        for gate in [Gate::Number(SMALL), Gate::Credits(Credits::new(size(SMALL)))] {
            let run = run(gate, &[SMALL, LARGE, SMALL], short);
            assert_eq!((run.phases.len(), run.wrong), (3, Wrong::default()));
        }
    }
}
