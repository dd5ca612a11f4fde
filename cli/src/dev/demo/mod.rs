//! `hunt dev demo`: the guided tour, unattended, in an environment of its own that ends with it.
//! Each step is done as a person would do it, seen, and timed; what was not seen fails the tour.
//!
//! `tour` keeps the score, `config` holds the steps about settings, `faults` those about servers
//! and agents that die, `moves` those about agents that come and go as planned, `loads` those about
//! load and health, `burst` the one about twenty times the load, `kafka` those about a cluster, which
//! are a tour of their own, `painted` the last one: the boards, drawn. They use `stream`, the players who
//! play meanwhile, `verdict`, which has what became of their events judged, `slow`, an agent that
//! is slowed, `examples`, which applies them, and `promised`, bounds on a loaded machine. I/O.

mod burst;
mod config;
mod examples;
mod faults;
mod kafka;
mod loads;
mod moves;
mod painted;
mod promised;
mod slow;
mod stream;
mod tour;
mod verdict;

use tokio::signal::unix::{SignalKind, signal};

use super::args::{Broker, DemoArgs};
use super::kube::shown;
use super::layout::Layout;
use super::place::Place;
use super::raise::{Wanted, raise};
use super::tell::Teller;
use super::world::{self, World};
use crate::failure::Failure;
use crate::shown::Out;
use tour::Tour;

/// How many agents the tour has: enough that one can die and two are left to share.
const AGENTS: u16 = 3;

pub(super) async fn run(args: &DemoArgs, out: Out) -> Result<(), Failure> {
    let tell = Teller::new(out);
    let place = Place::find()?.below("demo");
    clear(&place, tell).await?;
    let toured = tokio::select! {
        toured = tour(&place, args, tell) => toured,
        () = interrupted() => Err(Failure::failed("interrupted")),
    };
    if args.keep {
        let state = shown(&place.state);
        tell.line(&format!("all of it keeps running: `. {state}/env`; `hunt dev down` ends it"));
    } else {
        tell.head("ending what the tour started");
        world::stop_all(&place.state, tell).await?;
    }
    let tour = toured?;
    out.show(&tour)?;
    tour.verdict()
}

/// Ends and removes what an earlier tour left behind.
async fn clear(place: &Place, tell: Teller) -> Result<(), Failure> {
    world::stop_all(&place.state, tell).await?;
    match std::fs::remove_dir_all(&place.state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::caused("removing an earlier tour", &error))
        }
        _ => Ok(()),
    }
}

async fn tour(place: &Place, args: &DemoArgs, tell: Teller) -> Result<Tour, Failure> {
    let DemoArgs { no_kubernetes, broker, no_pictures, .. } = *args;
    let painter = if no_pictures { None } else { painted::painter(tell).await? };
    let (observers, painter) = painter.unzip();
    let wanted = Wanted { no_kubernetes, agents: AGENTS, broker: Some(broker), observers };
    let mut world = raise(place, wanted, tell).await?;
    let began = telemetry::clock::now();
    tell.head("the tour");
    let mut tour = Tour::new(tell, world.layout.kubernetes.is_some());
    if broker == Broker::Kafka {
        of_kafka(&mut world, &mut tour).await?;
    } else {
        of_files(&mut world, &mut tour).await?;
    }
    if let Some(painter) = &painter {
        painted::boards(&world, painter, began, &mut tour).await;
    }
    Ok(tour)
}

/// The tour where events are kept by the agents themselves.
async fn of_files(world: &mut World, tour: &mut Tour) -> Result<(), Failure> {
    config::apply(world, tour).await?;
    config::live_edit(world, tour).await;
    config::node_override(world, tour).await;
    config::refused_edit(world, tour).await;
    config::edit_that_ends(world, tour).await;
    config::explain(world, tour).await;
    config::rollback(world, tour).await;
    let etcd = faults::etcd_dies(world, tour).await;
    let agent = faults::agent_dies(world, tour).await;
    faults::nothing_lost(world, tour, &[etcd, agent]).await;
    moves::node_joins(world, tour).await;
    moves::rolling_restart(world, tour).await;
    burst::twenty_times(world, tour).await;
    loads::hot_key(world, tour).await;
    loads::slowed(world, tour).await;
    Ok(())
}

/// The tour where events are kept by Kafka.
async fn of_kafka(world: &mut World, tour: &mut Tour) -> Result<(), Failure> {
    kafka::begin_small(world)?;
    kafka::make_small_topic(world).await?;
    config::apply(world, tour).await?;
    kafka::topics_declared(world, tour).await;
    kafka::partitions_raised(world, tour).await;
    kafka::other_clients(world, tour).await;
    kafka::retuned(world, tour).await;
    kafka::refused_cluster(world, tour).await;
    kafka::replicas_raised(world, tour).await;
    kafka::broker_dies(world, tour).await;
    kafka::hunt_cut(world, tour).await;
    let agent = faults::agent_dies(world, tour).await;
    faults::nothing_lost(world, tour, &[agent]).await;
    Ok(())
}

async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

/// The command line of etcdctl for an edit, as a person would type it.
fn put_command(world: &World, rest: &str, value: &str) -> String {
    format!("etcdctl put {}override/{rest} '{value}'", prefix(&world.layout))
}

fn prefix(layout: &Layout) -> String {
    config_schemas::keys::HuntKeys::new(&layout.hunt).prefix().to_owned()
}
