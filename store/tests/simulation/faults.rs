//! A random schedule of faults: which, when, for how long. Pure.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

/// Something that goes wrong, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// History up to now is forgotten.
    Compact,
    CutStreams,
    NoLeader(Duration),
    Frozen(Duration),
    Mute(Duration),
    RefuseWatches(Duration),
    /// The network between one client and etcd loses everything, in one or both directions.
    Partition {
        client: usize,
        oneway: Option<bool>,
        lasts: Duration,
    },
    Crash(Duration),
    /// The data is gone; the operator writes a new marker after this long.
    Wipe(Duration),
    Backup,
    Restore,
    /// An event is lost by the server: only an audit finds out.
    Swallow,
    Garble,
    LoseAnswers,
    Full(Duration),
    /// All keys are deleted, the marker too, as `etcdctl del --prefix` does.
    DeleteAll(Duration),
}

fn lasting(rng: &mut SmallRng) -> Duration {
    // Some are shorter than any timeout, some outlast every lease.
    let short = rng.random_bool(0.5);
    Duration::from_millis(rng.random_range(20..if short { 1_000 } else { 9_000 }))
}

pub(crate) fn any(rng: &mut SmallRng, clients: usize, replaceable: bool) -> Fault {
    let lasts = lasting(rng);
    match rng.random_range(0..if replaceable { 20 } else { 14 }) {
        0 | 1 => Fault::Compact,
        2 | 3 => Fault::CutStreams,
        4 => Fault::NoLeader(lasts),
        5 => Fault::Frozen(lasts),
        6 => Fault::Mute(lasts),
        7 => Fault::RefuseWatches(lasts),
        8 | 9 => {
            let client = rng.random_range(0..clients);
            let oneway = rng.random_bool(0.5).then(|| rng.random_bool(0.5));
            Fault::Partition { client, oneway, lasts }
        }
        10 => Fault::Crash(lasts),
        11 => Fault::LoseAnswers,
        12 => Fault::Garble,
        13 => Fault::Full(lasts),
        14 => Fault::Swallow,
        15 | 16 => Fault::Wipe(lasts),
        17 => Fault::Backup,
        18 => Fault::Restore,
        _ => Fault::DeleteAll(lasts),
    }
}
