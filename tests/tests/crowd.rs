//! Ten thousand clients that only sit there, or send a byte now and then, on both ports of one
//! agent: everybody else is served, in bounded memory.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tests::http::metric;
use tests::players::{Players, judged};
use tests::wait::timed;
use tests::world::{Setup, World};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(40);
const PLAYERS: usize = 8;
const SOME: usize = 150;
const CROWD: usize = 10_000;
/// Descriptors that the test itself needs beside the crowd.
const OURS: usize = 500;
/// What a connection that says nothing may cost an agent.
const BYTES_EACH: u64 = 32 << 10;

/// What clients begin to say, and never end: on HTTP, and on gRPC.
const HTTP: [&[u8]; 4] = [
    b"",
    b"GET /v1/outcomes HT",
    b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"kind\":",
    b"POST /v1/events HTTP/1.1\r\nhost: x\r\nx-slow: ",
];
const GRPC: [&[u8]; 4] = [
    b"",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\xff\x01",
];

/// As many as this process may open: its soft limit is raised to the hard one.
fn crowd_size() -> usize {
    let pid = std::process::id().to_string();
    let prlimit = |args: &[&str]| {
        let done = Command::new("prlimit").args(["--pid", &pid]).args(args).output().unwrap();
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    let hard = prlimit(&["--nofile", "--output=HARD", "--noheadings"]);
    prlimit(&[&format!("--nofile={hard}")]);
    let hard = hard.parse().unwrap_or(usize::MAX);
    let crowd = hard.saturating_sub(OURS).min(CROWD);
    assert!(crowd >= 1000, "the limit of open files, {hard}, is too low to try this");
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_who_sit_there_or_trickle_keep_nobody_from_being_served() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    world.served(SOON).await;
    let players = Players::start(&world, "p", PLAYERS);
    players.goes_on(SOME, SOON).await;
    let agent = &world.agents[0];
    let before = agent.rss_bytes();
    let (began, mut crowd) = (Instant::now(), Vec::<TcpStream>::new());
    for number in 0..crowd_size() {
        let (port, says) = match number % 2 {
            0 => (agent.http, HTTP[number / 2 % HTTP.len()]),
            _ => (agent.grpc, GRPC[number / 2 % GRPC.len()]),
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(says).await.unwrap();
        crowd.push(stream);
    }
    tests::say(&format!("{} came within {:.1} s", crowd.len(), began.elapsed().as_secs_f64()));
    went_on(&players, SOME).await;
    let text = world.metrics(agent.http).await.unwrap();
    let open = metric(&text, "treasurehunt_agent_connections").unwrap();
    let more = agent.rss_bytes().saturating_sub(before);
    tests::say(&format!("{open} connections, {} kB more of memory", more >> 10));
    assert!(open >= 1000.0, "the crowd is not there: {open}");
    assert!(more <= BYTES_EACH * crowd.len() as u64, "{more} bytes for {} clients", crowd.len());
    // Bodies and heads that do not end are ended, and those who sit there may stay.
    went_on(&players, 2 * SOME).await;
    judged(&world, world.agents[1].http, &players.finish().await.unwrap()).await;
    drop(crowd);
    timed("the crowd is gone", SOON, async || {
        let open = metric(&world.metrics(agent.http).await?, "treasurehunt_agent_connections");
        ensure!(open.is_some_and(|open| open < 100.0), "{open:?}");
        Ok(())
    })
    .await;
}

async fn went_on(players: &Players, more: usize) {
    let began = Instant::now();
    players.goes_on(more, SOON).await;
    tests::say(&format!("{more} more events within {:.1} s", began.elapsed().as_secs_f64()));
}
