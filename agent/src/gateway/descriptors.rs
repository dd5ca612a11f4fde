//! File descriptors: how many this process may have, and how many of them connections may take.
//! In: how many are wanted. Out: how many there may be. I/O: raises the process's own limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Left for logs (two files and their readers for each partition of up to a thousand), etcd, other
/// nodes and listeners.
const RESERVED: u64 = 4096;

/// Raises the limit as far as the process may. Out: how many of `wanted` connections fit.
pub fn connections(wanted: u32) -> usize {
    let limit = raised();
    let max = fitting(wanted, limit);
    if max < wanted {
        tracing::warn!(
            wanted,
            max,
            ?limit,
            "fewer connections than asked for: raise the hard limit of open files"
        );
    }
    usize::try_from(max).unwrap_or(usize::MAX)
}

/// The limit on open files; `None` if there is none.
pub(crate) fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            current
        }
    }
}

/// A process with few descriptors shares them evenly.
fn fitting(wanted: u32, limit: Option<u64>) -> u32 {
    let Some(limit) = limit else { return wanted };
    let room = limit.saturating_sub(RESERVED).max(limit / 2).max(1);
    wanted.min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let check = |limit, expected| assert_eq!(fitting(12_288, limit), expected, "{limit:?}");
        check(None, 12_288);
        check(Some(1 << 20), 12_288);
        check(Some(20_000), 12_288);
        check(Some(12_288), 8_192);
        check(Some(1_024), 512);
        check(Some(0), 1);
    }

    #[test]
    fn the_limit_is_raised_to_what_the_process_may() {
        let limit = raised();
        assert_eq!(getrlimit(Resource::Nofile).current, limit);
        assert_eq!(getrlimit(Resource::Nofile).maximum, limit);
    }
}
