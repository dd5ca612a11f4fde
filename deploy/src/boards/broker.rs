//! The log and the clients of Kafka: how fast it is written, how far behind readers are, what changes
//! of clients cost, how topics stand. Pure.

use telemetry::catalogue::{agent, operator};

use super::panel::{AGENTS, HUNTS, Panel, Scale, all, quantile, rate};
use super::{Board, Choice, Row};

pub(super) fn board() -> Board {
    let accept = format!("{AGENTS},stage=\"accept\"");
    Board {
        uid: "treasurehunt-broker",
        title: "TreasureHunt / Broker",
        description: "How fast is the log, how far behind are readers, what do changes of clients cost?",
        chosen: &[Choice::Node],
        rows: vec![
            Row::of("The log", vec![
                    Panel::lines(Scale::PerSecond, "Written", "Events and outcomes made durable in the log.")
                        .asks(rate(agent::EVENTS_ACCEPTED.name(), AGENTS, "node"), "{{node}} events")
                        .asks(rate(agent::OUTCOMES.name(), AGENTS, "node"), "{{node}} outcomes"),
                    Panel::lines(Scale::Seconds, "Until durable", "How long events took from arrival until the log had them: half, and 99 in 100.")
                        .asks(quantile(0.5, agent::EVENT_STAGES.name(), &accept, "node"), "{{node}} p50")
                        .asks(quantile(0.99, agent::EVENT_STAGES.name(), &accept, "node"), "{{node}} p99"),
                    Panel::lines(Scale::Plain, "Lag", "Events in the log that have no outcome yet, whoever wrote them.")
                        .asks(all("sum", agent::PARTITION_LAG.name(), AGENTS, "node"), "{{node}}"),
                    Panel::lines(Scale::Plain, "Partitions in trouble", "Partitions that are not served or not written to, by what keeps them from it.")
                        .asks(all("sum", agent::PARTITIONS_TROUBLED.name(), AGENTS, "trouble"), "{{trouble}}"),
                ]),
            Row::of("Clients of Kafka", vec![
                    Panel::lines(Scale::PerSecond, "Changes of clients", "Changes of clients that were made, and those that failed, so that all stayed as it was.")
                        .asks(rate(agent::CLIENT_CHANGES.name(), AGENTS, "result"), "{{result}}"),
                    Panel::lines(Scale::Seconds, "Time of a change", "With the proof that the new clients work; records go on by the old ones meanwhile.")
                        .asks(quantile(0.99, agent::CLIENT_PROOF.name(), AGENTS, ""), "p99"),
                    Panel::lines(Scale::Seconds, "Stall of a change", "How long records waited while the producer was swapped.")
                        .asks(quantile(0.99, agent::CLIENT_STALL.name(), AGENTS, ""), "p99"),
                ]),
            Row::of("Topics", vec![
                    Panel::lines(Scale::PerSecond, "Steps on topics", "Steps of the operator on topics, by kind and whether the cluster took them.")
                        .asks(rate(operator::TOPIC_STEPS.name(), "", "kind, result"), "{{kind}} {{result}}"),
                    Panel::lines(Scale::Seconds, "Until topics are as asked", "From a change of what is asked of topics until they are read back so.")
                        .asks(quantile(0.99, operator::TOPICS_READY.name(), "", ""), "p99")
                        .asks(quantile(0.99, operator::TOPICS_LOOK.name(), "", ""), "one look"),
                    Panel::lines(Scale::Plain, "Replicas to be copied", "Partitions of Kafka that are still to be copied to other brokers.")
                        .asks(format!("{} or vector(0)", all("max", operator::TOPIC_MOVES_LEFT.name(), HUNTS, "hunt")), "{{hunt}}"),
                ]),
        ],
    }
}
