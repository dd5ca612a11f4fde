//! One player on each partition who never stops: what a producer sees of moves, restarts and
//! crashes. In: a world. Out: each acknowledgement with its moment and epoch, and what follows
//! from them: how long each partition took nothing in. Probing is I/O, what follows is pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use events::partition_of;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::checker::Acked;
use crate::players::{Gateways, Published};
use crate::world::World;

/// Pause before an event is sent again when no agent answered: about what a connection takes.
const AGAIN: Duration = Duration::from_millis(2);
/// Nothing was taken for so long: the run is given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// That a partition took an event in, as its producer heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// When the producer heard.
    pub at: Instant,
    /// The owner's epoch.
    pub epoch: u64,
}

/// Probes at work.
#[derive(Debug)]
pub struct Probes {
    stop: CancellationToken,
    lines: Vec<Arc<Mutex<Vec<Take>>>>,
    /// Milliseconds between two events, by partition.
    pauses: Vec<Arc<AtomicU64>>,
    tasks: Vec<JoinHandle<Result<Vec<Acked>>>>,
}

/// What all probes saw, by partition.
#[derive(Debug)]
pub struct Seen {
    /// Acknowledgements in their order.
    pub takes: Vec<Vec<Take>>,
    /// The same for the checker.
    pub acked: Vec<Acked>,
}

impl Probes {
    /// One probe on each of the hunt's partitions, spread over all agents; each sends its next
    /// event so long after the last was taken.
    pub fn start(world: &World, partitions: u32, pause: Duration) -> Probes {
        let stop = CancellationToken::new();
        let ports: Vec<u16> = world.agents.iter().map(|agent| agent.http).collect();
        let (lines, pauses, tasks) = (Vec::new(), Vec::new(), Vec::new());
        let mut probes = Probes { stop: stop.clone(), lines, pauses, tasks };
        for partition in 0..partitions {
            let (takes, millis) = (Arc::default(), Arc::new(AtomicU64::new(0)));
            let probe = Probe {
                player: player(partition, partitions),
                gateways: Gateways {
                    ports: ports.clone(),
                    at: partition as usize,
                    http: world.http.clone(),
                },
                takes: Arc::clone(&takes),
                sent: Vec::new(),
            };
            probes.lines.push(takes);
            probes.pauses.push(Arc::clone(&millis));
            probes.tasks.push(tokio::spawn(probe.run(millis, stop.clone())));
        }
        probes.pace(|_| pause);
        probes
    }

    /// Changes how long each probe waits between two events.
    pub fn pace(&self, pause: impl Fn(usize) -> Duration) {
        for (partition, millis) in self.pauses.iter().enumerate() {
            let pause = u64::try_from(pause(partition).as_millis()).unwrap_or(u64::MAX);
            millis.store(pause, Ordering::Relaxed);
        }
    }

    /// The partitions that have taken nothing in since that moment, or ever.
    pub fn silent_since(&self, moment: Option<Instant>) -> Vec<usize> {
        let silent = |takes: &Mutex<Vec<Take>>| lock(takes).last().map(|take| take.at) <= moment;
        (0..self.lines.len()).filter(|partition| silent(&self.lines[*partition])).collect()
    }

    /// Ends; everything that was seen. Every event sent is acknowledged.
    pub async fn finish(self) -> Result<Seen> {
        self.stop.cancel();
        let mut acked = Vec::new();
        for task in self.tasks {
            acked.extend(task.await??);
        }
        Ok(Seen { takes: self.lines.iter().map(|takes| lock(takes).clone()).collect(), acked })
    }
}

struct Probe {
    player: String,
    gateways: Gateways,
    takes: Arc<Mutex<Vec<Take>>>,
    sent: Vec<Acked>,
}

impl Probe {
    async fn run(mut self, pause: Arc<AtomicU64>, stop: CancellationToken) -> Result<Vec<Acked>> {
        while !stop.is_cancelled() {
            let kind = if self.sent.is_empty() { "join" } else { "move" };
            self.send(kind).await?;
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(Duration::from_millis(pause.load(Ordering::Relaxed))) => {}
            }
        }
        Ok(self.sent)
    }

    async fn send(&mut self, kind: &str) -> Result<()> {
        let id = format!("{}.{}", self.player, self.sent.len());
        let event = json!({"id": id, "kind": kind, "player": self.player});
        let give_up = Instant::now() + GIVE_UP;
        loop {
            let failed = match self.gateways.publish(&event).await {
                Ok(Published::Durable { partition, epoch }) => {
                    lock(&self.takes).push(Take { at: Instant::now(), epoch });
                    self.sent.push(Acked {
                        id,
                        player: self.player.clone(),
                        partition,
                        claim: false,
                    });
                    return Ok(());
                }
                Ok(Published::Again(pause, why)) => {
                    sleep(pause).await;
                    anyhow::anyhow!(why)
                }
                Err(error) => {
                    self.gateways.at += 1;
                    sleep(AGAIN).await;
                    error
                }
            };
            if Instant::now() >= give_up {
                return Err(failed).with_context(|| format!("{id} was not taken for {GIVE_UP:?}"));
            }
        }
    }
}

/// A player whose events all go to that partition.
fn player(partition: u32, partitions: u32) -> String {
    let mut names = (0_u32..).map(|number| format!("probe{partition}-{number}"));
    names.find(|name| partition_of(name, partitions).0 == partition).unwrap_or_default()
}

fn lock(takes: &Mutex<Vec<Take>>) -> std::sync::MutexGuard<'_, Vec<Take>> {
    takes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest time between two acknowledgements.
pub fn longest(takes: &[Take]) -> Duration {
    gaps(takes).map(|(_, gap)| gap).max().unwrap_or_default()
}

/// Each change of owner: when the old one took its last event, and how long after that the new
/// one took its first.
pub fn changes(takes: &[Take]) -> impl Iterator<Item = (Instant, Duration)> + '_ {
    let changed = takes.windows(2).map(|pair| pair[0].epoch != pair[1].epoch);
    gaps(takes).zip(changed).filter(|(_, changed)| *changed).map(|(gap, _)| gap)
}

/// Each time between two acknowledgements, and when it began.
pub fn gaps(takes: &[Take]) -> impl Iterator<Item = (Instant, Duration)> + '_ {
    takes.windows(2).map(|pair| (pair[0].at, pair[1].at.duration_since(pair[0].at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_two_takes_and_a_change_is_where_the_epoch_changes() {
        let start = Instant::now();
        let take = |millis, epoch| Take { at: start + Duration::from_millis(millis), epoch };
        let takes = [take(0, 1), take(90, 1), take(100, 1), take(140, 2), take(150, 2)];
        assert_eq!(longest(&takes), Duration::from_millis(90));
        let changes: Vec<_> = changes(&takes).collect();
        assert_eq!(changes, [(take(100, 1).at, Duration::from_millis(40))]);
        assert_eq!(longest(&takes[..1]), Duration::ZERO);
    }

    #[test]
    fn each_partition_has_a_player_of_its_own() {
        for partition in 0..64 {
            assert_eq!(partition_of(&player(partition, 64), 64).0, partition);
        }
    }
}
