//! The auction by itself, and played by an agent's own partition code on an in-memory etcd.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agent::core::{CoreOptions, start};
use agent::metrics::PlaneMetrics;
use agent::partitions::answer::Source;
use agent::partitions::log::Log;
use agent::partitions::outbox::Forward;
use agent::partitions::plane::{self, Plane, PlaneOptions};
use auction::{Auction, Bid, LEADS, kind};
use broker::Reader as _;
use config_schemas::documents::{FORMAT, HASH_MURMUR2, Meta, Owner, PartitionRecord, write};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Epoch, HuntName, NodeName, Offset, PartitionId};
use events::{Event, EventId, Outcome, OutcomeRecord, PartitionState, Refusal, Stamp};
use prometheus::Registry;
use store::sim::SimEtcd;
use store::{Store, StoreOptions};
use telemetry::tasks::Tasks;

const P: PartitionId = PartitionId(0);
const STAMP: Stamp = Stamp { partition: P, epoch: Epoch(1), config_revision: 0 };
/// Far above what anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(20);

fn bid(number: usize, bidder: &str, payload: &str) -> Event {
    let id = EventId::new(format!("bid-{number}")).unwrap();
    Event {
        player: Some(bidder.to_owned()),
        treasure: Some("vase".to_owned()),
        payload_json: Some(payload.to_owned()),
        ..Event::new(id, kind(), 1)
    }
}

fn leads(bidder: &str, amount: u64) -> Outcome {
    let bid = Bid { lot: "vase".to_owned(), bidder: bidder.to_owned(), amount };
    Outcome::Custom { name: LEADS.to_owned(), data_json: serde_json::to_string(&bid).unwrap() }
}

fn refused(why: &str) -> Outcome {
    Outcome::Refused(Refusal::Custom { why: why.to_owned() })
}

/// Bids, and what has to become of each with a least step of 10.
fn bids() -> Vec<(Event, Outcome)> {
    let poison = "a bid needs a payload such as {\"amount\": 120}";
    let cases = [
        ("ana", r#"{"amount": 100}"#, leads("ana", 100)),
        ("bo", r#"{"amount": 100}"#, refused("bid at least 110")),
        ("bo", r#"{"amount": 109}"#, refused("bid at least 110")),
        ("bo", r#"{"amount": "all"}"#, Outcome::DeadLetter { why: poison.to_owned() }),
        ("bo", r#"{"amount": 110}"#, leads("bo", 110)),
    ];
    let bid = |(number, (bidder, payload, outcome))| (bid(number, bidder, payload), outcome);
    cases.into_iter().enumerate().map(bid).collect()
}

#[test]
fn the_highest_bid_leads_and_a_snapshot_remembers_it() {
    let mut state = PartitionState::<Auction>::default();
    for (offset, (event, outcome)) in bids().into_iter().enumerate() {
        let record = state.decide(Offset(offset as u64), &event, &10, STAMP).unwrap();
        assert_eq!(record.outcome, outcome);
        state.fold(&record);
    }
    let bytes = state.to_snapshot().unwrap();
    let restored = PartitionState::<Auction>::from_snapshot(&bytes).unwrap();
    assert_eq!(restored.game()["vase"].bidder, "bo");
    assert_eq!(restored.game(), state.game());
}

/// An auction forwards nothing.
struct Nowhere;

impl Forward for Nowhere {
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        Box::pin(async move { vec![false; events.len()] })
    }
}

#[tokio::test]
async fn an_agent_plays_it_as_it_plays_the_hunt() {
    let etcd = SimEtcd::new();
    let (at, _) = etcd.serve_tcp().await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let hunt = HuntName::new("default", "house").unwrap();
    let keys = HuntKeys::new(&hunt);
    let me = Owner { node: NodeName::new("a").unwrap(), incarnation: "1".to_owned() };
    let meta = Meta {
        format: FORMAT,
        store_epoch: "epoch".to_owned(),
        uid: "5f3a".to_owned(),
        partitions: 1,
        before: Vec::new(),
        next: None,
        hash: HASH_MURMUR2.to_owned(),
        cluster: None,
        broker: Default::default(),
    };
    let record = PartitionRecord::Own { owner: me.clone(), epoch: Epoch(1) };
    for (key, value) in [(Key::Meta, write(&meta)), (Key::Partition(P), write(&record))] {
        let value = String::from_utf8(value).unwrap();
        etcd.change(|store| store.write(&keys.key(&key), &value));
    }
    let store = Store::open(StoreOptions::plain([format!("http://{at}")])).unwrap();
    let (registry, tasks) = (Registry::new(), Tasks::default());
    let log = Log::new(data.path().to_owned(), hunt.clone());
    let options = CoreOptions {
        hunt: hunt.clone(),
        me: me.clone(),
        instance: "a".to_owned(),
        directory: None,
        http: "127.0.0.1:1".to_owned(),
        grpc: "127.0.0.1:1".to_owned(),
    };
    let core = start(options, &store, log.retune(), &registry, &tasks).unwrap();
    let metrics = PlaneMetrics::register(&registry, core.meters.clone()).unwrap();
    let plane = plane::new::<Auction>(PlaneOptions { hunt, me }, &core, log, metrics);
    plane.serve(&store, &core, Arc::new(Nowhere), &tasks);
    let (events, expected): (Vec<_>, Vec<_>) = bids().into_iter().unzip();
    let played = tokio::time::timeout(PATIENCE, play(&plane, events)).await.unwrap();
    assert_eq!(played, expected);
    tasks.finish().await;
}

async fn play(plane: &Plane, bids: Vec<Event>) -> Vec<Outcome> {
    while plane.append(P, bids.clone(), Source::Producer).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut outcomes = plane.outcomes(P).unwrap();
    outcomes.wait_beyond(Offset(bids.len() as u64 - 1)).await.unwrap();
    let chunk = outcomes.read(Offset(0), 1 << 20).await.unwrap();
    let records = chunk.records.iter().map(|record| OutcomeRecord::decode(&record.payload));
    records.map(|record| record.unwrap().outcome).collect()
}
