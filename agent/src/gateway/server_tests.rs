//! Two whole agents on an in-memory etcd: events go in at either and are played by whoever serves
//! their partition; outcomes come out of both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use config_schemas::documents::{FORMAT, Meta, Owner, PartitionRecord, write};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Epoch, HuntName, NodeName, PartitionId};
use events::v1;
use events::v1::hunts_client::HuntsClient;
use events::v1::peers_client::PeersClient;
use futures::StreamExt as _;
use prometheus::Registry;
use store::sim::SimEtcd;
use store::{Store, StoreOptions};
use telemetry::tasks::Tasks;
use telemetry::traces::Traces;
use tokio::net::TcpListener;
use tonic::Code;
use tower::ServiceExt as _;

use super::bounds::{MAP_REVISION, OWNER_EPOCH};
use super::listen::{Port, Speech};
use super::peers::pass::PASS;
use super::{Connections, Gateway, GatewayMetrics, grpc, http};
use crate::core::{self, Core, CoreOptions, Telling};
use crate::metrics::PlaneMetrics;
use crate::partitions::log::Log;
use crate::partitions::plane::{self, Plane, PlaneOptions};

const PARTITIONS: u32 = 4;
/// Far above what anything here takes; a test that hangs ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Agent {
    me: Owner,
    pub(super) plane: Plane,
    pub(super) gateway: Gateway,
    pub(super) grpc: SocketAddr,
    pub(super) tasks: Tasks,
    pub(super) core: Core,
    pub(super) log: Log,
}

pub(super) struct World {
    pub(super) etcd: SimEtcd,
    pub(super) keys: HuntKeys,
    pub(super) a: Agent,
    pub(super) b: Agent,
    pub(super) data: tempfile::TempDir,
}

pub(super) fn hunt() -> HuntName {
    HuntName::new("default", "harbour").unwrap()
}

async fn agent(name: &str, etcd: SocketAddr, data: &Path, traces: Traces) -> Agent {
    let me = Owner { node: NodeName::new(name).unwrap(), incarnation: format!("{name}-1") };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Store::open(StoreOptions::plain([format!("http://{etcd}")])).unwrap();
    let (registry, tasks) = (Registry::new(), Tasks::default());
    let log = Log::new(data.to_owned(), hunt());
    let options = CoreOptions {
        hunt: hunt(),
        me: me.clone(),
        instance: format!("{name}-instance"),
        directory: None,
        http: address.to_string(),
        grpc: address.to_string(),
    };
    let telling = Telling { registry: &registry, traces };
    let core = core::start(options, &store, log.retune(), telling, &tasks).unwrap();
    let options = PlaneOptions { hunt: hunt(), me: me.clone() };
    let metrics = PlaneMetrics::register(&registry, core.meters.clone()).unwrap();
    let plane = plane::new::<events::HuntGame>(options, &core, log.clone(), metrics);
    let metrics = GatewayMetrics::register(&registry).unwrap();
    let gateway = Gateway::new(plane.clone(), core.hot.clone(), metrics);
    plane.serve(&store, &core, Arc::new(gateway.clone()), &tasks);
    let connections = Connections::new(64, gateway.metrics().clone());
    let port = Port { listener, speech: Speech::Grpc, connections };
    let serving = grpc::serve(port, gateway.clone(), tasks.stopping());
    tasks.spawn("grpc", async move { serving.await.unwrap() });
    Agent { me, plane, gateway, grpc: address, tasks, core, log }
}

impl World {
    /// Two agents that tell of events at `traces`, and no hunt yet.
    pub(super) async fn following(traces: &Traces) -> World {
        let etcd = SimEtcd::new();
        let (at, _) = etcd.serve_tcp().await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let a = agent("a", at, data.path(), traces.clone()).await;
        let b = agent("b", at, data.path(), traces.clone()).await;
        World { etcd, keys: HuntKeys::new(&hunt()), a, b, data }
    }

