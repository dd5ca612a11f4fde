//! Handing records to a reader who may have stopped reading. gRPC asks for more only when the
//! reader takes, so a stream by itself never learns that nobody does; a task of its own does. In: a
//! stream. Out: the same, ended when its reader takes nothing for too long. I/O: one task a stream.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Longest time without the reader taking anything that is there for it.
pub(crate) const READER_STALL_MAX: Duration = Duration::from_secs(60);
/// Records that wait for a reader, beside what the connection holds.
const WAITING_MAX: usize = 64;

/// `records`, whose last one is `end` whatever the reason. What `records` holds returns when the
/// reader is gone or has stalled, also when `end` was not taken yet.
pub(crate) fn patient<T: Send + 'static>(
    records: impl Stream<Item = T> + Send + 'static,
    end: T,
) -> impl Stream<Item = T> + Send {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let mut records = pin!(records);
        loop {
            let record = tokio::select! {
                record = records.next() => record,
                () = sender.closed() => None,
            };
            let Some(record) = record else { return };
            if sender.send_timeout(record, READER_STALL_MAX).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver).chain(futures::stream::once(async { end }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Numbers without end, and what tells when nobody holds them any more.
    fn numbers() -> (Arc<()>, impl Stream<Item = usize> + Send + 'static) {
        let held = Arc::new(());
        let inside = held.clone();
        (held, futures::stream::iter(0..).map(move |number| (number, &inside).0).boxed())
    }

    async fn until_let_go(held: &Arc<()>) {
        let letting_go = async {
            while Arc::strong_count(held) > 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(2 * READER_STALL_MAX, letting_go).await.expect("it is held");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_is_ended_and_told_at_last() {
        let (held, numbers) = numbers();
        let mut stream = Box::pin(patient(numbers, usize::MAX));
        for expected in 0..200 {
            // Slow, and still reading.
            tokio::time::sleep(READER_STALL_MAX / 2).await;
            assert_eq!(stream.next().await, Some(expected));
        }
        until_let_go(&held).await;
        let rest: Vec<_> = stream.collect().await;
        assert_eq!(rest.len(), WAITING_MAX + 1);
        assert_eq!((rest[0], rest.last()), (200, Some(&usize::MAX)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_gone_holds_nothing() {
        let (held, numbers) = numbers();
        let mut stream = Box::pin(patient(numbers, usize::MAX));
        assert_eq!(stream.next().await, Some(0));
        drop(stream);
        until_let_go(&held).await;
        let (held, quiet) = (Arc::new(()), futures::stream::pending::<usize>());
        let inside = held.clone();
        let stream = patient(quiet.map(move |number| (number, &inside).0), 0);
        drop(stream);
        until_let_go(&held).await;
    }
}
