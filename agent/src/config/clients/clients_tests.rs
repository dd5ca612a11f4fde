//! The clients of Kafka as settings and Secrets want them, with somebody in their place who answers
//! when the test says so: alone, and in a whole agent on an in-memory etcd.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::KafkaOptions;
use config_schemas::diff::{ComponentChange, Plan};
use config_schemas::documents::{
    Ack, Desired, FORMAT, HASH_MURMUR2, Meta, Outcome, Owner, Rollout, read, write,
};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{
    BrokerKind, Component, Config, Cost, Generation, HuntName, NodeName, Revision, SaslMechanism,
    SecretRef, read_sections,
};
use futures::FutureExt as _;
use prometheus::{Registry, TextEncoder};
use serde_json::json;
use store::sim::SimEtcd;
use store::{Store, StoreOptions};
use telemetry::tasks::Tasks;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Clients, Decision, RetuneKafka, clients};
use crate::core::{self, Core, CoreOptions, Logs};

/// Far above what anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody was told what to become, and has not answered.
struct Call {
    wanted: Result<KafkaOptions, Vec<String>>,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Call {
    fn answer(self, outcome: Result<(), &str>) -> Result<KafkaOptions, Vec<String>> {
        self.answer.send(outcome.map_err(str::to_owned)).unwrap();
        self.wanted
    }
}

fn retune() -> (RetuneKafka, mpsc::Receiver<Call>) {
    let (calls, called) = mpsc::channel(64);
    let retune: RetuneKafka = Arc::new(move |wanted| {
        let (answer, answered) = oneshot::channel();
        calls.try_send(Call { wanted, answer }).ok().unwrap();
        async move { answered.await.unwrap_or(Err("nobody answers".to_owned())) }.boxed()
    });
    (retune, called)
}

async fn next(calls: &mut mpsc::Receiver<Call>) -> Call {
    tokio::time::timeout(PATIENCE, calls.recv()).await.expect("nobody is told").unwrap()
}

fn hunt() -> HuntName {
    HuntName::new("default", "harbour").unwrap()
}

/// A hunt on Kafka, whose password is in `pass/word`.
fn sections() -> serde_json::Map<String, serde_json::Value> {
    let written = json!({
        "broker": {"kind": "kafka"},
        "kafka": {
            "bootstrap": ["a:1"], "mechanism": "scram-sha-512", "user": "ana",
            "password": {"name": "pass", "key": "word"},
        },
    });
    written.as_object().unwrap().clone()
}

fn config() -> Config {
    Config::from_values(&read_sections(&sections()).values)
}

fn keep(folder: &Path, password: &str) {
    std::fs::create_dir_all(folder.join("pass")).unwrap();
    std::fs::write(folder.join("pass/next"), password).unwrap();
    std::fs::rename(folder.join("pass/next"), folder.join("pass/word")).unwrap();
}

fn password(wanted: &Result<KafkaOptions, Vec<String>>) -> &str {
    wanted.as_ref().unwrap().connection.login.as_ref().unwrap().password.reveal()
}

/// A keeper alone.
struct Alone {
    clients: Clients,
    calls: mpsc::Receiver<Call>,
    given_up: watch::Sender<u64>,
    folder: tempfile::TempDir,
    tasks: Tasks,
}

impl Alone {
    fn of(config: &Config) -> Alone {
        let (retune, calls) = retune();
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
        let at = Some(folder.path().to_owned());
        let node = NodeName::new("a").unwrap();
        let given_up = watch::Sender::new(0);
        let (clients, keeper) = clients(config, &hunt(), &node, at, (retune, given_up.subscribe()));
        tasks.spawn("kafka", keeper.run(tasks.stopping()));
        Alone { clients, calls, given_up, folder, tasks }
    }

