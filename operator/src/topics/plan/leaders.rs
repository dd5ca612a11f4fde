//! Leaders that have drifted: partitions that another replica leads than the first, which could.
//! After a broker was away it leads nothing until somebody asks for an election. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::super::seen::{Seen, Spot};
use super::{ELECTIONS_MAX, Memory, What};

/// So long a replica has been in sync before it is to lead again: one that comes and goes would take
/// its producers with it each time.
const STEADY_FOR: Duration = Duration::from_millis(1500);

/// Partitions that their first replica could lead, and does not.
pub(super) fn could_return(seen: &Seen) -> BTreeSet<Spot> {
    let mut astray = BTreeSet::new();
    for (name, topic) in &seen.topics {
        for (id, partition) in topic.numbered() {
            let spot = Spot::new(name, id);
            let first = partition.preferred().filter(|first| Some(*first) != partition.leader);
            let could =
                first.is_some_and(|first| seen.serves(first) && partition.in_sync.contains(&first));
            if could && !seen.moving.contains_key(&spot) {
                astray.insert(spot);
            }
        }
    }
    astray
}

/// Those that have been so for a while: to be led by their first replica again.
pub(super) fn astray(seen: &Seen, memory: &Memory, now: Instant) -> BTreeSet<Spot> {
    let steady = |spot: &Spot| {
        let since = memory.since_astray(spot);
        since.is_some_and(|since| now.saturating_duration_since(since) >= STEADY_FOR)
            && memory.may_try(&What::Elect(spot.clone()), "", now)
    };
    could_return(seen).into_iter().filter(steady).take(ELECTIONS_MAX).collect()
}
