//! Reading a request's body within bounds: its own size, a share of all bodies in memory, and
//! time. What has not arrived takes no room, so a slow sender costs others nothing. I/O.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use events::BODY_BYTES_MAX;
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest time for a whole body: 4 MiB at 3 Mbit/s.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(12);

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the body did not arrive within {BODY_TIMEOUT:?}")]
    Slow,
    #[error("too many requests are under way")]
    Busy,
    #[error("the body was cut off")]
    Broken,
}

/// A body in memory, and its room. Once it is parsed its bytes may go; its room stays, for the events
/// that were made of it.
#[derive(Debug)]
pub(crate) struct Bytes<'a> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) room: Option<SemaphorePermit<'a>>,
}

/// Reads `body`, taking its room from `bodies` as it arrives.
pub(crate) async fn collect(body: Body, bodies: &Semaphore) -> Result<Bytes<'_>, BodyError> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, read(body, bodies)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::Slow),
    }
}

async fn read(body: Body, bodies: &Semaphore) -> Result<Bytes<'_>, BodyError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut room: Option<SemaphorePermit<'_>> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let more = u32::try_from(chunk.len()).map_err(|_| BodyError::TooLarge)?;
        let more = bodies.try_acquire_many(more).map_err(|_| BodyError::Busy)?;
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Bytes { bytes, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(count: usize, size: usize) -> Body {
        let chunk = move |_| Ok::<_, std::io::Error>(vec![b'x'; size]);
        Body::from_stream(futures::stream::iter((0..count).map(chunk)))
    }

    #[tokio::test]
    async fn a_body_is_bounded_by_its_size_and_by_the_room_for_all() {
        let room = 2 * BODY_BYTES_MAX;
        let bodies = Semaphore::new(room);
        let read = collect(chunks(3, 1000), &bodies).await.unwrap();
        assert_eq!(read.bytes.len(), 3000);
        assert_eq!(bodies.available_permits(), room - 3000);
        let Bytes { bytes, room: its } = read;
        drop(bytes);
        assert_eq!(bodies.available_permits(), room - 3000, "what was made of them is there");
        drop(its);
        assert_eq!(bodies.available_permits(), room);
        let full = chunks(BODY_BYTES_MAX / 1024, 1024);
        assert_eq!(collect(full, &bodies).await.unwrap().bytes.len(), BODY_BYTES_MAX);
        let over = chunks(BODY_BYTES_MAX / 1024 + 1, 1024);
        assert_eq!(collect(over, &bodies).await.unwrap_err(), BodyError::TooLarge);
        let said = Body::from(vec![b'x'; BODY_BYTES_MAX + 1]);
        assert_eq!(collect(said, &bodies).await.unwrap_err(), BodyError::TooLarge);
        let narrow = Semaphore::new(2500);
        assert_eq!(collect(chunks(3, 1000), &narrow).await.unwrap_err(), BodyError::Busy);
        assert_eq!(narrow.available_permits(), 2500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_is_given_up_and_returns_its_room() {
        let bodies = Semaphore::new(BODY_BYTES_MAX);
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(vec![b'x']), ()))
        });
        let read = collect(Body::from_stream(drip), &bodies).await;
        assert_eq!(read.unwrap_err(), BodyError::Slow);
        assert_eq!(bodies.available_permits(), BODY_BYTES_MAX);
    }
}
