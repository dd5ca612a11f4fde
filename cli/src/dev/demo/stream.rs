//! Players who play while things break: small batches to every agent in turn; what is refused or
//! unanswered is sent again under the same id, as a careful producer does, and its player waits for
//! it. In: addresses. Out: what producers were told, for the checker, and how long an event took at
//! most. I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::dev::game::{Game, Turn};
use crate::failure::Failure;
use crate::http::Http;
use crate::load::checker::{Acked, Refused, Told};
use crate::load::request::{Reply, publish};
use crate::load::tally::Answer;

/// A batch goes out this often, to one agent after the other.
const TICK: Duration = Duration::from_millis(20);
/// New events in a batch, and of those that are sent again.
const BATCH: usize = 5;
/// Players of the game at each agent: so many events wait at most.
const PLAYERS: usize = 40;
/// After the end, how long what has no good answer yet is sent again.
const LAST_WITHIN: Duration = Duration::from_secs(15);

/// A game that goes on until it is finished.
pub(super) struct Stream {
    run: String,
    stop: watch::Sender<bool>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<Vec<Refused>>>,
}

/// What became of the events.
#[derive(Debug)]
struct Counts {
    began: Instant,
    told: Mutex<Vec<Told>>,
    longest: Mutex<Duration>,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    unanswered: AtomicUsize,
    last_refusal: Mutex<String>,
}

/// The end of a game.
#[derive(Debug)]
pub(super) struct Played {
    /// Each of its ids and names begins so.
    pub(super) of: String,
    /// Every acknowledged event.
    pub(super) told: Vec<Told>,
    /// Those that were turned away each time.
    pub(super) turned_away: Vec<Refused>,
    /// The longest from sending an event for the first time to its acknowledgement.
    pub(super) longest: Duration,
    pub(super) refused: usize,
    pub(super) unanswered: usize,
    /// Why the last one of these was.
    pub(super) last_refusal: String,
}

impl Stream {
    /// Begins to play; one producer for each agent, so that a dead one does not hold the others.
    pub(super) fn begin(http: &Http, run: &str, addresses: &[String]) -> Stream {
        let (stop, _) = watch::channel(false);
        let counts = Arc::new(Counts::new());
        let producers = (0..addresses.len()).map(|at| {
            let producer = Producer {
                http: http.clone(),
                addresses: addresses.to_vec(),
                at,
                counts: counts.clone(),
                game: Game::new(&format!("{run}.{at}"), PLAYERS),
                again: VecDeque::new(),
            };
            tokio::spawn(producer.produce(stop.subscribe()))
        });
        let tasks = producers.collect();
        Stream { run: run.to_owned(), stop, counts, tasks }
    }

    /// Events acknowledged so far.
    pub(super) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// That moment on the clock of what producers were told.
    pub(super) fn micros(&self, at: Instant) -> u64 {
        self.counts.micros(at)
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

    /// Stops, and waits until what was sent is acknowledged.
    pub(super) async fn finish(self) -> Played {
        self.stop.send_replace(true);
        let mut turned_away = Vec::new();
        for task in self.tasks {
            // A producer that panicked has told so; its events are in the counts.
            turned_away.extend(task.await.unwrap_or_default());
        }
        let counts = &self.counts;
        Played {
            of: format!("{}.", self.run),
            told: std::mem::take(&mut lock(&counts.told)),
            turned_away,
            longest: *lock(&counts.longest),
            refused: counts.refused.load(Ordering::Relaxed),
            unanswered: counts.unanswered.load(Ordering::Relaxed),
            last_refusal: lock(&counts.last_refusal).clone(),
        }
    }
}

impl Played {
    /// After a fault at that moment: the longest that a partition took until it acknowledged an
    /// event that was sent later, and how many partitions did.
    pub(super) fn served_again(&self, fault: u64) -> (Duration, usize) {
        let mut first = BTreeMap::<u32, u64>::new();
        for told in self.told.iter().filter(|told| told.sent > fault) {
            let heard = first.entry(told.event.partition).or_insert(told.heard);
            *heard = told.heard.min(*heard);
        }
        let longest = first.values().max().map_or(0, |heard| heard - fault);
        (Duration::from_micros(longest), first.len())
    }
}

impl Counts {
    fn new() -> Counts {
        Counts {
            began: Instant::now(),
            told: Mutex::default(),
            longest: Mutex::default(),
            accepted: AtomicUsize::default(),
            refused: AtomicUsize::default(),
            unanswered: AtomicUsize::default(),
            last_refusal: Mutex::default(),
        }
    }

