//! Real servers, an operator in this process, and agents on paper: their keys are written by hand
//! through the store.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::path::PathBuf;
use std::time::Duration;

use config_schemas::HuntName;
use config_schemas::documents::{self, Ack, NodeMode, NodeRecord, PartitionRecord};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::layers::{Edits, Held, Written, resolve};
use config_schemas::{Generation, NodeName, PartitionId, Resource, generation};
use operator::{From, Fuse, Options, Running, start};
use serde_json::Value as Json;
use servers::{Etcd, EtcdPrograms, KubeApi, KubePrograms};
use store::{
    Claim, Guard, KeyRange, Session, SessionOptions, Store, StoreOptions, Txn, Verdict, Write,
};
use tokio::time::{Instant, sleep};

/// Longest wait for anything that is to happen; a slow machine must not fail a test, also where three
/// brokers and an API server share two cores with other tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Servers of one test.
pub struct World {
    pub etcd: Etcd,
    /// The API server's own etcd, so that ours can be stopped alone.
    pub kube_etcd: Etcd,
    pub kube: KubeApi,
}

impl World {
    pub async fn new() -> World {
        let programs = EtcdPrograms::shared().await.unwrap();
        let etcd = Etcd::temporary(programs).await.unwrap();
        let kube_etcd = Etcd::temporary(programs).await.unwrap();
        let programs = KubePrograms::shared().await.unwrap();
        let kube = KubeApi::temporary(programs, &kube_etcd.endpoint()).await.unwrap();
        kube.apply(&crds::yaml()).await.unwrap();
        let wait = ["wait", "--for=condition=Established", "crd/treasurehunts.treasurehunt.dev"];
        kube.kubectl(&wait).await.unwrap();
        World { etcd, kube_etcd, kube }
    }

    pub fn options(&self, identity: &str) -> Options {
        let kubeconfig = Some(self.kube.kubeconfig());
        options(&self.etcd, identity, From::Kubernetes { kubeconfig, namespace: None })
    }

    pub async fn operator(&self, identity: &str) -> Running {
        start(self.options(identity)).await.unwrap()
    }

    pub fn fleet(&self, hunt: &str) -> Fleet {
        Fleet::new(&self.etcd, hunt)
    }

    pub async fn apply(&self, name: &str, spec: &str) {
        self.kube.apply(&manifest(name, spec)).await.unwrap();
    }

    /// The hunt as the API server has it; null when it is gone.
    pub async fn hunt(&self, name: &str) -> Json {
        let got = self.kube.kubectl(&["get", "th", name, "-o", "json", "--ignore-not-found"]).await;
        serde_json::from_str(&got.unwrap_or_default()).unwrap_or(Json::Null)
    }

    /// Waits until the hunt's status is as wanted.
    pub async fn status(&self, name: &str, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        until(what, async || {
            let status = self.hunt(name).await["status"].take();
            wanted(&status).then_some(status).ok_or_else(|| "not yet".to_owned())
        })
        .await
    }
}

pub fn options(etcd: &Etcd, identity: &str, from: From) -> Options {
    Options {
        store: StoreOptions::plain([etcd.endpoint()]),
        from,
        listen: "127.0.0.1:0".parse().unwrap(),
        identity: identity.to_owned(),
        traces: telemetry::traces::TraceFlags::off(),
        fuse: Fuse::default(),
        clean_up_within: operator::CLEAN_UP_WITHIN,
        secrets: None,
    }
}

pub fn directory(path: PathBuf) -> From {
    From::Directory { path }
}

pub fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
    )
}

/// Asks until the answer comes; fails with the last refusal.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(why) if Instant::now() >= end => panic!("never: {what}: {why}"),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Whether that condition has that status.
pub fn condition(status: &Json, kind: &str, truth: &str) -> bool {
    found(status, kind)["status"] == truth
}

/// The condition of that kind.
pub fn found<'a>(status: &'a Json, kind: &str) -> &'a Json {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|condition| condition["type"] == kind).unwrap_or(&Json::Null)
}

/// The agents of one hunt, on paper.
pub struct Fleet {
    pub store: Store,
    pub hunt: HuntName,
    pub keys: HuntKeys,
    /// The lease of all nodes.
    session: Session,
}

/// The nodes' lease outlives every test.
const LEASE: SessionOptions =
    SessionOptions { ttl: Duration::from_secs(120), interval: Duration::from_secs(1) };

impl Fleet {
    pub fn new(etcd: &Etcd, hunt: &str) -> Fleet {
        let hunt: HuntName = hunt.parse().unwrap();
        let store = Store::open(StoreOptions::plain([etcd.endpoint()])).unwrap();
        let session = Session::start(&store, LEASE);
        Fleet { store, keys: HuntKeys::new(&hunt), hunt, session }
    }

