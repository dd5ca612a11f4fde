//! `hunt dev up`: everything on this machine, from nothing to the first live retune; what runs
//! already is left alone, what is missing is started. I/O.

use std::time::Duration;

use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Generation, Revision};
use store::{Guard, Txn, Verdict, Write};
use tokio::time::Instant;

use super::args::UpArgs;
use super::game::Game;
use super::kafka;
use super::kube::shown;
use super::layout::Layout;
use super::observe::{self, Observers};
use super::place::Place;
use super::raise::{Wanted, raise};
use super::tell::Teller;
use super::world::{World, until};
use crate::commands::status::{Status, status};
use crate::failure::Failure;
use crate::load::request::publish;
use crate::load::tally::Answer;
use crate::reach::Etcd;
use crate::shown::{Out, elapsed};
use crate::wait::{Acks, Awaited, Progress};

/// From applying a hunt to all agents running it; half a second, but for a machine that compiles.
pub(super) const CONVERGED_LIMIT: Duration = Duration::from_secs(60);
/// From an edit to all agents running it.
pub(super) const EDIT_LIMIT: Duration = Duration::from_secs(10);
/// Events of the first game.
const EVENTS: usize = 200;

pub(super) async fn run(args: &UpArgs, out: Out) -> Result<(), Failure> {
    let tell = Teller::new(out);
    let place = Place::find()?;
    let UpArgs { no_kubernetes, agents, broker, observe } = *args;
    let observers = if observe { Some(observers(tell).await?) } else { None };
    let world = raise(&place, Wanted { no_kubernetes, agents, broker, observers }, tell).await?;
    apply_example(&world).await?;
    play(&world).await?;
    retune(&world).await?;
    what_next(&world)
}

async fn observers(tell: Teller) -> Result<Observers, Failure> {
    Observers::ensure(tell).await?.map_err(|left_out| {
        Failure::failed(left_out.reason).hint("install that, or leave out `--observe`")
    })
}

/// Applies the example unless the hunt is there, and waits until all agents run it.
async fn apply_example(world: &World) -> Result<(), Failure> {
    let source = world.source();
    world.tell.head("the hunt default/harbour");
    let began = Instant::now();
    if source.status().await?.is_empty() {
        let manifest = example(world)?;
        source.apply(&manifest).await?;
        let took = elapsed(began.elapsed());
        let command = source.apply_command(&shown(&world.place.example));
        world.tell.good("applied", &format!("{command}  ({took})"));
    } else {
        world.tell.good("applied", "it was there already, and stays as it is");
    }
    let wait = converged(world, None);
    let found = world.tell.during("waiting for the agents", wait).await?;
    world.tell.during("waiting for the partitions", served(world)).await?;
    let (took, agents) = (elapsed(began.elapsed()), found.nodes.len());
    let generation = found.generation.map_or("-".to_owned(), |at| at.to_string());
    let seen = format!("{agents} agents run generation {generation}, {took} after the start");
    world.tell.good("converged", &seen);
    Ok(())
}

/// The example as it stands in the checkout.
pub(super) fn example(world: &World) -> Result<String, Failure> {
    let path = &world.place.example;
    std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(&format!("reading {}", path.display()), &error))
}

/// Waits until every agent runs what it should (that generation, if one is named) and every
/// partition has an owner.
pub(super) async fn converged(
    world: &World,
    generation: Option<Generation>,
) -> Result<Status, Failure> {
    let etcd = world.etcd()?;
    let (etcd, agents) = (&etcd, world.layout.agents.len());
    until(CONVERGED_LIMIT, "every agent confirms, every partition is served", || async move {
        let fleet = etcd.fleet(&world.layout.hunt).await?;
        let found = status(&fleet, telemetry::clock::now());
        let right = generation.is_none_or(|generation| found.generation == Some(generation));
        let placed = found.partitions.count > 0
            && found.partitions.served == found.partitions.count as usize;
        let all = found.nodes.len() >= agents && found.generation.is_some();
        Ok((all && found.converged && placed && right).then_some(found))
    })
    .await
    .map_err(|failure| failure.hint("`hunt dev status` and `hunt dev logs NAME` tell more"))
}