    /// Since it began, in microseconds, as the checker compares them.
    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

struct Producer {
    http: Http,
    addresses: Vec<String>,
    at: usize,
    counts: Arc<Counts>,
    game: Game,
    /// What is to be sent again; its players wait, so that nothing overtakes it.
    again: VecDeque<Sent>,
}

/// An event, and when it was sent for the first time: of several times nobody knows which counts.
struct Sent {
    turn: Turn,
    first: Instant,
    /// The last code that said that nothing was kept.
    refused: Option<String>,
    /// A try had no answer, so that it may have been kept.
    open: bool,
}

impl Producer {
    /// Plays until told to stop; what was turned away each time that it was sent.
    async fn produce(mut self, mut stop: watch::Receiver<bool>) -> Vec<Refused> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => {}
            }
            let batch = self.batch(BATCH);
            self.send(batch).await;
        }
        let until = Instant::now() + LAST_WITHIN;
        while !self.again.is_empty() && Instant::now() < until {
            ticks.tick().await;
            let batch = self.batch(0);
            self.send(batch).await;
        }
        let turned_away = self.again.into_iter().filter(|sent| !sent.open);
        turned_away
            .filter_map(|sent| Some(Refused { id: sent.turn.id, code: sent.refused? }))
            .collect()
    }

    /// What is to be sent again, and so many new events of players who do not wait.
    fn batch(&mut self, new: usize) -> Vec<Sent> {
        let waiting = self.again.iter().map(|sent| sent.turn.player.clone());
        let mut waits: BTreeSet<String> = waiting.collect();
        let again = self.again.len().min(BATCH);
        let mut batch: Vec<_> = self.again.drain(..again).collect();
        for _ in 0..new {
            let Some(turn) = self.game.turn(|player| waits.contains(player)) else { break };
            waits.insert(turn.player.clone());
            batch.push(Sent { turn, first: Instant::now(), refused: None, open: false });
        }
        batch
    }

    async fn send(&mut self, batch: Vec<Sent>) {
        let bodies: Vec<_> = batch.iter().map(|sent| sent.turn.body.to_string()).collect();
        let address = &self.addresses[self.at];
        let replies = publish(&self.http, address, bodies.iter().map(String::as_str)).await;
        let heard = Instant::now();
        if replies.iter().all(|reply| reply.answer != Answer::Accepted) {
            // A producer does not stay with an agent that is gone.
            self.at = (self.at + 1) % self.addresses.len();
        }
        for (sent, reply) in batch.into_iter().zip(replies) {
            self.heard(sent, reply, heard);
        }
    }

    fn heard(&mut self, mut sent: Sent, reply: Reply, heard: Instant) {
        let counts = &self.counts;
        let (count, why) = match reply.answer {
            Answer::Accepted => {
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                let mut longest = lock(&counts.longest);
                *longest = heard.duration_since(sent.first).max(*longest);
                lock(&counts.told).push(Told {
                    event: Acked {
                        id: sent.turn.id,
                        player: sent.turn.player,
                        partition: reply.partition,
                        claim: sent.turn.claim,
                    },
                    sent: counts.micros(sent.first),
                    heard: counts.micros(heard),
                    ordered: true,
                });
                return;
            }
            Answer::Refused(why) => {
                sent.refused = Some(why.clone());
                (&counts.refused, why)
            }
            Answer::Unanswered(why) => {
                sent.open = true;
                (&counts.unanswered, why)
            }
            Answer::Unsent => (&counts.unanswered, "never sent".to_owned()),
        };
        count.fetch_add(1, Ordering::Relaxed);
        *lock(&counts.last_refusal) = why;
        self.again.push_back(sent);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_serves_again_with_the_first_event_that_was_sent_after_the_fault() {
        let told = |partition, sent, heard| {
            let (id, player) = (String::new(), String::new());
            let event = Acked { id, player, partition, claim: false };
            Told { event, sent, heard, ordered: true }
        };
        let played = Played {
            of: String::new(),
            told: vec![told(0, 5, 40), told(0, 12, 50), told(0, 11, 30), told(1, 15, 25)],
            turned_away: Vec::new(),
            longest: Duration::ZERO,
            refused: 0,
            unanswered: 0,
            last_refusal: String::new(),
        };
        assert_eq!(played.served_again(10), (Duration::from_micros(20), 2));
        assert_eq!(played.served_again(14), (Duration::from_micros(11), 1));
        assert_eq!(played.served_again(60), (Duration::ZERO, 0));
    }
}
