//! The open loop: every event is sent when it is due, whatever became of those before, and its
//! time runs from that moment. In: a script, addresses. Out: what became of each event. I/O.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::cast::{Cast, Heard, number};
use super::checker::{Acked, Refused, Told};
use super::outcomes::Seen;
use super::replay::Replay;
use super::request::{Done, Event, Reply, send};
use super::shape::{Phase, Schedule, Shape};
use super::tally::{Answer, Tally};
use crate::failure::Failure;
use crate::http::Http;

/// What is due is sent this often: it is part of every event's time.
const TICK: Duration = Duration::from_millis(2);
/// Events in one request, at most; agents take 10,000.
const BATCH_MAX: usize = 1_000;
/// Requests under way to one agent, at most: their own bound is 1,024, over all producers.
const REQUESTS_MAX: usize = 256;
/// Events that wait for a request, at most. What is due beyond counts as never sent.
const WAITING_MAX: usize = 500_000;

/// What is to be sent.
#[derive(Debug)]
pub enum Script {
    /// Players, who come in as the shape says.
    Game {
        /// Who they are.
        cast: Box<Cast>,
        /// How many of them play when.
        shape: Shape,
        /// How many there are.
        players: u32,
        /// When their events are due.
        schedule: Schedule,
        /// The next event is due then.
        due: Option<Duration>,
        /// Events so far.
        number: u64,
    },
    /// A file.
    Replay(Box<Replay>),
}

/// How it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Since the beginning.
    pub elapsed: Duration,
    /// Events that were due.
    pub due: u64,
    /// Acknowledged.
    pub accepted: u64,
    /// Refused.
    pub refused: u64,
    /// Without an answer.
    pub unanswered: u64,
    /// Sent, or about to be, and not answered yet.
    pub waiting: u64,
    /// Of the last second that has ended, in milliseconds.
    pub p99: f64,
}

/// What is to be done beside sending.
#[derive(Debug, Default)]
pub struct Beside {
    /// Keep what a checker needs: about 200 bytes for each event that has an answer.
    pub keep: bool,
    /// Outcomes as a reader sees them, to be timed.
    pub seen: Option<mpsc::Receiver<Seen>>,
    /// How long outcomes are waited for after the last answer.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Sent {
    /// Counts and times.
    pub tally: Tally,
    /// Acknowledged events, for a checker.
    pub told: Vec<Told>,
    /// Those of which nothing was kept, for the same: each was sent once.
    pub refused: Vec<Refused>,
    /// When it began: events are due so long after.
    pub began: Instant,
    /// The same by the clock, in milliseconds since 1970.
    pub began_millis: u64,
    /// How long it took, answers included.
    pub took: Duration,
}

impl Script {
    /// Players in a shape.
    pub fn game(mut cast: Cast, shape: Shape, players: u32) -> Script {
        let mut schedule = shape.schedule();
        let due = schedule.next(cast.chance());
        Script::Game { cast: Box::new(cast), shape, players, schedule, due, number: 0 }
    }

    fn due(&self) -> Option<Duration> {
        match self {
            Script::Game { due, .. } => *due,
            Script::Replay(replay) => replay.due(),
        }
    }

    /// The event that is due next.
    fn take(&mut self, began_millis: u64) -> Result<Option<Event>, Failure> {
        let Some(at) = self.due() else { return Ok(None) };
        let (number, deed, mut body) = match self {
            Script::Game { cast, shape, players, schedule, due, number } => {
                let deed = cast.next(at, shape.playing(*players, at));
                let body = cast.event(&deed, *number);
                *due = schedule.next(cast.chance());
                *number += 1;
                (*number - 1, Some(deed), body)
            }
            Script::Replay(replay) => {
                let Some(event) = replay.take()? else { return Ok(None) };
                (replay.taken() - 1, None, event)
            }
        };
        body["at_millis"] = (began_millis + at.as_millis() as u64).into();
        let kind = body["kind"].as_str().unwrap_or_default();
        let (claim, ordered) = (kind == "claim", kind != "sight");
        let player = body["player"].as_str().unwrap_or_default().to_owned();
        let body = body.to_string();
        Ok(Some(Event { number, due: at, body, deed, player, claim, ordered }))
    }

