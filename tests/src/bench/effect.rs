//! An edit's way from etcd to workers, beside bare watches of the same key in the same process:
//! as many watches as agents, connected the same way, seeing the same edits. Both are timed from
//! the moment that the write is sent; the difference is what we add. I/O.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;

use super::fleet::{Connections, Fleet, OnSwitch};
use super::numbers::{median, millis, rank};
use super::raw::RawWatches;
use super::sightings::Sightings;
use super::{Row, STEP_LIMIT, Scene, Setting, within};

/// Agents, edits of one round.
const ROUNDS: [(usize, usize); 3] = [(1, 1000), (100, 200), (1000, 50)];
/// A hunt that no agent follows: its key is seen by bare watches only.
const TWIN_KEY: &str = "/treasurehunt/bench/twin/override/hunt/buffers/events";
/// Edits write numbers from here on: all within the bounds of buffers.events, none the default.
const FIRST_VALUE: u64 = 10_000;
/// Ours may take this many times as long as a bare watch.
const GOAL: f64 = 1.5;

/// What one edit showed, in milliseconds.
#[derive(Default)]
struct Seen {
    /// From sending the write to each sighting, of all edits.
    from_send: Vec<f64>,
    /// From the write's answer; negative when the sighting came first.
    from_answer: Vec<f64>,
    /// From sending the write to the last sighting, of each edit.
    last: Vec<f64>,
    /// From sending the write to the middle sighting, of each edit.
    middle: Vec<f64>,
}

struct Sent {
    at: Instant,
    answered: Instant,
}

struct Round {
    fleet: Fleet,
    ours: Arc<Sightings>,
    key: String,
    next: u64,
}

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    for (agents, edits) in ROUNDS {
        let round = round(setting.agents(agents), setting.scaled(edits));
        rows.extend(round.await.with_context(|| format!("with {agents} agents"))?);
    }
    Ok(())
}

async fn round(agents: usize, edits: usize) -> anyhow::Result<Vec<Row>> {
    let scene = Scene::open().await?;
    let endpoint = scene.etcd.endpoint();
    let ours = Arc::new(Sightings::new(agents));
    let observed = ours.clone();
    let on_switch: OnSwitch =
        Arc::new(move |agent, config| observed.saw(agent, config.buffers.events));
    let fleet = Fleet::start(&endpoint, agents, Connections::Own, on_switch).await?;
    let key = fleet.edit_key("buffers", "events");
    let mut round = Round { fleet, ours, key, next: FIRST_VALUE };
    let raw = Arc::new(Sightings::new(agents));
    let connections = Connections::Own;
    let watches = RawWatches::start(&endpoint, &round.key, agents, connections, &raw).await?;
    let (with_raw, beside) = round.together(&raw, edits).await?;
    drop(watches);
    let watches = RawWatches::start(&endpoint, TWIN_KEY, agents, connections, &raw).await?;
    let (alone, raw_alone) = round.apart(&raw, edits).await?;
    drop(watches);
    round.fleet.stop().await;
    Ok(rows(agents, &with_raw, &beside, &alone, &raw_alone))
}

impl Round {
    /// Each edit is seen by agents and bare watches alike.
    async fn together(&mut self, raw: &Sightings, edits: usize) -> anyhow::Result<(Seen, Seen)> {
        let (mut ours, mut bare) = (Seen::default(), Seen::default());
        for _ in 0..edits {
            raw.expect(self.next);
            let (sent, seen) = self.edit().await?;
            ours.add(&sent, &seen);
            let seen = within(STEP_LIMIT, "a bare watch's event", raw.all()).await?;
            bare.add(&sent, &seen);
            self.fleet.quiet().await?;
        }
        Ok((ours, bare))
    }

    /// Edits that only agents see, and writes that only bare watches see, by turns.
    async fn apart(&mut self, raw: &Sightings, edits: usize) -> anyhow::Result<(Seen, Seen)> {
        let (mut ours, mut bare) = (Seen::default(), Seen::default());
        for _ in 0..edits {
            let (sent, seen) = self.edit().await?;
            ours.add(&sent, &seen);
            self.fleet.quiet().await?;
            raw.expect(self.next);
            let sent = self.write(TWIN_KEY).await?;
            let seen = within(STEP_LIMIT, "a bare watch's event", raw.all()).await?;
            bare.add(&sent, &seen);
            self.fleet.quiet().await?;
        }
        Ok((ours, bare))
    }

    async fn edit(&mut self) -> anyhow::Result<(Sent, Vec<Instant>)> {
        self.ours.expect(self.next);
        let key = self.key.clone();
        let sent = self.write(&key).await?;
        let seen = within(STEP_LIMIT, "an edit in effect everywhere", self.ours.all()).await?;
        Ok((sent, seen))
    }

    async fn write(&mut self, key: &str) -> anyhow::Result<Sent> {
        let at = Instant::now();
        self.fleet.put(key, self.next.to_string()).await?;
        self.next += 1;
        Ok(Sent { at, answered: Instant::now() })
    }
}

impl Seen {
    fn add(&mut self, sent: &Sent, seen: &[Instant]) {
        let since = |start: Instant| {
            move |at: &Instant| {
                let behind = millis(start.saturating_duration_since(*at));
                millis(at.saturating_duration_since(start)) - behind
            }
        };
        let from_send: Vec<f64> = seen.iter().map(since(sent.at)).collect();
        self.last.push(rank(&from_send, 1.0));
        self.middle.push(median(&from_send));
        self.from_send.extend(from_send);
        self.from_answer.extend(seen.iter().map(since(sent.answered)));
    }
}

fn rows(agents: usize, ours: &Seen, raw: &Seen, alone: &Seen, raw_alone: &Seen) -> Vec<Row> {
    let of = |who: &str| format!("{agents} agents: {who}");
    let p99 = |samples: &[f64]| rank(samples, 0.99);
    let added = |ours: &[f64], raw: &[f64]| -> Vec<f64> {
        ours.iter().zip(raw).map(|(ours, raw)| ours - raw).collect()
    };
    let middle = added(&ours.middle, &raw.middle);
    let last = added(&ours.last, &raw.last);
    vec![
        Row::new(of("in effect p50, from sending the write"), median(&ours.from_send), "ms"),
        Row::new(of("bare watch p50"), median(&raw.from_send), "ms"),
        Row::new(of("in effect p99"), p99(&ours.from_send), "ms"),
        Row::new(of("bare watch p99"), p99(&raw.from_send), "ms"),
        Row::new(
            of("in effect p99 / bare watch p99"),
            p99(&ours.from_send) / p99(&raw.from_send),
            "x",
        )
        .at_most(GOAL),
        Row::new(of("in effect p99, from the write's answer"), p99(&ours.from_answer), "ms"),
        Row::new(of("bare watch p99, from the write's answer"), p99(&raw.from_answer), "ms"),
        Row::new(of("added to an edit's middle sighting, p50"), median(&middle), "ms"),
        Row::new(of("added to an edit's last sighting, p50"), median(&last), "ms"),
        Row::new(of("apart: in effect p50"), median(&alone.from_send), "ms"),
        Row::new(of("apart: bare watch p50"), median(&raw_alone.from_send), "ms"),
        Row::new(of("apart: in effect p99"), p99(&alone.from_send), "ms"),
        Row::new(of("apart: bare watch p99"), p99(&raw_alone.from_send), "ms"),
        Row::new(
            of("apart: in effect p99 / bare watch p99"),
            p99(&alone.from_send) / p99(&raw_alone.from_send),
            "x",
        ),
    ]
}