    /// The same with a hunt, whose even partitions are A's and the odd ones B's.
    pub(super) async fn placed() -> World {
        World::placed_following(&Traces::default()).await
    }

    pub(super) async fn placed_following(traces: &Traces) -> World {
        let world = World::following(traces).await;
        world.found();
        for number in 0..PARTITIONS {
            let owner = if number % 2 == 0 { &world.a } else { &world.b };
            world.place(number, owner, 1);
        }
        for agent in [&world.a, &world.b] {
            let mut routes = agent.plane.routes();
            let complete = routes.wait_for(|routes| {
                routes.partitions.len() == PARTITIONS as usize
                    && routes.partitions.iter().all(Option::is_some)
            });
            tokio::time::timeout(PATIENCE, complete).await.unwrap().unwrap();
        }
        world
    }

    fn found(&self) {
        let meta = Meta {
            format: FORMAT,
            store_epoch: "epoch".to_owned(),
            uid: "5f3a".to_owned(),
            partitions: PARTITIONS,
            before: Vec::new(),
            next: None,
            hash: "murmur2".to_owned(),
            cluster: None,
            broker: Default::default(),
        };
        self.put(&Key::Meta, &write(&meta));
    }

    pub(super) fn place(&self, number: u32, agent: &Agent, epoch: u64) {
        let record = PartitionRecord::Own { owner: agent.me.clone(), epoch: Epoch(epoch) };
        self.put(&Key::Partition(PartitionId(number)), &write(&record));
    }

    pub(super) fn put(&self, key: &Key, value: &[u8]) {
        let value = std::str::from_utf8(value).unwrap();
        self.etcd.change(|store| store.write(&self.keys.key(key), value));
    }

    pub(super) async fn end(self) {
        self.a.tasks.finish().await;
        self.b.tasks.finish().await;
    }
}

pub(super) async fn hunts(agent: &Agent) -> HuntsClient<tonic::transport::Channel> {
    HuntsClient::connect(format!("http://{}", agent.grpc)).await.unwrap()
}

/// Joins of `count` players, who spread over all partitions.
pub(super) fn joins(count: usize) -> Vec<v1::Event> {
    let join = |number| v1::Event {
        id: format!("e{number}"),
        kind: "join".to_owned(),
        player: format!("player-{number}"),
        ..v1::Event::default()
    };
    (0..count).map(join).collect()
}

pub(super) fn request(events: Vec<v1::Event>) -> v1::PublishRequest {
    v1::PublishRequest { hunt: String::new(), events }
}

/// How many of the results are accepted, by partition.
pub(super) fn accepted(response: &v1::PublishResponse) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for result in &response.results {
        match &result.result {
            Some(v1::publish_result::Result::Accepted(at)) => {
                *counts.entry(at.partition).or_default() += 1;
            }
            other => panic!("{} got {other:?}", result.event_id),
        }
    }
    counts
}

pub(super) async fn send(agent: &Agent, request: Request<Body>) -> axum::response::Response {
    let router = http::routes(agent.gateway.clone(), agent.tasks.stopping());
    router.oneshot(request).await.unwrap()
}

