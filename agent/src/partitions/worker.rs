//! The worker of one partition: reads events behind the log's end, decides, appends outcomes,
//! gives credits back. It does not wait for the disk: each batch builds upon the one before it,
//! and counts when that is durable. One configuration per batch, stamped on every outcome. I/O;
//! what is decided is decided in the crate `events`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::{AnyOwned, AnyReader, Chunk, LogKind, Owned as _, Reader as _, Record, Records};
use config_schemas::{Cuts, Offset};
use events::{Event, Machine, Outcome, OutcomeRecord, Panicked, PartitionState, Stamp};
use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::cutting::Due;
use super::dead_letters::{Condemned, put_dead_letters};
use super::deciding::{Deciding, not_taken, parts};
use super::flight::{Flight, landing};
use super::intake::Intake;
use super::outbox::Outbox;
use super::snapshots::{Asked, Copied};
use super::trial::Trial;
use crate::capacity::turns::{Turn, Turns, until_it_waits};
use crate::config::live::{Live, Running, Version};
use crate::config::switched::Line;
use crate::metrics::PlaneMetrics;
use crate::traced::Decided;

/// Bytes read at once: a few hundred small events, or a few large ones.
const READ_BYTES: usize = 256 << 10;
/// Batches that wait for the disk at the same time; the log bounds their bytes too. At 64 events
/// each and 5 ms a sync that is three million events per second.
const FLIGHTS_MAX: usize = 256;

/// Why a worker ended.
#[derive(Debug)]
pub(crate) enum WorkerEnd {
    /// A newer owner exists.
    Fenced,
    /// The log failed; the state has to be rebuilt from it.
    Failed(broker::Error),
    /// The machine cannot fold what it decided on this event: the state has to be rebuilt, and
    /// the event is to be a dead letter.
    Poisoned(Condemned),
}

impl From<broker::Error> for WorkerEnd {
    fn from(error: broker::Error) -> WorkerEnd {
        match error {
            broker::Error::Fenced { .. }
            | broker::Error::Superseded { .. }
            | broker::Error::Closed => WorkerEnd::Fenced,
            other => WorkerEnd::Failed(other),
        }
    }
}

/// A worker and all it works with.
pub(crate) struct Worker<M: Machine> {
    pub(crate) owned: AnyOwned,
    pub(crate) events: AnyReader,
    /// Runs ahead of the log by what is in flight.
    pub(crate) state: PartitionState<M>,
    pub(crate) condemned: Option<Condemned>,
    /// Folds before `state` does, once the machine has failed to fold.
    pub(crate) trial: Option<Trial<M>>,
    pub(crate) intake: Intake,
    pub(crate) outbox: Outbox,
    pub(crate) line: Line,
    pub(crate) live: Live,
    pub(crate) turns: Turns,
    pub(crate) metrics: PlaneMetrics,
    /// What is decided and not yet durable, oldest first.
    pub(crate) flights: VecDeque<Flight>,
    /// All before it in the outcome log is durable and part of the state.
    pub(crate) durable: Offset,
    /// Who wants the state to keep it.
    pub(crate) copies: mpsc::Receiver<Asked<M>>,
    /// Whose each key is.
    pub(crate) cuts: watch::Receiver<Arc<Cuts>>,
    /// What becomes another's, and from where on.
    pub(crate) cuts_due: mpsc::Receiver<Due>,
    /// The next of those, while events before it have no outcome yet.
    pub(crate) due: Option<Due>,
}

enum Woken<M: Machine> {
    Events,
    Settings,
    Deliveries,
    /// The oldest batch, at these places.
    Landed(Vec<Offset>),
    Copy(Asked<M>),
    Cut(Due),
}

impl<M: Machine> Worker<M> {
    /// Works until the partition is another's or the log fails.
    pub(crate) async fn run(mut self) -> WorkerEnd {
        self.intake.played(self.next());
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), WorkerEnd> {
        match self.woken().await? {
            Woken::Settings => self.switched(),
            Woken::Deliveries => self.note_deliveries().await?,
            Woken::Landed(first) => self.landed(first)?,
            Woken::Copy(asked) => self.copy(asked),
            Woken::Cut(due) => self.due = Some(due),
            Woken::Events => self.turn().await?,
        }
        self.cut_if_due().await
    }

    async fn woken(&mut self) -> Result<Woken<M>, WorkerEnd> {
        let next = self.next();
        let room = self.has_room();
        tokio::select! {
            biased;
            () = self.live.changed() => Ok(Woken::Settings),
            landed = landing(&mut self.flights) => {
                Ok(Woken::Landed(landed?))
            }
            () = self.outbox.noteworthy(), if self.flights.len() < FLIGHTS_MAX => {
                Ok(Woken::Deliveries)
            }
            Some(asked) = self.copies.recv() => Ok(Woken::Copy(asked)),
            Some(due) = self.cuts_due.recv(), if self.due.is_none() => Ok(Woken::Cut(due)),
            grown = self.owned.events_beyond(&mut self.events, next), if room => {
                grown?;
                Ok(Woken::Events)
            }
        }
    }