    fn answered(&mut self, event: &Event, answer: &Answer, at: Duration) {
        let (Script::Game { cast, .. }, Some(deed)) = (self, &event.deed) else { return };
        let heard = match answer {
            Answer::Accepted => Heard::Accepted,
            Answer::Refused(_) | Answer::Unsent => Heard::Refused,
            Answer::Unanswered(_) => Heard::Unknown,
        };
        cast.answered(deed, heard, at);
    }
}

/// Sends everything that is due, and waits for the answers. Ctrl-C ends the sending, not the
/// report. `progress` is called once a second.
pub async fn run(
    http: &Http,
    addresses: &[String],
    (run, script, phases): (&str, Script, Vec<Phase>),
    beside: Beside,
    progress: impl FnMut(&Progress),
) -> Result<Sent, Failure> {
    let gateway = |address: &String| Gateway { address: address.clone(), ..Gateway::default() };
    let sender = Sender {
        http: http.clone(),
        run: run.to_owned(),
        script,
        gateways: addresses.iter().map(gateway).collect(),
        waiting: 0,
        batches: JoinSet::new(),
        tally: Tally::new(phases),
        told: Vec::new(),
        refused: Vec::new(),
        keep: beside.keep,
        dues: beside.seen.is_some().then(Vec::new),
        began: Instant::now(),
        began_millis: telemetry::clock::now_millis(),
        progress: Progress::default(),
    };
    sender.run(beside, progress).await
}

/// An agent, and what waits for it.
#[derive(Debug, Default)]
struct Gateway {
    address: String,
    waiting: VecDeque<Event>,
    under_way: usize,
}

struct Sender {
    http: Http,
    run: String,
    script: Script,
    gateways: Vec<Gateway>,
    waiting: usize,
    batches: JoinSet<Done>,
    tally: Tally,
    told: Vec<Told>,
    refused: Vec<Refused>,
    keep: bool,
    /// When each event was due, while outcomes are timed.
    dues: Option<Vec<Duration>>,
    began: Instant,
    began_millis: u64,
    progress: Progress,
}

impl Sender {
    async fn run(
        mut self,
        mut beside: Beside,
        mut progress: impl FnMut(&Progress),
    ) -> Result<Sent, Failure> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = interval(Duration::from_secs(1));
        let mut ended = false;
        let stop = tokio::signal::ctrl_c();
        let mut stop = std::pin::pin!(stop);
        while !ended || self.waiting > 0 || !self.batches.is_empty() {
            tokio::select! {
                biased;
                _ = &mut stop, if !ended => ended = true,
                _ = ticks.tick() => {
                    ended = ended || !self.due().await?;
                    self.flush();
                }
                _ = told.tick() => progress(&self.told_now()),
                Some(done) = self.batches.join_next(), if !self.batches.is_empty() => {
                    // A request that panicked has told so; its events have no answer.
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                Some(seen) = next(&mut beside.seen) => self.seen(&seen),
            }
        }
        let took = self.began.elapsed();
        self.last_outcomes(&mut beside).await;
        progress(&self.told_now());
        let Sender { tally, told, refused, began, began_millis, .. } = self;
        Ok(Sent { tally, told, refused, began, began_millis, took })
    }

    /// Takes what is due now from the script; whether there is more to come.
    async fn due(&mut self) -> Result<bool, Failure> {
        let now = self.began.elapsed();
        loop {
            match self.script.due() {
                Some(due) if due <= now => {}
                later => return Ok(later.is_some()),
            }
            let Some(event) = self.script.take(self.began_millis)? else { return Ok(false) };
            if let Some(dues) = &mut self.dues {
                dues.push(event.due);
            }
            self.progress.due += 1;
            if self.waiting >= WAITING_MAX {
                self.settle(&event, &Answer::Unsent, now);
                continue;
            }
            let at = gateway_of(&event.player, self.gateways.len());
            self.gateways[at].waiting.push_back(event);
            self.waiting += 1;
        }
    }

    fn flush(&mut self) {
        for (at, gateway) in self.gateways.iter_mut().enumerate() {
            while !gateway.waiting.is_empty() && gateway.under_way < REQUESTS_MAX {
                let count = gateway.waiting.len().min(BATCH_MAX);
                let events: Vec<_> = gateway.waiting.drain(..count).collect();
                self.waiting -= events.len();
                gateway.under_way += 1;
                self.batches.spawn(send(self.http.clone(), at, gateway.address.clone(), events));
            }
        }
    }

