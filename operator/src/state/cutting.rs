//! Into how many partitions a hunt is cut, as the marker says and as the status remembers. In: markers
//! and statuses. Out: which of them to believe. Pure.

use config_schemas::documents::Meta;
use crds::TreasureHuntStatus;

use super::Observed;

/// What of the marker is about partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutting {
    /// As [`Meta::partitions`].
    pub partitions: u32,
    /// As [`Meta::before`].
    pub before: Vec<u32>,
    /// As [`Meta::next`].
    pub next: Option<u32>,
}

impl Cutting {
    /// A hunt that never was cut finer.
    pub fn first(partitions: u32) -> Cutting {
        Cutting { partitions, before: Vec::new(), next: None }
    }

    /// What the marker says.
    pub fn of(meta: &Meta) -> Cutting {
        Cutting { partitions: meta.partitions, before: meta.before.clone(), next: meta.next }
    }

    /// Whether this is further than `before` on the same way, by however many steps: who was away has
    /// seen none of those between.
    pub fn follows(&self, before: &Cutting) -> bool {
        let (known, counts) = (before.counts(), self.counts());
        let all: Vec<u32> = counts.iter().copied().chain(self.next).collect();
        let finer = all.windows(2).all(|pair| {
            let [less, more] = *pair else { return false };
            more > less && more.is_multiple_of(less.max(1))
        });
        let further = counts.len() > known.len() || (before.next.is_none() && self.next.is_some());
        let promised = before.next.is_none_or(|next| all.contains(&next));
        finer && further && promised && counts.starts_with(&known)
    }

    /// What the resource's status said last, which outlives etcd.
    pub fn told(observed: &Observed) -> Option<Cutting> {
        let status: TreasureHuntStatus = serde_json::from_str(&observed.status).ok()?;
        let number = |count: i32| u32::try_from(count).ok().filter(|count| *count > 0);
        let partitions = number(status.partitions.as_ref()?.count)?;
        let before = status.cut.iter().flat_map(|cut| &cut.before);
        Some(Cutting {
            partitions,
            before: before.copied().filter_map(number).collect(),
            next: status.cut.as_ref().and_then(|cut| cut.next).and_then(number),
        })
    }

    /// What stands in etcd, where it can have come from what the status said last; otherwise that: a
    /// marker that was cut by hand, or comes from a backup. A status that tells of no cut was perhaps
    /// written by a build that knew of none.
    pub fn found(found: Option<Cutting>, told: Option<Cutting>) -> Option<Cutting> {
        let knows = |found: &Cutting, told: &Cutting| {
            found == told
                || found.follows(told)
                || (told.before.is_empty() && found.partitions == told.partitions)
        };
        match (found, told) {
            (Some(found), Some(told)) if !knows(&found, &told) => Some(told),
            (found, told) => found.or(told),
        }
    }

    fn counts(&self) -> Vec<u32> {
        self.before.iter().copied().chain([self.partitions]).collect()
    }
}
