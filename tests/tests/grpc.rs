//! treasurehunt.v1 over gRPC against real agents on a real etcd: events published one by one and
//! over a stream, on any agent; outcomes watched, and watched on from where a reader stopped, also on
//! another agent after the first one was killed.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use events::v1;
use events::v1::hunts_client::HuntsClient;
use events::v1::outcome_record::Outcome;
use events::v1::publish_result::Result as Answer;
use tests::wait::until;
use tests::world::{Setup, World};
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

const SOON: Duration = Duration::from_secs(30);

async fn client(world: &World, agent: usize) -> HuntsClient<Channel> {
    let address = format!("http://127.0.0.1:{}", world.agents[agent].grpc);
    until("gRPC answers", SOON, async || Ok(HuntsClient::connect(address.clone()).await?)).await
}

fn event(id: String, kind: &str, player: &str) -> v1::Event {
    v1::Event { id, kind: kind.to_owned(), player: player.to_owned(), ..v1::Event::default() }
}

/// Publishes until every event is durable, as a producer does; their partitions by id.
async fn publish(
    client: &mut HuntsClient<Channel>,
    events: Vec<v1::Event>,
) -> BTreeMap<String, u32> {
    let mut places = BTreeMap::new();
    let request = v1::PublishRequest { hunt: "default/harbour".to_owned(), events };
    until("every event is durable", SOON, async || {
        let answer = client.publish(request.clone()).await?.into_inner();
        for result in answer.results {
            match result.result.context("no result")? {
                Answer::Accepted(accepted) => {
                    places.insert(result.event_id, accepted.partition);
                }
                Answer::Rejected(rejected) => {
                    ensure!(rejected.code() != v1::rejected::Code::Invalid, "{rejected:?}");
                }
            }
        }
        ensure!(places.len() == request.events.len(), "{} durable", places.len());
        Ok(())
    })
    .await;
    places
}

/// A reader of outcomes, who can go on elsewhere.
struct Reader {
    stream: tonic::Streaming<v1::WatchResponse>,
    /// The first offset not read, per partition.
    next: BTreeMap<u32, u64>,
    /// Ids of the events that were played, each once.
    played: BTreeSet<String>,
}

impl Reader {
    async fn open(mut client: HuntsClient<Channel>, next: BTreeMap<u32, u64>) -> Reader {
        let place = |(partition, offset): (&u32, &u64)| v1::Position {
            partition: *partition,
            offset: *offset,
        };
        let request =
            v1::WatchRequest { from: next.iter().map(place).collect(), ..Default::default() };
        let stream = client.watch(request).await.unwrap().into_inner();
        Reader { stream, next, played: BTreeSet::new() }
    }

    /// Reads until all of `ids` were played. No offset comes twice, none is left out.
    async fn read(&mut self, ids: impl IntoIterator<Item = String>) {
        let mut wanted: BTreeSet<String> = ids.into_iter().collect();
        while !wanted.is_empty() {
            let read = timeout(SOON, self.stream.message()).await;
            let line = read.unwrap_or_else(|_| panic!("never played: {wanted:?}"));
            let line = line.unwrap().unwrap();
            let record = line.record.unwrap();
            let next = self.next.entry(record.partition).or_default();
            assert_eq!(line.offset, *next, "of partition {}", record.partition);
            *next += 1;
            if !matches!(record.outcome, Some(Outcome::Duplicate(_)) | None)
                && !record.event_id.is_empty()
            {
                wanted.remove(&record.event_id);
                assert!(self.played.insert(record.event_id.clone()), "{record:?} again");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_published_over_grpc_and_their_outcomes_watched_on_after_an_agent_is_killed() {
    let mut world = World::start(Setup::agents(2)).await.unwrap();
    world.served(SOON).await;
    let mut first = client(&world, 0).await;
    let mut second = client(&world, 1).await;
    let ids = |kind: &'static str| (0..24).map(move |n| format!("{kind}.{n}"));
    let all = |kind: &'static str, event_kind: &'static str| -> Vec<v1::Event> {
        ids(kind).enumerate().map(|(n, id)| event(id, event_kind, &format!("p-{n}"))).collect()
    };

    let joined = publish(&mut first, all("join", "join")).await;
    assert!(joined.values().collect::<BTreeSet<_>>().len() > 4, "one partition: {joined:?}");
    let mut reader = Reader::open(client(&world, 0).await, BTreeMap::new()).await;
    reader.read(ids("join")).await;

    // The same over one connection, on the other agent: one answer per request, in order.
    let requests: Vec<v1::PublishRequest> = all("move", "move")
        .chunks(5)
        .map(|events| v1::PublishRequest { hunt: String::new(), events: events.to_vec() })
        .collect();
    let sizes: Vec<usize> = requests.iter().map(|request| request.events.len()).collect();
    let mut answers =
        second.publish_stream(futures::stream::iter(requests)).await.unwrap().into_inner();
    let (mut answered, mut moved) = (Vec::new(), BTreeMap::new());
    while let Some(answer) = timeout(SOON, answers.message()).await.unwrap().unwrap() {
        answered.push(answer.results.len());
        for result in answer.results {
            let Some(Answer::Accepted(accepted)) = result.result else { panic!("{result:?}") };
            moved.insert(result.event_id, accepted.partition);
        }
    }
    assert_eq!(answered, sizes);
    for n in 0..24 {
        let (join, step) = (&joined[&format!("join.{n}")], &moved[&format!("move.{n}")]);
        assert_eq!(join, step, "a player's events stand in one partition");
    }
    reader.read(ids("move")).await;

    // An id that was handled is answered again and played once.
    publish(&mut second, all("move", "move")).await;
    publish(&mut second, all("after", "move")).await;
    reader.read(ids("after")).await;

    let bad = v1::PublishRequest { hunt: "default/forest".to_owned(), events: Vec::new() };
    assert_eq!(first.publish(bad).await.unwrap_err().code(), Code::NotFound);
    let odd = vec![event("x".to_owned(), "move", "no such player!")];
    let odd = v1::PublishRequest { hunt: String::new(), events: odd };
    let refused = first.publish(odd).await.unwrap().into_inner().results.remove(0).result;
    let Some(Answer::Rejected(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.code(), v1::rejected::Code::Invalid);
    assert_eq!(refused.problems[0].field, "player");

    // The agent that is watched dies; the reader goes on elsewhere where it stopped.
    world.agents[0].kill();
    let broken = timeout(SOON, reader.stream.message()).await.unwrap();
    assert!(broken.is_err(), "{broken:?}");
    let killed = world.agents.remove(0);
    until("the other agent serves all partitions", SOON, async || world.is_served().await).await;
    let mut second = client(&world, 0).await;
    publish(&mut second, all("late", "move")).await;
    let mut resumed = Reader::open(client(&world, 0).await, reader.next).await;
    resumed.read(ids("late")).await;
    assert!(resumed.played.is_disjoint(&reader.played), "read twice");
    drop(killed);
}