async fn ask(agent: &Agent, request: Request<Body>) -> (StatusCode, Option<String>, String) {
    let response = send(agent, request).await;
    let next = response.headers().get(http::NEXT_CURSOR);
    let next = next.map(|cursor| cursor.to_str().unwrap().to_owned());
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    (status, next, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) async fn get(agent: &Agent, path: &str) -> (StatusCode, Option<String>, String) {
    ask(agent, Request::get(path).body(Body::empty()).unwrap()).await
}

pub(super) async fn post(agent: &Agent, body: impl Into<Body>) -> (StatusCode, String) {
    let request = Request::post("/v1/events").body(body.into()).unwrap();
    let (status, _, text) = ask(agent, request).await;
    (status, text)
}

#[tokio::test]
async fn events_go_to_their_owners_and_outcomes_are_read_anywhere() {
    let world = World::placed().await;
    let response = hunts(&world.a).await.publish(request(joins(200))).await.unwrap().into_inner();
    let counts = accepted(&response);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    let ids: Vec<_> = response.results.iter().map(|result| result.event_id.clone()).collect();
    assert_eq!(ids, joins(200).into_iter().map(|event| event.id).collect::<Vec<_>>());
    let odd = counts[&1] + counts[&3];
    assert_eq!(world.a.plane.metrics().forwarded.get(), odd as u64);

    let mut watch = hunts(&world.b).await.watch(v1::WatchRequest::default()).await.unwrap();
    let mut seen = BTreeMap::new();
    let read_all = async {
        while seen.len() < 200 {
            let watched = watch.get_mut().next().await.unwrap().unwrap();
            let record = watched.record.unwrap();
            let twice = seen.insert(record.event_id, (record.partition, watched.offset));
            assert_eq!(twice, None);
        }
    };
    tokio::time::timeout(PATIENCE, read_all).await.unwrap();

    let mut cursor = String::new();
    let mut lines = 0;
    while lines < 200 {
        let path = format!("/v1/outcomes?from={cursor}&limit=30&wait=5000");
        let (status, next, body) = get(&world.a, &path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!body.is_empty(), "{lines} outcomes, then none within the wait");
        lines += body.lines().count();
        cursor = next.unwrap();
    }
    assert_eq!(lines, 200);
    let (_, next, body) = get(&world.a, &format!("/v1/outcomes?from={cursor}")).await;
    assert_eq!((next.unwrap(), body.as_str()), (cursor, ""));
    world.end().await;
}

#[tokio::test]
async fn events_are_held_until_their_partition_has_an_owner_again() {
    let world = World::placed().await;
    world.etcd.change(|store| {
        let parked = PartitionRecord::Parked { epoch: Epoch(1), reason: "a test".to_owned() };
        let key = world.keys.key(&Key::Partition(PartitionId(0)));
        store.write(&key, std::str::from_utf8(&write(&parked)).unwrap());
    });
    let mut routes = world.a.plane.routes();
    routes.wait_for(|routes| routes.of(PartitionId(0)).is_none()).await.unwrap();
    let publish =
        async { hunts(&world.a).await.publish(request(joins(40))).await.unwrap().into_inner() };
    let place = async {
        let held = &world.a.plane.metrics().held;
        while held.get() == 0 {
            tokio::task::yield_now().await;
        }
        world.place(0, &world.b, 2);
    };
    let (response, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(publish, place) }).await.unwrap();
    let at_0 = response.results.iter().filter_map(|result| match result.result.as_ref()? {
        v1::publish_result::Result::Accepted(at) if at.partition == 0 => Some(at.epoch),
        _ => None,
    });
    let epochs: Vec<_> = at_0.collect();
    assert_eq!(accepted(&response).values().sum::<usize>(), 40);
    assert!(!epochs.is_empty() && epochs.iter().all(|epoch| *epoch == 2), "{epochs:?}");
    assert_eq!(world.a.plane.metrics().held.get(), 0);
    world.end().await;
}

