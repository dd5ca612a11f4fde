//! A proxy between a process under test and etcd that stops the world at the process's n-th
//! request: before etcd hears it, or after etcd has carried it out and before the process hears of
//! that. Whoever armed it then kills the process. In: HTTP/2 both ways. Out: the same. I/O.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What a client's connection begins with (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
/// Frame types (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// etcd answers everything at once; a stream that it has nothing to say on is not waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// At which side of a request the world stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// etcd never hears of it.
    Before,
    /// etcd has carried it out; the process does not know.
    After,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Requests until it springs, and how; a message on a stream is a request.
    armed: Option<(u32, Option<Stop>)>,
    sprung: bool,
    /// Connections of before the latest reset are dropped.
    resets: u64,
}

/// The trap; its connections go with it.
#[derive(Debug)]
pub struct Trap {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

impl Trap {
    /// Listens, and forwards to `http://127.0.0.1:<port>`.
    pub async fn in_front_of(endpoint: &str) -> Result<Trap> {
        let upstream = endpoint.rsplit('/').next().unwrap_or_default().parse::<SocketAddr>()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening")?;
        let address = listener.local_addr()?;
        let state = Arc::new(watch::Sender::new(State::default()));
        tokio::spawn(accept(listener, upstream, Arc::downgrade(&state), state.subscribe()));
        Ok(Trap { address, state })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Springs at the `nth` request from now on, counted from 1.
    pub fn arm(&self, nth: u32, stop: Stop) {
        self.state.send_modify(|state| state.armed = Some((nth, Some(stop))));
    }

    /// Waits until it has sprung: from then on nothing goes through.
    pub async fn sprung(&self) {
        let mut state = self.state.subscribe();
        // The sender is ours.
        let _ = state.wait_for(|state| state.sprung).await;
    }

    /// Drops all connections and lets everything through again.
    pub fn reset(&self) {
        self.state
            .send_modify(|state| *state = State { resets: state.resets + 1, ..State::default() });
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    state: std::sync::Weak<watch::Sender<State>>,
    mut handle: watch::Receiver<State>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Nothing satisfies this, so it ends when the trap is dropped.
            _ = handle.wait_for(|_| false) => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            Ok((client, _)) = listener.accept() => {
                let Some(state) = state.upgrade() else { return };
                let resets = state.borrow().resets;
                let through = Through { state, resets, awaited: AtomicU32::new(0) };
                connections.spawn(through.serve(client, upstream));
            }
        }
    }
}

/// One connection.
struct Through {
    state: Arc<watch::Sender<State>>,
    /// Its time: what happens to it in a later one is of no meaning.
    resets: u64,
    /// The stream whose answer is waited for; 0 is none.
    awaited: AtomicU32,
}

impl Through {
    async fn serve(self, mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
        let mut cut = self.state.subscribe();
        let exchange = async {
            let mut server = TcpStream::connect(upstream).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            // Whichever side ends first ends the other.
            tokio::select! {
                done = self.up(from_client, to_server) => done,
                done = self.down(from_server, to_client) => done,
            }
        };
        tokio::select! {
            // First the cut: what was held back must not slip through when the world moves on.
            biased;
            _ = cut.wait_for(|state| state.resets != self.resets) => Ok(()),
            done = exchange => done,
        }
    }

    async fn up(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut preface = [0; PREFACE_BYTES];
        from.read_exact(&mut preface).await?;
        to.write_all(&preface).await?;
        loop {
            let frame = Frame::read(&mut from).await?;
            self.open().await;
            let stop = if frame.is_message() { self.count() } else { None };
            match stop {
                None => to.write_all(&frame.bytes).await?,
                Some(Stop::Before) => self.spring(),
                Some(Stop::After) => {
                    self.awaited.store(frame.stream(), Ordering::SeqCst);
                    to.write_all(&frame.bytes).await?;
                    let mut state = self.state.subscribe();
                    let _ = timeout(ANSWER_LIMIT, state.wait_for(|state| state.sprung)).await;
                    self.spring();
                }
            }
        }
    }

    async fn down(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        loop {
            let frame = Frame::read(&mut from).await?;
            if frame.is_answer() && frame.stream() == self.awaited.load(Ordering::SeqCst) {
                self.spring();
            }
            self.open().await;
            to.write_all(&frame.bytes).await?;
        }
    }

    /// Counts a request; how to stop at it, if it is the one.
    fn count(&self) -> Option<Stop> {
        let mut stop = None;
        self.state.send_modify(|state| {
            if state.resets != self.resets {
                return;
            }
            if let Some((left, how)) = &mut state.armed {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    // Taken once, however many come after it.
                    stop = how.take();
                }
            }
        });
        stop
    }

    fn spring(&self) {
        self.state.send_modify(|state| state.sprung |= state.resets == self.resets);
    }

    /// Waits while the world stands still, which ends with this connection.
    async fn open(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| !state.sprung).await;
    }
}

/// A frame with its header.
struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
        let mut bytes = vec![0; HEADER_BYTES];
        from.read_exact(&mut bytes).await?;
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        bytes.resize(HEADER_BYTES + length, 0);
        from.read_exact(&mut bytes[HEADER_BYTES..]).await?;
        Ok(Frame { bytes })
    }

    /// Our requests are small: each is one frame of data.
    fn is_message(&self) -> bool {
        self.bytes[3] == DATA && self.bytes.len() > HEADER_BYTES
    }

    fn is_answer(&self) -> bool {
        self.is_message() || self.bytes[3] == HEADERS
    }

    fn stream(&self) -> u32 {
        let id = [self.bytes[5], self.bytes[6], self.bytes[7], self.bytes[8]];
        u32::from_be_bytes(id) & 0x7fff_ffff
    }
}
