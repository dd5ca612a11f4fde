//! Who has taken over which configuration: every worker says so, and the ack waits for all of
//! them. In: names of workers and versions. Out: "all have", or who is behind. No I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config_schemas::PartitionId;
use tokio::sync::watch;

use super::live::Version;

/// What each running worker runs.
#[derive(Debug, Clone)]
pub struct Board {
    workers: Arc<Mutex<BTreeMap<PartitionId, Version>>>,
    moved: watch::Sender<()>,
}

/// A worker's line on the board, which goes when the worker does.
#[derive(Debug)]
pub struct Line {
    board: Board,
    partition: PartitionId,
    said: Version,
}

impl Default for Board {
    fn default() -> Board {
        Board { workers: Arc::default(), moved: watch::Sender::new(()) }
    }
}

impl Board {
    /// A worker starts with `version`.
    pub fn join(&self, partition: PartitionId, version: Version) -> Line {
        self.set(partition, Some(version));
        Line { board: self.clone(), partition, said: version }
    }

    /// Waits until every worker runs at least `version`. After `limit`, says who does not.
    pub async fn all(&self, version: Version, limit: Duration) -> Result<(), Vec<PartitionId>> {
        let mut moved = self.moved.subscribe();
        let all = async {
            while !self.behind(version).is_empty() {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, all).await.map_err(|_| self.behind(version))
    }

    /// The workers that run something older than `version`.
    pub fn behind(&self, version: Version) -> Vec<PartitionId> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = workers.iter().filter(|(_, runs)| **runs < version);
        behind.map(|(partition, _)| *partition).collect()
    }

    fn set(&self, partition: PartitionId, version: Option<Version>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        match version {
            Some(version) => workers.insert(partition, version),
            None => workers.remove(&partition),
        };
        drop(workers);
        self.moved.send_replace(());
    }
}

impl Line {
    /// The worker runs `version` from now on.
    pub fn switched(&mut self, version: Version) {
        if self.said != version {
            self.said = version;
            self.board.set(self.partition, Some(version));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.board.set(self.partition, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_board_waits_for_the_last_worker() {
        let board = Board::default();
        let mut one = board.join(PartitionId(1), Version(0));
        let mut two = board.join(PartitionId(2), Version(0));
        one.switched(Version(1));
        let limit = Duration::from_secs(1);
        assert_eq!(board.all(Version(1), limit).await, Err(vec![PartitionId(2)]));
        let waiting = tokio::spawn({
            let board = board.clone();
            async move { board.all(Version(1), limit).await }
        });
        two.switched(Version(1));
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_gone_is_not_waited_for() {
        let board = Board::default();
        drop(board.join(PartitionId(1), Version(0)));
        assert_eq!(board.all(Version(9), Duration::ZERO).await, Ok(()));
    }
}
