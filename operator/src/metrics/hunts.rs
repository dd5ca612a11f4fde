//! How each hunt stands, by its newest status. In: statuses. Out: gauges. No I/O.

use config_schemas::HuntName;
use crds::{ConditionKind, PartitionCounts, TreasureHuntStatus, Truth};
use prometheus::{Error, Registry};
use telemetry::catalogue::operator as catalogue;
use telemetry::metrics::Wholes;

/// How a hunt stands, in the words of the gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stands {
    converged: bool,
    nodes: [(&'static str, i32); 3],
    partitions: [(&'static str, i32); 4],
}

/// Gauges by hunt.
#[derive(Debug, Clone)]
pub struct HuntMetrics {
    nodes: Wholes<2>,
    partitions: Wholes<2>,
    converged: Wholes<1>,
}

impl HuntMetrics {
    pub(super) fn register(registry: &Registry) -> Result<HuntMetrics, Error> {
        Ok(HuntMetrics {
            nodes: catalogue::NODES.register(registry)?,
            partitions: catalogue::PARTITIONS.register(registry)?,
            converged: catalogue::CONVERGED.register(registry)?,
        })
    }

    pub(super) fn forget(&self) {
        self.nodes.reset();
        self.partitions.reset();
        self.converged.reset();
    }

    /// Says how a hunt stands.
    pub(crate) fn set(&self, hunt: &HuntName, stands: &Stands) {
        let hunt = hunt.to_string();
        self.converged.with_label_values(&[&hunt]).set(i64::from(stands.converged));
        for (state, count) in stands.nodes {
            self.nodes.with_label_values(&[&hunt, state]).set(i64::from(count));
        }
        for (state, count) in stands.partitions {
            self.partitions.with_label_values(&[&hunt, state]).set(i64::from(count));
        }
    }
}

impl Stands {
    /// As a status says.
    pub(crate) fn of(status: &TreasureHuntStatus) -> Stands {
        let converged = status.condition(ConditionKind::Converged);
        let nodes = status.nodes.unwrap_or_default();
        let PartitionCounts { count, placed, moving, parked } =
            status.partitions.unwrap_or_default();
        Stands {
            converged: converged.is_some_and(|condition| condition.status == Truth::True),
            nodes: [
                ("converged", nodes.acked),
                ("rejected", nodes.rejected),
                ("behind", nodes.stale),
            ],
            partitions: [
                // those that a live node owns may be on the move
                ("owned", (placed - moving).max(0)),
                ("moving", moving),
                ("ownerless", (count - placed - parked).max(0)),
                ("parked", parked),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use crds::Nodes;

    use super::*;

    #[test]
    fn partitions_that_nobody_serves_are_ownerless() {
        let metrics = HuntMetrics::register(&Registry::new()).unwrap();
        let hunt = HuntName::new("default", "harbour").unwrap();
        let status = TreasureHuntStatus {
            nodes: Some(Nodes { desired: 3, acked: 2, rejected: 0, stale: 1 }),
            partitions: Some(PartitionCounts { count: 16, placed: 12, moving: 2, parked: 1 }),
            ..TreasureHuntStatus::default()
        };
        metrics.set(&hunt, &Stands::of(&status));
        let name = hunt.to_string();
        let of = |state| metrics.partitions.with_label_values(&[&*name, state]).get();
        assert_eq!(["owned", "moving", "ownerless", "parked"].map(of), [10, 2, 3, 1]);
        assert_eq!(metrics.nodes.with_label_values(&[&*name, "behind"]).get(), 1);
        assert_eq!(metrics.converged.with_label_values(&[&name]).get(), 0);
    }
}
