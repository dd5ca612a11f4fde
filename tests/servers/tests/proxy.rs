//! The fault proxy between a client and an echo server: what each fault does to open and to new
//! connections.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use servers::{Direction, FaultProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough to be sure that nothing comes; a slow machine only makes it surer.
const SILENCE: Duration = Duration::from_millis(150);
/// Longer than anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(20);

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    addr
}

async fn proxied() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::start(echo_server().await).await.unwrap();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(echo(&mut client, "hello").await.unwrap(), "hello");
    (proxy, client)
}

async fn echo(client: &mut TcpStream, text: &str) -> std::io::Result<String> {
    client.write_all(text.as_bytes()).await?;
    read(client, text.len()).await
}

async fn read(client: &mut TcpStream, length: usize) -> std::io::Result<String> {
    let mut answer = vec![0; length];
    timeout(LIMIT, client.read_exact(&mut answer)).await.unwrap()?;
    Ok(String::from_utf8(answer).unwrap())
}

async fn is_silent(client: &TcpStream) -> bool {
    timeout(SILENCE, client.peek(&mut [0])).await.is_err()
}

#[tokio::test]
async fn a_cut_resets_open_and_new_connections_until_it_is_healed() {
    let (proxy, mut client) = proxied().await;
    proxy.cut();
    let reset = read(&mut client, 1).await.unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    let mut refused = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echo(&mut refused, "hello").await.is_err());
    proxy.heal();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(echo(&mut client, "again").await.unwrap(), "again");
    assert_eq!(proxy.accepted(), 3);
}

#[tokio::test]
async fn a_reset_hits_open_connections_only() {
    let (proxy, mut client) = proxied().await;
    proxy.reset();
    assert!(read(&mut client, 1).await.is_err());
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(echo(&mut client, "again").await.unwrap(), "again");
}

#[tokio::test]
async fn a_frozen_direction_holds_everything_back_until_it_is_healed() {
    for direction in [Direction::Up, Direction::Down] {
        let (proxy, mut client) = proxied().await;
        let before = proxy.bytes(direction);
        proxy.freeze(direction);
        client.write_all(b"held").await.unwrap();
        let mut newcomer = TcpStream::connect(proxy.addr()).await.unwrap();
        newcomer.write_all(b"new").await.unwrap();
        assert!(is_silent(&client).await && is_silent(&newcomer).await);
        assert_eq!(proxy.bytes(direction), before);
        proxy.heal();
        assert_eq!(read(&mut client, 4).await.unwrap(), "held");
        assert_eq!(read(&mut newcomer, 3).await.unwrap(), "new");
    }
}

#[tokio::test]
async fn a_delay_holds_data_back_that_long_and_keeps_its_order() {
    let (proxy, mut client) = proxied().await;
    let by = Duration::from_millis(60);
    proxy.delay(Direction::Up, by);
    proxy.delay(Direction::Down, by);
    let began = Instant::now();
    assert_eq!(echo(&mut client, "slow").await.unwrap(), "slow");
    assert!(began.elapsed() >= 2 * by);
    for index in 0..10 {
        client.write_all(&[b'0' + index]).await.unwrap();
    }
    proxy.heal();
    assert_eq!(read(&mut client, 10).await.unwrap(), "0123456789");
}

#[tokio::test]
async fn the_end_of_a_stream_passes_each_way_alone() {
    let (proxy, mut client) = proxied().await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(LIMIT, client.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "last");
    assert_eq!(proxy.bytes(Direction::Up), 9);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_reset() {
    let port = servers::free_port().unwrap();
    let proxy = FaultProxy::in_front_of(&format!("http://127.0.0.1:{port}")).await.unwrap();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(read(&mut client, 1).await.is_err());
}

#[tokio::test]
async fn a_dropped_proxy_resets_its_connections_and_listens_no_more() {
    let (proxy, mut client) = proxied().await;
    let addr = proxy.addr();
    drop(proxy);
    assert_eq!(read(&mut client, 1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < deadline);
    }
}
