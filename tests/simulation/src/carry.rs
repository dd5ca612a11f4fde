//! The way of an event to its partition's owner, in place of the gateway: by the agent's own
//! routes, at most one hand-over, no holding. In: questions. Out: answers. I/O.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use agent::partitions::answer::Source;
use agent::partitions::outbox::Forward;
use agent::partitions::plane::Plane;
use agent::partitions::routes::Routes;
use config_schemas::PartitionId;
use events::{Event, Vocabulary};
use telemetry::tasks::Tasks;
use turmoil::net::{TcpListener, TcpStream};

use crate::wire::{Answer, PORT, Question, ask, receive, send};

/// A question that does not come is not waited for any longer.
const QUESTION_WITHIN: Duration = Duration::from_secs(5);
/// Partitions over which an unordered kind's key is spread here.
const SPREAD: u32 = 3;

/// One agent's way.
#[derive(Clone)]
pub(crate) struct Carry {
    pub(crate) plane: Plane,
}

impl Carry {
    /// Answers questions until the agent stops.
    pub(crate) async fn serve(self, tasks: Tasks) -> std::io::Result<()> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (carry, stopping) = (self.clone(), tasks.stopping());
            tasks.spawn("question", async move {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    // whoever asked and went away asks again
                    _ = carry.answer(stream) => {}
                }
            });
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let question = tokio::time::timeout(QUESTION_WITHIN, receive(&mut stream)).await??;
        let answer = self.carry(question).await;
        send(&mut stream, &answer).await
    }

    async fn carry(&self, mut question: Question) -> Answer {
        for event in question.events.iter_mut().filter(|_| !question.handed) {
            event.received_millis = telemetry::clock::now_millis();
        }
        let routes = self.plane.routes().borrow().clone();
        let mut homes = question.events.iter().map(|event| self.home(event, &routes));
        let Some(Some(partition)) = homes.next() else {
            return again("nothing is known of the hunt");
        };
        if homes.any(|home| home != Some(partition)) {
            return again("they belong to more than one partition");
        }
        match routes.of(partition).cloned() {
            Some(route) if !route.mine && !question.handed => {
                let handed = Question { handed: true, ..question };
                match ask(&route.grpc, &handed).await {
                    Ok(answer) => answer,
                    Err(error) => again(error),
                }
            }
            _ => self.here(partition, question).await,
        }
    }

    async fn here(&self, partition: PartitionId, question: Question) -> Answer {
        let source = if question.outbox { Source::Outbox } else { Source::Producer };
        match self.plane.append(partition, question.events, source).await {
            Ok(accepted) => match accepted.first() {
                Some(first) => Answer::Accepted {
                    partition: partition.0,
                    offset: first.offset.0,
                    epoch: first.epoch.0,
                },
                None => again("nothing was asked"),
            },
            Err(not_taken) => again(format!("{not_taken:?}")),
        }
    }
}

fn again(why: impl ToString) -> Answer {
    Answer::Again { why: why.to_string() }
}

impl Carry {
    fn home(&self, event: &Event, routes: &Routes) -> Option<PartitionId> {
        partition_of(&self.plane.vocabulary(), event, routes.cut())
    }
}

impl Forward for Carry {
    fn forward(&self, events: Vec<Event>) -> Pin<Box<dyn Future<Output = Vec<bool>> + Send + '_>> {
        Box::pin(async move {
            let homes: Vec<_> = events.iter().map(|event| self.destination(event)).collect();
            let mut arrived = vec![false; events.len()];
            // what waited together may have been cut apart meanwhile
            for home in homes.iter().copied().collect::<BTreeSet<_>>() {
                let there = |at: &usize| homes[*at] == home;
                let batch: Vec<usize> = (0..events.len()).filter(there).collect();
                let events = batch.iter().map(|at| events[*at].clone()).collect();
                let question = Question { events, outbox: true, handed: false };
                let answer = self.carry(question).await;
                if matches!(answer, Answer::Accepted { .. }) {
                    batch.iter().for_each(|at| arrived[*at] = true);
                }
            }
            arrived
        })
    }

    fn destination(&self, event: &Event) -> Option<PartitionId> {
        self.home(event, &self.plane.routes().borrow())
    }
}

/// Where an event goes. Unordered kinds are spread by their id, so that a retry meets itself.
fn partition_of(vocabulary: &Vocabulary, event: &Event, count: u32) -> Option<PartitionId> {
    let key = vocabulary.key(event).filter(|_| count > 0)?;
    let first = events::partition_of(key, count).0;
    let further = match vocabulary.is_ordered(event) {
        true => 0,
        false => events::partition_of(event.id.as_str(), SPREAD).0,
    };
    Some(PartitionId((first + further) % count))
}