    fn done(&mut self, done: Done) {
        self.gateways[done.gateway].under_way -= 1;
        let since = |at: Instant| at.duration_since(self.began);
        let (sent, heard) = (since(done.sent), since(done.heard));
        for (event, reply) in done.events.into_iter().zip(done.answers) {
            self.settle(&event, &reply.answer, heard);
            if self.keep {
                self.keep(event, reply, sent.as_micros() as u64, heard.as_micros() as u64);
            }
        }
    }

    /// What a checker has to know of an event with its answer.
    fn keep(&mut self, event: Event, reply: Reply, sent: u64, heard: u64) {
        let id = super::cast::id(&self.run, event.number);
        match reply.answer {
            Answer::Accepted => self.told.push(Told {
                event: Acked {
                    id,
                    player: event.player,
                    partition: reply.partition,
                    claim: event.claim,
                },
                sent,
                heard,
                ordered: event.ordered,
            }),
            Answer::Refused(code) => self.refused.push(Refused { id, code }),
            Answer::Unanswered(_) | Answer::Unsent => {}
        }
    }

    fn settle(&mut self, event: &Event, answer: &Answer, heard: Duration) {
        self.script.answered(event, answer, heard);
        self.tally.answered(event.due, answer, heard.saturating_sub(event.due));
        *match answer {
            Answer::Accepted => &mut self.progress.accepted,
            Answer::Refused(_) | Answer::Unsent => &mut self.progress.refused,
            Answer::Unanswered(_) => &mut self.progress.unanswered,
        } += 1;
    }

    fn seen(&mut self, seen: &Seen) {
        let at = seen.at.duration_since(self.began);
        let Some(dues) = &self.dues else { return };
        for id in &seen.ids {
            let due = number(&self.run, id).and_then(|number| dues.get(number as usize));
            if let Some(due) = due {
                self.tally.played(*due, at.saturating_sub(*due));
            }
        }
    }

    /// Outcomes of what was acknowledged last are still to come.
    async fn last_outcomes(&mut self, beside: &mut Beside) {
        let until = Instant::now() + beside.patience;
        while beside.seen.is_some() {
            let missing = self.tally.total();
            if missing.outcomes.count() >= missing.accepted {
                return;
            }
            match tokio::time::timeout_at(until, next(&mut beside.seen)).await {
                Ok(Some(seen)) => self.seen(&seen),
                _ => return,
            }
        }
    }

    fn told_now(&self) -> Progress {
        let elapsed = self.began.elapsed();
        let second = Duration::from_secs(elapsed.as_secs());
        let last = self.tally.between(second.saturating_sub(Duration::from_secs(1)), second);
        let answered = self.progress.accepted + self.progress.refused + self.progress.unanswered;
        let waiting = self.progress.due.saturating_sub(answered);
        Progress { elapsed, waiting, p99: last.answers.p99(), ..self.progress }
    }
}

/// The agent that a player stays with, as one who plays over one connection does. Not by the hash
/// that chooses partitions: balancers know nothing of those, and by it a player would always be with
/// the same few owners.
fn gateway_of(player: &str, gateways: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    player.hash(&mut hasher);
    // Less than the number of gateways.
    (hasher.finish() % gateways.max(1) as u64) as usize
}

/// What is seen next; for ever when nobody looks.
async fn next(seen: &mut Option<mpsc::Receiver<Seen>>) -> Option<Seen> {
    match seen {
        Some(receiver) => match receiver.recv().await {
            Some(found) => Some(found),
            None => {
                *seen = None;
                std::future::pending().await
            }
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_of_one_partition_come_through_every_agent_alike() {
        const GATEWAYS: usize = 8;
        for partition in 0..16 {
            let mut through = [0_u32; GATEWAYS];
            for player in (0..16_000).map(|number| format!("r.p{number}")) {
                if events::partition_of(&player, 16).0 == partition {
                    through[gateway_of(&player, GATEWAYS)] += 1;
                }
            }
            assert!(through.iter().all(|count| (60..250).contains(count)), "{through:?}");
        }
    }
}
