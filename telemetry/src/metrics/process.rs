//! What the process takes of its machine, and what became of its traces. In: the system. Out: figures at each scrape. I/O: reads
//! `/proc`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Error, Registry};

use crate::catalogue::common::{PROCESS_CPU, PROCESS_MEMORY, PROCESS_START, TRACE_SPANS};
use crate::traces::COUNTS;

/// Registers the figures.
pub fn register(registry: &Registry) -> Result<(), Error> {
    let start = crate::clock::now().as_millisecond() as f64 / 1e3;
    PROCESS_CPU.read(registry, || cpu().as_secs_f64())?;
    PROCESS_MEMORY.read(registry, || memory() as f64)?;
    PROCESS_START.read(registry, move || start)?;
    TRACE_SPANS.read(registry, || {
        let counts =
            [("sent", &COUNTS.sent), ("refused", &COUNTS.refused), ("no_room", &COUNTS.no_room)];
        let read = |(result, count): (&str, &AtomicU64)| {
            ([result.to_owned()], count.load(Ordering::Relaxed) as f64)
        };
        counts.map(read).to_vec()
    })
}

fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// 0 where the system does not say.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let resident = text.split_whitespace().nth(1)?;
        resident.parse::<u64>().ok()
    });
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_time_and_memory() {
        assert!(cpu() > Duration::ZERO);
        assert!(memory() > 100_000);
        register(&Registry::new()).unwrap();
    }
}