    /// Whether further events may be decided. A full outbox stops that until some are delivered, but for
    /// those before a cut: what waits there may wait for the cut itself.
    fn has_room(&self) -> bool {
        self.flights.len() < FLIGHTS_MAX
            && (self.due.is_some() || !self.state.ledger().outbox_is_full())
            && !self.intake.leaves()
    }

    /// Says which configuration runs here: not before every outcome under the one before is
    /// durable, lest one of them appear after the node has acked.
    fn switched(&mut self) {
        let version = self.live.load().version;
        if self.flights.front().is_none_or(|oldest| oldest.version >= version) {
            self.line.switched(version);
        }
    }

    /// The oldest batch is durable, and perhaps some after it.
    fn landed(&mut self, first: Vec<Offset>) -> Result<(), WorkerEnd> {
        let (mut first, mut next) = (Some(first), None);
        while let Some(mut flight) = self.flights.pop_front() {
            let offsets = match first.take() {
                Some(first) => first,
                None => match (&mut flight.answer).now_or_never() {
                    Some(durable) => durable?,
                    None => {
                        self.flights.push_front(flight);
                        break;
                    }
                },
            };
            if let Some(last) = offsets.last() {
                self.durable = last.next();
            }
            for copy in flight.copies {
                // whoever keeps snapshots may have ended
                let _ = copy.send(self.durable);
            }
            flight.decided.into_iter().for_each(Decided::durable);
            self.metrics.outcomes.inc_by(flight.outcomes);
            self.outbox.send(flight.forwards);
            next = Some(flight.next);
        }
        if let Some(next) = next {
            self.intake.played(next);
            self.switched();
        }
        Ok(())
    }

    /// Works on this partition until there is nothing more, no room, something to wait for, or its
    /// time is over.
    async fn turn(&mut self) -> Result<(), WorkerEnd> {
        let turns = self.turns.clone();
        let mut turn = Some(turns.take().await);
        let started = Instant::now();
        let mut counted = started;
        loop {
            let Some(chunk) = self.read().await?.filter(|chunk| !chunk.records.is_empty()) else {
                return Ok(());
            };
            let mut rest = chunk.records.as_slice();
            while !rest.is_empty() {
                let running = self.live.load().clone();
                self.switched();
                let batch = usize::try_from(running.config.workers.batch).unwrap_or(usize::MAX);
                let (now, later) = rest.split_at(rest.len().min(batch));
                let decided = self.play(now, &running, &mut turn).await?;
                let busy = counted.elapsed();
                counted += busy;
                self.intake.meter().played(now.len(), decided, busy);
                rest = later;
                if turn.is_none()
                    || !self.has_room()
                    || started.elapsed() >= running.config.workers.turn
                {
                    return Ok(());
                }
            }
            // as far as known; whatever else there is wakes the worker again
            if self.next() >= self.owned.end(LogKind::Events) {
                return Ok(());
            }
        }
    }

    /// What comes next: in memory still if this worker keeps up, else from the disk. `None` where it
    /// would have to be waited for: that is done in no turn, as others may have more luck.
    async fn read(&mut self) -> Result<Option<Chunk>, broker::Error> {
        let next = self.next();
        if let Some(chunk) = self.owned.fresh(LogKind::Events, next) {
            return Ok(Some(chunk));
        }
        match self.owned.events_beyond(&mut self.events, next).now_or_never() {
            Some(there) => there?,
            None => return Ok(None),
        }
        self.events.read(next, READ_BYTES).await.map(Some)
    }

