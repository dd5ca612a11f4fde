//! A node that accepts calls and answers none, as one that is stopped: what goes to other nodes is
//! served meanwhile. Through a whole agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use config_schemas::documents::{FORMAT, NodeMode, NodeRecord, Owner, PartitionRecord, write};
use config_schemas::keys::Key;
use config_schemas::{Epoch, NodeName, PartitionId};
use events::{partition_of, v1};
use tokio::net::TcpListener;
use tonic::Code;

use super::bounds::REQUESTS_MAX;
use super::listen::{self, Port, Speech};
use super::server_tests::{Agent, PATIENCE, World, accepted, hunts, joins, request};
use super::{Connections, GatewayMetrics};

/// Its partition, which was B's.
const ITS: PartitionId = PartitionId(1);
const CALLS: usize = 20;

/// The node: its record, and how many calls have reached it.
async fn frozen(world: &World, at: &Agent) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = listener.local_addr().unwrap().to_string();
    let node = NodeName::new("frozen").unwrap();
    let incarnation = "frozen-1".to_owned();
    let record = NodeRecord {
        format: FORMAT,
        incarnation: incarnation.clone(),
        instance: "frozen".to_owned(),
        http: grpc.clone(),
        grpc,
        mode: NodeMode::Ready,
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let router = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>().await
    });
    let metrics = GatewayMetrics::register(&prometheus::Registry::new()).unwrap();
    let port = Port { listener, speech: Speech::Grpc, connections: Connections::new(8, metrics) };
    let stop = at.tasks.stopping();
    at.tasks.spawn("frozen", listen::serve(port, router, stop));
    world.put(&Key::Node(node.clone()), &write(&record));
    let own = PartitionRecord::Own { owner: Owner { node, incarnation }, epoch: Epoch(2) };
    world.put(&Key::Partition(ITS), &write(&own));
    calls
}

fn of(partition: u32) -> Vec<v1::Event> {
    let events = joins(400).into_iter();
    events.filter(|event| partition_of(&event.player, 4).0 == partition).take(1).collect()
}

#[tokio::test]
async fn a_node_that_does_not_answer_keeps_no_places_that_others_need() {
    let world = World::placed().await;
    // Longer than this test: no call comes back by itself.
    world.put(&Key::Override("hunt/routing/forward".to_owned()), b"60s");
    let mut live = world.a.plane.live();
    let patient = async {
        while live.load().config.routing.forward < 2 * PATIENCE {
            live.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, patient).await.unwrap();
    let calls = frozen(&world, &world.a).await;
    let mut routes = world.a.plane.routes();
    let its = routes.wait_for(|routes| routes.of(ITS).is_some_and(|route| route.epoch.0 == 2));
    tokio::time::timeout(PATIENCE, its).await.unwrap().unwrap();

    // As if so many more were under way to it.
    let others: Vec<_> = (CALLS..REQUESTS_MAX).map(|_| world.a.gateway.admit(1).unwrap()).collect();
    let mut client = hunts(&world.a).await;
    let waiting: Vec<_> = (0..CALLS)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.publish(request(of(ITS.0))).await })
        })
        .collect();
    let served = async {
        while calls.load(Ordering::Relaxed) < CALLS {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        loop {
            match client.publish(request(of(0))).await {
                Ok(response) => return accepted(response.get_ref()),
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let served = tokio::time::timeout(PATIENCE, served).await.expect("others are served");
    assert_eq!(served, [(0, 1)].into());
    assert!(waiting.iter().all(|call| !call.is_finished()), "nor is a call given up for that");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    drop(others);
    world.end().await;
}
