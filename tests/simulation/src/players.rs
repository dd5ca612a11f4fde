//! Players of a simulated hunt: each sends one event at a time, to any agent, and the same one
//! again until it is acknowledged, however long that takes. Beside them watchers tell sightings,
//! whose order does not matter. In: a seed. Out: every acknowledgement, in order. I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{Event, EventId, HuntGame, Kind, Machine as _, Vocabulary};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tests::checker::Acked;
use tokio::time::sleep;

use crate::wire::{Answer, Question, ask};

/// Clues of each treasure.
pub(crate) const CLUES: u32 = 2;
/// Longest pause between two events of one player.
const PAUSE: Duration = Duration::from_millis(160);
/// Longest pause before an event is sent again.
const AGAIN: Duration = Duration::from_millis(250);

/// An event that was acknowledged, and all that the acknowledgement says.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) acked: Acked,
    pub(crate) offset: u64,
    pub(crate) epoch: u64,
}

/// What all players have to show. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receipts(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    receipts: Vec<Receipt>,
    stop: bool,
    playing: usize,
    /// Answers that were no acknowledgement.
    refused: u64,
}

impl Receipts {
    /// Lets everybody end with the event that is under way.
    pub(crate) fn stop(&self) {
        self.shown().stop = true;
    }

    pub(crate) fn all(&self) -> Vec<Receipt> {
        self.shown().receipts.clone()
    }

    pub(crate) fn playing(&self) -> usize {
        self.shown().playing
    }

    pub(crate) fn refused(&self) -> u64 {
        self.shown().refused
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who plays.
#[derive(Clone)]
pub(crate) struct Players {
    pub(crate) count: usize,
    pub(crate) watchers: usize,
    pub(crate) agents: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) receipts: Receipts,
}

impl Players {
    /// The host's software.
    pub(crate) async fn run(self) -> turmoil::Result {
        let mut tasks = Vec::new();
        self.receipts.shown().playing = self.count + self.watchers;
        for number in 0..self.count + self.watchers {
            let player = Player {
                name: format!("p{number}"),
                rng: SmallRng::seed_from_u64(self.seed.wrapping_mul(31) + number as u64),
                vocabulary: HuntGame::vocabulary(),
                all: self.clone(),
                sent: 0,
            };
            let watches = number >= self.count;
            tasks.push(tokio::spawn(async move {
                if watches { player.watch().await } else { player.play().await }
            }));
        }
        for task in tasks {
            task.await?;
        }
        std::future::pending().await
    }
}

struct Player {
    name: String,
    rng: SmallRng,
    vocabulary: Vocabulary,
    all: Players,
    sent: usize,
}

impl Player {
    async fn play(mut self) {
        self.send(Kind::Join, None, None).await;
        for round in 0_u32.. {
            if self.ends() {
                return;
            }
            // all players race for the same treasures
            let treasure = format!("t{round}");
            for clue in 1..=CLUES {
                self.send(Kind::Solve, Some(&treasure), Some(clue)).await;
            }
            self.send(Kind::Claim, Some(&treasure), None).await;
            self.send(Kind::Move, None, None).await;
        }
    }

    async fn watch(mut self) {
        while !self.ends() {
            self.send(Kind::Sight, Some("t0"), None).await;
        }
    }

    fn ends(&self) -> bool {
        let mut shown = self.all.receipts.shown();
        shown.playing -= usize::from(shown.stop);
        shown.stop
    }

    async fn send(&mut self, kind: Kind, treasure: Option<&str>, clue: Option<u32>) {
        let id = format!("{}.{}", self.name, self.sent);
        self.sent += 1;
        let Some(event_id) = EventId::new(id.clone()) else { return };
        let claim = kind == Kind::Claim;
        let event = Event {
            player: Some(self.name.clone()),
            treasure: treasure.map(str::to_owned),
            clue,
            ..Event::new(event_id, kind, 0)
        };
        // what needs no order is nobody's but its own
        let ordered = self.vocabulary.is_ordered(&event);
        let player = if ordered { self.name.clone() } else { id.clone() };
        let (partition, offset, epoch) = self.until_accepted(&event).await;
        let acked = Acked { id, player, partition, claim };
        self.all.receipts.shown().receipts.push(Receipt { acked, offset, epoch });
        sleep(self.rng.random_range(Duration::ZERO..PAUSE)).await;
    }

    /// Which partition took it in, where, and under which epoch.
    async fn until_accepted(&mut self, event: &Event) -> (u32, u64, u64) {
        let mut at = self.rng.random_range(0..self.all.agents.len());
        loop {
            let question = Question { events: vec![event.clone()], outbox: false, handed: false };
            match ask(&self.all.agents[at], &question).await {
                Ok(Answer::Accepted { partition, offset, epoch }) => {
                    return (partition, offset, epoch);
                }
                Ok(Answer::Again { why }) => tracing::debug!(id = %event.id, why, "again"),
                Err(error) => tracing::debug!(id = %event.id, %error, "again"),
            }
            self.all.receipts.shown().refused += 1;
            sleep(self.rng.random_range(Duration::from_millis(5)..AGAIN)).await;
            at = self.rng.random_range(0..self.all.agents.len());
        }
    }
}
