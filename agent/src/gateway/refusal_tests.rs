//! What producers are told when it does not go on: typed, counted by reason, with a delay where
//! coming back helps, and nothing of it kept. Through whole agents.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use config_schemas::documents::{PartitionRecord, write};
use config_schemas::keys::Key;
use config_schemas::{Epoch, PartitionId};
use events::{Event, EventId, Kind, partition_of, v1};
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::admission::Admitted;
use super::bounds::{BODIES_BYTES_MAX, HELD_REQUESTS_MAX, PEER_BYTES_MAX, REQUESTS_MAX};
use super::server_tests::{Agent, PATIENCE, World, hunts, joins, post, request, send};
use crate::partitions::outbox::Forward as _;

fn mistakes(agent: &Agent, flaw: &str) -> u64 {
    agent.gateway.metrics().mistakes.with_label_values(&[flaw]).get()
}

fn accepted(agent: &Agent) -> u64 {
    agent.plane.metrics().accepted.get()
}

#[tokio::test]
async fn without_room_all_are_told_when_to_come_back_and_nothing_is_queued() {
    let world = World::placed().await;
    let all: Vec<_> = (0..REQUESTS_MAX).map(|_| world.a.gateway.admit(1).unwrap()).collect();
    let status = hunts(&world.a).await.publish(request(joins(3))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(delay >= Duration::from_millis(1));
    for name in ["retry-after-ms", "grpc-retry-pushback-ms"] {
        let told = status.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(told, delay.as_millis().to_string());
    }
    let body = Body::from(r#"{"kind":"join","player":"ana"}"#);
    let response = send(&world.a, Request::post("/v1/events").body(body).unwrap()).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    drop(all);
    assert_eq!(accepted(&world.a) + accepted(&world.b), 0);
    assert!(hunts(&world.a).await.publish(request(joins(3))).await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn batches_from_other_nodes_wait_in_bounded_memory_and_are_told_when_to_come_back() {
    let world = World::placed().await;
    let room = world.b.gateway.peer_bytes();
    let all = room.clone().try_acquire_many_owned(PEER_BYTES_MAX as u32).unwrap();
    let mut client = hunts(&world.a).await;
    let response = client.publish(request(joins(40))).await.unwrap().into_inner();
    let mut refused = 0;
    for result in response.results {
        match result.result.unwrap() {
            // A's own partitions need nobody's room.
            v1::publish_result::Result::Accepted(at) => assert_eq!(at.partition % 2, 0),
            v1::publish_result::Result::Rejected(rejected) => {
                assert_eq!(rejected.code(), v1::rejected::Code::Overloaded, "{rejected:?}");
                assert!(rejected.retry_after_millis > 0);
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && accepted(&world.b) == 0, "{refused}");
    assert!(world.b.gateway.metrics().shed.with_label_values(&["bytes"]).get() > 0);
    drop(all);
    let response = client.publish(request(joins(40))).await.unwrap().into_inner();
    let is_accepted = |result: &v1::PublishResult| {
        matches!(result.result, Some(v1::publish_result::Result::Accepted(_)))
    };
    assert!(response.results.iter().all(is_accepted), "{response:?}");
    assert_eq!(room.available_permits(), PEER_BYTES_MAX, "its room returns");
    world.end().await;
}

#[tokio::test]
async fn each_mistake_is_answered_in_its_place_and_counted_by_its_kind() {
    let world = World::placed().await;
    let event = |more: &str| format!(r#"{{"kind":"join","player":"ana"{more}}}"#);
    let check = async |body: String, status: u16, flaw: &str| {
        let before = mistakes(&world.a, flaw);
        let shown: String = body.chars().take(80).collect();
        let (found, text) = post(&world.a, body).await;
        assert!(found == status && text.contains("INVALID"), "{shown}: {found} {text}");
        assert_eq!(mistakes(&world.a, flaw), before + 1, "{shown} as {flaw}: {text}");
    };
    check("nonsense".to_owned(), 400, "malformed").await;
    check(String::new(), 400, "malformed").await;
    check(" ".repeat(events::BODY_BYTES_MAX + 1), 413, "too_large").await;
    check(event(&format!(r#","payload":"{}""#, "x".repeat(5000))), 400, "too_large").await;
    check("{}\n".repeat(events::BATCH_EVENTS_MAX + 1), 400, "too_many").await;
    check(event(&format!(r#","payload":{}1{}"#, "[".repeat(9), "]".repeat(9))), 400, "too_deep")
        .await;
    check(event(r#","at_millis":1"#), 400, "too_old").await;
    check(event(r#","player":"eve""#), 400, "twice").await;
    check(event(r#","colour":"red""#), 400, "unknown_field").await;
    check(r#"{"kind":"jump","player":"ana"}"#.to_owned(), 400, "unknown_kind").await;
    check(r#"{"kind":"join"}"#.to_owned(), 400, "missing").await;
    check(event(r#","id":"a b""#), 400, "value").await;
    assert_eq!(accepted(&world.a) + accepted(&world.b), 0);
    world.end().await;
}

#[tokio::test]
async fn mistakes_over_grpc_are_refused_by_the_event_or_as_a_whole() {
    let world = World::placed().await;
    let mut client = hunts(&world.a).await;
    let of = |change: fn(&mut v1::Event)| {
        let mut event = joins(1).remove(0);
        change(&mut event);
        event
    };
    for (flaw, event) in [
        ("missing", of(|event| event.player = String::new())),
        ("unknown_kind", of(|event| event.kind = "jump".to_owned())),
        ("too_old", of(|event| event.at_millis = 1)),
        ("too_deep", of(|event| event.payload_json = "[".repeat(50))),
        ("twice", of(|event| event.payload_json = r#"{"a":1,"a":2}"#.to_owned())),
        ("malformed", of(|event| event.payload_json = "{".to_owned())),
        ("value", of(|event| event.id = "~".to_owned())),
    ] {
        let response = client.publish(request(vec![event])).await.unwrap().into_inner();
        let Some(v1::publish_result::Result::Rejected(rejected)) = &response.results[0].result
        else {
            panic!("{flaw}: {response:?}");
        };
        assert_eq!(rejected.code(), v1::rejected::Code::Invalid);
        assert_eq!(mistakes(&world.a, flaw), 1, "{flaw}");
    }
    // Two bytes each on the wire: counted before they become a hundred times as much.
    let many = request(vec![v1::Event::default(); 1_000_000]);
    let status = client.publish(many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(mistakes(&world.a, "too_many"), 1);
    let large = v1::Event { payload_json: "x".repeat(5 << 20), ..v1::Event::default() };
    let status = client.publish(request(vec![large])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(mistakes(&world.a, "too_large"), 1);
    let other = v1::PublishRequest { hunt: "default/forest".to_owned(), events: joins(1) };
    assert_eq!(client.publish(other).await.unwrap_err().code(), Code::NotFound);
    let refused = &world.a.plane.metrics().refused;
    assert_eq!(refused.with_label_values(&["unknown_hunt"]).get(), 1);
    assert_eq!(accepted(&world.a) + accepted(&world.b), 0);
    world.end().await;
}

/// Bodies that are nearly right, or not at all. The seed is fixed, so that a failure comes again.
#[tokio::test]
async fn whatever_is_sent_is_answered_and_its_room_returns() {
    let world = World::placed().await;
    let mut random = StdRng::seed_from_u64(7);
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\n",
        "\"",
        "\"kind\":\"join\"",
        "\"player\":\"ana\"",
        "\"payload\":",
        "null",
        "1e400",
        "\u{0}",
        "\\ud800",
        "{\"kind\":\"join\",\"player\":\"ana\"}\n",
    ];
    for _ in 0..400 {
        let mut body = Vec::new();
        for _ in 0..random.random_range(0..40) {
            match random.random_range(0..20) {
                0 => body.push(random.random()),
                _ => body.extend_from_slice(words.choose(&mut random).unwrap().as_bytes()),
            }
        }
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (status, _) = post(&world.a, body).await;
        assert!([200, 207, 400].contains(&status.as_u16()), "{status}: {shown}");
    }
    assert_eq!(world.a.gateway.bodies().available_permits(), BODIES_BYTES_MAX);
    let all: Vec<_> = (0..REQUESTS_MAX).map(|_| world.a.gateway.admit(1)).collect();
    assert!(all.iter().all(Option::is_some), "a request kept its place");
    drop(all);
    world.end().await;
}

#[tokio::test]
async fn the_port_tells_what_it_offers_and_how_it_is() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let world = World::placed().await;
    let address = format!("http://{}", world.a.grpc);
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect_lazy();
    let mut health = HealthClient::new(channel.clone());
    let asked = HealthCheckRequest { service: "treasurehunt.v1.Hunts".to_owned() };
    let told = health.check(asked).await.unwrap().into_inner();
    assert_eq!(told.status(), ServingStatus::Serving);
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut told = reflection
        .server_reflection_info(futures::stream::iter([asked]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        told.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["treasurehunt.v1.Hunts", "treasurehunt.v1.Peers", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    world.end().await;
}

/// Takes the owner from these partitions, and waits until A has heard of it.
pub(super) async fn park(world: &World, numbers: &[u32]) {
    let parked = PartitionRecord::Parked { epoch: Epoch(1), reason: "a test".to_owned() };
    for number in numbers {
        world.put(&Key::Partition(PartitionId(*number)), &write(&parked));
    }
    let mut routes = world.a.plane.routes();
    let gone = routes
        .wait_for(|routes| numbers.iter().all(|number| routes.of(PartitionId(*number)).is_none()));
    tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
}

/// As long as may be set: what is held stays so until the test has looked.
pub(super) async fn hold_long(world: &World) {
    world.put(&Key::Override("hunt/routing/hold".to_owned()), b"30s");
    let mut live = world.a.plane.live();
    let long = async {
        while live.load().config.routing.hold < PATIENCE {
            live.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, long).await.unwrap();
}

/// Calls that find room to be held.
const CALLS: usize = 20;

#[tokio::test]
async fn requests_that_are_held_keep_nobody_else_from_being_served() {
    let world = World::placed().await;
    hold_long(&world).await;
    park(&world, &[0]).await;
    let of = |partition: u32| {
        let events = joins(400).into_iter();
        events.filter(move |event| partition_of(&event.player, 4).0 == partition).take(3)
    };
    let metrics = world.a.gateway.metrics();
    let held = &world.a.plane.metrics().held;
    let mut client = hunts(&world.a).await;
    // Most of the room is taken without calls: to make as many as that may take longer than any may
    // be held.
    let mut taken = Vec::new();
    for _ in CALLS..HELD_REQUESTS_MAX {
        taken.push(world.a.gateway.admit(1).filter(Admitted::hold).expect("room"));
    }
    let holding: Vec<_> = (0..=CALLS)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.publish(request(of(0).take(1).collect())).await })
        })
        .collect();
    // One more than can be held: it alone is told to come back.
    let no_room = metrics.held.with_label_values(&["no_room"]);
    let all_held = async {
        while held.get() < CALLS as i64 || no_room.get() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_held).await.unwrap();
    for partition in [1, 2, 3] {
        let response = client.publish(request(of(partition).collect())).await.unwrap();
        assert_eq!(super::server_tests::accepted(response.get_ref()), [(partition, 3)].into());
    }
    world.place(0, &world.a, 2);
    let mut refused = 0;
    for answer in holding {
        match tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap() {
            Ok(response) => drop(super::server_tests::accepted(response.get_ref())),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                refused += 1;
            }
        }
    }
    assert_eq!((refused, held.get()), (1, 0));
    world.end().await;
}

#[tokio::test]
async fn a_call_that_is_held_is_answered_although_the_agent_stops() {
    let world = World::placed().await;
    park(&world, &[0, 1, 2, 3]).await;
    let mut client = hunts(&world.a).await;
    let publishing = tokio::spawn(async move { client.publish(request(joins(4))).await });
    let held = &world.a.plane.metrics().held;
    let is_held = async {
        while held.get() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_held).await.unwrap();
    world.a.tasks.finish().await;
    let status = publishing.await.unwrap().unwrap_err();
    // Its own answer, with its delay, and no broken connection.
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert_eq!(held.get(), 0);
    world.b.tasks.finish().await;
}

#[tokio::test]
async fn an_event_that_no_log_takes_is_refused_alone() {
    let world = World::placed().await;
    let mut players = (0..).map(|number| format!("player-{number}"));
    let player = players.find(|player| partition_of(player, 4) == PartitionId(0));
    let event = |id: &str, bytes: usize| Event {
        player: player.clone(),
        payload_json: Some("x".repeat(bytes)),
        ..Event::new(EventId::new(id).unwrap(), Kind::Join, 1)
    };
    let events = [event("a", 1), event("b", 2 << 20), event("c", 1), event("d", 1)];
    let forwarded = async {
        loop {
            let forwarded = world.a.gateway.forward(events.to_vec()).await;
            if forwarded[0] {
                return forwarded;
            }
            // its partition is not open yet
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let forwarded = tokio::time::timeout(PATIENCE, forwarded).await.unwrap();
    assert_eq!(forwarded, [true, false, true, true]);
    world.end().await;
}
