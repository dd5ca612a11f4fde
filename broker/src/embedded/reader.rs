//! A reader's handle: runs the blocking view on the blocking pool and waits for growth, told by a
//! writer in this process or by looking at bounded intervals. Thin, async.

use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Offset, PartitionId};
use tokio::sync::watch;

use crate::embedded::Shared;
use crate::embedded::read::LogView;
use crate::error::Error;
use crate::records::Chunk;
use crate::traits::{LogKind, Reader};

/// How soon a log that another process writes is looked at again, at first.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(2);
/// And at most: what a look costs (tens of microseconds) stays under 1/1,000 of a core.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);

/// Follows one log of an [`Embedded`](crate::Embedded) broker.
pub struct EmbeddedReader {
    shared: Arc<Shared>,
    partition: PartitionId,
    log: LogKind,
    view: Option<LogView>,
    end: watch::Receiver<u64>,
}

impl EmbeddedReader {
    pub(crate) fn new(shared: Arc<Shared>, partition: PartitionId, log: LogKind) -> EmbeddedReader {
        let end = shared.end_of(partition, log).subscribe();
        EmbeddedReader { shared, partition, log, view: None, end }
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
        loop {
            // what this process made durable stays so, whoever owns the partition now
            if *self.end.borrow_and_update() > offset.0 || self.end().await? > offset {
                return Ok(());
            }
            tokio::select! {
                changed = self.end.changed() => changed.map_err(|_| Error::Closed)?,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK_AGAIN_MAX),
            }
        }
    }
}
