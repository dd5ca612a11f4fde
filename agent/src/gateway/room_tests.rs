//! Bytes of requests that are worked on: counted until the answer, over gRPC and between nodes.
//! Through whole agents.

use std::time::Duration;

use broker::Tuning;
use config_schemas::PartitionId;
use events::{partition_of, v1};
use tokio::sync::Semaphore;

use super::bounds::{BODIES_BYTES_MAX, EVENT_BYTES, HELD_BYTES_MAX, PEER_BYTES_MAX};
use super::refusal_tests::{hold_long, park};
use super::server_tests::{PATIENCE, World, hand_all, hunts, joins, post, request};

/// How long the log waits before it writes: long enough to look.
const LINGER: Duration = Duration::from_secs(3);
const PAYLOAD: usize = 3 << 10;
/// Of such events, in bytes: more than 1 MiB.
const EVENTS: usize = 350;
const AT_LEAST: usize = 1 << 20;

/// Large events of one partition.
fn large(partition: u32) -> Vec<v1::Event> {
    let mut events = joins(40 * EVENTS);
    events.retain(|event| partition_of(&event.player, 4).0 == partition);
    events.truncate(EVENTS);
    for event in &mut events {
        event.payload_json = format!(r#"{{"text":"{}"}}"#, "x".repeat(PAYLOAD));
    }
    assert_eq!(events.len(), EVENTS);
    events
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_request_that_is_held_keeps_the_room_of_its_bytes_until_it_is_answered() {
    let world = World::placed().await;
    hold_long(&world).await;
    park(&world, &[0]).await;
    let mut client = hunts(&world.a).await;
    let publishing = tokio::spawn(async move { client.publish(request(large(0))).await });
    let held = &world.a.plane.metrics().held;
    until("held", || held.get() > 0).await;
    let taken = |bodies: &Semaphore, all: usize| all - bodies.available_permits();
    let bodies = world.a.gateway.bodies();
    assert!(taken(&bodies, BODIES_BYTES_MAX) >= AT_LEAST, "it counts only while it arrives");
    let of_held = world.a.gateway.held_bytes();
    assert!(taken(&of_held, HELD_BYTES_MAX) >= AT_LEAST, "nor is it held within a bound");
    world.place(0, &world.a, 2);
    publishing.await.unwrap().unwrap();
    until("its room returns", || {
        taken(&bodies, BODIES_BYTES_MAX) == 0 && taken(&of_held, HELD_BYTES_MAX) == 0
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn small_events_count_for_what_they_take_in_memory() {
    let world = World::placed().await;
    hold_long(&world).await;
    park(&world, &[0]).await;
    let mut small = large(0);
    small.iter_mut().for_each(|event| event.payload_json.clear());
    let line = |event: &v1::Event| format!(r#"{{"kind":"join","player":"{}"}}"#, event.player);
    let body = small.iter().map(line).collect::<Vec<_>>().join("\n");
    assert!(body.len() < EVENTS * EVENT_BYTES / 2);
    let mut client = hunts(&world.a).await;
    let bodies = world.a.gateway.bodies();
    let taken = || BODIES_BYTES_MAX - bodies.available_permits();
    let held = || world.a.plane.metrics().held.get() as usize;
    let look = async {
        until("both are held", || held() == 2 * EVENTS).await;
        assert!(taken() >= 2 * EVENTS * EVENT_BYTES, "{}", taken());
        world.place(0, &world.a, 2);
    };
    let (grpc, (http, text), ()) =
        tokio::join!(client.publish(request(small)), post(&world.a, body), look);
    grpc.unwrap();
    assert_eq!(http, 200, "{text}");
    until("their room returns", || taken() == 0).await;
    // No room for a batch, and enough for its bytes.
    let others = bodies.clone().try_acquire_many_owned((BODIES_BYTES_MAX - (64 << 10)) as u32);
    let mut events = joins(EVENTS);
    let status = client.publish(request(events.clone())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    drop(others);
    events.truncate(3);
    client.publish(request(events)).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_batch_that_waits_for_the_log_keeps_the_room_of_its_bytes() {
    let world = World::placed().await;
    let pass = world.a.plane.routes().borrow().pass.clone().unwrap();
    hand_all(&world.b, large(1)[..1].to_vec(), (1, 1), Some(&pass)).await.unwrap();
    let log = world.b.log.embedded().unwrap();
    log.retune(Tuning { linger: LINGER, ..Tuning::default() });
    let room = world.b.gateway.peer_bytes();
    let waits = || {
        let used = world.b.core.queues.used();
        let events = used.get(&PartitionId(1)).map_or(0, |size| size.events);
        let least = AT_LEAST + EVENTS * EVENT_BYTES;
        events >= EVENTS as u64 && PEER_BYTES_MAX - room.available_permits() >= least
    };
    let (handed, ()) = tokio::join!(
        hand_all(&world.b, large(1), (1, 1), Some(&pass)),
        until("it waits for the log in room of its own", waits),
    );
    handed.unwrap();
    until("its room returns", || room.available_permits() == PEER_BYTES_MAX).await;
    world.end().await;
}
