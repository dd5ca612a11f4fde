//! A TCP proxy on loopback that injects faults between clients and one upstream: cut, blackhole in
//! each direction, delay, heal. It needs no root. I/O; its tasks end when the handle is dropped.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

/// One way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From clients to the upstream.
    Up,
    /// From the upstream to clients.
    Down,
}

/// What is wrong with the network now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Faults {
    /// Connections made before the latest cut are reset, however short the cut was.
    cuts: u64,
    refusing: bool,
    frozen: [bool; 2],
    delay: [Duration; 2],
}

/// What the proxy has seen.
#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    open: AtomicUsize,
    bytes: [AtomicU64; 2],
}

/// Handle of a running proxy; when it is dropped, all its connections are reset.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    faults: watch::Sender<Faults>,
    counters: Arc<Counters>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards each connection to `upstream`, which need
    /// not be there yet.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let port = crate::port::free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let addr = listener.local_addr()?;
        let faults = watch::Sender::new(Faults::default());
        let counters = Arc::new(Counters::default());
        tokio::spawn(connection::accept(
            listener,
            upstream,
            faults.subscribe(),
            Arc::clone(&counters),
        ));
        Ok(Self { addr, faults, counters })
    }

    /// The same, in front of `http://127.0.0.1:<port>`.
    ///
    /// # Errors
    /// When `endpoint` names no address and port, or the proxy cannot listen.
    pub async fn in_front_of(endpoint: &str) -> io::Result<Self> {
        let address = endpoint.rsplit('/').next().unwrap_or_default();
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        Self::start(address.parse().map_err(invalid)?).await
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Resets all connections, and each new one as soon as it is made.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| {
            faults.cuts += 1;
            faults.refusing = true;
        });
    }

    /// Resets the connections of now; new ones are served. One flap of the link.
    pub fn reset(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Blackhole: nothing more arrives in this direction, connections stay open. What was sent
    /// meanwhile arrives after [`FaultProxy::heal`], as TCP would send it again.
    pub fn freeze(&self, direction: Direction) {
        self.faults.send_modify(|faults| faults.frozen[direction as usize] = true);
    }

    /// Delays what goes in this direction from now on; order is kept, throughput is not limited.
    pub fn delay(&self, direction: Direction, by: Duration) {
        self.faults.send_modify(|faults| faults.delay[direction as usize] = by);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.faults
            .send_modify(|faults| *faults = Faults { cuts: faults.cuts, ..Faults::default() });
    }

    /// Connections accepted since the start, also those that were reset at once.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counters.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counters.open.load(Ordering::Relaxed)
    }

    /// Bytes delivered in this direction since the start.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.counters.bytes[direction as usize].load(Ordering::Relaxed)
    }
}
