//! An operator on a simulated host: the real controller with its election, without ports and
//! without a place for its reports. In: the hunt as people apply it. Out: nothing; what it does
//! stands in etcd. I/O.

use std::collections::BTreeSet;
use std::path::PathBuf;

use config_schemas::{Generation, HuntName};
use operator::controller::{Controller, Parts};
use operator::source::{Outlet, SourceEvent, directory};
use operator::state::{Observed, parse_status};
use operator::{CLEAN_UP_WITHIN, Fuse, Metrics};
use serde_json::Value as Json;
use store::StoreOptions;
use store::sim::turmoil_store;
use telemetry::sim::Host;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::ETCD;

/// What people last applied.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) generation: u64,
    pub(crate) spec: Json,
    /// What the status says of partitions. Nobody takes reports here, so the world writes it: what is
    /// in it is what a report would have said.
    pub(crate) status: Json,
}

/// An operator. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) hunt: HuntName,
    pub(crate) host: Host,
    pub(crate) seed: u64,
    pub(crate) applied: watch::Receiver<Applied>,
}

impl Operator {
    /// The host's software.
    pub(crate) async fn run(self) -> turmoil::Result {
        let host = self.host.clone();
        host.run(self.control()).await
    }

    async fn control(mut self) -> turmoil::Result {
        let store = turmoil_store(StoreOptions::plain([ETCD]), self.seed)?;
        let metrics = Metrics::new()?;
        let (to, events) = mpsc::channel(16);
        let (_ask, queries) = mpsc::channel(1);
        // nobody takes reports, as when the API server hangs: placement goes on without it
        let (outlet, _silent) = directory::open(PathBuf::new(), store.clone(), metrics.clone());
        let controller = Controller::new(Parts {
            store,
            identity: self.name.clone(),
            events,
            queries,
            outlet: Outlet::Directory(outlet),
            metrics,
            traces: Default::default(),
            fuse: Fuse::default(),
            clean_up_within: CLEAN_UP_WITHIN,
            topics: None,
        });
        let tell = async {
            loop {
                let applied = self.applied.borrow_and_update().clone();
                let listed = BTreeSet::from([self.hunt.clone()]);
                for event in [seen(&self.hunt, &applied), SourceEvent::Listed(listed)] {
                    if to.send(event).await.is_err() {
                        return;
                    }
                }
                if self.applied.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::join!(controller.run(CancellationToken::new()), tell);
        Ok(())
    }
}

fn seen(hunt: &HuntName, applied: &Applied) -> SourceEvent {
    SourceEvent::Seen(Box::new(Observed {
        name: hunt.clone(),
        uid: "5f3a".to_owned(),
        generation: Generation(applied.generation),
        deleting: false,
        held: true,
        version: applied.generation.to_string(),
        spec: applied.spec.to_string().into(),
        status: parse_status(&applied.status),
    }))
}
