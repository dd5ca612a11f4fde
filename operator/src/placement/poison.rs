//! Which partitions kill their owners. An event on which a worker dies is read again by the next
//! owner, and kills that one too; parked, it stays with one partition. The guilty one is found by
//! elimination: what was lost with it is spread before the next death, and only those that were
//! there each time remain. A node that was only silent for a while did not die, and what was
//! counted for it is forgotten. In: deaths. Out: whom to spread, whom to park. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config_schemas::PartitionId;
use config_schemas::documents::Owner;
use jiff::{SignedDuration, Timestamp};

/// So many owners have to die.
const DEATHS: usize = 3;
/// From this death on the partition leaves its node even when that is back.
const SPREAD_FROM: usize = 2;
/// Within this time.
const WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// An owner that lived longer with the partition, its lease aside, acquits it.
const KILLS_WITHIN: Duration = Duration::from_secs(30);
/// Of so many partitions one may be parked at a time, at least one: more suspects than that are
/// told apart by further deaths, not parked together.
const ONE_OF: usize = 16;
/// Deaths remembered of one partition: enough to tell 4,096 apart by halves.
const REMEMBERED_MAX: usize = 16;

/// A partition whose owner is dead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost<'a> {
    pub(super) partition: PartitionId,
    pub(super) owner: &'a Owner,
    /// How long the owner had it; nothing when it had it before we looked.
    pub(super) tenure: Option<Duration>,
    /// The death has another cause: the node was leaving, or many vanished at once.
    pub(super) excused: bool,
}

/// Deaths by partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Deaths {
    of: BTreeMap<PartitionId, History>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct History {
    /// Whose death was noted last, so that looking twice notes it once.
    noted: Option<Owner>,
    /// Who died and when, the oldest first.
    at: Vec<(Owner, Timestamp)>,
}

impl Deaths {
    /// Forgets the deaths of those that live: a process that was frozen, or cut off from etcd, for
    /// longer than its lease comes back in the same life.
    pub(super) fn survived(&mut self, lives: impl Fn(&Owner) -> bool) {
        for history in self.of.values_mut() {
            history.at.retain(|(owner, _)| !lives(owner));
            history.noted.take_if(|owner| lives(owner));
        }
    }

    /// Notes deaths; each counts once, however often it is looked at.
    pub(super) fn note(&mut self, lost: &[Lost<'_>], lease: Duration, now: Timestamp) {
        for Lost { partition, owner, tenure, excused } in lost {
            let history = self.of.entry(*partition).or_default();
            if history.noted.as_ref() == Some(*owner) {
                continue;
            }
            history.noted = Some((*owner).clone());
            if *excused {
                continue;
            }
            if tenure.is_none_or(|tenure| tenure > KILLS_WITHIN + lease) {
                history.at.clear();
            }
            // The oldest goes: it is the newest that are close together.
            let over = (history.at.len() + 1).saturating_sub(REMEMBERED_MAX);
            history.at.drain(..over);
            history.at.push(((*owner).clone(), now));
        }
        self.of.retain(|_, history| history.at.last().is_some_and(|(_, at)| is_recent(at, now)));
    }

    /// The partition starts with a clean slate.
    pub(super) fn forget(&mut self, partition: PartitionId) {
        self.of.remove(&partition);
    }

    /// Those that must not go back to where they were.
    pub(super) fn spread(&self, now: Timestamp) -> BTreeSet<PartitionId> {
        let suspects = self.of.iter().filter(|(_, history)| history.recent(now) >= SPREAD_FROM);
        suspects.map(|(id, _)| *id).collect()
    }

    /// Those of the lost that are to be parked, of so many partitions in all.
    pub(super) fn poison(
        &self,
        lost: &[Lost<'_>],
        partitions: usize,
        now: Timestamp,
    ) -> BTreeSet<PartitionId> {
        let deaths = |lost: &Lost<'_>| {
            let history = self.of.get(&lost.partition);
            history.map_or(0, |history| history.recent(now))
        };
        let most = lost.iter().map(deaths).max().unwrap_or(0);
        let suspects = lost.iter().filter(|lost| deaths(lost) == most);
        let suspects: BTreeSet<PartitionId> = suspects.map(|lost| lost.partition).collect();
        let few = suspects.len() <= (partitions / ONE_OF).max(1);
        if most >= DEATHS && few { suspects } else { BTreeSet::new() }
    }
}

impl History {
    fn recent(&self, now: Timestamp) -> usize {
        self.at.iter().filter(|(_, at)| is_recent(at, now)).count()
    }
}

fn is_recent(at: &Timestamp, now: Timestamp) -> bool {
    now.duration_since(*at) < WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::NodeName;

    const LEASE: Duration = Duration::from_secs(5);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    /// Kills owners of the partitions one after the other; what is parked after the last.
    fn check(deaths: &[(i64, &[u32], u64, bool)], of: usize, parked: &[u32]) -> Deaths {
        let mut known = Deaths::default();
        let mut found = BTreeSet::new();
        for (number, (secs, ids, tenure, excused)) in deaths.iter().enumerate() {
            let owner =
                Owner { node: NodeName::new("a").unwrap(), incarnation: number.to_string() };
            let lost: Vec<Lost<'_>> = ids
                .iter()
                .map(|id| Lost {
                    partition: PartitionId(*id),
                    owner: &owner,
                    tenure: Some(Duration::from_secs(*tenure)),
                    excused: *excused,
                })
                .collect();
            known.note(&lost, LEASE, at(*secs));
            known.note(&lost, LEASE, at(*secs));
            found = known.poison(&lost, of, at(*secs));
        }
        assert_eq!(found.iter().map(|id| id.0).collect::<Vec<_>>(), parked, "{deaths:?}");
        known
    }

    #[test]
    fn three_quick_deaths_in_ten_minutes_park_and_nothing_less_does() {
        check(&[(0, &[1], 900, false), (9, &[1], 9, false), (20, &[1], 9, false)], 16, &[1]);
        check(&[(0, &[1], 900, false), (9, &[1], 9, false)], 16, &[]);
        check(&[(0, &[1], 9, false), (9, &[1], 9, false), (99, &[1], 80, false)], 16, &[]);
        check(&[(0, &[1], 9, false), (9, &[1], 9, true), (20, &[1], 9, false)], 16, &[]);
        check(&[(0, &[1], 9, false), (9, &[1], 9, false), (600, &[1], 9, false)], 16, &[]);
    }

    #[test]
    fn those_that_died_together_are_told_apart_before_one_is_parked() {
        let same: &[u32] = &[0, 1, 2, 3];
        let known =
            check(&[(0, same, 9, false), (9, same, 9, false), (18, same, 9, false)], 16, &[]);
        assert_eq!(known.spread(at(18)).len(), 4);
        let mut halves = vec![(0, same, 9, false), (9, same, 9, false), (18, same, 9, false)];
        halves.push((27, &[0, 1, 8], 9, false));
        check(&halves, 16, &[]);
        halves.push((36, &[1, 9], 9, false));
        check(&halves, 16, &[1]);
        check(&[(0, same, 9, false), (9, same, 9, false), (18, same, 9, false)], 64, &[0, 1, 2, 3]);
    }
}
