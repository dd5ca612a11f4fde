//! A hunt in a real etcd, written by hand: two generations, and nodes that live as long as it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use config_schemas::documents::{self, Ack, Desired, Meta, NodeMode, NodeRecord, Refusal, Rollout};
use config_schemas::documents::{FORMAT, HASH_MURMUR2, Owner, PartitionRecord, RefusalCode};
use config_schemas::{Epoch, Generation, NodeName, Revision};
use serde_json::Value as Json;
use servers::{Etcd, EtcdPrograms};
use store::{
    Claim, Entry, FollowOptions, KeyRange, Session, SessionOptions, Store, StoreOptions, Txn,
    Verdict, Write, follow,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(crate) const ROOT: &str = "/treasurehunt/default/harbour/";
/// An answer about an etcd that is not there must come within three seconds; the rest is room for
/// a machine that compiles.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Far longer than any test, also on a machine that compiles.
const SESSION: SessionOptions =
    SessionOptions { ttl: Duration::from_secs(120), interval: Duration::from_secs(10) };

pub(crate) struct Harbour {
    pub(crate) etcd: Etcd,
    pub(crate) store: Store,
    pub(crate) nodes: Vec<NodeName>,
    /// The nodes' records hang on its lease: one that hangs on none is no node.
    session: Session,
}

/// What a run of `hunt` said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Harbour {
    pub(crate) async fn start(nodes: &[&str]) -> Harbour {
        let programs = EtcdPrograms::shared().await.unwrap();
        let etcd = Etcd::temporary(programs).await.unwrap();
        let store = Store::open(StoreOptions::plain([etcd.endpoint()])).unwrap();
        let nodes: Vec<_> = nodes.iter().map(|name| NodeName::new(*name).unwrap()).collect();
        let session = Session::start(&store, SESSION);
        let harbour = Harbour { etcd, store, nodes, session };
        harbour.document("meta", &meta()).await;
        harbour.generation(1, "1s").await;
        harbour.generation(2, "2s").await;
        for node in &harbour.nodes {
            let (key, value) = (format!("{ROOT}node/{node}"), documents::write(&record(node)));
            harbour.session.attach(key, value, Claim::absent()).await.unwrap();
        }
        harbour
    }

    /// Writes a generation and has it run everywhere.
    pub(crate) async fn generation(&self, generation: u64, interval: &str) {
        let document = desired(generation, interval);
        self.document(&format!("desired/{generation}"), &document).await;
        let stable = Generation(generation);
        let rollout = Rollout { format: FORMAT, stable, candidate: None, document: None };
        self.document("rollout", &rollout).await;
    }

    /// Gives a partition to a node.
    pub(crate) async fn own(&self, id: u32, node: &str) {
        let node = NodeName::new(node).unwrap();
        let owner = Owner { incarnation: format!("{node}-life"), node };
        let record = PartitionRecord::Own { owner, epoch: Epoch(1) };
        self.document(&format!("partition/{id}"), &record).await;
    }

    async fn document<T: serde::Serialize>(&self, rest: &str, document: &T) {
        let text = String::from_utf8(documents::write(document)).unwrap();
        self.put(rest, &text).await;
    }

    /// Puts a key as etcdctl would.
    pub(crate) async fn put(&self, rest: &str, value: &str) -> Revision {
        put(&self.store, rest, value).await
    }

    pub(crate) async fn value(&self, rest: &str) -> Option<String> {
        let found: Option<Entry> = self.store.read(&format!("{ROOT}{rest}")).await.unwrap();
        found.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
    }

    pub(crate) async fn revision(&self) -> Revision {
        self.store.revision().await.unwrap()
    }

    pub(crate) async fn run(&self, line: &str) -> Answer {
        run(&self.etcd.endpoint(), line).await
    }

    /// Writes an ack of that revision and hash which refuses `key`.
    pub(crate) async fn ack(&self, node: &str, hash: &str, code: RefusalCode, key: &str) {
        let (node, at) = (NodeName::new(node).unwrap(), self.revision().await);
        let refused = vec![Refusal { code, ..refusal(key, "not in effect", at) }];
        let ack = Ack { hash: hash.to_owned(), ..ack(&node, Generation(2), at, refused) };
        self.document(&format!("ack/{node}"), &ack).await;
    }

    /// Answers every request to the node's HTTP address with `body`, until dropped.
    pub(crate) async fn answering(&self, node: &str, body: &Json) -> Answering {
        let record = self.value(&format!("node/{node}")).await.unwrap();
        let record: NodeRecord = serde_json::from_str(&record).unwrap();
        let listener = TcpListener::bind(&record.http).await.unwrap();
        let body = body.to_string();
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        Answering(tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }))
    }

    /// Runs with `-o json` and that exit code expected.
    pub(crate) async fn json(&self, line: &str, code: i32) -> Json {
        let answer = self.run(&format!("{line} -o json")).await;
        assert_eq!(answer.code, code, "{line}: {answer:?}");
        serde_json::from_str(&answer.out).unwrap()
    }
}

