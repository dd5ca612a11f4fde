//! Readers of the outcomes of some partitions while clients are replaced: at the end of the log, or at
//! a steady pace in what lies before it, where they wait for nothing but a swap. In: a broker. Out: how
//! long each swap of the consumer kept the next record from them. I/O.

use std::time::Duration;

use anyhow::Context as _;
use broker::kafka::Switched;
use broker::{Broker as _, KafkaBroker, KafkaReader, LogKind, Reader as _};
use config_schemas::{Offset, PartitionId};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::numbers::millis;

/// Read at once.
const READ_BYTES: usize = 64 << 10;

/// Readers of all partitions, as workers read.
pub(super) struct Readers {
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<Vec<f64>>>,
}

impl Readers {
    /// Who reads whatever comes.
    pub(super) fn following(broker: &KafkaBroker, partitions: u32) -> Readers {
        Readers::start(broker, partitions, |mut reader, stop| async move {
            let (mut next, mut switches) = (Offset(0), Switches::default());
            while let Some(more) = stop.run_until_cancelled(reader.wait_beyond(next)).await {
                more?;
                next = reader.read(next, READ_BYTES).await?.next;
                switches.look(&reader);
            }
            Ok(switches.all)
        })
    }

    /// Who reads about so many bytes of what is there each time.
    pub(super) fn paced(
        broker: &KafkaBroker,
        partitions: u32,
        (bytes, every): (usize, Duration),
    ) -> Readers {
        Readers::start(broker, partitions, move |mut reader, stop| async move {
            let (mut next, mut switches) = (Offset(0), Switches::default());
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                next = reader.read(next, bytes).await?.next;
                switches.look(&reader);
            }
            Ok(switches.all)
        })
    }

    fn start<F>(
        broker: &KafkaBroker,
        partitions: u32,
        read: impl Fn(KafkaReader, CancellationToken) -> F,
    ) -> Readers
    where
        F: Future<Output = anyhow::Result<Vec<f64>>> + Send + 'static,
    {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for partition in (0..partitions).map(PartitionId) {
            tasks.spawn(read(broker.reader(partition, LogKind::Outcomes), stop.clone()));
        }
        Readers { stop, tasks }
    }

    /// What they saw of swaps, in milliseconds; an error if one could not read on.
    pub(super) async fn stop(mut self) -> anyhow::Result<Vec<f64>> {
        self.stop.cancel();
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended?.context("a reader")?);
        }
        Ok(all)
    }
}

/// What one reader saw of swaps.
#[derive(Default)]
struct Switches {
    last: Option<Switched>,
    /// How long each kept the next record from it, in milliseconds.
    all: Vec<f64>,
}

impl Switches {
    fn look(&mut self, reader: &KafkaReader) {
        if reader.last_switch() != self.last {
            self.last = reader.last_switch();
            self.all.extend(self.last.map(|switch| millis(switch.after)));
        }
    }
}
