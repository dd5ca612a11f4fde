//! What `up` and the tour begin with: ports and programs are found or remembered, what is missing
//! is started, and a file tells a shell where all of it is. In: what is asked for. Out: a `World`
//! that runs. Which broker it is, is pure; the rest is I/O.

use std::os::unix::fs::symlink;
use std::path::Path;

use servers::{Detached, KubePrograms, Unavailable};

use super::args::Broker;
use super::kafka::{self, KafkaLayout};
use super::kube::{Source, shown};
use super::layout::{Layout, write};
use super::observe::{ObserverPorts, Observers};
use super::place::Place;
use super::tell::Teller;
use super::world::{self, World};
use crate::failure::Failure;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Hunts come from a directory.
    pub(super) no_kubernetes: bool,
    /// At least so many agents.
    pub(super) agents: u16,
    /// As remembered, or embedded, when nothing is asked for.
    pub(super) broker: Option<Broker>,
    /// What watches it, if it is to be watched.
    pub(super) observers: Option<Observers>,
}

/// Starts whatever is missing.
pub(super) async fn raise(place: &Place, wanted: Wanted, tell: Teller) -> Result<World, Failure> {
    tell.head("servers and agents");
    let remembered = Layout::remembered(&place.state)?;
    let broker = broker(wanted.broker, remembered.as_ref())?;
    // What is missing is told before the minutes that others may take to build.
    let kafka_programs = match broker {
        Broker::Kafka => Some(kafka::programs(tell).await?),
        Broker::Embedded => None,
    };
    let programs = world::programs(tell).await?;
    let kube = kubernetes(programs.kube, remembered.as_ref(), wanted.no_kubernetes, tell)?;
    let mut layout = match remembered {
        Some(layout) => layout,
        None => {
            let kafka = matches!(broker, Broker::Kafka).then(|| KafkaLayout::fresh(taken));
            let fresh = Layout::fresh(kube.is_some(), wanted.agents)?;
            Layout { kafka: kafka.transpose()?, ..fresh }
        }
    };
    layout.grow(wanted.agents)?;
    if wanted.observers.is_some() && layout.observers.is_none() {
        layout.observers = Some(ObserverPorts::fresh()?);
    }
    let running: Vec<_> = world::list(&place.state)?
        .into_iter()
        .filter(Detached::is_running)
        .map(|process| process.name)
        .collect();
    let runs = |name: &str| running.iter().any(|running| running == name);
    if let Some((name, port)) = layout.kafka.as_ref().and_then(|kafka| kafka.blocked(runs, taken)) {
        return Err(Failure::failed(format!("another program has taken port {port} of {name}"))
            .hint("end that program, or start afresh after `hunt dev down --wipe`"));
    }
    if layout.give_way(runs, taken)? {
        tell.line("  -- another program has taken etcd's port; all that lean on it start anew");
        world::stop_all(&place.state, tell).await?;
    }
    layout.remember(&place.state)?;
    let world = World {
        place: with_example(place, &layout, tell)?,
        layout,
        etcd_programs: programs.etcd,
        kube_programs: kube,
        kafka_programs,
        observers: wanted.observers,
        http: crate::http::Http::new(),
        tell,
    };
    write_environment(&world)?;
    world.start().await?;
    Ok(world)
}

/// The broker of a hunt is fixed, and so is that of an environment.
fn broker(asked: Option<Broker>, remembered: Option<&Layout>) -> Result<Broker, Failure> {
    let has = remembered.map(|layout| match layout.kafka {
        Some(_) => Broker::Kafka,
        None => Broker::Embedded,
    });
    match (asked, has) {
        (Some(asked), Some(has)) if asked != has => {
            let (asked, has) = (asked.word(), has.word());
            Err(Failure::bad_input(format!("this environment has the broker {has}, for good"))
                .hint(format!("`hunt dev down --wipe` first, then `hunt dev up --broker {asked}`")))
        }
        (asked, has) => Ok(has.or(asked).unwrap_or(Broker::Embedded)),
    }
}