/// Waits until the owner of every partition says that it serves it: with Kafka that takes topics,
/// and clients that have proven themselves.
pub(super) async fn served(world: &World) -> Result<(), Failure> {
    let all = || async {
        let (mut count, mut serving) = (0, 0);
        for (_, address) in world.layout.agents() {
            let shown = world.http.get(&address, "/partitions").await?.json()?;
            let all = shown["partitions"].as_array().cloned().unwrap_or_default();
            count = count.max(all.len());
            serving += all.iter().filter(|it| it["mine"] == true && it["serving"] == true).count();
        }
        Ok((count > 0 && serving == count).then_some(()))
    };
    until(CONVERGED_LIMIT, "every partition is served", all).await
}

/// Plays a short game over HTTP.
async fn play(world: &World) -> Result<(), Failure> {
    world.tell.head("events");
    let run = format!("up{}", telemetry::clock::now().as_millisecond());
    let events: Vec<_> = Game::new(&run, 20).take(EVENTS).collect();
    let began = Instant::now();
    let mut answers = Vec::new();
    let addresses: Vec<_> = world.layout.agents().map(|(_, address)| address).collect();
    for (index, batch) in events.chunks(25).enumerate() {
        let bodies: Vec<_> = batch.iter().map(|turn| turn.body.to_string()).collect();
        let address = &addresses[index % addresses.len()];
        let replies = publish(&world.http, address, bodies.iter().map(String::as_str)).await;
        answers.extend(replies.into_iter().map(|reply| reply.answer));
    }
    let took = elapsed(began.elapsed());
    let accepted = answers.iter().filter(|answer| **answer == Answer::Accepted).count();
    let line = format!("{accepted} of {} accepted, durable and played in {took}", events.len());
    let other = answers.iter().find(|answer| **answer != Answer::Accepted);
    let other = other.map(|answer| format!("; not all: {answer:?}")).unwrap_or_default();
    if accepted == 0 {
        return Err(Failure::failed(line + &other));
    }
    world.tell.good("played", &(line + &other));
    let address = &addresses[0];
    world.tell.line(&format!(
        "     curl -s http://{address}/v1/events -d '{{\"kind\": \"join\", \"player\": \"ana\"}}'"
    ));
    Ok(())
}

/// The first live retunes, with their measured times, and back.
async fn retune(world: &World) -> Result<(), Failure> {
    world.tell.head("the first live retune");
    let mut edits = vec![("hunt/heartbeat/interval", "250ms")];
    if world.layout.kafka.is_some() {
        // A client has this for life, so all agents swap theirs, under load or not.
        edits.push(("hunt/producer/linger", "20ms"));
    }
    for (rest, value) in edits {
        retune_one(world, rest, value).await?;
    }
    Ok(())
}

async fn retune_one(world: &World, rest: &str, value: &str) -> Result<(), Failure> {
    let etcd = world.etcd()?;
    let key = HuntKeys::new(&world.layout.hunt).key(&Key::Override(rest.to_owned()));
    let found = etcd.store.read(&key).await;
    if found.map_err(|error| etcd.failure("reading the edit", &error))?.is_some() {
        world.tell.good("left alone", &format!("{key} is yours"));
        return Ok(());
    }
    for (value, command) in [
        (Some(value), format!("etcdctl put {key} '{value}'")),
        (None, format!("etcdctl del {key}")),
    ] {
        let (progress, took) = edit(world, &etcd, rest, value, EDIT_LIMIT).await?;
        let Progress::Done(nodes) = progress else {
            return Err(Failure::failed(format!("{command}: not confirmed: {progress:?}")));
        };
        world.tell.good("in effect", &format!("on {} agents after {took:.1?}", nodes.len()));
        world.tell.line(&format!("     {command}"));
    }
    Ok(())
}

