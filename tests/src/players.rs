//! Players who hunt while a test hurts the servers: each sends one event at a time, through any
//! agent, and sends the same event again until it is acknowledged. In: a world. Out: every
//! acknowledgement, in each player's order. I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::checker::{Acked, Line, check};
use crate::http::Http;
use crate::wait::{timed, until};
use crate::world::World;

/// An event that nobody takes for this long: something is stuck.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Pause before an event is sent again when the answer does not say.
const AGAIN: Duration = Duration::from_millis(20);
/// Clues of each treasure, as the worlds' hunts have it.
const CLUES: u32 = 2;
/// From the last acknowledgement to the last outcome, on a machine that compiles beside the test.
const PLAYED_WITHIN: Duration = Duration::from_secs(40);
/// Outcomes asked for at once.
const PAGE: usize = 5000;

/// Players at play.
#[derive(Debug)]
pub struct Players {
    stop: CancellationToken,
    acked: Arc<AtomicUsize>,
    told_to_wait: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Result<Vec<Acked>>>>,
}

impl Players {
    /// Lets `count` players of this team begin, spread over all agents.
    pub fn start(world: &World, team: &str, count: usize) -> Players {
        let (stop, acked) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let told_to_wait = Arc::new(AtomicUsize::new(0));
        let ports: Vec<u16> = world.agents.iter().map(|agent| agent.http).collect();
        let tasks = (0..count).map(|number| {
            let player = Player {
                name: format!("{team}-{number}"),
                gateways: Gateways { ports: ports.clone(), at: number, http: world.http.clone() },
                sent: Vec::new(),
                acked: acked.clone(),
                told_to_wait: told_to_wait.clone(),
            };
            tokio::spawn(player.play(stop.clone()))
        });
        Players { tasks: tasks.collect(), stop, acked, told_to_wait }
    }

    /// How often a player was told to send an event again, and after which time.
    pub fn told_to_wait(&self) -> usize {
        self.told_to_wait.load(Ordering::Relaxed)
    }

    /// Waits until `more` further events are acknowledged.
    pub async fn goes_on(&self, more: usize, within: Duration) {
        let wanted = self.acked.load(Ordering::Relaxed) + more;
        until("events are taken in and acknowledged", within, async || {
            let now = self.acked.load(Ordering::Relaxed);
            ensure!(now >= wanted, "{now} of {wanted}");
            Ok(())
        })
        .await;
    }

    /// Ends the game; everything that was acknowledged. Every event sent is acknowledged.
    pub async fn finish(self) -> Result<Vec<Acked>> {
        self.stop.cancel();
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await??);
        }
        Ok(all)
    }
}

struct Player {
    name: String,
    gateways: Gateways,
    sent: Vec<Acked>,
    acked: Arc<AtomicUsize>,
    told_to_wait: Arc<AtomicUsize>,
}

impl Player {
    async fn play(mut self, stop: CancellationToken) -> Result<Vec<Acked>> {
        self.send(json!({"kind": "join"})).await?;
        for round in 0_u32.. {
            if stop.is_cancelled() {
                break;
            }
            // All players race for the same treasures.
            let treasure = format!("t{round}");
            for clue in 1..=CLUES {
                self.send(json!({"kind": "solve", "treasure": treasure, "clue": clue})).await?;
            }
            self.send(json!({"kind": "claim", "treasure": treasure})).await?;
            self.send(json!({"kind": "move"})).await?;
        }
        Ok(self.sent)
    }

    async fn send(&mut self, mut event: Json) -> Result<()> {
        let id = format!("{}.{}", self.name, self.sent.len());
        event["id"] = id.clone().into();
        event["player"] = self.name.clone().into();
        let claim = event["kind"] == "claim";
        let give_up = Instant::now() + GIVE_UP;
        let mut last = anyhow::anyhow!("nothing was answered");
        while Instant::now() < give_up {
            match self.gateways.publish(&event).await {
                Ok(Published::Durable { partition, .. }) => {
                    self.acked.fetch_add(1, Ordering::Relaxed);
                    self.sent.push(Acked { id, player: self.name.clone(), partition, claim });
                    return Ok(());
                }
                Ok(Published::Again(pause, why)) => {
                    self.told_to_wait.fetch_add(1, Ordering::Relaxed);
                    last = anyhow::anyhow!(why);
                    sleep(pause).await;
                }
                Err(error) => {
                    last = error;
                    self.gateways.at += 1;
                    sleep(AGAIN).await;
                }
            }
        }
        Err(last).with_context(|| format!("{id} was not taken for {GIVE_UP:?}"))
    }
}

/// What became of one event.
pub(crate) enum Published {
    Durable { partition: u32, epoch: u64 },
    Again(Duration, String),
}

/// The agents as one producer uses them: one of them, until it fails.
pub(crate) struct Gateways {
    pub(crate) ports: Vec<u16>,
    pub(crate) at: usize,
    pub(crate) http: Http,
}

impl Gateways {
    pub(crate) async fn publish(&self, event: &Json) -> Result<Published> {
        let port = self.ports[self.at % self.ports.len()];
        let (status, body) = self.http.post(port, "/v1/events", event.to_string()).await?;
        let answer: Json = serde_json::from_str(body.trim())
            .with_context(|| format!("status {status} with {body:?}"))?;
        let error = &answer["error"];
        if error.is_null() {
            let partition = answer["partition"].as_u64().context("no partition in the answer")?;
            let epoch = answer["epoch"].as_u64().context("no epoch in the answer")?;
            return Ok(Published::Durable { partition: u32::try_from(partition)?, epoch });
        }
        ensure!(error["code"] != "INVALID", "a good event is called invalid: {answer}");
        match error["retryAfterMs"].as_u64() {
            Some(millis) => Ok(Published::Again(Duration::from_millis(millis), answer.to_string())),
            None => bail!("neither durable nor to be sent again: {answer}"),
        }
    }
}

/// Waits until everything that these producers were told is true, by the checker, of the outcomes
/// that the agent at that port shows.
pub async fn judged(world: &World, port: u16, acked: &[Acked]) {
    let what = format!("all outcomes of {} acknowledged events right", acked.len());
    timed(&what, PLAYED_WITHIN, async || check(acked, &outcomes(&world.http, port).await?)).await;
}

/// All outcomes as the agent at that port shows them.
pub async fn outcomes(http: &Http, port: u16) -> Result<Vec<Line>> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = http.json(port, &format!("/v1/outcomes?from={cursor}&limit={PAGE}")).await?;
        let lines: Vec<Line> = serde_json::from_value(page["outcomes"].clone())?;
        cursor = page["next"].as_str().context("no cursor")?.to_owned();
        if lines.is_empty() {
            return Ok(all);
        }
        all.extend(lines);
    }
}
