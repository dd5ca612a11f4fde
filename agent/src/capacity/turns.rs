//! How many partitions are worked on at the same time: a semaphore whose size changes live.
//! Growing adds turns at once; shrinking takes turns away as they end. No I/O.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of a node's workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    semaphore: Arc<Semaphore>,
    wanted: Arc<Mutex<Wanted>>,
}

#[derive(Debug)]
struct Wanted {
    size: usize,
    /// Turns that are still to be taken away.
    debt: usize,
}

/// One turn, which ends when dropped.
#[derive(Debug)]
pub struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    turns: Turns,
}

impl Turns {
    /// `size` turns.
    pub fn new(size: usize) -> Turns {
        Turns {
            semaphore: Arc::new(Semaphore::new(size)),
            wanted: Arc::new(Mutex::new(Wanted { size, debt: 0 })),
        }
    }

    /// Waits for a turn, first come, first served.
    pub async fn take(&self) -> Turn {
        let permit = self.semaphore.clone().acquire_owned().await;
        // The semaphore is never closed; a turn without permit would still be a turn.
        Turn { permit: permit.ok(), turns: self.clone() }
    }

    /// Changes the number of turns, live.
    pub fn resize(&self, size: usize) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if size >= wanted.size {
            let grown = size - wanted.size;
            let paid = grown.min(wanted.debt);
            wanted.debt -= paid;
            self.semaphore.add_permits(grown - paid);
        } else {
            let shrunk = wanted.size - size;
            wanted.debt += shrunk - self.semaphore.forget_permits(shrunk);
        }
        wanted.size = size;
    }
}

/// Work in a turn, to its end. The turn is over as soon as that has to wait: others may work then.
pub async fn until_it_waits<T>(turn: &mut Option<Turn>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Poll::Ready(done) = futures::poll!(work.as_mut()) {
        return done;
    }
    *turn = None;
    work.await
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut wanted = self.turns.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.debt > 0
            && let Some(permit) = self.permit.take()
        {
            wanted.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    /// Far above what anything here takes; a test that hangs ends.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

    fn free(turns: &Turns) -> usize {
        let mut held = Vec::new();
        while let Some(turn) = turns.take().now_or_never() {
            held.push(turn);
        }
        held.len()
    }

    #[tokio::test]
    async fn turns_grow_at_once_and_shrink_as_they_end() {
        let turns = Turns::new(2);
        assert_eq!(free(&turns), 2);
        turns.resize(5);
        assert_eq!(free(&turns), 5);
        let held: Vec<_> = [turns.take().await, turns.take().await, turns.take().await].into();
        turns.resize(1);
        assert_eq!(free(&turns), 0);
        drop(held);
        assert_eq!(free(&turns), 1);
    }

    #[tokio::test]
    async fn a_turn_is_over_when_its_work_has_to_wait_and_only_then() {
        let turns = Turns::new(1);
        let mut turn = Some(turns.take().await);
        assert_eq!(until_it_waits(&mut turn, async { 7 }).await, 7);
        assert!(turn.is_some() && free(&turns) == 0);
        let (tell, told) = tokio::sync::oneshot::channel();
        let other = async {
            let _turn = turns.take().await;
            tell.send(8).unwrap();
        };
        let both = async { tokio::join!(until_it_waits(&mut turn, told), other) };
        let (answer, ()) = tokio::time::timeout(PATIENCE, both).await.expect("a turn is free");
        assert_eq!((answer, turn.is_none()), (Ok(8), true));
    }

    #[tokio::test]
    async fn there_and_back_while_all_are_in_use_changes_nothing() {
        let turns = Turns::new(3);
        let held = [turns.take().await, turns.take().await, turns.take().await];
        turns.resize(1);
        turns.resize(3);
        drop(held);
        assert_eq!(free(&turns), 3);
    }
}
