//! Judges a simulated world from outside: by what producers were told, what stands in the logs and
//! what stood in etcd. Outcomes are judged by the checker that the tests on real servers use too.
//! In: receipts, records, logs. Out: everything that is wrong. I/O: reads the logs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use broker::sim::{Sabotage, SimDisk};
use broker::{Broker as _, Embedded, EmbeddedOptions, EmbeddedReader, LogKind, Reader as _};
use config_schemas::{HuntName, Offset, PartitionId};
use events::{Event, OutcomeRecord};
use tests::checker::{Acked, Line, check};
use tokio::runtime::Runtime;

use crate::players::Receipt;
use crate::records::Records;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// One partition's logs, read as far as they reached at the last look.
struct Logs {
    events: Tail,
    outcomes: Tail,
}

struct Tail {
    reader: EmbeddedReader,
    next: Offset,
}

/// Reads the logs as any process beside the agents could.
pub(crate) struct Judge {
    runtime: Runtime,
    logs: Vec<Logs>,
    /// The epoch and id of each event that readers believe.
    events: BTreeMap<(u32, u64), (u64, String)>,
    pub(crate) lines: Vec<Line>,
}

impl Judge {
    pub(crate) fn new(data: &Path, hunt: &HuntName, partitions: u32) -> Result<Judge> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let disk = SimDisk::new(0, Sabotage::default());
        let log = Embedded::open(EmbeddedOptions::new(data, hunt.clone()).simulated(disk))?;
        let tail = |id, kind| Tail { reader: log.reader(id, kind), next: Offset(0) };
        let logs = (0..partitions).map(PartitionId).map(|id| Logs {
            events: tail(id, LogKind::Events),
            outcomes: tail(id, LogKind::Outcomes),
        });
        Ok(Judge { runtime, logs: logs.collect(), events: BTreeMap::new(), lines: Vec::new() })
    }

    /// Reads on, then says whether all is well.
    pub(crate) fn judge(&mut self, receipts: &[Receipt], records: &Records) -> Result<()> {
        self.read_on()?;
        ensure!(records.findings().is_empty(), "in etcd: {:#?}", records.findings());
        self.receipts_are_true(receipts)?;
        let acked: Vec<Acked> = receipts.iter().map(|receipt| receipt.acked.clone()).collect();
        check(&acked, &self.lines)?;
        self.handed_over_empty(receipts, records)
    }

    fn read_on(&mut self) -> Result<()> {
        for (number, logs) in self.logs.iter_mut().enumerate() {
            let partition = u32::try_from(number)?;
            for record in self.runtime.block_on(logs.events.rest())? {
                let id = Event::decode(&record.payload)?.id.to_string();
                self.events.insert((partition, record.offset.0), (record.epoch.0, id));
            }
            for record in self.runtime.block_on(logs.outcomes.rest())? {
                let offset = record.offset.0;
                let outcome = OutcomeRecord::decode(&record.payload)?;
                ensure!(
                    outcome.epoch == record.epoch,
                    "partition {partition}: an outcome of epoch {} in a segment of {}",
                    outcome.epoch,
                    record.epoch
                );
                self.lines.push(Line { offset, record: outcome });
            }
        }
        Ok(())
    }

    /// What was acknowledged stands where and under which epoch the producer was told.
    fn receipts_are_true(&self, receipts: &[Receipt]) -> Result<()> {
        for Receipt { acked, offset, epoch } in receipts {
            let found = self.events.get(&(acked.partition, *offset));
            ensure!(
                found.is_some_and(|(under, id)| under == epoch && *id == acked.id),
                "{} was acknowledged at {}/{offset} under epoch {epoch}, and there stands {found:?}",
                acked.id,
                acked.partition
            );
        }
        Ok(())
    }

    /// An owner that hands over before its time to drain is over has played all that it
    /// acknowledged: nothing waits for the next.
    fn handed_over_empty(&self, receipts: &[Receipt], records: &Records) -> Result<()> {
        let mut played: HashMap<(u32, u64), u64> = HashMap::new();
        for line in &self.lines {
            if let Some(source) = line.record.source_offset {
                played.insert((line.record.partition.0, source.0), line.record.epoch.0);
            }
        }
        for Receipt { acked, offset, epoch } in receipts {
            let under = played.get(&(acked.partition, *offset)).context("no outcome")?;
            ensure!(
                under == epoch || !records.was_handed_over(acked.partition, *epoch),
                "{} was acknowledged under epoch {epoch}, whose owner handed over in order, and \
                 played under {under}: it was not drained",
                acked.id
            );
        }
        Ok(())
    }
}

impl Tail {
    async fn rest(&mut self) -> Result<Vec<broker::Record>> {
        let mut all = Vec::new();
        loop {
            let chunk = self.reader.read(self.next, READ_BYTES).await?;
            if chunk.records.is_empty() {
                return Ok(all);
            }
            self.next = chunk.next;
            all.extend(chunk.records);
        }
    }
}
