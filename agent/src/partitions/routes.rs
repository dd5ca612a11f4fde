//! Where an event's partition is served, by the records. In: the view. Out: a table for the
//! gateway. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use config_schemas::documents::{Meta, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName, PartitionId, Revision};

use sha2::{Digest as _, Sha256};

use crate::config::view::View;

/// Where each partition is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// By partition number; as long as the hunt has partitions, empty while that is unknown.
    pub partitions: Vec<Option<Route>>,
    /// The newest record among them.
    pub revision: Option<Revision>,
    /// What nodes of this hunt show each other when they hand events over; `None` while the hunt is
    /// unknown.
    pub pass: Option<Arc<str>>,
}

/// Who serves a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which node.
    pub node: NodeName,
    /// Where it listens for gRPC.
    pub grpc: String,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Whether it is this very agent.
    pub mine: bool,
    /// Whether it is about to hand the partition over.
    pub leaving: bool,
}

impl Routes {
    /// Who serves `partition`; `None` while nobody does.
    pub fn of(&self, partition: PartitionId) -> Option<&Route> {
        self.partitions.get(partition.0 as usize)?.as_ref()
    }

    /// How many nodes serve partitions.
    pub fn nodes(&self) -> usize {
        let nodes = self.partitions.iter().flatten().map(|route| &route.node);
        nodes.collect::<BTreeSet<_>>().len()
    }
}

/// The routes by `view`. A partition whose owner is not alive in that very incarnation has none.
pub fn routes(view: &View, me: &Owner) -> Routes {
    let count = view.meta.as_ref().map_or(0, |meta| meta.record.partitions);
    let route = |number: u32| {
        let record = &view.partitions.get(&PartitionId(number))?.record;
        let owner = record.owner()?;
        let node = view.nodes.get(&owner.node)?;
        (node.incarnation == owner.incarnation).then(|| Route {
            node: owner.node.clone(),
            grpc: node.grpc.clone(),
            epoch: record.epoch(),
            mine: owner == me,
            leaving: matches!(record, PartitionRecord::Mov { .. }),
        })
    };
    Routes {
        partitions: (0..count).map(route).collect(),
        revision: view.partitions.values().map(|at| at.revision).max(),
        pass: view.meta.as_ref().map(|meta| pass(&meta.record)),
    }
}

/// Not the random id itself: that stays in etcd.
fn pass(meta: &Meta) -> Arc<str> {
    let digest =
        Sha256::new().chain_update("treasurehunt.v1.Peers/").chain_update(&meta.store_epoch);
    format!("{:x}", digest.finalize()).into()
}
