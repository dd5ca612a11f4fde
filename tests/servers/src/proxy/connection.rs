//! The proxy's tasks: one accepts, one per connection forwards both ways under the faults of the
//! moment. They end when the proxy's handle is dropped. I/O.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Counters, Direction, Faults};

/// Connections at once; more are reset. A test that needs more than this has another problem.
const CONNECTIONS_MAX: usize = 4096;
/// Read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way in one direction: 1 MiB, so that a delay does not limit the throughput much.
const CHUNKS_MAX: usize = 64;

/// A chunk on its way, an empty one for the end of the stream; delivered when its time has come.
type Parcel = (Instant, io::Result<Vec<u8>>);

pub(super) async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    faults: watch::Receiver<Faults>,
    counters: Arc<Counters>,
) {
    let mut connections = JoinSet::new();
    let mut handle = faults.clone();
    loop {
        tokio::select! {
            // Nothing satisfies this, so it ends when the handle is dropped.
            _ = handle.wait_for(|_| false) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            Ok((client, _)) = listener.accept() => {
                counters.accepted.fetch_add(1, Ordering::Relaxed);
                if faults.borrow().refusing || connections.len() >= CONNECTIONS_MAX {
                    let _ = client.set_zero_linger();
                    continue;
                }
                let (faults, counters) = (faults.clone(), Arc::clone(&counters));
                connections.spawn(serve(client, upstream, faults, counters));
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut faults: watch::Receiver<Faults>,
    counters: Arc<Counters>,
) {
    counters.open.fetch_add(1, Ordering::Relaxed);
    let cuts = faults.borrow().cuts;
    let mut cut = faults.clone();
    let mut server = None;
    let finished = tokio::select! {
        biased;
        _ = cut.wait_for(|now| now.cuts != cuts) => false,
        whole = exchange(&mut client, upstream, &mut server, &mut faults, &counters) => whole.is_ok(),
    };
    if !finished {
        // With this set, dropping the socket sends a reset instead of an orderly end.
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            let _ = stream.set_zero_linger();
        }
    }
    counters.open.fetch_sub(1, Ordering::Relaxed);
}

/// Forwards both ways until both have ended; an error is for both sides.
async fn exchange(
    client: &mut TcpStream,
    upstream: SocketAddr,
    server: &mut Option<TcpStream>,
    faults: &mut watch::Receiver<Faults>,
    counters: &Counters,
) -> io::Result<()> {
    passable(faults, Direction::Up).await?;
    let server = server.insert(TcpStream::connect(upstream).await?);
    // A proxy that waits to fill packets would add delays of its own.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pump(from_client, to_server, Direction::Up, faults.clone(), counters),
        pump(from_server, to_client, Direction::Down, faults.clone(), counters),
    )
    .map(drop)
}

async fn pump(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    direction: Direction,
    faults: watch::Receiver<Faults>,
    counters: &Counters,
) -> io::Result<()> {
    let (parcels, received) = mpsc::channel(CHUNKS_MAX);
    let collecting = collect(from, direction, faults.clone(), parcels);
    let delivering = deliver(received, to, direction, faults, counters);
    let ((), delivered) = tokio::join!(collecting, delivering);
    delivered
}

/// Stamps each chunk with the time of its delivery. The end of the stream and a reset travel like
/// data: through a blackhole nobody learns of them.
async fn collect(
    mut from: impl AsyncRead + Unpin,
    direction: Direction,
    faults: watch::Receiver<Faults>,
    parcels: mpsc::Sender<Parcel>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let chunk = from.read(&mut buffer).await.map(|length| buffer[..length].to_vec());
        let is_last = chunk.as_ref().map_or(true, Vec::is_empty);
        let due = Instant::now() + faults.borrow().delay[direction as usize];
        if parcels.send((due, chunk)).await.is_err() || is_last {
            return;
        }
    }
}

async fn deliver(
    mut parcels: mpsc::Receiver<Parcel>,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    mut faults: watch::Receiver<Faults>,
    counters: &Counters,
) -> io::Result<()> {
    while let Some((due, chunk)) = parcels.recv().await {
        sleep_until(due).await;
        passable(&mut faults, direction).await?;
        let chunk = chunk?;
        if chunk.is_empty() {
            // The other side may have gone already: then there is nothing left to tell it.
            let _ = to.shutdown().await;
            return Ok(());
        }
        to.write_all(&chunk).await?;
        counters.bytes[direction as usize].fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Waits while the direction is frozen; an error when the proxy is gone.
async fn passable(faults: &mut watch::Receiver<Faults>, direction: Direction) -> io::Result<()> {
    let open = faults.wait_for(|now| !now.frozen[direction as usize]).await;
    open.map(drop).map_err(|_| io::ErrorKind::ConnectionAborted.into())
}
