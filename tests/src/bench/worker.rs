//! What one partition's worker plays: a full event log, decided and written to the outcome log by
//! the agent's own code with its default settings, beside what the bare log appends and reads.
//! Processor time is that of the whole process, commit threads included: what a busy machine
//! cannot stretch. I/O.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use agent::core::{CoreOptions, start};
use agent::metrics::PlaneMetrics;
use agent::partitions::answer::Source;
use agent::partitions::log::Log;
use agent::partitions::outbox::Forward;
use agent::partitions::plane::{self, Plane, PlaneOptions};
use anyhow::Context as _;
use broker::{Broker as _, Claim, Embedded, EmbeddedOptions, LogKind, Owned, Reader as _, Records};
use config_schemas::documents::{FORMAT, HASH_MURMUR2, Meta, Owner, PartitionRecord, write};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{BrokerKind, Epoch, HuntName, NodeName, Offset, PartitionId};
use events::{Event, EventId, HuntGame, Kind, OutcomeRecord};
use prometheus::Registry;
use servers::ProcessStat;
use store::{Store, StoreOptions, Txn, Write};
use telemetry::tasks::Tasks;

use super::numbers::median;
use super::{Row, STEP_LIMIT, Scene, Setting, within};

pub(super) const P: PartitionId = PartitionId(0);
const UID: &str = "bench";
const EVENTS: usize = 1_000_000;
const PLAYERS: usize = 10_000;
/// Records of one append to the bare log, and appends under way at once.
const APPEND: usize = 1_000;
const APPENDS: usize = 8;
const READ_BYTES: usize = 1 << 20;
const ROUNDS: usize = 3;
/// 300,000 events a second on one core.
const GOAL_NANOS: f64 = 1e9 / 300_000.0;

/// What one event costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Nanoseconds by the clock.
    pub(super) wall: f64,
    /// Nanoseconds of the processor.
    pub(super) cpu: f64,
}

#[derive(Debug, Default)]
struct Costs {
    append: Vec<Cost>,
    read: Vec<Cost>,
    play: Vec<Cost>,
}

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let count = setting.scaled(EVENTS);
    let mut costs = Costs::default();
    for _ in 0..ROUNDS {
        round(count, &mut costs).await?;
    }
    let [append, read, play] = [&costs.append, &costs.read, &costs.play].map(|all| middle(all));
    let per_second = |nanos: f64| 1e9 / nanos;
    let what = "consume, decide, outcome: processor time per event";
    rows.push(Row::new(what, play.cpu, "ns").at_most(GOAL_NANOS));
    for (what, cost) in
        [("consume, decide, outcome", play), ("bare log, append", append), ("bare log, read", read)]
    {
        rows.push(Row::new(format!("{what}: per core"), per_second(cost.cpu), "events/s"));
        rows.push(Row::new(format!("{what}: by the clock"), per_second(cost.wall), "events/s"));
    }
    let bare = append.cpu + 2.0 * read.cpu;
    rows.push(Row::new("of it the bare log: read, append", bare / play.cpu * 100.0, "%"));
    Ok(())
}

pub(super) fn middle(costs: &[Cost]) -> Cost {
    let of = |each: fn(&Cost) -> f64| median(&costs.iter().map(each).collect::<Vec<_>>());
    Cost { wall: of(|cost| cost.wall), cpu: of(|cost| cost.cpu) }
}

async fn round(count: usize, costs: &mut Costs) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let hunt = HuntName::new("bench", "worker")?;
    let directory = folder.path().join("hunts").join(UID);
    let log = Embedded::open(EmbeddedOptions::new(directory, hunt.clone()))?;
    let claim = Claim { epoch: Epoch(1), owner: "bench".into(), incarnation: "0".into() };
    let owned = log.take(P, claim).await?;
    let batches = batches(count);
    costs.append.push(timed(count, append(&owned, batches)).await?);
    owned.release().await;
    costs.read.push(timed(count, read(&log, count)).await?);
    let log = Log::new(folder.path().to_owned(), hunt.clone());
    let game = Game { hunt, kind: BrokerKind::Embedded, log, epoch: Epoch(2) };
    costs.play.push(play(&game, Offset(0), count).await?);
    Ok(())
}

/// The cost per event of what `work` does with `count` of them.
pub(super) async fn timed(
    count: usize,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Cost> {
    let (started, cpu) = (Instant::now(), own_cpu()?);
    work.await?;
    Ok(cost(count, started.elapsed(), own_cpu()? - cpu))
}

fn cost(count: usize, wall: Duration, cpu: Duration) -> Cost {
    let each = |time: Duration| time.as_nanos() as f64 / count as f64;
    Cost { wall: each(wall), cpu: each(cpu) }
}

fn own_cpu() -> anyhow::Result<Duration> {
    let stat = ProcessStat::read(std::process::id()).context("reading our own processor time")?;
    Ok(stat.cpu_time())
}

pub(super) fn batches(count: usize) -> Vec<Records> {
    let numbers: Vec<usize> = (0..count).collect();
    let batch = |numbers: &[usize]| {
        let mut records = Records::new();
        numbers.iter().for_each(|number| records.push_with(|into| event(*number).encode(into)));
        records
    };
    numbers.chunks(APPEND).map(batch).collect()
}

/// Mostly moves, some clues, a few claims: as in a hunt.
fn event(number: usize) -> Event {
    let id = EventId::new(format!("{number:032x}")).expect("hex is safe");
    let (round, player) = (number / PLAYERS, number % PLAYERS);
    let (kind, treasure) = match round {
        0 => (Kind::Join, None),
        _ if round % 10 == 1 => (Kind::Solve, Some(format!("treasure-{round}"))),
        _ if round % 10 == 2 && player % 20 == 0 => {
            (Kind::Claim, Some(format!("treasure-{}", round - 1)))
        }
        _ => (Kind::Move, None),
    };
    Event {
        player: Some(format!("player-{player}")),
        treasure,
        clue: Some(1),
        ..Event::new(id, kind, 1_700_000_000_000 + number as u64)
    }
}

pub(super) async fn append(owned: &impl Owned, batches: Vec<Records>) -> anyhow::Result<()> {
    let mut under_way = std::collections::VecDeque::new();
    for batch in batches {
        under_way.push_back(owned.submit(LogKind::Events, batch).await?);
        if under_way.len() >= APPENDS
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.await?;
        }
    }
    for rest in under_way {
        rest.await?;
    }
    Ok(())
}

