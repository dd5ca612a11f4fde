//! What the figures were taken on. I/O.

use std::fmt;

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's own name.
    pub cpu: String,
    /// Whether this program is optimised.
    pub release: bool,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Machine {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = info.lines().find(|line| line.starts_with("model name"));
        let cpu = named.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, cpu)| cpu);
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu.trim().to_owned(),
            release: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.release { "release" } else { "debug: no figures" };
        write!(f, "{} cores, {}, {build} build", self.cores, self.cpu)
    }
}

/// Processes that wanted a core during the last minute, on average.
pub(super) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// Ticks of all processors since the machine started: in use, and in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    busy: u64,
    all: u64,
}

impl Usage {
    /// Until now.
    pub(super) fn now() -> anyhow::Result<Usage> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let first = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; what guests use is in user already
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
        let [_, _, _, idle, waiting, ..] = *ticks else { anyhow::bail!("no ticks: {first}") };
        let all = ticks.iter().sum::<u64>();
        Ok(Usage { busy: all - idle - waiting, all })
    }

    /// Percent of all processors' time since then that was in use.
    pub(super) fn busy_since(self) -> anyhow::Result<f64> {
        let now = Usage::now()?;
        let all = now.all.saturating_sub(self.all).max(1);
        Ok(now.busy.saturating_sub(self.busy) as f64 / all as f64 * 100.0)
    }
}