#[tokio::test]
async fn bad_input_is_answered_by_the_event_or_by_the_request() {
    let world = World::placed().await;
    let good = r#"{"kind": "join", "player": "ana"}"#;
    let bad = r#"{"kind": "jump", "player": "ana"}"#;
    let too_long = vec![b' '; events::BODY_BYTES_MAX + 1];
    let check = async |body: Vec<u8>, status: u16, said: &str| {
        let (found, text) = post(&world.a, body).await;
        assert!(found.as_u16() == status && text.contains(said), "{found}: {text}");
    };
    check(good.into(), 200, r#""offset":0"#).await;
    check(format!("{good}\n{bad}").into(), 207, "INVALID").await;
    check(bad.into(), 400, "one of join, move, solve, claim, sight").await;
    check("nonsense".into(), 400, "INVALID").await;
    check(too_long, 413, "larger than").await;
    assert!(world.a.plane.metrics().refused.with_label_values(&["invalid"]).get() >= 4);

    let mut client = hunts(&world.b).await;
    let other = v1::PublishRequest { hunt: "default/forest".to_owned(), events: joins(1) };
    assert_eq!(client.publish(other).await.unwrap_err().code(), Code::NotFound);
    let many = request(joins(events::BATCH_EVENTS_MAX + 1));
    assert_eq!(client.publish(many).await.unwrap_err().code(), Code::InvalidArgument);
    world.end().await;
}

#[tokio::test]
async fn a_hand_over_to_the_wrong_node_is_refused_with_what_it_knows() {
    let world = World::placed().await;
    let pass = world.a.plane.routes().borrow().pass.clone().unwrap();
    for (partition, epoch, knows) in [(1, 1, "1"), (0, 2, "1")] {
        let status = hand(&world.a, partition, epoch, Some(&pass)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(OWNER_EPOCH).unwrap(), knows);
        assert!(status.metadata().contains_key(MAP_REVISION));
    }
    world.end().await;
}

async fn hand(
    agent: &Agent,
    partition: u32,
    epoch: u64,
    pass: Option<&str>,
) -> Result<v1::PublishResponse, tonic::Status> {
    hand_all(agent, joins(1), (partition, epoch), pass).await
}

pub(super) async fn hand_all(
    agent: &Agent,
    events: Vec<v1::Event>,
    (partition, epoch): (u32, u64),
    pass: Option<&str>,
) -> Result<v1::PublishResponse, tonic::Status> {
    let hand = v1::HandRequest { hunt: hunt().to_string(), partition, epoch, events };
    let mut request = tonic::Request::new(hand);
    if let Some(pass) = pass {
        request.metadata_mut().insert(PASS, pass.parse().unwrap());
    }
    let mut peers = PeersClient::connect(format!("http://{}", agent.grpc)).await.unwrap();
    peers.hand(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn only_who_knows_the_hunt_s_pass_hands_events_over() {
    let world = World::placed().await;
    let pass = world.a.plane.routes().borrow().pass.clone().unwrap();
    let wrong = pass.replace(|c: char| c.is_ascii_digit(), "f");
    // The raw id of the hunt in etcd is not the pass.
    for shown in [None, Some(""), Some("epoch"), Some(wrong.as_str())] {
        let status = hand(&world.a, 0, 1, shown).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{shown:?}");
    }
    assert_eq!(world.a.gateway.metrics().shed.with_label_values(&["no_pass"]).get(), 4);
    assert!(hand(&world.a, 0, 1, Some(&pass)).await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn before_the_hunt_is_known_everybody_is_told_to_come_back() {
    let world = World::following(&Traces::default()).await;
    let status = hunts(&world.a).await.publish(request(joins(1))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let (status, text) = post(&world.a, r#"{"kind": "join", "player": "ana"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("NO_OWNER"), "{text}");
    let (status, ..) = get(&world.a, "/v1/outcomes").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    world.end().await;
}

#[tokio::test]
async fn streams_are_answered_in_order_and_end_when_the_agent_stops() {
    let world = World::placed().await;
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut client = hunts(&world.a).await;
    let mut answers = client.publish_stream(requests).await.unwrap().into_inner();
    for count in [3, 1, 2] {
        sender.send(request(joins(count))).await.unwrap();
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(accepted(&answer).values().sum::<usize>(), count);
    }
    let from =
        v1::WatchRequest { cursor: "0:900".to_owned(), partitions: vec![0], ..Default::default() };
    let mut watch = client.watch(from).await.unwrap().into_inner();
    let stop = world.a.tasks.finish();
    let ends = async {
        assert!(answers.next().await.is_none());
        let status = watch.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(stop, ends) }).await.unwrap();
    world.end().await;
}