async fn read(log: &Embedded, count: usize) -> anyhow::Result<()> {
    let mut reader = log.reader(P, LogKind::Events);
    let mut next = Offset(0);
    while next.0 < count as u64 {
        let chunk = reader.read(next, READ_BYTES).await?;
        anyhow::ensure!(!chunk.records.is_empty(), "the log ends at {next}");
        next = chunk.next;
    }
    Ok(())
}

/// One partition: what is forwarded comes back to it.
struct Back(OnceLock<Plane>);

impl Forward for Back {
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        Box::pin(async move {
            let count = events.len();
            match self.0.get() {
                Some(plane) => vec![plane.append(P, events, Source::Outbox).await.is_ok(); count],
                None => vec![false; count],
            }
        })
    }
}

/// A hunt whose events lie in its log.
pub(super) struct Game {
    pub(super) hunt: HuntName,
    pub(super) kind: BrokerKind,
    pub(super) log: Log,
    /// In which the partition is taken.
    pub(super) epoch: Epoch,
}

/// From the record in etcd that gives the partition to an agent, to the last outcome, when the first
/// one stands at `first`.
pub(super) async fn play(game: &Game, first: Offset, count: usize) -> anyhow::Result<Cost> {
    let Game { hunt, log, .. } = game;
    let scene = Scene::open().await?;
    let store = Store::open(StoreOptions::plain([scene.etcd.endpoint()]))?;
    let me = Owner { node: NodeName::new("agent-1")?, incarnation: "1".to_owned() };
    let keys = HuntKeys::new(hunt);
    let put = async |key: &Key, value: Vec<u8>| {
        let writes = vec![Write::put(keys.key(key), value)];
        store.commit(&Txn { guards: Vec::new(), writes }).await
    };
    let meta = Meta {
        format: FORMAT,
        store_epoch: "bench".to_owned(),
        uid: UID.to_owned(),
        partitions: 1,
        before: Vec::new(),
        next: None,
        hash: HASH_MURMUR2.to_owned(),
        cluster: None,
        broker: game.kind,
    };
    put(&Key::Meta, write(&meta)).await?;
    for (field, value) in [("clues", "1"), ("cooldown", "0s")] {
        put(&Key::Override(format!("hunt/rules/{field}")), value.into()).await?;
    }
    let (registry, tasks) = (Registry::new(), Tasks::default());
    let options = CoreOptions {
        hunt: hunt.clone(),
        me: me.clone(),
        instance: "agent-1".to_owned(),
        directory: None,
        http: "127.0.0.1:1".to_owned(),
        grpc: "127.0.0.1:1".to_owned(),
    };
    let core = start(options, &store, log.retune(), &registry, &tasks)?;
    let metrics = PlaneMetrics::register(&registry, core.meters.clone())?;
    let options = PlaneOptions { hunt: hunt.clone(), me: me.clone() };
    let plane = plane::new::<HuntGame>(options, &core, log.clone(), metrics);
    let back = Arc::new(Back(OnceLock::from(plane.clone())));
    plane.serve(&store, &core, back, &tasks);
    let mut view = core.view.clone();
    let known = view.wait_for(|view| view.edits.len() == 2);
    within(STEP_LIMIT, "the agent's start", known).await?;
    let (started, cpu) = (Instant::now(), own_cpu()?);
    let record = PartitionRecord::Own { owner: me, epoch: game.epoch };
    put(&Key::Partition(P), write(&record)).await?;
    let played = within(STEP_LIMIT, "playing all events", played(&plane, first, count)).await??;
    let cost = cost(played, started.elapsed(), own_cpu()? - cpu);
    tasks.finish().await;
    Ok(cost)
}

/// Waits for as many outcomes as there are events. Out: how many events have theirs.
async fn played(plane: &Plane, first: Offset, count: usize) -> anyhow::Result<usize> {
    let mut outcomes = loop {
        match plane.outcomes(P) {
            Some(outcomes) => break outcomes,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let last = Offset(first.0 + count as u64 - 1);
    outcomes.wait_beyond(last).await?;
    let chunk = outcomes.read(last, 1).await?;
    let last = chunk.records.first().context("the last outcome is not there")?;
    let source = OutcomeRecord::decode(&last.payload)?.source_offset;
    Ok(source.map_or(count, |offset| offset.0 as usize + 1))
}