    /// Decides on a batch under one configuration, puts its outcomes in line. Out: time of deciding.
    async fn play(
        &mut self,
        batch: &[Record],
        running: &Running,
        turn: &mut Option<Turn>,
    ) -> Result<Duration, WorkerEnd> {
        let started = Instant::now();
        let stamp = self.stamp(running);
        let cuts = self.cuts.borrow().clone();
        let deciding = Deciding::<M> {
            rules: M::rules(&running.config.rules),
            config: &running.config,
            stamp,
            cuts: &cuts,
            condemned: self.condemned.clone(),
            now_millis: telemetry::clock::now_millis(),
        };
        let mut records = Records::new();
        let (mut forwards, mut dead, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut traced = Vec::new();
        for record in batch {
            let Some(mut outcome) = deciding.outcome(record, &self.state) else { continue };
            if let Err(panicked) = self.fold(&mut outcome, stamp) {
                let (offset, why) = (record.offset, panicked.to_string());
                let event = Condemned { offset, why };
                let end = self.poisoned(records, running.version, event);
                return Err(until_it_waits(turn, end).await);
            }
            if let Outcome::DeadLetter { why } = &outcome.outcome {
                self.metrics.poison.inc();
                dead.push((record, why.clone()));
            }
            forwards.extend(outcome.forwards.iter().cloned());
            traced.extend(Decided::of(self.metrics.meters.traces(), &outcome, started));
            let before = records.bytes();
            records.push_with(|into| outcome.encode(into));
            places.push((record.offset, records.bytes() - before));
        }
        let decided = started.elapsed();
        until_it_waits(turn, put_dead_letters(&self.owned, &dead, stamp)).await;
        let submitted = self.submit(records, forwards, running.version);
        let submitted = until_it_waits(turn, submitted).await;
        submitted.map_err(|end| match end {
            // the client goes by another bound than the configuration yet
            WorkerEnd::Failed(broker::Error::TooLarge { bytes }) => not_taken(bytes, &places)
                .map_or(WorkerEnd::Failed(broker::Error::TooLarge { bytes }), WorkerEnd::Poisoned),
            end => end,
        })?;
        self.flights.back_mut().into_iter().for_each(|last| last.decided.append(&mut traced));
        Ok(decided)
    }

    /// Takes an outcome into the state. One that the trial cannot fold is a dead letter instead; an
    /// error means that there was no trial yet, and that the state is of no use any more.
    fn fold(&mut self, outcome: &mut OutcomeRecord, stamp: Stamp) -> Result<(), Panicked> {
        let tried = self.trial.as_mut().map_or(Ok(()), |trial| trial.fold(&self.state, outcome));
        if let (Err(panicked), Some(offset)) = (tried, outcome.source_offset) {
            let (id, why) = (outcome.event_id.clone(), panicked.to_string());
            tracing::error!(partition = %stamp.partition, %offset, %why, "an event is a dead letter");
            if let Some(letter) = self.state.dead_letter(offset, id, &why, outcome.at_millis, stamp)
            {
                *outcome = letter;
            }
            self.trial.as_mut().map_or(Ok(()), |trial| trial.fold(&self.state, outcome))?;
        }
        if self.trial.as_ref().is_some_and(Trial::is_over) {
            self.trial = None;
        }
        self.state.try_fold(outcome).map(drop)
    }

    /// Ends on an event that cannot be folded, after all that came before it is durable: the next
    /// worker remembers only this one.
    async fn poisoned(&mut self, before: Records, version: Version, event: Condemned) -> WorkerEnd {
        if let Err(end) = self.submit(before, Vec::new(), version).await {
            return end;
        }
        while let Some(flight) = self.flights.pop_front() {
            if let Err(error) = flight.answer.await {
                return error.into();
            }
        }
        WorkerEnd::Poisoned(event)
    }

    async fn note_deliveries(&mut self) -> Result<(), WorkerEnd> {
        let delivered = self.outbox.delivered();
        if delivered.is_empty() {
            return Ok(());
        }
        let running = self.live.load().clone();
        let (stamp, now) = (self.stamp(&running), telemetry::clock::now_millis());
        let parts = parts(delivered, running.config.record_bytes_max());
        let told = parts.into_iter().map(|ids| PartitionState::<M>::delivered(ids, now, stamp));
        self.note(told.collect(), running.version).await
    }

    /// Takes in and puts in line what is the partition's own.
    pub(super) async fn note(
        &mut self,
        told: Vec<OutcomeRecord>,
        version: Version,
    ) -> Result<(), WorkerEnd> {
        let mut records = Records::new();
        for record in told {
            self.state.fold(&record);
            if let Some(trial) = &mut self.trial {
                trial.note(&record);
            }
            records.push_with(|into| record.encode(into));
        }
        self.submit(records, Vec::new(), version).await
    }

    async fn submit(
        &mut self,
        records: Records,
        forwards: Vec<Event>,
        version: Version,
    ) -> Result<(), WorkerEnd> {
        let outcomes = records.len() as u64;
        if outcomes > 0 {
            let answer = self.owned.submit(LogKind::Outcomes, records).await?;
            let next = self.next();
            let (copies, decided) = Default::default();
            let flight = Flight { answer, next, version, outcomes, forwards, decided, copies };
            self.flights.push_back(flight);
        }
        Ok(())
    }

    /// Gives away the state as it stands between two batches, and tells its place in the outcome
    /// log when that is durable.
    fn copy(&mut self, asked: Asked<M>) {
        let (durable, told) = oneshot::channel();
        // who asked may have gone; the state stays
        if asked.send(Copied { state: self.state.clone(), outcomes: told }).is_err() {
            return;
        }
        match self.flights.back_mut() {
            Some(last) => last.copies.push(durable),
            None => drop(durable.send(self.durable)),
        }
    }

    pub(super) fn stamp(&self, running: &Running) -> Stamp {
        Stamp {
            partition: self.owned.partition(),
            epoch: self.owned.epoch(),
            config_revision: running.revision,
        }
    }

    pub(super) fn next(&self) -> Offset {
        self.state.ledger().next_offset()
    }
}