/// Writes an edit as etcdctl would, and waits for all agents; how far it is, and the time from
/// sending the write to the last confirmation.
pub(super) async fn edit(
    world: &World,
    etcd: &Etcd,
    rest: &str,
    value: Option<&str>,
    limit: Duration,
) -> Result<(Progress, Duration), Failure> {
    let mut acks = Acks::follow(etcd, &world.layout.hunt).await?;
    let sent = Instant::now();
    let revision = write_edit(world, etcd, rest, value).await?;
    let awaited = Awaited {
        node: None,
        revision,
        key: format!("override/{rest}"),
        section: section_of(rest),
        generation: None,
    };
    let progress = acks.answered(&awaited, sent + limit).await;
    Ok((progress, sent.elapsed()))
}

/// The section of `hunt/SECTION/FIELD` or `node/NODE/SECTION/FIELD`.
fn section_of(rest: &str) -> Option<&'static str> {
    let name = rest.rsplit('/').nth(1)?;
    config_schemas::section(name).map(|section| section.name)
}

/// Writes an edit whatever stood there, as etcdctl would; `None` deletes.
pub(super) async fn write_edit(
    world: &World,
    etcd: &Etcd,
    rest: &str,
    value: Option<&str>,
) -> Result<Revision, Failure> {
    let key = HuntKeys::new(&world.layout.hunt).key(&Key::Override(rest.to_owned()));
    let failed = |error: store::StoreError| etcd.failure("writing the edit", &error);
    let found = etcd.store.read(&key).await.map_err(failed)?;
    let write = match value {
        Some(value) => Write::put(key.clone(), value.to_owned()),
        None => Write::delete(key.clone()),
    };
    let txn = Txn { guards: vec![Guard::as_found(&key, found.as_ref())], writes: vec![write] };
    match etcd.store.commit_decided(&txn).await.map_err(failed)? {
        Verdict::Committed(revision) => Ok(revision),
        Verdict::Refused { .. } => Err(Failure::failed(format!("{key} changed meanwhile"))),
    }
}

fn what_next(world: &World) -> Result<(), Failure> {
    let root = HuntKeys::new(&world.layout.hunt);
    let root = root.prefix();
    let state = shown(&world.place.state);
    world.tell.head("what to try next (all of it keeps running; `./dev down` ends it)");
    let mut lines = vec![
        format!(". {state}/env"),
        format!("etcdctl put {root}override/hunt/heartbeat/interval '250ms'"),
        format!(
            "etcdctl put {root}override/node/agent-1/buffers/events '{{\"value\": 128, \"owner\": \
             \"ana\", \"reason\": \"hot node\", \"until\": \"2030-12-01T00:00:00Z\"}}'"
        ),
        format!("etcdctl put {root}override/hunt/buffers/events 'lots'"),
        format!("etcdctl del {root}override/hunt/heartbeat/interval"),
        "hunt explain harbour heartbeat.interval --node agent-1".to_owned(),
        "hunt set harbour workers.concurrency 8 --reason 'more players' --for 10m".to_owned(),
        "hunt status harbour".to_owned(),
    ];
    if world.layout.kafka.is_some() {
        lines.extend(kafka::commands(&world.layout));
    }
    if let (Some(ports), Some(_)) = (world.layout.observers, &world.observers) {
        lines.extend(observe::commands(ports));
    }
    if world.layout.kubernetes.is_some() {
        let example = shown(&world.place.example);
        lines.push(format!("kubectl apply -f {example}; kubectl get th; kubectl get th -o yaml"));
        lines.push("kubectl explain th.spec.heartbeat".to_owned());
        lines.push("kubectl wait th/harbour --for=condition=Converged".to_owned());
    } else {
        let folder = shown(&Layout::directory(&world.place.state));
        lines.push(format!("$EDITOR {folder}/harbour.yaml; cat {folder}/harbour.yaml.status.yaml"));
    }
    let demo =
        if world.layout.kafka.is_some() { "./dev demo --broker kafka" } else { "./dev demo" };
    lines.push(format!("./dev status; {demo}; ./dev load"));
    for line in lines {
        world.tell.line(&format!("  {line}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_belongs_to_a_section() {
        let sections = ["hunt/producer/linger", "node/agent-1/buffers/events", "hunt/generation"];
        assert_eq!(sections.map(section_of), [Some("producer"), Some("buffers"), None]);
    }
}
