//! What this agent is to do with each partition, by the records. In: records, who we are. Out:
//! one order per partition that concerns us. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{Owner, PartitionRecord};
use config_schemas::{Epoch, PartitionId, Revision};

use crate::config::view::At;

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
    /// Finish what was begun in `epoch`, take nothing new, then hand it to `to`.
    HandOver {
        /// The epoch that ends.
        epoch: Epoch,
        /// Who is next.
        to: Owner,
        /// The record's, which the hand-over replaces.
        revision: Revision,
    },
}

/// The orders for `me`.
pub fn orders(
    records: &BTreeMap<PartitionId, At<PartitionRecord>>,
    me: &Owner,
) -> BTreeMap<PartitionId, Order> {
    let order = |at: &At<PartitionRecord>| match &at.record {
        PartitionRecord::Own { owner, epoch } if owner == me => {
            Some(Order::Serve { epoch: *epoch, revision: at.revision })
        }
        PartitionRecord::Mov { owner, epoch, to, .. } if owner == me => {
            Some(Order::HandOver { epoch: *epoch, to: to.clone(), revision: at.revision })
        }
        _ => None,
    };
    records.iter().filter_map(|(id, at)| Some((*id, order(at)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::NodeName;

    fn owner(node: &str, incarnation: &str) -> Owner {
        Owner { node: NodeName::new(node).unwrap(), incarnation: incarnation.into() }
    }

    fn check(record: PartitionRecord, expected: Option<&str>) {
        let at = At { record, revision: Revision::FIRST };
        let records = [(PartitionId(0), at)].into_iter().collect();
        let orders = orders(&records, &owner("a", "1"));
        let kind = orders.values().next().map(|order| match order {
            Order::Serve { .. } => "serve",
            Order::HandOver { .. } => "hand over",
        });
        assert_eq!(kind, expected);
    }

    #[test]
    fn only_this_life_of_this_node_has_orders() {
        let epoch = Epoch(3);
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let mov =
            |from, to| PartitionRecord::Mov { owner: from, epoch, to, since: now, deadline: now };
        check(PartitionRecord::Own { owner: owner("a", "1"), epoch }, Some("serve"));
        check(PartitionRecord::Own { owner: owner("a", "0"), epoch }, None);
        check(PartitionRecord::Own { owner: owner("b", "1"), epoch }, None);
        check(mov(owner("a", "1"), owner("b", "1")), Some("hand over"));
        check(mov(owner("b", "1"), owner("a", "1")), None);
        check(PartitionRecord::Parked { epoch, reason: String::new() }, None);
    }
}
