//! What this agent is to do with each partition, by the records. In: records, who has said to be
//! ready, who we are. Out: one order per partition that concerns us. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::documents::{Owner, PartitionRecord};
use config_schemas::{Epoch, PartitionId, Revision, Warm};

use crate::config::view::At;

/// How long an owner goes on serving while the destination of a move loads the state. After it
/// the owner hands over regardless: the partition is away for as long as the rest takes to load.
pub const WARM_LIMIT: Duration = Duration::from_secs(5);

/// What to do with a partition. Whatever has no order is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Serve it in that epoch. `revision` is the record's, for raising the epoch.
    Serve {
        /// The epoch.
        epoch: Epoch,
        /// The record's.
        revision: Revision,
    },
    /// Load its state and follow it: it is to be ours when its owner lets go.
    Warm {
        /// The epoch of its present owner.
        epoch: Epoch,
        /// The record's.
        revision: Revision,
    },
    /// Finish what was begun in `epoch`, take nothing new, then hand it to `to`.
    HandOver {
        /// The epoch that ends.
        epoch: Epoch,
        /// Who is next.
        to: Owner,
        /// The record's, which the hand-over replaces.
        revision: Revision,
        /// Whether the next one has loaded the state.
        warm: bool,
        /// How long to wait for that.
        patience: Duration,
        /// How long the whole move may take, from its record's beginning to its deadline. Counted
        /// from when we see it, as clocks differ.
        limit: Duration,
    },
}

impl Order {
    /// Whether we have the partition now.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Order::Warm { .. })
    }
}

/// The orders for `me`.
pub fn orders(
    records: &BTreeMap<PartitionId, At<PartitionRecord>>,
    warm: &BTreeMap<PartitionId, At<Warm>>,
    me: &Owner,
) -> BTreeMap<PartitionId, Order> {
    let order = |id: &PartitionId, at: &At<PartitionRecord>| {
        let revision = at.revision;
        match &at.record {
            PartitionRecord::Own { owner, epoch } if owner == me => {
                Some(Order::Serve { epoch: *epoch, revision })
            }
            PartitionRecord::Mov { owner, epoch, to, since, deadline } if owner == me => {
                let limit = Duration::try_from(deadline.duration_since(*since));
                let limit = limit.unwrap_or_default();
                Some(Order::HandOver {
                    epoch: *epoch,
                    to: to.clone(),
                    revision,
                    warm: warm.get(id).is_some_and(|at| is_of(&at.record, to, *epoch)),
                    // half of what the move may take, so that there is time left to drain
                    patience: WARM_LIMIT.min(limit / 2),
                    limit,
                })
            }
            PartitionRecord::Mov { epoch, to, .. } if to == me => {
                Some(Order::Warm { epoch: *epoch, revision })
            }
            _ => None,
        }
    };
    records.iter().filter_map(|(id, at)| Some((*id, order(id, at)?))).collect()
}

/// Whether `warm` is that owner's word about the move of that epoch.
fn is_of(warm: &Warm, owner: &Owner, epoch: Epoch) -> bool {
    warm.owner == *owner && warm.epoch == epoch
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::NodeName;
    use config_schemas::documents::FORMAT;

    const P: PartitionId = PartitionId(0);
    const EPOCH: Epoch = Epoch(3);

    fn owner(node: &str, incarnation: &str) -> Owner {
        Owner { node: NodeName::new(node).unwrap(), incarnation: incarnation.into() }
    }

    fn at<T>(record: T) -> BTreeMap<PartitionId, At<T>> {
        [(P, At { record, revision: Revision::FIRST })].into_iter().collect()
    }

    fn mov(from: Owner, to: Owner, deadline: &str) -> PartitionRecord {
        let since = "2026-11-21T12:00:00Z".parse().unwrap();
        PartitionRecord::Mov {
            owner: from,
            epoch: EPOCH,
            to,
            since,
            deadline: deadline.parse().unwrap(),
        }
    }

    fn soon(from: Owner, to: Owner) -> PartitionRecord {
        mov(from, to, "2026-11-21T12:00:04Z")
    }

    fn check(record: PartitionRecord, warm: Option<Warm>, expected: Option<&str>) {
        let warm = warm.map(at).unwrap_or_default();
        let orders = orders(&at(record), &warm, &owner("a", "1"));
        let said = orders.values().next().map(|order| match order {
            Order::Serve { .. } => "serve".to_owned(),
            Order::Warm { .. } => "warm".to_owned(),
            Order::HandOver { warm, patience, .. } => format!("hand over {warm} {patience:?}"),
        });
        assert_eq!(said.as_deref(), expected);
    }

    #[test]
    fn only_this_life_of_this_node_has_orders() {
        let own = |owner| PartitionRecord::Own { owner, epoch: EPOCH };
        check(own(owner("a", "1")), None, Some("serve"));
        check(own(owner("a", "0")), None, None);
        check(own(owner("b", "1")), None, None);
        check(soon(owner("a", "1"), owner("b", "1")), None, Some("hand over false 2s"));
        check(soon(owner("b", "1"), owner("a", "1")), None, Some("warm"));
        check(soon(owner("b", "1"), owner("a", "0")), None, None);
        check(PartitionRecord::Parked { epoch: EPOCH, reason: String::new() }, None, None);
    }

    #[test]
    fn only_the_destination_s_word_about_this_very_move_counts() {
        let (a, b) = (owner("a", "1"), owner("b", "1"));
        let warm =
            |owner: &Owner, epoch| Some(Warm { format: FORMAT, owner: owner.clone(), epoch });
        let record = || soon(a.clone(), b.clone());
        check(record(), warm(&b, EPOCH), Some("hand over true 2s"));
        check(record(), warm(&b, Epoch(2)), Some("hand over false 2s"));
        check(record(), warm(&owner("b", "0"), EPOCH), Some("hand over false 2s"));
        check(record(), warm(&owner("c", "1"), EPOCH), Some("hand over false 2s"));
    }

    #[test]
    fn an_owner_waits_five_seconds_at_most_and_never_beyond_half_of_the_move() {
        let (a, b) = (owner("a", "1"), owner("b", "1"));
        let until = |deadline| mov(a.clone(), b.clone(), deadline);
        check(until("2026-11-21T12:05:00Z"), None, Some("hand over false 5s"));
        check(until("2026-11-21T12:00:00.1Z"), None, Some("hand over false 50ms"));
        check(until("2026-11-21T11:00:00Z"), None, Some("hand over false 0ns"));
    }
}
