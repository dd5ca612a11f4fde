//! A reader's handle: runs the blocking view on the blocking pool and waits for growth, told by a
//! writer in this process, by the files of another, or by looking at bounded intervals. Thin, async.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Offset, PartitionId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::embedded::Shared;
use crate::embedded::read::LogView;
use crate::embedded::watcher::Following;
use crate::error::Error;
use crate::records::Chunk;
use crate::traits::{LogKind, Reader};

/// How soon a log that another process writes is looked at again, at first; also how long after its
/// files changed, since bytes come before the mark that they can be believed.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(2);
/// And at most, where nothing tells of changes.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);
/// A log that is written here is looked at this often all the same: a writer that was replaced and
/// does not know it yet delays its readers by that.
const LOOK_BESIDE: Duration = Duration::from_secs(2);
/// The same for one whose files are followed, should a change not be told: 4,096 partitions cost
/// 400 looks per second.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);

/// Follows one log of an [`Embedded`](crate::Embedded) broker.
pub struct EmbeddedReader {
    shared: Arc<Shared>,
    partition: PartitionId,
    log: LogKind,
    view: Option<LogView>,
    end: watch::Receiver<u64>,
    following: Option<Following>,
}

impl EmbeddedReader {
    pub(crate) fn new(shared: Arc<Shared>, partition: PartitionId, log: LogKind) -> EmbeddedReader {
        let end = shared.end_of(partition, log).subscribe();
        EmbeddedReader { shared, partition, log, view: None, end, following: None }
    }

    /// Lends the view to a blocking thread. A cancelled call loses only what the view remembered.
    async fn look<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut LogView) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut view = self.view.take().unwrap_or_else(|| {
            let dir = self.shared.partition_dir(self.partition);
            LogView::new(&dir, self.partition, self.log, Arc::clone(&self.shared.index))
        });
        let looked = self.shared.blocking(move || {
            let found = look(&mut view)?;
            Ok((found, view))
        });
        let (found, view) = looked.await?;
        self.view = Some(view);
        Ok(found)
    }

    /// From here on changes of the files are told, where that is possible.
    fn follow(&mut self) {
        if self.following.is_none() {
            self.following = self.shared.follow(self.partition, self.log);
        }
        if let Some(following) = &mut self.following {
            following.seen();
        }
    }
}

impl Reader for EmbeddedReader {
    async fn read(&mut self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        self.look(move |view| view.read(from, bytes_max)).await
    }

    async fn end(&mut self) -> Result<Offset, Error> {
        self.look(LogView::end).await
    }

    async fn wait_beyond(&mut self, offset: Offset) -> Result<(), Error> {
        let mut pause = LOOK_AGAIN_MIN;
        let mut looked: Option<Instant> = None;
        loop {
            // what this process made durable stays so, whoever owns the partition now
            if *self.end.borrow_and_update() > offset.0 {
                return Ok(());
            }
            // who writes here tells it without any file
            let written_here = self.shared.holds(self.partition);
            if written_here {
                self.following = None;
            } else {
                self.follow();
            }
            if !written_here || looked.is_none_or(|at| at.elapsed() >= LOOK_BESIDE) {
                looked = Some(Instant::now());
                if self.end().await? > offset {
                    return Ok(());
                }
            }
            let wait = if self.following.is_some() { LOOK_ANYWAY } else { pause };
            tokio::select! {
                changed = self.end.changed() => changed.map_err(|_| Error::Closed)?,
                told = stirred(&mut self.following) => {
                    if !told {
                        self.following = None;
                    }
                    tokio::time::sleep(LOOK_AGAIN_MIN).await;
                }
                () = tokio::time::sleep(wait) => pause = (pause * 2).min(LOOK_AGAIN_MAX),
            }
        }
    }

    fn is_replicated(&self) -> bool {
        false
    }
}

async fn stirred(following: &mut Option<Following>) -> bool {
    match following {
        Some(following) => following.stirred().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