/// Runs `hunt` with words split at spaces.
pub(crate) async fn run(endpoint: &str, line: &str) -> Answer {
    run_with(endpoint, &[], line).await
}

/// The same with more of an environment.
pub(crate) async fn run_with(endpoint: &str, more: &[(&str, &str)], line: &str) -> Answer {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hunt"));
    command
        .env("TREASUREHUNT_ETCD", endpoint)
        .envs(more.iter().copied())
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER_LIMIT, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{line}: no answer")).unwrap();
    Answer {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An agent's HTTP that says one thing. It ends on drop.
pub(crate) struct Answering(tokio::task::JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Agents that only ack: each revision of an edit, at once. They end on drop.
pub(crate) struct Agents(tokio::task::JoinHandle<()>);

impl Agents {
    /// One of them may refuse a key: (node, key, reason).
    pub(crate) fn acking(harbour: &Harbour, refusing: Option<(&str, &str, &str)>) -> Agents {
        let (store, nodes) = (harbour.store.clone(), harbour.nodes.clone());
        let refusing =
            refusing.map(|(node, key, why)| (node.to_owned(), key.to_owned(), why.to_owned()));
        Agents(tokio::spawn(async move {
            let range = KeyRange::prefix(&format!("{ROOT}override/"));
            let mut edits = follow(&store, FollowOptions::new("agents", range));
            loop {
                let revision = edits.next().await.revision;
                let rollback = edits.held().get(&format!("{ROOT}override/hunt/generation"));
                let generation = Generation(if rollback.is_some() { 1 } else { 2 });
                for node in &nodes {
                    let refused = refusing.iter().filter(|(name, ..)| name == node.as_str());
                    let refused = refused.map(|(_, key, why)| refusal(key, why, revision));
                    let ack = ack(node, generation, revision, refused.collect());
                    let text = String::from_utf8(documents::write(&ack)).unwrap();
                    put(&store, &format!("ack/{node}"), &text).await;
                }
            }
        }))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn put(store: &Store, rest: &str, value: &str) -> Revision {
    let write = Write::put(format!("{ROOT}{rest}"), value.to_owned());
    let txn = Txn { guards: vec![], writes: vec![write] };
    match store.commit(&txn).await.unwrap() {
        Verdict::Committed(revision) => revision,
        refused => panic!("{refused:?}"),
    }
}

fn meta() -> Meta {
    Meta {
        format: FORMAT,
        store_epoch: "e".into(),
        uid: "u".into(),
        partitions: 0,
        before: Vec::new(),
        next: None,
        hash: HASH_MURMUR2.into(),
        cluster: None,
        broker: Default::default(),
    }
}

fn desired(generation: u64, interval: &str) -> Desired {
    let config = serde_json::json!({"heartbeat": {"interval": interval}});
    Desired {
        format: FORMAT,
        generation: Generation(generation),
        uid: "u".into(),
        written_at: "2026-11-21T12:00:00Z".parse().unwrap(),
        config: config.as_object().unwrap().clone(),
    }
}

fn record(node: &NodeName) -> NodeRecord {
    NodeRecord {
        format: FORMAT,
        incarnation: format!("{node}-life"),
        instance: node.to_string(),
        http: format!("127.0.0.1:{}", servers::free_port().unwrap()),
        grpc: format!("127.0.0.1:{}", servers::free_port().unwrap()),
        mode: NodeMode::Ready,
    }
}

fn ack(node: &NodeName, generation: Generation, at: Revision, refused: Vec<Refusal>) -> Ack {
    Ack {
        format: FORMAT,
        incarnation: format!("{node}-life"),
        generation: Some(generation),
        revision: Some(at),
        hash: "0011223344556677".into(),
        sections: BTreeMap::new(),
        refused_count: u32::try_from(refused.len()).unwrap(),
        refused,
    }
}

fn refusal(key: &str, why: &str, revision: Revision) -> Refusal {
    Refusal {
        key: key.to_owned(),
        found: "?".into(),
        reason: why.to_owned(),
        code: RefusalCode::Conflict,
        revision,
    }
}
