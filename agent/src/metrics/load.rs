//! What the node carries, what waits in its queues and what keeps partitions from being served, read
//! at each scrape. In: handles of those who know. Out: a registry.

use std::sync::Arc;

use config_schemas::SlowCode;
use prometheus::Registry;
use telemetry::catalogue::agent as catalogue;
use tokio::sync::watch;

use super::MetricsError;
use crate::capacity::queues::Queues;
use crate::load::fold::Figures;
use crate::load::troubles::Troubles;

/// What the node carries.
pub struct LoadMetrics;

impl LoadMetrics {
    /// Registers the figures of a reporter, of queues and of troubles.
    pub fn register(
        registry: &Registry,
        figures: watch::Receiver<Arc<Figures>>,
        queues: Queues,
        troubles: Troubles,
    ) -> Result<(), MetricsError> {
        queue_figures(registry, queues)?;
        catalogue::PARTITIONS_TROUBLED.read(registry, move || {
            let standing = troubles.standing();
            let full = standing.values().filter(|why| is_disk_full(why)).count();
            let other = standing.len() - full;
            let counts = [("disk_full", full), ("other", other)];
            counts.map(|(trouble, count)| ([trouble.to_owned()], count as f64)).to_vec()
        })?;
        let now = move || figures.borrow().clone();
        let of = now.clone();
        catalogue::LOAD_WEIGHT.read(registry, move || of().load.weight)?;
        let of = now.clone();
        catalogue::LOAD_COST.read(registry, move || of().load.total())?;
        let of = now.clone();
        catalogue::LOAD_UTILISATION.read(registry, move || of().load.utilisation())?;
        let of = now.clone();
        catalogue::LOAD_LATENCY.read(registry, move || of().load.latency_p99_ms / 1e3)?;
        let of = now.clone();
        catalogue::LOAD_CPU.read(registry, move || of().load.cpu)?;
        let of = now.clone();
        catalogue::SLOW.read(registry, move || {
            let slow = of().load.slow.as_ref().map(|slow| slow.code);
            let is = |code| f64::from(u8::from(slow == Some(code)));
            SlowCode::ALL.map(|code| ([code.as_str().to_owned()], is(code))).to_vec()
        })?;
        catalogue::PARTITION_COST.read(registry, move || {
            let figures = now();
            figures.costs.iter().map(|(id, cost)| ([id.to_string()], *cost)).collect()
        })?;
        Ok(())
    }
}

fn queue_figures(registry: &Registry, queues: Queues) -> Result<(), MetricsError> {
    let of = queues.clone();
    catalogue::QUEUE_USED.read(registry, move || of.fill().used as f64)?;
    let of = queues.clone();
    catalogue::QUEUE_CREDIT.read(registry, move || of.fill().free as f64)?;
    catalogue::QUEUE_FULLEST.read(registry, move || queues.fill().fullest)?;
    Ok(())
}

/// Troubles are told as text, which ends with the system's own number of the error: no space left on
/// the device, and no more of one's share of it.
fn is_disk_full(why: &str) -> bool {
    ["os error 28", "os error 122", "no storage space"].iter().any(|words| why.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_full_disk_is_known_by_what_the_system_says() {
        let check = |error: io::Error, full: bool| {
            let why = format!("writing a segment: {error}");
            assert_eq!(is_disk_full(&why), full, "{why}");
        };
        check(io::Error::from_raw_os_error(28), true);
        check(io::Error::from_raw_os_error(122), true);
        check(io::ErrorKind::StorageFull.into(), true);
        check(io::Error::from_raw_os_error(5), false);
    }
}
