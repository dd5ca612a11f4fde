//! Players who play while things break: small batches to every agent in turn; what is refused or
//! unanswered is sent again under the same id, as a careful producer does. In: addresses. Out: the
//! ids that were acknowledged, in each player's order, and how long an event took at most. I/O.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::dev::game::Game;
use crate::dev::publish::publish;
use crate::failure::Failure;
use crate::http::Http;

/// A batch goes out this often, to one agent after the other.
const TICK: Duration = Duration::from_millis(20);
/// Events in a batch.
const BATCH: usize = 5;
/// Events that wait to be sent again; beyond that no new ones are made.
const AGAIN_MAX: usize = 2_000;
/// Players of the game.
const PLAYERS: u32 = 40;

/// A game that goes on until it is finished.
pub(super) struct Stream {
    stop: watch::Sender<bool>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
}

/// What became of the events.
#[derive(Debug, Default)]
struct Counts {
    acked: Mutex<Vec<Acknowledged>>,
    longest: Mutex<Duration>,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    unanswered: AtomicUsize,
    last_refusal: Mutex<String>,
}

/// An event that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) id: String,
    pub(super) player: String,
}

/// The end of a game.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) acked: BTreeSet<String>,
    /// The same in the order in which each player heard.
    pub(super) ordered: Vec<Acknowledged>,
    /// The longest from sending an event for the first time to its acknowledgement.
    pub(super) longest: Duration,
    pub(super) refused: usize,
    pub(super) unanswered: usize,
}

impl Stream {
    /// Begins to play; one producer for each agent, so that a dead one does not hold the others.
    pub(super) fn begin(http: &Http, run: &str, addresses: &[String]) -> Stream {
        let (stop, _) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let producers = addresses.iter().enumerate().map(|(index, address)| {
            let game = Game::new(&format!("{run}{index}"), PLAYERS);
            let all = addresses.to_vec();
            let producer = Producer {
                http: http.clone(),
                at: address.clone(),
                all,
                counts: counts.clone(),
                sent: HashMap::new(),
            };
            tokio::spawn(producer.produce(game, stop.subscribe()))
        });
        let tasks = producers.collect();
        Stream { stop, counts, tasks }
    }

    /// Events acknowledged so far.
    pub(super) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Waits until `more` further events were acknowledged.
    pub(super) async fn accept_more(&self, more: usize, limit: Duration) -> Result<(), Failure> {
        let goal = self.accepted() + more;
        let enough = || async { Ok((self.accepted() >= goal).then_some(())) };
        let what = format!("{more} events accepted");
        crate::dev::world::until(limit, &what, enough).await.map_err(|failure| {
            let last = lock(&self.counts.last_refusal).clone();
            Failure::failed(format!("{}; the last refusal: {last}", failure.message))
        })
    }

    /// Stops, and waits for the answers that are under way.
    pub(super) async fn finish(self) -> Played {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A producer that panicked has told so; its events are in the counts.
            let _ = task.await;
        }
        let ordered = lock(&self.counts.acked).clone();
        Played {
            acked: ordered.iter().map(|event| event.id.clone()).collect(),
            ordered,
            longest: *lock(&self.counts.longest),
            refused: self.counts.refused.load(Ordering::Relaxed),
            unanswered: self.counts.unanswered.load(Ordering::Relaxed),
        }
    }
}

struct Producer {
    http: Http,
    at: String,
    all: Vec<String>,
    counts: Arc<Counts>,
    /// When each event that is not yet acknowledged was sent for the first time.
    sent: HashMap<String, Instant>,
}

impl Producer {
    async fn produce(mut self, mut game: Game, mut stop: watch::Receiver<bool>) {
        let mut again: VecDeque<(String, Json)> = VecDeque::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut at = self.at.clone();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            let waiting = again.len().min(BATCH);
            let mut batch: Vec<_> = again.drain(..waiting).collect();
            if again.len() < AGAIN_MAX {
                batch.extend(game.by_ref().take(BATCH - batch.len()));
            }
            let back = self.send(&at, &batch).await;
            if back.len() == batch.len() {
                at = self.another(&at);
            }
            again.extend(back);
        }
    }

    /// Sends a batch; what has to be sent again.
    async fn send(&mut self, at: &str, batch: &[(String, Json)]) -> Vec<(String, Json)> {
        let now = Instant::now();
        for (id, _) in batch {
            self.sent.entry(id.clone()).or_insert(now);
        }
        match publish(&self.http, at, batch).await {
            Ok(answered) => {
                self.counts.accepted.fetch_add(answered.accepted.len(), Ordering::Relaxed);
                self.counts.refused.fetch_add(answered.refused.len(), Ordering::Relaxed);
                if let Some((_, why)) = answered.refused.first() {
                    lock(&self.counts.last_refusal).clone_from(why);
                }
                self.acknowledged(batch, answered.accepted.into_iter().collect());
                let refused: BTreeSet<_> = answered.refused.into_iter().map(|(id, _)| id).collect();
                batch.iter().filter(|(id, _)| refused.contains(id)).cloned().collect()
            }
            Err(failure) => {
                self.counts.unanswered.fetch_add(batch.len(), Ordering::Relaxed);
                *lock(&self.counts.last_refusal) = failure.message;
                batch.to_vec()
            }
        }
    }

    fn acknowledged(&mut self, batch: &[(String, Json)], accepted: BTreeSet<String>) {
        let mut longest = lock(&self.counts.longest);
        let mut acked = lock(&self.counts.acked);
        for (id, event) in batch.iter().filter(|(id, _)| accepted.contains(id)) {
            let took = self.sent.remove(id).map(|sent| sent.elapsed());
            *longest = took.unwrap_or_default().max(*longest);
            let player = event["player"].as_str().unwrap_or_default().to_owned();
            acked.push(Acknowledged { id: id.clone(), player });
        }
    }

    /// The next agent: a producer does not stay with one that is gone.
    fn another(&self, at: &str) -> String {
        let here = self.all.iter().position(|address| address == at).unwrap_or(0);
        self.all[(here + 1) % self.all.len()].clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