    pub fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.keys.prefix())
    }

    /// Writes a key whatever stands there.
    pub async fn put(&self, rest: &str, value: impl Into<Vec<u8>>) {
        let key = self.key(rest);
        let value = value.into();
        until("a put", async || {
            let found = self.store.read(&key).await.map_err(|error| error.to_string())?;
            let txn = Txn::put(Guard::as_found(&key, found.as_ref()), value.clone());
            match self.store.commit_decided(&txn).await {
                Ok(Verdict::Committed(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    pub async fn delete(&self, rest: &str) {
        let key = self.key(rest);
        until("a delete", async || {
            let txn = Txn { guards: vec![], writes: vec![Write::delete(key.clone())] };
            self.store.commit(&txn).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    pub async fn text(&self, rest: &str) -> Option<String> {
        let found = self.store.read(&self.key(rest)).await.ok()??;
        String::from_utf8(found.value.to_vec()).ok()
    }

    pub async fn read<T: serde::de::DeserializeOwned>(&self, rest: &str) -> Result<T, String> {
        let found = self.store.read(&self.key(rest)).await.map_err(|error| error.to_string())?;
        documents::read(&found.ok_or_else(|| format!("no {rest}"))?.value)
    }

    pub async fn all(&self) -> Vec<(String, String)> {
        let listed = self.store.list(&KeyRange::prefix(self.keys.prefix())).await.unwrap();
        let text = |entry: store::Entry| {
            let rest = entry.key.strip_prefix(self.keys.prefix()).unwrap().to_owned();
            (rest, String::from_utf8_lossy(&entry.value).into_owned())
        };
        listed.entries.into_iter().map(text).collect()
    }

    pub async fn node(&self, node: &str, incarnation: &str) {
        let record = NodeRecord {
            format: documents::FORMAT,
            incarnation: incarnation.to_owned(),
            instance: node.to_owned(),
            http: "127.0.0.1:1".to_owned(),
            grpc: "127.0.0.1:2".to_owned(),
            mode: NodeMode::Ready,
        };
        let (key, value) = (self.key(&format!("node/{node}")), documents::write(&record));
        self.session.attach(key, value, Claim::or_if(|_| true)).await.unwrap();
    }

    /// The node is gone, as when its lease has lapsed.
    pub async fn leave(&self, node: &str) {
        self.session.detach(self.key(&format!("node/{node}"))).await.unwrap();
        self.delete(&format!("ack/{node}")).await;
    }

    /// The node acknowledges what stands in etcd now, as a faithful agent would.
    pub async fn ack(&self, node: &str, incarnation: &str) {
        let ack =
            until("something to acknowledge", async || self.faithful(node, incarnation).await)
                .await;
        self.put(&format!("ack/{node}"), documents::write(&ack)).await;
    }

    async fn faithful(&self, node: &str, incarnation: &str) -> Result<Ack, String> {
        let listed = self
            .store
            .list(&KeyRange::prefix(self.keys.prefix()))
            .await
            .map_err(|error| error.to_string())?;
        let mut edits = Edits::new();
        let mut documents_of = std::collections::BTreeMap::new();
        let mut rollout = None;
        for entry in &listed.entries {
            match self.keys.parse(&entry.key) {
                Some(Key::Override(rest)) => {
                    let bytes = entry.value.to_vec();
                    edits.insert(rest, Written { bytes, revision: entry.mod_revision });
                }
                Some(Key::Desired(generation)) => {
                    documents_of.insert(generation, entry.clone());
                }
                Some(Key::Rollout) => rollout = documents::read(&entry.value).ok(),
                _ => {}
            }
        }
        let kept = documents_of.iter().map(|(g, e)| (*g, e.create_revision)).collect();
        let now = telemetry::clock::now();
        let node = NodeName::new(node).unwrap();
        let choice = generation::choose(rollout.as_ref(), &edits, &kept, Some(&node), now);
        let chosen = choice.generation.ok_or("no generation yet")?;
        let entry = documents_of.get(&chosen).ok_or("no document yet")?;
        let desired: documents::Desired = documents::read(&entry.value)?;
        let resource = Resource { generation: chosen, values: desired.values().0 };
        let effective = resolve(Some(&resource), &edits, Some(&node), &Held::new(), now);
        Ok(Ack {
            format: documents::FORMAT,
            incarnation: incarnation.to_owned(),
            generation: Some(chosen),
            revision: Some(listed.revision),
            hash: effective.hash,
            sections: std::collections::BTreeMap::new(),
            refused_count: u32::try_from(effective.refused.len()).unwrap(),
            refused: effective.refused,
        })
    }

    /// Waits until every partition is owned by one of these nodes, evenly. Owners hand over what
    /// is to move, as faithful agents would.
    pub async fn placed_on(&self, count: u32, nodes: &[&str]) {
        until("partitions placed", async || {
            let mut counts = std::collections::BTreeMap::<String, usize>::new();
            for id in 0..count {
                let record: PartitionRecord =
                    self.read(&format!("partition/{}", PartitionId(id))).await?;
                let owner = match record {
                    PartitionRecord::Own { owner, .. } => owner,
                    PartitionRecord::Mov { to, epoch, .. } => {
                        let flipped = PartitionRecord::Own { owner: to, epoch: epoch.next() };
                        self.put(&format!("partition/{id}"), documents::write(&flipped)).await;
                        return Err(format!("{id} was on the move"));
                    }
                    PartitionRecord::Parked { .. } => return Err(format!("{id} is parked")),
                };
                *counts.entry(owner.node.to_string()).or_default() += 1;
            }
            let even =
                counts.values().max() <= counts.values().min().map(|least| least + 1).as_ref();
            let these = counts.keys().map(String::as_str).eq(nodes.iter().copied());
            (even && these).then_some(()).ok_or_else(|| format!("{counts:?}"))
        })
        .await;
    }

    /// Waits until that generation is the one that runs.
    pub async fn runs(&self, generation: u64) {
        until("the generation runs", async || {
            let rollout: documents::Rollout = self.read("rollout").await?;
            let runs = rollout.stable == Generation(generation);
            runs.then_some(()).ok_or_else(|| format!("{rollout:?}"))
        })
        .await;
    }
}

/// The text of an admin page.
pub async fn page(running: &Running, path: &str) -> Result<String, String> {
    use http_body_util::BodyExt as _;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<String>();
    let url = format!("http://{}{path}", running.admin).parse().unwrap();
    let answer = client.get(url).await.map_err(|error| error.to_string())?;
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|error| error.to_string())
}
