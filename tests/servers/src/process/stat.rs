//! What the system says of a process: `/proc/<pid>/stat` parsed (pure) and read (I/O). A process
//! is known by pid and start time together: a pid alone is used again.

use std::time::Duration;

/// Is it there, and can it work?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// Running, sleeping or waiting for a disk.
    Alive,
    /// Stopped by a signal (SIGSTOP).
    Frozen,
    /// Ended; perhaps not yet collected by its parent.
    Dead,
}

/// One reading of `/proc/<pid>/stat`, proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// Is it there, and can it work?
    pub state: ProcessState,
    /// When it started, in clock ticks since the machine did.
    pub start_ticks: u64,
    /// User and system time used, in clock ticks.
    pub cpu_ticks: u64,
    /// Resident memory in pages.
    pub rss_pages: u64,
}

impl ProcessStat {
    /// Reads it; None when there is no such process.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// User and system time used.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let ticks_per_s = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(self.cpu_ticks.saturating_mul(1000) / ticks_per_s)
    }

    /// Resident memory.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.rss_pages.saturating_mul(rustix::param::page_size() as u64)
    }

    /// The program's name stands in parentheses and may itself hold spaces and parentheses, so
    /// the fields are counted from the last one on.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let state = match *fields.first()? {
            "Z" | "X" | "x" => ProcessState::Dead,
            "T" | "t" => ProcessState::Frozen,
            _ => ProcessState::Alive,
        };
        Some(Self {
            state,
            start_ticks: number(19)?,
            cpu_ticks: number(11)?.saturating_add(number(12)?),
            rss_pages: number(21)?,
        })
    }
}

/// Changes with each start of the machine: start times are only comparable within one.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(ProcessState, u64, u64, u64)>) {
        let found = ProcessStat::parse(line)
            .map(|stat| (stat.state, stat.start_ticks, stat.cpu_ticks, stat.rss_pages));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn fields_are_found_whatever_the_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 70 30 13 14 15 16 17 18 4242 20 99 22";
        let values = |state| Some((state, 4242, 100, 99));
        check(&format!("7 (etcd) S {rest}"), values(ProcessState::Alive));
        check(&format!("7 (a) Z (b) T {rest}"), values(ProcessState::Frozen));
        check(&format!("7 (a b) Z {rest}"), values(ProcessState::Dead));
        check("7 (etcd) S 1 2", None);
        check("", None);
    }

    #[test]
    fn this_process_is_alive() {
        let stat = ProcessStat::read(std::process::id()).unwrap();
        assert_eq!(stat.state, ProcessState::Alive);
        assert!(stat.rss_bytes() > 0);
    }
}