fn kubernetes(
    found: Result<KubePrograms, Unavailable>,
    remembered: Option<&Layout>,
    no_kubernetes: bool,
    tell: Teller,
) -> Result<Option<KubePrograms>, Failure> {
    match (found, remembered, no_kubernetes) {
        (_, Some(layout), _) if layout.kubernetes.is_none() => Ok(None),
        (_, None, true) => Ok(None),
        (_, Some(_), true) => {
            Err(Failure::bad_input("this environment has a Kubernetes API already")
                .hint("`hunt dev down --wipe` first, then `hunt dev up --no-kubernetes`"))
        }
        (Ok(kube), _, false) => Ok(Some(kube)),
        (Err(left_out), _, false) => {
            tell.line(&format!("  -- {left_out} Hunts come from a directory of files instead."));
            Ok(None)
        }
    }
}

fn taken(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// The place with the example that suits the broker; a copy of it where ports had to be filled in.
fn with_example(place: &Place, layout: &Layout, tell: Teller) -> Result<Place, Failure> {
    let Some(kafka) = &layout.kafka else { return Ok(place.clone()) };
    let example = place.example.with_file_name(kafka::EXAMPLE);
    let text = std::fs::read_to_string(&example)
        .map_err(|error| Failure::caused(&format!("reading {}", example.display()), &error))?;
    let filled = kafka.filled(&text);
    if filled == text {
        return Ok(Place { example, ..place.clone() });
    }
    let copy = place.state.join(kafka::EXAMPLE);
    write(&copy, &filled)?;
    let (ours, copy_shown) = (shown(&example), shown(&copy));
    tell.line(&format!("  -- ports of {ours} are taken here; {copy_shown} has this cluster's"));
    Ok(Place { example: copy, ..place.clone() })
}

/// A file to source, and a folder of programs that fit each other.
fn write_environment(world: &World) -> Result<(), Failure> {
    let state = &world.place.state;
    let bin = state.join("bin");
    std::fs::create_dir_all(&bin).map_err(|e| Failure::caused("making the folder bin", &e))?;
    link(&world.place.hunt, &bin.join("hunt"))?;
    link(&world.etcd_programs.etcdctl, &bin.join("etcdctl"))?;
    let mut text = format!(
        "export TREASUREHUNT_ETCD={0}\nexport ETCDCTL_ENDPOINTS={0}\nexport PATH=\"{1}:$PATH\"\n\
         export TREASUREHUNT_DEV_DIR=\"{2}\"\n",
        world.layout.endpoint(),
        bin.display(),
        state.display()
    );
    if let (Source::Kubernetes { kubectl, kubeconfig }, Some(_)) =
        (world.source(), world.layout.kubernetes)
    {
        link(&kubectl, &bin.join("kubectl"))?;
        text += &format!("export KUBECONFIG=\"{}\"\n", kubeconfig.display());
    }
    for (name, program) in world.observers.iter().flat_map(Observers::tools) {
        link(program, &bin.join(name))?;
    }
    if let Some((options, programs)) = world.kafka() {
        kafka::write_tools(&bin, &options, programs)?;
        text += &format!("export KAFKA_BOOTSTRAP={}\n", options.bootstrap());
    }
    write(&state.join("env"), &text)
}

fn link(to: &Path, at: &Path) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::caused(&format!("linking {}", at.display()), &error);
    // In a shell that has sourced the file before, the program on PATH is this very link.
    let to = std::fs::canonicalize(to).map_err(failed)?;
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    symlink(to, at).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_keeps_its_broker() {
        let embedded = Layout::fresh(false, 1).unwrap();
        let kafka = KafkaLayout::fresh(|_| false).unwrap();
        let kafka = Layout { kafka: Some(kafka), ..embedded.clone() };
        let check = |asked, remembered: Option<&Layout>, expected: Result<Broker, &str>| {
            let found = broker(asked, remembered).map_err(|failure| failure.message);
            assert_eq!(found, expected.map_err(str::to_owned), "{asked:?}");
        };
        check(None, None, Ok(Broker::Embedded));
        check(Some(Broker::Kafka), None, Ok(Broker::Kafka));
        check(None, Some(&kafka), Ok(Broker::Kafka));
        check(Some(Broker::Kafka), Some(&kafka), Ok(Broker::Kafka));
        check(None, Some(&embedded), Ok(Broker::Embedded));
        let refused = "this environment has the broker embedded, for good";
        check(Some(Broker::Kafka), Some(&embedded), Err(refused));
    }
}
