//! Carries the in-memory etcd over a real TCP port or inside turmoil, and connects a `Store`
//! through turmoil. I/O.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use etcd_client::proto::{PbKvServer, PbLeaseServer, PbWatchServer};
use futures::stream::{Stream, unfold};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::SimEtcd;
use crate::connect::Store;
use crate::error::StoreError;
use crate::options::StoreOptions;

/// How often leases are looked at; etcd does so twice a second.
const LEASE_CHECK: Duration = Duration::from_millis(500);
/// The largest message that it takes, like etcd's `--max-request-bytes` with its margin.
const DECODE_MAX: usize = 2 << 20;

/// The in-memory etcd could not be served.
#[derive(Debug, thiserror::Error)]
pub enum SimNetError {
    /// No port could be opened.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    /// The server ended.
    #[error("the server ended")]
    Serve(#[source] tonic::transport::Error),
}

impl SimEtcd {
    /// Serves on a free port of 127.0.0.1 until the handle is aborted.
    pub async fn serve_tcp(&self) -> Result<(SocketAddr, JoinHandle<()>), SimNetError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(SimNetError::Listen)?;
        let at = listener.local_addr().map_err(SimNetError::Listen)?;
        let incoming = unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let etcd = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = etcd.serve(incoming).await {
                tracing::error!(%error, "the in-memory etcd ended");
            }
        });
        Ok((at, task))
    }

    /// Serves on a port of the turmoil host that this runs on, for as long as the host lives.
    pub async fn serve_turmoil(&self, port: u16) -> Result<(), SimNetError> {
        let at = (std::net::Ipv4Addr::UNSPECIFIED, port);
        let listener = turmoil::net::TcpListener::bind(at).await.map_err(SimNetError::Listen)?;
        let incoming = unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| Accepted(stream)), listener))
        });
        self.serve(incoming).await
    }

    async fn serve<IO>(
        &self,
        incoming: impl Stream<Item = io::Result<IO>>,
    ) -> Result<(), SimNetError>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        // A start is an election: every lease gets its whole lifetime again, as in etcd.
        self.change(|store| store.elect(Instant::now()));
        let kv = PbKvServer::new(self.clone()).max_decoding_message_size(DECODE_MAX);
        let server = Server::builder()
            .add_service(kv)
            .add_service(PbWatchServer::new(self.clone()))
            .add_service(PbLeaseServer::new(self.clone()))
            .serve_with_incoming(incoming);
        tokio::select! {
            ended = server => ended.map_err(SimNetError::Serve),
            () = self.keep_expiring() => Ok(()),
        }
    }

    async fn keep_expiring(&self) {
        loop {
            sleep(LEASE_CHECK).await;
            self.thawed().await;
            self.expire_leases(Instant::now());
        }
    }
}

/// A `Store` that reaches its endpoints (`http://<turmoil host>:<port>`) through turmoil, with all
/// its jitter from `seed`.
pub fn turmoil_store(options: StoreOptions, seed: u64) -> Result<Store, StoreError> {
    Store::open_with(options, seed, |endpoint| {
        endpoint.connect_with_connector_lazy(tower::service_fn(|uri: http::Uri| async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let port = uri.port_u16().unwrap_or_default();
            let stream = turmoil::net::TcpStream::connect((host, port)).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }))
    })
}

/// A connection accepted in turmoil.
struct Accepted(turmoil::net::TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
