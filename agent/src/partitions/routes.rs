//! Where an event's partition is served, by the records. In: the view. Out: a table for the
//! gateway. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config_schemas::documents::{Meta, NodeRecord, Owner, PartitionRecord};
use config_schemas::{Epoch, NodeName, PartitionId, Revision};
use sha2::{Digest as _, Sha256};

use crate::config::view::{At, View};

/// Where each partition is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// By partition number; as long as the hunt has partitions, empty while that is unknown.
    pub partitions: Vec<Option<Route>>,
    /// The newest record among them, the hunt's own included.
    pub revision: Option<Revision>,
    /// The nodes that live.
    pub peers: Arc<BTreeMap<NodeName, Peer>>,
    /// What nodes of this hunt show each other when they hand events over; `None` while the hunt is
    /// unknown.
    pub pass: Option<Arc<str>>,
}

/// A node that lives, as far as routes are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    incarnation: String,
    grpc: Arc<str>,
}

/// Who serves a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which node.
    pub node: NodeName,
    /// Where it listens for gRPC.
    pub grpc: Arc<str>,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Whether it is this very agent.
    pub mine: bool,
    /// Whether it is about to hand the partition over.
    pub leaving: bool,
    /// Of the record that says so.
    pub revision: Revision,
}

impl Routes {
    /// Who serves `partition`; `None` while nobody does.
    pub fn of(&self, partition: PartitionId) -> Option<&Route> {
        self.partitions.get(partition.0 as usize)?.as_ref()
    }

    /// Into how many partitions the hunt is cut; 0 while that is unknown.
    pub fn cut(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// How many nodes serve partitions.
    pub fn nodes(&self) -> usize {
        let nodes = self.partitions.iter().flatten().map(|route| &route.node);
        nodes.collect::<BTreeSet<_>>().len()
    }
}

/// The routes by `view`. A partition whose owner is not alive in that very incarnation has none.
/// What stands in `before` by the same record and the same nodes is taken from there: each move of
/// one partition is news to every node, and there are thousands of partitions.
pub fn routes(view: &View, me: &Owner, count: u32, before: &Routes) -> Routes {
    let marker = view.meta.as_ref().map(|meta| meta.revision);
    let peers = peers(view);
    let same = *before.peers == peers;
    let peers = if same { before.peers.clone() } else { Arc::new(peers) };
    let mut routes = Routes {
        partitions: vec![None; count as usize],
        revision: view.partitions.values().map(|at| at.revision).chain(marker).max(),
        peers,
        pass: view.meta.as_ref().map(|meta| pass(&meta.record)),
    };
    for (id, at) in &view.partitions {
        let Some(place) = routes.partitions.get_mut(id.0 as usize) else { continue };
        let held = before.of(*id).filter(|held| same && held.revision == at.revision);
        *place = held.cloned().or_else(|| route(at, &routes.peers, me));
    }
    routes
}

fn peers(view: &View) -> BTreeMap<NodeName, Peer> {
    let peer = |record: &NodeRecord| Peer {
        incarnation: record.incarnation.clone(),
        grpc: record.grpc.as_str().into(),
    };
    view.nodes.iter().map(|(node, record)| (node.clone(), peer(record))).collect()
}

fn route(at: &At<PartitionRecord>, peers: &BTreeMap<NodeName, Peer>, me: &Owner) -> Option<Route> {
    let owner = at.record.owner()?;
    let (node, peer) = peers.get_key_value(&owner.node)?;
    (peer.incarnation == owner.incarnation).then(|| Route {
        node: node.clone(),
        grpc: peer.grpc.clone(),
        epoch: at.record.epoch(),
        mine: owner == me,
        leaving: matches!(at.record, PartitionRecord::Mov { .. }),
        revision: at.revision,
    })
}

/// Not the random id itself: that stays in etcd.
fn pass(meta: &Meta) -> Arc<str> {
    let digest =
        Sha256::new().chain_update("treasurehunt.v1.Peers/").chain_update(&meta.store_epoch);
    format!("{:x}", digest.finalize()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::view::Standing;
    use config_schemas::HuntName;
    use config_schemas::documents::write;
    use config_schemas::keys::HuntKeys;

    /// A view that is fed, and what follows from it step by step.
    struct Case {
        keys: HuntKeys,
        view: View,
        routes: Routes,
        next: u64,
    }

    fn owner(node: &str, incarnation: &str) -> Owner {
        Owner { node: NodeName::new(node).unwrap(), incarnation: incarnation.to_owned() }
    }

    impl Case {
        fn put(&mut self, rest: &str, value: &[u8]) {
            let revision = Revision::new(self.next).unwrap();
            self.next += 1;
            let standing = Standing { value, revision, created: revision, version: 1 };
            let key = format!("{}{rest}", self.keys.prefix());
            self.view.apply(&self.keys, &key, Some(standing), revision);
        }

        fn node(&mut self, node: &str, incarnation: &str, grpc: &str) {
            let record = format!(
                r#"{{"format":1,"incarnation":"{incarnation}","instance":"1","http":"h","grpc":"{grpc}","mode":"Ready"}}"#
            );
            self.put(&format!("node/{node}"), record.as_bytes());
        }

        fn own(&mut self, partition: u32, owner: Owner, epoch: u64) {
            let record = PartitionRecord::Own { owner, epoch: Epoch(epoch) };
            self.put(&format!("partition/{partition}"), &write(&record));
        }

        /// What stands is what would stand if it were made anew.
        fn check(&mut self, expected: &[Option<&str>]) {
            let me = owner("a", "1");
            let count = self.view.meta.as_ref().map_or(0, |meta| meta.record.partitions);
            self.routes = routes(&self.view, &me, count, &self.routes);
            assert_eq!(self.routes, routes(&self.view, &me, count, &Routes::default()));
            let grpc = |route: &Option<Route>| route.as_ref().map(|route| route.grpc.to_string());
            let found: Vec<_> = self.routes.partitions.iter().map(grpc).collect();
            assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn routes_follow_records_and_nodes_whatever_stood_before() {
        let keys = HuntKeys::new(&HuntName::new("default", "harbour").unwrap());
        let mut case = Case { keys, view: View::default(), routes: Routes::default(), next: 1 };
        let meta = r#"{"format":1,"storeEpoch":"s","uid":"u","partitions":3,"hash":"murmur2"}"#;
        case.put("meta", meta.as_bytes());
        case.node("a", "1", "at-a");
        case.node("b", "1", "at-b");
        case.own(0, owner("a", "1"), 1);
        case.own(1, owner("b", "1"), 1);
        case.check(&[Some("at-a"), Some("at-b"), None]);
        case.own(0, owner("b", "1"), 2);
        case.own(2, owner("b", "0"), 2);
        case.check(&[Some("at-b"), Some("at-b"), None]);
        case.node("b", "1", "elsewhere");
        case.check(&[Some("elsewhere"), Some("elsewhere"), None]);
        case.node("b", "2", "elsewhere");
        case.check(&[None, None, None]);
        case.own(1, owner("b", "2"), 3);
        case.check(&[None, Some("elsewhere"), None]);
    }
}