    async fn decided(&self, number: u64, outcome: Result<(), &str>) {
        let outcome = outcome.map_err(str::to_owned);
        let mut decisions = self.clients.decisions();
        let awaited = Decision { number, outcome };
        let decided = decisions.wait_for(|decision| *decision == awaited);
        let decided = tokio::time::timeout(PATIENCE, decided).await.map(drop);
        assert!(decided.is_ok(), "{awaited:?}, not {:?}", self.clients.decisions().borrow());
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_changes_is_taken_over_like_an_edit() {
    let mut alone = Alone::of(&config());
    keep(alone.folder.path(), "old");
    // it may have been looked for before it was there
    let mut call = next(&mut alone.calls).await;
    if call.wanted.is_err() {
        drop(call.answer(Ok(())));
        call = next(&mut alone.calls).await;
    }
    assert_eq!(password(&call.answer(Ok(()))), "old");
    alone.decided(1, Ok(())).await;
    keep(alone.folder.path(), "new");
    let call = next(&mut alone.calls).await;
    assert_eq!(password(&call.answer(Err("wrong password"))), "new");
    alone.decided(1, Err("wrong password")).await;
    keep(alone.folder.path(), "old");
    // the wrong one is tried again meanwhile
    let mut call = next(&mut alone.calls).await;
    while password(&call.wanted) == "new" {
        drop(call.answer(Err("wrong password")));
        call = next(&mut alone.calls).await;
    }
    assert_eq!(password(&call.answer(Ok(()))), "old");
    alone.decided(1, Ok(())).await;
    alone.tasks.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_missing_is_named_until_it_is_there() {
    let mut alone = Alone::of(&config());
    let problem = "kafka.password: Secret pass/word cannot be read: there is no such file";
    let wanted = next(&mut alone.calls).await.answer(Ok(()));
    assert_eq!(wanted, Err(vec![problem.to_owned()]));
    alone.decided(1, Err(problem)).await;
    keep(alone.folder.path(), "pa55");
    assert_eq!(password(&next(&mut alone.calls).await.answer(Ok(()))), "pa55");
    alone.decided(1, Ok(())).await;
    alone.tasks.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_looked_for_in_an_earlier_wish_is_not_taken_for_this_one() {
    let change = ComponentChange { cost: Cost::Swap, changes: Vec::new() };
    let plan = Plan::from([(Component::Kafka, change)]);
    let mut other = config();
    other.kafka.password = SecretRef::new("other", "word");
    // which of two things that are ready is seen first is left to chance
    for _ in 0..32 {
        let mut alone = Alone::of(&config());
        keep(alone.folder.path(), "old");
        std::fs::create_dir_all(alone.folder.path().join("other")).unwrap();
        std::fs::write(alone.folder.path().join("other/word"), "new").unwrap();
        tokio::task::yield_now().await;
        alone.clients.want(&other, &plan);
        let wanted = next(&mut alone.calls).await.wanted;
        assert!(wanted.is_ok(), "{wanted:?}");
        alone.tasks.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_until_it_works() {
    let mut open = config();
    open.kafka.mechanism = SaslMechanism::None;
    let mut alone = Alone::of(&open);
    for _ in 0..8 {
        drop(next(&mut alone.calls).await.answer(Err("nobody answers")));
        alone.decided(1, Err("nobody answers")).await;
    }
    drop(next(&mut alone.calls).await.answer(Ok(())));
    alone.decided(1, Ok(())).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(alone.calls.try_recv().is_err(), "what works is left alone");
    // the hunt turned out to be in another cluster
    alone.given_up.send_modify(|times| *times += 1);
    drop(next(&mut alone.calls).await.answer(Ok(())));
    alone.tasks.finish().await;
}

#[tokio::test(start_paused = true)]
async fn of_many_wishes_one_is_tried_at_a_time_and_then_the_newest() {
    let mut wanted = config();
    wanted.kafka.mechanism = SaslMechanism::None;
    let mut alone = Alone::of(&wanted);
    let first = next(&mut alone.calls).await;
    let change = ComponentChange { cost: Cost::Swap, changes: Vec::new() };
    let plan = Plan::from([(Component::Kafka, change)]);
    for number in 2..=50 {
        wanted.producer.linger = Duration::from_millis(number);
        assert_eq!(alone.clients.want(&wanted, &plan), number);
        tokio::time::sleep(Duration::from_millis(3)).await;
        assert!(alone.calls.try_recv().is_err(), "two at a time");
    }
    drop(first.answer(Ok(())));
    let last = next(&mut alone.calls).await.answer(Ok(())).unwrap();
    assert_eq!(last.settings.producer.linger, Duration::from_millis(50));
    alone.decided(50, Ok(())).await;
    let other = Plan::from([(Component::Queues, plan[&Component::Kafka].clone())]);
    assert_eq!(alone.clients.want(&wanted, &other), 50, "it does not concern them");
    alone.tasks.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_hunt_that_is_kept_elsewhere_asks_nobody() {
    let mut alone = Alone::of(&Config::default());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(alone.calls.try_recv().is_err());
    assert_eq!(*alone.clients.decisions().borrow(), Decision { number: 0, outcome: Ok(()) });
    alone.tasks.finish().await;
}

/// A whole agent but for ports and partitions.
struct Whole {
    etcd: SimEtcd,
    keys: HuntKeys,
    core: Core,
    registry: Registry,
    calls: mpsc::Receiver<Call>,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Whole {
    async fn start() -> Whole {
        let etcd = SimEtcd::new();
        let (at, _) = etcd.serve_tcp().await.unwrap();
        let store = Store::open(StoreOptions::plain([format!("http://{at}")])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), "pa55");
        let (kafka, calls) = retune();
        let secrets = Some(folder.path().to_owned());
        let given_up = watch::channel(0).1;
        let logs = Logs { embedded: Arc::new(|_| ()), kafka, given_up, secrets };
        let me = Owner { node: NodeName::new("a").unwrap(), incarnation: "1".to_owned() };
        let options = CoreOptions {
            hunt: hunt(),
            me,
            instance: "a-instance".to_owned(),
            directory: None,
            http: "127.0.0.1:1".to_owned(),
            grpc: "127.0.0.1:1".to_owned(),
        };
        let (registry, tasks) = (Registry::new(), Tasks::default());
        let keys = HuntKeys::new(&hunt());
        let core = core::start(options, &store, logs, &registry, &tasks).unwrap();
        let whole = Whole { etcd, keys, core, registry, calls, tasks, _folder: folder };
        let meta = Meta {
            format: FORMAT,
            store_epoch: "epoch".to_owned(),
            uid: "u".to_owned(),
            partitions: 16,
            before: Vec::new(),
            next: None,
            hash: HASH_MURMUR2.to_owned(),
            broker: BrokerKind::Kafka,
            cluster: None,
        };
        whole.put(&Key::Meta, &String::from_utf8(write(&meta)).unwrap());
        let rollout = Rollout::of(Desired {
            format: FORMAT,
            generation: Generation(1),
            uid: "u".to_owned(),
            written_at: telemetry::clock::now(),
            config: sections(),
        });
        whole.put(&Key::Rollout, &String::from_utf8(write(&rollout)).unwrap());
        whole
    }

    fn put(&self, key: &Key, value: &str) -> Revision {
        self.etcd.change(|store| store.write(&self.keys.key(key), value));
        let key = self.keys.key(key).into_bytes();
        let revision = self
            .etcd
            .look(|store| store.entries().find(|entry| entry.key == key).unwrap().mod_revision);
        Revision::new(u64::try_from(revision).unwrap()).unwrap()
    }

    fn edit(&self, rest: &str, value: &str) -> Revision {
        self.put(&Key::Override(format!("hunt/{rest}")), value)
    }

    /// What the agent has acked, as etcd has it.
    fn ack(&self) -> Option<Ack> {
        let key = self.keys.key(&Key::Ack(NodeName::new("a").unwrap()));
        self.etcd.look(|store| {
            let entry = store.entries().find(|entry| entry.key == key.as_bytes())?;
            read(&entry.value).ok()
        })
    }

    /// Waits for an ack of `revision` that says this of a section.
    async fn acked(&self, revision: Revision, section: &str, rejected: Option<&str>) -> Ack {
        let is = |ack: &Ack| {
            let said = match &ack.sections[section] {
                Outcome::InEffect => None,
                Outcome::Rejected { reason } => Some(reason.as_str()),
            };
            ack.revision >= Some(revision) && said == rejected
        };
        let waiting = async {
            loop {
                if let Some(ack) = self.ack().filter(is) {
                    return ack;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("{revision} {section} {rejected:?}: {:?}", self.ack()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_a_client_is_acked_when_it_is_decided_and_holds_up_no_other() {
    let mut whole = Whole::start().await;
    let first = next(&mut whole.calls).await.answer(Ok(())).unwrap();
    assert_eq!(
        (&*first.events, &*first.client_id),
        ("default.harbour.events", "treasurehunt.default.harbour.a")
    );
    whole.acked(Revision::FIRST, "producer", None).await;

    let linger = whole.edit("producer/linger", "9ms");
    let proof = next(&mut whole.calls).await;
    // Somebody is proving himself: another edit is in effect meanwhile, and acked afterwards.
    let events = whole.edit("buffers/events", "99");
    let mut live = whole.core.live.clone();
    let in_effect = async {
        while live.load().config.buffers.events != 99 {
            live.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, in_effect).await.unwrap();
    assert!(whole.ack().unwrap().revision < Some(linger), "acked before it was decided");
    let told = proof.answer(Ok(())).unwrap();
    assert_eq!(told.settings.producer.linger, Duration::from_millis(9));
    whole.acked(events, "producer", None).await;
    whole.tasks.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_rejected_with_its_reason_and_taken_over_once_it_can() {
    let mut whole = Whole::start().await;
    drop(next(&mut whole.calls).await.answer(Ok(())));
    let edited = whole.edit("kafka/bootstrap", "['nowhere:1']");
    drop(next(&mut whole.calls).await.answer(Err("no broker can be reached")));
    let ack = whole.acked(edited, "kafka", Some("no broker can be reached")).await;
    let shown = TextEncoder::new().encode_to_string(&whole.registry.gather()).unwrap();
    let line = r#"treasurehunt_agent_rejected_section{section="kafka"} 1"#;
    assert!(shown.contains(line), "{shown}");
    assert!(matches!(ack.sections["session"], Outcome::Rejected { .. }));
    assert_eq!(ack.sections["buffers"], Outcome::InEffect);
    let other = whole.edit("buffers/events", "98");
    whole.acked(other, "kafka", Some("no broker can be reached")).await;
    // it is tried again by itself, and nobody has to edit anything
    let again = next(&mut whole.calls).await.answer(Ok(())).unwrap();
    assert_eq!(again.connection.bootstrap.as_str(), "nowhere:1");
    whole.acked(other, "kafka", None).await;
    let shown = TextEncoder::new().encode_to_string(&whole.registry.gather()).unwrap();
    assert!(!shown.contains("treasurehunt_agent_rejected_section{"), "{shown}");
    whole.tasks.finish().await;
}
