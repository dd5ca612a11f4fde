//! The worker of one partition: reads events behind the log's end, decides, appends outcomes,
//! gives credits back. One configuration per batch, stamped on every outcome. I/O; what is
//! decided is decided in the crate `events`.

use std::time::Duration;

use broker::{EmbeddedOwned, EmbeddedReader, LogKind, Owned as _, Reader as _, Record, Records};
use config_schemas::Offset;
use events::{Event, Machine, OutcomeRecord, PartitionState, Stamp};
use tokio::time::Instant;

use super::intake::Intake;
use super::outbox::Outbox;
use super::turns::Turns;
use crate::config::live::{Live, Running};
use crate::config::switched::Line;
use crate::metrics::PlaneMetrics;

/// Bytes read at once: a few hundred small events, or a few large ones.
const READ_BYTES: usize = 256 << 10;

/// Why a worker ended.
#[derive(Debug)]
pub(crate) enum WorkerEnd {
    /// A newer owner exists.
    Fenced,
    /// The log failed; the state has to be rebuilt from it.
    Failed(String),
}

impl From<broker::Error> for WorkerEnd {
    fn from(error: broker::Error) -> WorkerEnd {
        match error {
            broker::Error::Fenced { .. }
            | broker::Error::Superseded { .. }
            | broker::Error::Closed => WorkerEnd::Fenced,
            other => WorkerEnd::Failed(crate::config::road::chain(&other)),
        }
    }
}

/// A worker and all it works with.
pub(crate) struct Worker<M: Machine> {
    pub(crate) owned: EmbeddedOwned,
    pub(crate) events: EmbeddedReader,
    pub(crate) state: PartitionState<M>,
    pub(crate) intake: Intake,
    pub(crate) outbox: Outbox,
    pub(crate) line: Line,
    pub(crate) live: Live,
    pub(crate) turns: Turns,
    pub(crate) metrics: PlaneMetrics,
}

enum Woken {
    Events,
    Settings,
    Deliveries,
}

impl<M: Machine> Worker<M> {
    /// Works until the partition is another's or the log fails.
    pub(crate) async fn run(mut self) -> WorkerEnd {
        self.intake.played(self.next(), 0);
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), WorkerEnd> {
        match self.woken().await? {
            Woken::Settings => {
                let version = self.live.load().version;
                self.line.switched(version);
            }
            Woken::Deliveries => self.note_deliveries().await?,
            Woken::Events => {
                let turns = self.turns.clone();
                let _turn = turns.take().await;
                self.turn().await?;
            }
        }
        Ok(())
    }

    async fn woken(&mut self) -> Result<Woken, WorkerEnd> {
        let next = self.next();
        // A full outbox stops the reading of events until some are delivered.
        let full = self.state.ledger().outbox_is_full();
        tokio::select! {
            biased;
            () = self.live.changed() => Ok(Woken::Settings),
            () = self.outbox.noteworthy() => Ok(Woken::Deliveries),
            there = self.events.wait_beyond(next), if !full => {
                there?;
                Ok(Woken::Events)
            }
        }
    }

    /// Works on this partition until there is nothing more or its time is over.
    async fn turn(&mut self) -> Result<(), WorkerEnd> {
        let started = Instant::now();
        let mut counted = started;
        let from = self.next();
        loop {
            let chunk = self.events.read(self.next(), READ_BYTES).await?;
            if chunk.records.is_empty() {
                return Ok(());
            }
            let mut rest = chunk.records.as_slice();
            while !rest.is_empty() {
                let running = self.live.load().clone();
                self.line.switched(running.version);
                let batch = usize::try_from(running.config.workers.batch).unwrap_or(usize::MAX);
                let (now, later) = rest.split_at(rest.len().min(batch));
                let decided = self.play(now, &running).await?;
                let busy = counted.elapsed();
                counted += busy;
                self.intake.meter().played(now.len(), decided, busy);
                rest = later;
                self.intake.played(self.next(), speed(from, self.next(), started.elapsed()));
                let full = self.state.ledger().outbox_is_full();
                if full || started.elapsed() >= running.config.workers.turn {
                    return Ok(());
                }
            }
        }
    }

    /// Decides on a batch under one configuration and makes its outcomes durable. Out: the time
    /// spent on deciding.
    async fn play(&mut self, batch: &[Record], running: &Running) -> Result<Duration, WorkerEnd> {
        let started = Instant::now();
        let rules = M::rules(&running.config.rules);
        let stamp = self.stamp(running);
        let mut records = Records::new();
        let mut forwards = Vec::new();
        for record in batch {
            let outcome = match Event::decode(&record.payload) {
                Ok(event) => self.state.decide(record.offset, &event, &rules, stamp),
                Err(error) => {
                    self.metrics.poison.inc();
                    self.state.refuse_poison(
                        record.offset,
                        error.to_string(),
                        telemetry::clock::now_millis(),
                        stamp,
                    )
                }
            };
            let Some(outcome) = outcome else { continue };
            self.state.fold(&outcome);
            forwards.extend(outcome.forwards.iter().cloned());
            records.push_with(|into| outcome.encode(into));
        }
        let decided = started.elapsed();
        self.append(records).await?;
        self.outbox.send(forwards);
        Ok(decided)
    }

    async fn note_deliveries(&mut self) -> Result<(), WorkerEnd> {
        let delivered = self.outbox.delivered();
        if delivered.is_empty() {
            return Ok(());
        }
        let running = self.live.load().clone();
        let stamp = self.stamp(&running);
        let record: OutcomeRecord =
            PartitionState::<M>::delivered(delivered, telemetry::clock::now_millis(), stamp);
        self.state.fold(&record);
        let mut records = Records::new();
        records.push_with(|into| record.encode(into));
        self.append(records).await
    }

    async fn append(&self, records: Records) -> Result<(), WorkerEnd> {
        let count = records.len() as u64;
        if count > 0 {
            self.owned.append(LogKind::Outcomes, records).await?;
            self.metrics.outcomes.inc_by(count);
        }
        Ok(())
    }

    fn stamp(&self, running: &Running) -> Stamp {
        Stamp {
            partition: self.owned.partition(),
            epoch: self.owned.epoch(),
            config_revision: running.revision,
        }
    }

    fn next(&self) -> Offset {
        self.state.ledger().next_offset()
    }
}

fn speed(from: Offset, to: Offset, elapsed: Duration) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    to.0.saturating_sub(from.0).saturating_mul(1_000_000) / micros
}
