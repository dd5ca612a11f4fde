//! Kafka in a development environment: three brokers whose ports are remembered, those that the
//! example names wherever they are free; the tools of the distribution for people. In: a layout,
//! programs. Out: running brokers. Ports and texts are pure, the rest is I/O.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use config_schemas::{Config, TopicRole};
use serde::{Deserialize, Serialize};
use servers::{KafkaOptions, KafkaPorts, KafkaPrograms, Places};

use super::layout::{Layout, write};
use super::tell::Teller;
use super::world::World;
use crate::failure::Failure;

/// The hunt that is applied where events are kept by Kafka, beside the other example.
pub(super) const EXAMPLE: &str = "harbour-kafka.yaml";
/// Where the example says that brokers listen, so that it can be applied word for word. Below
/// the ports that systems give to clients.
const EXAMPLE_PORTS: [u16; 3] = [19_091, 19_092, 19_093];
/// Each process's name begins so; a number follows.
const NAME: &str = "kafka-";

/// A cluster as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KafkaLayout {
    cluster_id: String,
    nodes: Vec<KafkaPorts>,
}

impl KafkaLayout {
    /// A new cluster; on the example's ports if all of them are free.
    pub(super) fn fresh(taken: impl Fn(u16) -> bool) -> Result<KafkaLayout, Failure> {
        let mut options = KafkaOptions::in_dir(Path::new(""))
            .map_err(|error| Failure::caused("laying out a Kafka cluster", &error))?;
        if !EXAMPLE_PORTS.into_iter().any(taken) {
            for (node, port) in options.nodes.iter_mut().zip(EXAMPLE_PORTS) {
                (node.client, node.advertised) = (port, port);
            }
        }
        Ok(KafkaLayout { cluster_id: options.cluster_id, nodes: options.nodes })
    }

    /// The cluster, with its files below `state`.
    pub(super) fn options(&self, state: &Path) -> KafkaOptions {
        KafkaOptions {
            dir: state.join("kafka"),
            cluster_id: self.cluster_id.clone(),
            nodes: self.nodes.clone(),
            security: None,
            extra: Vec::new(),
        }
    }

    /// `kafka-1` and so on, with its id and where clients reach it.
    pub(super) fn brokers(&self) -> impl Iterator<Item = (String, usize, String)> {
        self.nodes.iter().zip(1..).map(|(ports, id): (&KafkaPorts, usize)| {
            (format!("{NAME}{id}"), id, format!("127.0.0.1:{}", ports.advertised))
        })
    }

    /// A broker that does not run, and its port that somebody else has taken. Brokers know each
    /// other by these ports, and the hunt knows the brokers by them: they are not given up.
    pub(super) fn blocked(
        &self,
        runs: impl Fn(&str) -> bool,
        taken: impl Fn(u16) -> bool,
    ) -> Option<(String, u16)> {
        let ports = |ports: &KafkaPorts| [ports.client, ports.internal, ports.controller];
        let all = self.brokers().zip(&self.nodes).filter(|((name, ..), _)| !runs(name));
        all.flat_map(|((name, ..), node)| ports(node).map(|port| (name.clone(), port)))
            .find(|(_, port)| taken(*port))
    }

    /// The example with this cluster's ports.
    pub(super) fn filled(&self, example: &str) -> String {
        let ports = EXAMPLE_PORTS.iter().zip(&self.nodes);
        ports.fold(example.to_owned(), |text, (port, node)| {
            text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", node.advertised))
        })
    }
}

/// The number of a broker's process.
pub(super) fn id_of(name: &str) -> Option<usize> {
    name.strip_prefix(NAME)?.parse().ok()
}

/// Finds Java and finds or fetches Kafka, telling how far it is.
pub(super) async fn programs(tell: Teller) -> Result<KafkaPrograms, Failure> {
    let work = tokio::task::spawn_blocking(move || {
        let mut last = None;
        KafkaPrograms::ensure(&Places::default(), &mut |now| tell.building(now, &mut last))
    });
    let ensured = work.await.map_err(|error| Failure::caused("finding Kafka", &error))?;
    ensured.map_err(|left_out| {
        Failure::failed(left_out.reason)
            .hint("install those, or leave out `--broker kafka`: events in files need neither")
    })
}

/// The distribution's tools as scripts in `bin`.
pub(super) fn write_tools(
    bin: &Path,
    options: &KafkaOptions,
    programs: &KafkaPrograms,
) -> Result<(), Failure> {
    for (name, text) in options.scripts(programs) {
        let path = bin.join(name);
        write(&path, &text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .map_err(|error| Failure::caused(&format!("writing {}", path.display()), &error))?;
    }
    Ok(())
}

/// What a person may try with the hunt's topics, as in the distribution's own scripts.
pub(super) fn commands(layout: &Layout) -> Vec<String> {
    let topic = |role| Config::default().topics.name(role, &layout.hunt);
    let (events, outcomes) = (topic(TopicRole::Events), topic(TopicRole::Outcomes));
    vec![
        format!("kafka-topics --describe --topic {events}"),
        format!(
            "echo 'ana|{{\"kind\": \"join\", \"player\": \"ana\"}}' | kafka-console-producer --topic \
             {events} --reader-property parse.key=true --reader-property key.separator='|'"
        ),
        format!(
            "kafka-console-consumer --topic {outcomes} --from-beginning --formatter-property \
             print.headers=true --formatter-property print.value=false"
        ),
    ]
}

impl World {
    /// Runs a tool of the distribution on the cluster; what it says.
    pub(super) async fn kafka_tool(
        &self,
        name: &str,
        args: &[&str],
        input: Option<&str>,
    ) -> Result<String, Failure> {
        let Some((options, programs)) = self.kafka() else {
            return Err(Failure::failed("there is no Kafka in this environment"));
        };
        let said = options.tool(programs, name, args, input).await;
        said.map_err(|error| Failure::caused(&format!("running {name}"), &error))
    }

    /// The cluster and its programs, if there is one.
    pub(super) fn kafka(&self) -> Option<(KafkaOptions, &KafkaPrograms)> {
        let options = self.layout.kafka.as_ref()?.options(&self.place.state);
        Some((options, self.kafka_programs.as_ref()?))
    }

    /// Starts the brokers that do not run; done when each serves and knows the others.
    pub(super) async fn start_kafka(&self) -> Result<(), Failure> {
        let (Some((options, programs)), Some(layout)) = (self.kafka(), &self.layout.kafka) else {
            return Ok(());
        };
        let failed = |error| Failure::caused("preparing Kafka", &error);
        self.tell.during("preparing Kafka", options.prepare(programs)).await.map_err(failed)?;
        let mut started = Vec::new();
        for (name, id, address) in layout.brokers() {
            let is_new = self.launch(&name, &options.launch(programs, id))?;
            started.push((name, id, address, is_new));
        }
        let all: Vec<usize> = options.ids().collect();
        for (name, id, address, is_new) in started {
            self.ready(&name, &address, is_new, || options.is_ready(id, &all)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE_TEXT: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/harbour-kafka.yaml"));

    #[test]
    fn the_example_is_applied_word_for_word_where_its_ports_are_free() {
        let layout = KafkaLayout::fresh(|_| false).unwrap();
        let brokers: Vec<_> = layout.brokers().map(|(.., address)| address).collect();
        for address in &brokers {
            assert!(EXAMPLE_TEXT.contains(address.as_str()), "{address}");
        }
        assert_eq!(layout.filled(EXAMPLE_TEXT), EXAMPLE_TEXT);
        assert_eq!(layout.options(Path::new("/s")).bootstrap(), brokers.join(","));
    }

    #[test]
    fn the_example_is_filled_in_where_one_of_them_is_taken() {
        let layout = KafkaLayout::fresh(|port| port == EXAMPLE_PORTS[1]).unwrap();
        let filled = layout.filled(EXAMPLE_TEXT);
        for ((.., address), port) in layout.brokers().zip(EXAMPLE_PORTS) {
            assert!(filled.contains(&address), "{filled}");
            assert!(!filled.contains(&port.to_string()), "{filled}");
        }
    }

    #[test]
    fn a_taken_port_blocks_only_the_broker_that_does_not_run() {
        let layout = KafkaLayout::fresh(|_| false).unwrap();
        let controller = layout.nodes[1].controller;
        let taken = |port: u16| port == controller;
        let blocked = layout.blocked(|_| false, taken);
        assert_eq!(blocked, Some(("kafka-2".to_owned(), controller)));
        assert_eq!(layout.blocked(|name| name == "kafka-2", taken), None);
        assert_eq!(layout.blocked(|_| false, |_| false), None);
    }

    #[test]
    fn a_broker_s_process_is_known_by_its_name() {
        assert_eq!([id_of("kafka-2"), id_of("kafka-"), id_of("agent-1")], [Some(2), None, None]);
    }
}
